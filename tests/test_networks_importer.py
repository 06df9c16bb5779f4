"""From a network's file to a version in the model repository: whole, or nothing at all."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from onnx_models import resnet
from PIL import Image
from tritonclient.grpc.model_config_pb2 import ModelConfig

from spark_accel.errors import ModelError
from spark_accel.networks import calibration_images, importer, labels, plan, preprocessing, staging


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = resnet(18, classes=3, side=32)
    return model.save(tmp_path_factory.mktemp("onnx") / "thin.onnx", model.nodes[-1].output[0])


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for index in range(5):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 9, 3), np.uint8))
        coarse.resize((90, 80)).save(folder / f"{index}.jpg")
    return folder


def test_an_imported_model_has_all_parts(tmp_path: Path, network: Path, photographs: Path) -> None:
    names = tmp_path / "labels.json"
    names.write_text('{"0": ["n01", "tench"], "1": ["n02", "gold fish"], "2": ["n03", "shark"]}')

    version = importer.import_model(network, "thin", tmp_path / "r", calibration=photographs, labels=names)

    assert version == tmp_path / "r" / "thin" / "1"
    assert plan.load(version).classes == 3
    assert (version.parent / "labels.txt").read_text() == "n01 tench\nn02 gold fish\nn03 shark\n"
    config = text_format.Parse((version.parent / "config.pbtxt").read_text(), ModelConfig())
    assert (config.name, config.backend, list(config.input[0].dims)) == ("thin", "network", [32, 32, 3])
    assert config.HasField("dynamic_batching")
    facts = {key: value.string_value for key, value in config.parameters.items()}
    assert (facts["resize"], facts["crop"], facts["preprocessing"], facts["source"]) == (
        "37",
        "32",
        "torch",
        "thin.onnx",
    )
    assert [entry.name for entry in (tmp_path / "r").iterdir()] == ["thin"]


def test_a_second_import_is_the_next_version(tmp_path: Path, network: Path, photographs: Path) -> None:
    for number in ("1", "2"):
        version = importer.import_model(network, "thin", tmp_path, calibration=photographs, preprocessing="caffe")

        assert version == tmp_path / "thin" / number
    assert (tmp_path / "thin" / "1" / plan.FILE_NAME).is_file()


def test_a_model_is_not_replaced_by_one_of_other_classes(tmp_path: Path, network: Path, photographs: Path) -> None:
    importer.import_model(network, "thin", tmp_path, calibration=photographs)
    model = resnet(18, classes=4, side=32)
    other = model.save(tmp_path / "other.onnx", model.nodes[-1].output[0])

    with pytest.raises(ModelError, match="model 'thin' exists and its output is"):
        importer.import_model(other, "thin", tmp_path, calibration=photographs)


def test_a_model_without_labels_has_numbered_classes(tmp_path: Path, network: Path, photographs: Path) -> None:
    importer.import_model(network, "thin", tmp_path, calibration=photographs)

    assert (tmp_path / "thin" / "labels.txt").read_text() == "class_0\nclass_1\nclass_2\n"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"name": "../thin"}, "model name '../thin' can't be used"),
        ({"name": ".thin"}, "model name '.thin' can't be used"),
        ({"preprocessing": "pytorch"}, "preprocessing 'pytorch' is unknown; known are torch, caffe, tf, none"),
        ({"resize": 31}, "a resize of 31 is not between the network's side of 32 and 4096"),
        ({"crop": 64}, "takes 32 x 32 pixels; a crop of 64 can't change that"),
        ({"calibration": Path("/nonexistent")}, "calibration folder /nonexistent does not exist"),
        ({"source": Path("/nonexistent.onnx")}, "/nonexistent.onnx is not a file"),
        ({"source": "resnet5"}, "Keras network 'resnet5' is unknown; known are resnet50"),
    ],
)
def test_what_cannot_be_used_is_said_and_leaves_nothing(
    tmp_path: Path, network: Path, photographs: Path, options: dict[str, object], reason: str
) -> None:
    given = {"source": network, "name": "thin", "repository": tmp_path / "r", "calibration": photographs} | options

    with pytest.raises(ModelError, match=reason):
        importer.import_model(**given)
    assert not (tmp_path / "r").exists()


def test_too_few_labels_are_refused(tmp_path: Path, network: Path, photographs: Path) -> None:
    names = tmp_path / "labels.txt"
    names.write_text("cat\ndog\n")

    with pytest.raises(ModelError, match="has 2 labels, the network 3 classes"):
        importer.import_model(network, "thin", tmp_path / "r", calibration=photographs, labels=names)


def test_an_interrupted_import_leaves_nothing(
    tmp_path: Path, network: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(staging, "publish", interrupted)

    with pytest.raises(KeyboardInterrupt):
        importer.import_model(network, "thin", tmp_path / "r", calibration=photographs)
    assert list((tmp_path / "r").iterdir()) == []


def test_a_model_that_can_not_be_moved_to_its_place_says_why(
    tmp_path: Path, network: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "rename", full)

    with pytest.raises(ModelError, match=r"can't be written: No space left on device; \d+ MiB are free"):
        importer.import_model(network, "thin", tmp_path / "r", calibration=photographs)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, network: Path, photographs: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path; from spark_accel.networks import importer\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))\n"
        "importer.import_model(Path(sys.argv[1]), 'thin', Path(sys.argv[2]), calibration=Path(sys.argv[3]))"
    )
    command = [sys.executable, "-c", program, str(network), str(tmp_path / "r"), str(photographs)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "ModelError: the model repository" in done.stderr
    assert "can't be written" in done.stderr
    assert list((tmp_path / "r").iterdir()) == []


def test_what_a_killed_import_left_is_swept_away(
    tmp_path: Path, network: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned = tmp_path / ".staging-abandoned"
    abandoned.mkdir()
    monkeypatch.setattr(staging, "_ABANDONED_SECONDS", -1.0)

    importer.import_model(network, "thin", tmp_path, calibration=photographs)

    assert not abandoned.exists()


def test_a_resnet50_that_cannot_be_fetched_is_an_error_with_three_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    with pytest.raises(ModelError) as caught:
        importer.ensure_resnet50(tmp_path / "r")

    for way in ("model import --keras resnet50", "model import FILE.onnx", "model install FOLDER_OR_ARCHIVE"):
        assert way in str(caught.value)


def test_a_resnet50_that_is_there_is_not_fetched_again(tmp_path: Path, network: Path, photographs: Path) -> None:
    importer.import_model(network, "resnet50", tmp_path, calibration=photographs)

    importer.ensure_resnet50(tmp_path)

    assert staging.versions(tmp_path / "resnet50") == [1]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("cat\ndog\n", ["cat", "dog"]),
        ("golden retriever\ndog\n", ["golden_retriever golden retriever", "dog"]),
        ("n01440764 tench\nn01443537 gold fish\n", ["n01440764 tench", "n01443537 gold fish"]),
        ('{"1": ["b", "dog"], "0": ["a", "cat"]}', ["a cat", "b dog"]),
    ],
)
def test_labels_are_read_from_text_and_class_index(tmp_path: Path, text: str, lines: list[str]) -> None:
    (tmp_path / "labels").write_text(text)

    assert labels.read(tmp_path / "labels") == lines


@pytest.mark.parametrize("text", ["", "cat\n\ndog", '{"1": ["a", "b"]}', '{"0": "a"}', "{", '{"0": ["", "cat"]}'])
def test_labels_that_cannot_be_read_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels").write_text(text)

    with pytest.raises(ModelError, match="labels"):
        labels.read(tmp_path / "labels")


def test_labels_that_are_no_file_are_refused_without_reading() -> None:
    with pytest.raises(ModelError, match="labels /dev/zero can't be read: it is no file"):
        labels.read(Path("/dev/zero"))


def test_a_repository_that_cant_be_written_is_named_before_the_network_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ModelError, match=r"the model repository .* can't be written: .*/file is no folder"):
        importer.import_model(tmp_path / "absent.onnx", "x", tmp_path / "file" / "repository")


def _numbered(folder: Path, count: int) -> Iterator[Path]:
    for index in range(count):
        path = folder / f"class{index % 3}" / f"{index:03}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (index, 0, 0)).save(path)
        yield path


def test_calibration_takes_images_of_all_folders_evenly(tmp_path: Path) -> None:
    assert len(list(_numbered(tmp_path, 200))) == 200

    images = calibration_images.read(tmp_path, (32, 32), 37)

    assert images.shape == (64, 32, 32, 3)
    classes = np.bincount(images[:, 0, 0, 0] % 3)
    assert classes.min() >= 20


def test_calibration_names_a_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")

    with pytest.raises(ModelError, match=r"broken\.jpg can't be used"):
        calibration_images.read(tmp_path, (32, 32), 37)


@pytest.mark.parametrize("name", list(preprocessing.PREPROCESSINGS))
def test_the_mean_pixel_becomes_zero(name: str) -> None:
    found = preprocessing.preprocessing(name)

    pixel = np.rint(found.mean).astype(np.uint8).reshape(1, 1, 1, 3)

    assert np.abs(found.apply(pixel)).max() <= 0.51 * max(found.scale)
