"""The network that everybody means: `resnet50` with Keras' ImageNet weights, fetched when it is first asked for."""

from spark_accel.settings import Settings

NAME = "resnet50"


def provide(settings: Settings) -> None:
    """Puts `resnet50` into the model repository if it is not there; for a process that shares it with the daemon.

    Does nothing where somebody else runs the daemon (`daemon.start` is false) and so has a repository of his own.
    Raises ModelError, with the ways out, where Keras can't fetch the weights.
    """
    if not settings.daemon_start or (settings.repository / NAME).exists():
        return
    from spark_accel.networks import importer  # noqa: PLC0415 - slow to import, rarely wanted

    importer.ensure_resnet50(settings.repository)
