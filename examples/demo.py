"""`make demo`: classifies photographs in Spark's local mode through the plugin, with the best ResNet there is."""

import argparse
import sys
from pathlib import Path

from classify_photographs import classify
from pyspark.sql import SparkSession

import spark_accel
from spark_accel import endpoint, imagenet, model_store, settings
from spark_accel.errors import AccelError, ModelError
from spark_accel.networks import importer

PHOTOGRAPHS = Path(spark_accel.__file__).parent / "photographs"
NETWORK_FILES = (".onnx", ".keras", ".h5")


def choose(model: str | None, images: Path, labels: Path | None, repository: Path) -> str:
    """The name of a model that is in the repository, after what had to be fetched or imported for that."""
    if model is None:
        return _resnet50_or_less(repository)
    if Path(model).suffix in NETWORK_FILES:
        return _imported(Path(model), images, labels, repository)
    if model == imagenet.NAME:
        importer.ensure_resnet50(repository)
    return model_store.facts(repository, model).name


def _resnet50_or_less(repository: Path) -> str:
    if not (repository / imagenet.NAME).exists():
        print("resnet50 is not in the repository: Keras is asked for its weights …", flush=True)
    try:
        importer.ensure_resnet50(repository)
    except ModelError:
        print(
            "Keras can't fetch the weights of resnet50 (`spark-accel model import --keras resnet50` says why): "
            "this runs on the thin ResNet-50 of opennsfw",
            flush=True,
        )
        if not (repository / "opennsfw").exists():
            importer.import_opennsfw(repository, progress=True)
        return "opennsfw"
    return imagenet.NAME


def _imported(file: Path, images: Path, labels: Path | None, repository: Path) -> str:
    if not file.is_file():
        raise ModelError(f"there is no file {file}")
    name = f"demo-{file.stem}"  # a name of its own: resnet50.onnx must not become what `resnet50` means
    if (repository / name).exists():
        print(f"{file.name} was imported before; `spark-accel model remove {name}` makes the next demo do it anew")
    else:
        importer.import_model(file, name, repository, calibration=images, labels=labels, progress=True)
    return name


def main() -> None:
    """Reads the command line, chooses the model, starts Spark."""
    parser = argparse.ArgumentParser(description="Classifies photographs in Spark's local mode.")
    parser.add_argument("--images", type=Path, default=PHOTOGRAPHS, help="their folder (default: eight of the package)")
    parser.add_argument("--model", help="a model of the repository, or an .onnx file (default: resnet50)")
    parser.add_argument(
        "--labels", type=Path, help="names of the classes of an .onnx file; as `model import` takes them"
    )
    arguments = parser.parse_args()
    if not arguments.images.is_dir():
        sys.exit(f"there is no folder {arguments.images}")
    try:
        chosen = settings.from_environment()
        endpoint.prepare(chosen.daemon_socket)  # what is wrong with it is said here rather than by each task
        model = choose(arguments.model, arguments.images, arguments.labels, chosen.repository)
        builder = SparkSession.builder.appName("spark-accel demo").master("local[*]")
        builder = builder.config("spark.log.level", "ERROR").config("spark.ui.showConsoleProgress", "false")
        session = spark_accel.configure(builder).getOrCreate()
    except AccelError as error:
        sys.exit(str(error))
    classify(session, str(arguments.images.absolute()), model)
    session.stop()


if __name__ == "__main__":
    main()
