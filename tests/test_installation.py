"""The model repository as a folder: installing what was made elsewhere, listing, removing. Files are hostile."""

import errno
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kernel_models import EXAMPLES, TWICE, write_kernel
from plans import random_plan
from safetensors.numpy import save_file

from spark_accel import installation, model_store
from spark_accel.errors import ModelError
from spark_accel.networks import plan


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a small valid model named `tiny`."""
    folder = tmp_path / "elsewhere" / "tiny"
    (folder / "1").mkdir(parents=True)
    network = random_plan(np.random.default_rng(0))
    plan.save(network, folder / "1")
    (folder / "config.pbtxt").write_text(
        'name: "tiny" backend: "network" max_batch_size: 8\n'
        f'input [ {{ name: "image" data_type: TYPE_UINT8 dims: [{network.height}, {network.width}, 3] }} ]\n'
        f'output [ {{ name: "logits" data_type: TYPE_FP32 dims: [{network.classes}] }} ]\n'
    )
    return folder


def _zip(folder: Path, extra: str = "") -> Path:
    path = folder.parent / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder.parent))
        if extra:
            archive.writestr(extra, "x")
    return path


def _tar(folder: Path, extra: tarfile.TarInfo | None = None) -> Path:
    path = folder.parent / "model.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
        if extra is not None:
            archive.addfile(extra, io.BytesIO(b"x" * extra.size))
    return path


@pytest.mark.parametrize("pack", [lambda folder: folder, _zip, _tar], ids=["folder", "zip", "tar.gz"])
def test_a_model_is_installed_under_its_own_name(model: Path, tmp_path: Path, pack: Callable[[Path], Path]) -> None:
    name = installation.install(pack(model), tmp_path / "repository")

    found = model_store.facts(tmp_path / "repository", name)
    assert (found.name, found.versions, found.backend, found.problem) == ("tiny", (1,), "network", "")
    assert [entry.name for entry in (tmp_path / "repository").iterdir()] == ["tiny"]


def test_a_model_that_is_there_is_not_overwritten(model: Path, tmp_path: Path) -> None:
    installation.install(model, tmp_path / "repository")

    with pytest.raises(ModelError, match=r"'tiny' is in .* already; remove it first: `spark-accel model remove tiny`$"):
        installation.install(model, tmp_path / "repository")


def test_for_a_kernel_that_is_there_the_place_of_its_next_version_is_named(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    installation.install(EXAMPLES / "vector_add", repository)

    with pytest.raises(ModelError) as refused:
        installation.install(EXAMPLES / "vector_add", repository)

    text = f"or keep it and copy the new files to {repository}/vector_add/2, as its next version"
    assert str(refused.value).endswith(f"remove it first: `spark-accel model remove vector_add`, {text}")


@pytest.mark.parametrize("pack", [lambda folder: folder, _zip, _tar], ids=["folder", "zip", "tar.gz"])
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ('backend: "network" inptu []', '1:20 : Message type "inference.ModelConfig" has no field named "inptu".'),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        ('name: "tiny"', "its backend is ''; only 'network', 'bitstream' and 'opencl', a kernel of your own, can be "),
        ('backend: "network" name: "a b"', "model name 'a b' can't be used"),
        ('backend: "network" name: "kmeans_lloyd"', "'kmeans_lloyd' is a built-in model"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_said_once_of_the_users_own_file(
    model: Path, tmp_path: Path, config: str | bytes, reason: str, pack: Callable[[Path], Path]
) -> None:
    (model / "config.pbtxt").write_bytes(config if isinstance(config, bytes) else config.encode())
    source = pack(model)
    own = source / "config.pbtxt" if source == model else source / "tiny" / "config.pbtxt"

    with pytest.raises(ModelError) as refused:
        installation.install(source, tmp_path / "repository")

    assert str(refused.value).startswith(f"{own}: {reason}")
    assert str(refused.value).count(str(source)) == 1
    assert "staging" not in str(refused.value)


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "tiny/../../outside"])
def test_an_archive_cannot_write_outside_of_the_repository(model: Path, tmp_path: Path, name: str) -> None:
    archive = _zip(model, name)

    with pytest.raises(ModelError, match="outside of the model's folder"):
        installation.install(archive, tmp_path / "repository")
    assert list((tmp_path / "repository").iterdir()) == []


def test_an_archive_with_a_link_is_refused(model: Path, tmp_path: Path) -> None:
    link = tarfile.TarInfo("tiny/1/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"

    with pytest.raises(ModelError, match="neither a file nor a folder"):
        installation.install(_tar(model, link), tmp_path / "repository")


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden"])
def test_a_name_that_is_a_path_is_refused(model: Path, tmp_path: Path, name: str) -> None:
    config = model / "config.pbtxt"
    config.write_text(config.read_text().replace('"tiny"', f'"{name}"'))

    with pytest.raises(ModelError, match="can't be used"):
        installation.install(model, tmp_path / "repository")


def test_a_broken_network_is_refused(model: Path, tmp_path: Path) -> None:
    weights = model / "1" / plan.FILE_NAME
    weights.write_bytes(weights.read_bytes()[:-100])

    with pytest.raises(ModelError, match=f"^{weights} is not a usable network"):
        installation.install(model, tmp_path / "repository")
    assert list((tmp_path / "repository").iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("max_batch_size: 8", "max_batch_size: -1", "'max_batch_size' must be non-negative for model 'tiny', got -1"),
        ("TYPE_FP32 ", 'TYPE_FP32 label_filename: "../../x" ', "file '../../x' .* must stay within model directory"),
        ("TYPE_FP32 ", 'TYPE_FP32 label_filename: "absent" ', "label file 'absent' is no file"),
        ("TYPE_FP32", "TYPE_INT32", "'logits' is TYPE_INT32 in config.pbtxt, a network's is TYPE_FP32"),
        ("3] }", "4] }", "'image' has dims .* in config.pbtxt, its network has"),
        (
            "max_batch",
            'parameters { key: "resize" value { string_value: "99999" } } max_batch',
            "the parameter resize is",
        ),
    ],
)
def test_a_configuration_that_no_daemon_would_serve_is_refused(
    model: Path, tmp_path: Path, old: str, new: str, reason: str
) -> None:
    config = model / "config.pbtxt"
    config.write_text(config.read_text().replace(old, new))

    with pytest.raises(ModelError, match=rf"{config}: .*{reason}"):
        installation.install(model, tmp_path / "repository")
    assert list((tmp_path / "repository").iterdir()) == []


def test_a_truncated_archive_is_refused(model: Path, tmp_path: Path) -> None:
    archive = _tar(model)
    archive.write_bytes(archive.read_bytes()[:-200])

    with pytest.raises(ModelError):
        installation.install(archive, tmp_path / "repository")
    assert list((tmp_path / "repository").iterdir()) == []


def test_what_is_not_there_is_said_not_to_be(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"/absent does not exist"):
        installation.install(tmp_path / "absent", tmp_path / "repository")


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ModelError, match="is no folder"):
        installation.install(tmp_path / "pipe", tmp_path / "repository")


def test_a_full_disk_is_the_repositorys_fault(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(installation, "_create", full)

    with pytest.raises(ModelError, match=r"the model repository .* can't be written: No space left"):
        installation.install(model, tmp_path / "repository")


def test_the_bytes_of_all_files_count(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [file.stat().st_size for file in model.rglob("*") if file.is_file()]
    monkeypatch.setattr(installation, "_MAX_BYTES", sum(sizes) - 1)

    with pytest.raises(ModelError, match="bytes are no model"):
        installation.install(_zip(model), tmp_path / "repository")


def test_a_height_that_is_no_number_is_refused(model: Path, tmp_path: Path) -> None:
    facts = {"plan": '{"height": Infinity, "width": 8, "layers": []}'}
    save_file({"0.x": np.zeros(1, np.int8)}, model / "1" / plan.FILE_NAME, metadata=facts)

    with pytest.raises(ModelError, match="is not a usable network: OverflowError"):
        installation.install(model, tmp_path / "repository")


def test_a_removed_model_is_gone(model: Path, tmp_path: Path) -> None:
    installation.install(model, tmp_path / "repository")

    model_store.remove(tmp_path / "repository", "tiny")

    assert model_store.models(tmp_path / "repository") == []
    assert list((tmp_path / "repository").iterdir()) == []


def test_an_unknown_model_is_named_with_the_nearest(model: Path, tmp_path: Path) -> None:
    installation.install(model, tmp_path / "repository")

    with pytest.raises(ModelError, match=r"'tine' is not in the repository .*; nearest: 'tiny'"):
        model_store.facts(tmp_path / "repository", "tine")


def test_a_folder_that_is_no_model_is_listed_with_its_problem(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.pbtxt").write_text("name: [")

    (found,) = model_store.models(tmp_path)

    assert found.name == "broken"
    assert "config.pbtxt" in found.problem


def test_a_built_in_model_is_shown_and_not_listed_or_removed(tmp_path: Path) -> None:
    shown = model_store.facts(tmp_path, "kmeans_lloyd")

    assert (shown.versions, shown.backend, shown.parameters) == ((1,), "estimator", {"source": "built in"})
    assert model_store.models(tmp_path) == []
    with pytest.raises(ModelError, match="nearest: 'kmeans_lloyd'"):
        model_store.facts(tmp_path, "kmean_lloyd")
    with pytest.raises(ModelError, match=r"'kmeans_lloyd' is built in: the repository .* has nothing to remove"):
        model_store.remove(tmp_path, "kmeans_lloyd")


def test_the_name_of_a_built_in_model_is_taken(model: Path, tmp_path: Path) -> None:
    config = model / "config.pbtxt"
    config.write_text(config.read_text().replace("tiny", "kmeans_lloyd"))

    with pytest.raises(ModelError, match="'kmeans_lloyd' is a built-in model; take another name"):
        installation.install(model.rename(model.parent / "kmeans_lloyd"), tmp_path / "repository")


def test_a_folder_named_as_a_built_in_model_is_listed_with_its_problem_and_can_be_removed(
    model: Path, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    installation.install(model, repository)
    (repository / "tiny").rename(repository / "kmeans_lloyd")
    config = repository / "kmeans_lloyd" / "config.pbtxt"
    config.write_text(config.read_text().replace("tiny", "kmeans_lloyd"))

    (found,) = model_store.models(repository)

    assert found.problem == "not used: a built-in model has this name"
    model_store.remove(repository, "kmeans_lloyd")
    assert model_store.models(repository) == []


def test_a_kernel_of_a_users_is_installed_under_the_name_of_its_folder(tmp_path: Path) -> None:
    name = installation.install(EXAMPLES / "vector_add", tmp_path / "repository")

    found = model_store.kernel(tmp_path / "repository", name)
    assert (name, found.kernel, found.arguments) == ("vector_add", "vector_add", ("a", "b", "sum", "n"))


def test_a_kernel_whose_configuration_is_at_fault_is_refused(tmp_path: Path) -> None:
    folder = write_kernel(tmp_path, "twice", TWICE, parameters={"global_size": "m"})

    reason = f"^{folder}/config.pbtxt: parameter 'global_size' is \"m\": 'm' is no size that a request gives"
    with pytest.raises(ModelError, match=reason):
        installation.install(folder, tmp_path / "repository")
    assert list((tmp_path / "repository").iterdir()) == []


def test_a_version_without_a_kernel_is_refused_with_the_files_that_are_taken(tmp_path: Path) -> None:
    folder = write_kernel(tmp_path, "twice", TWICE, file="kernel.cl")

    with pytest.raises(ModelError, match=r"its version 1 has no kernel: none of fpga.aocx, .* portable.cl"):
        installation.install(folder, tmp_path / "repository")
