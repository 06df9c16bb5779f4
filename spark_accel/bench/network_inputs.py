"""What the contenders are given: one network and the same images, in a folder that lasts as long as the bench."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spark_accel import images, model_store, settings
from spark_accel.bench import network_work, random_network
from spark_accel.bench.contender import UInt8
from spark_accel.bench.options import Options
from spark_accel.errors import ConfigurationError, DecodeError
from spark_accel.networks import calibration_images, importer, plan
from spark_accel.networks.preprocessing import default_resize

_RESNET50_SIDE = (224, 224)
_AS_MUCH = 0.1  # by which work may differ: ResNet50 v1.5 has 6 % more than Keras' v1


@dataclass(frozen=True)
class NetworkInputs:
    """`name` says which network, `side` the height and width that it takes, `work` its multiplications for an image.
    `onnx` is empty where only our quantised form is there; `right` holds the classes of `labelled` where labels are
    given. Images are .npy files, uint8 RGB [n, height, width, 3]."""

    name: str
    side: tuple[int, int]
    work: int
    onnx: str
    plan: Path
    preprocessing: str
    calibration: Path
    labelled: Path | None
    right: tuple[int, ...]
    is_random: bool
    photographs: str  # how many there are, for people

    def unlike(self, what: str) -> str:
        """Why `what`, which is made for ResNet50's images, can't be compared with this network; empty where it can."""
        height, width = self.side
        if self.side == _RESNET50_SIDE:
            return ""
        return f"{what} takes images of 224 x 224, {self.name} takes {height} x {width}"

    def unlike_keras(self) -> str:
        """Why Keras' ResNet50 can't be compared with this network; empty where it can."""
        what, theirs = "Keras' ResNet50", network_work.KERAS_RESNET50
        if other := self.unlike(what):
            return other
        if abs(self.work - theirs) <= _AS_MUCH * theirs:
            return ""
        return f"{what} has {theirs / 1e9:.1f} GMAC an image to do, {self.name} has {self.work / 1e9:.1f}"


def prepare(options: Options, folder: Path) -> NetworkInputs:
    """Imports or writes the network and decodes the images; raises ModelError or ConfigurationError."""
    onnx, name, is_random = options.model, Path(options.model).name, False
    if not onnx:
        onnx, name, is_random = str(random_network.write(folder / "random.onnx")), "ResNet50 v1.5, random weights", True
    photographs = Path(options.images) if options.images else calibration_images.PHOTOGRAPHS
    preprocessing = "torch"
    if onnx.endswith(".onnx"):
        version = importer.import_model(
            Path(onnx), "network", folder / "repository", calibration=photographs, progress=sys.stderr.isatty()
        )
    else:
        repository = settings.from_environment(options.settings).repository
        model = model_store.facts(repository, onnx)
        if not model.versions:
            raise ConfigurationError(f"--model {onnx} can't be used: {model.problem}")
        version, onnx = repository / onnx / str(max(model.versions)), ""
        preprocessing = model.parameters.get("preprocessing", preprocessing)
    network = plan.load(version)
    side = (network.height, network.width)
    parameters = model_store.facts(version.parents[1], version.parent.name).parameters
    resize = int(parameters.get("resize", default_resize(max(side))))
    calibrating = calibration_images.read(photographs, side, resize)
    np.save(folder / "calibration.npy", calibrating)
    labelled, right = _labelled(options, network, resize, folder)
    return NetworkInputs(
        name=name,
        side=side,
        work=network_work.whole(network),
        onnx=onnx,
        plan=version,
        preprocessing=preprocessing,
        calibration=folder / "calibration.npy",
        labelled=labelled,
        right=right,
        is_random=is_random,
        photographs=f"{len(calibrating)} for calibration" + (f", {len(right)} with labels" if labelled else ""),
    )


def _labelled(options: Options, network: plan.Plan, resize: int, folder: Path) -> tuple[Path | None, tuple[int, ...]]:
    rows = options.labelled()
    if not rows:
        return None, ()
    for path, right in rows:
        if not 0 <= right < network.classes:
            raise ConfigurationError(
                f"--labels {options.labels}: the class_index of {path.name} is {right}: expected 0 to"
                f" {network.classes - 1}, the network's classes"
            )
    side = (network.height, network.width)
    np.save(folder / "labelled.npy", np.stack([_decode(path, side, resize) for path, _ in rows]))
    return folder / "labelled.npy", tuple(right for _, right in rows)


def _decode(path: Path, side: tuple[int, int], resize: int) -> UInt8:
    try:
        return images.decode(path.read_bytes(), *side, resize)
    except DecodeError as error:
        raise ConfigurationError(f"{path} can't be decoded: {error}") from error
