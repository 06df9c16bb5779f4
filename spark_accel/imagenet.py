"""The network that everybody means: `resnet50` with Keras' ImageNet weights, fetched when it is first asked for."""

from spark_accel.client import Client
from spark_accel.errors import ModelError
from spark_accel.network_facts import NetworkFacts
from spark_accel.settings import Settings

NAME = "resnet50"


def network(node: Client, settings: Settings, name: str) -> NetworkFacts:
    """The network `name` of the node's repository; `resnet50` is put there if it is missing.

    Nothing is fetched where somebody else runs the daemon (`daemon.start` is false), whose repository that is. Raises
    ModelError if there is no such network; for `resnet50` it names the ways to provide it.
    """
    try:
        return node.network(name)
    except ModelError:
        if name != NAME or not settings.daemon_start or (node.repository / NAME).exists():
            raise
    from spark_accel.networks import importer  # noqa: PLC0415 - slow to import, rarely wanted

    importer.ensure_resnet50(node.repository)
    return node.network(name)
