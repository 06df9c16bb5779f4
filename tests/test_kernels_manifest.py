"""Kernels are found, their manifests read, and a tier chosen by what a device has."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plans import random_plan

from spark_accel import settings
from spark_accel.daemon import kernels, opencl_rows
from spark_accel.daemon.kernels import KernelError, Properties, Tier, folder, select, tiers
from spark_accel.daemon.network_steps import steps

ESTIMATORS = ["kmeans", "logistic", "naive_bayes"]
PORTABLE = Properties((1, 2), compiler=True, floating_point=frozenset({"INF_NAN"}))


def tier(name: str, **requires: object) -> Tier:
    return Tier(name, Path(f"{name}.cl"), Properties(**requires), {}, {})  # type: ignore[arg-type]


ANY = tier("any", opencl_c=(1, 2))
WIDE = tier("wide", opencl_c=(2, 0), extensions=frozenset({"wide_vectors"}))


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        (Properties((1, 2)), ANY),
        (Properties((3, 0)), ANY),
        (Properties((2, 0), extensions=frozenset({"wide_vectors", "fp64"})), WIDE),
        (Properties((1, 2), extensions=frozenset({"wide_vectors"})), ANY),
    ],
)
def test_the_first_tier_whose_requirements_a_device_meets_is_chosen(properties: Properties, expected: Tier) -> None:
    assert select((WIDE, ANY), properties)[0] == expected


def test_a_device_that_no_tier_suits_is_an_error_that_says_what_each_one_misses() -> None:
    compiled = tier("compiled", compiler=True, floating_point=frozenset({"DENORM"}))

    with pytest.raises(KernelError, match=r"'wide' needs wide_vectors, OpenCL C 2.0; 'compiled' needs DENORM, a comp"):
        select((WIDE, compiled), Properties((1, 2)))


@pytest.mark.parametrize(
    ("family", "wanted", "name"),
    [
        ("network", "auto", "x86-avx512vnni"),
        ("network", "x86", "x86-avx512vnni"),
        ("network", "x86-avx2", "x86-avx2"),
        ("network", "portable", "portable"),
        ("kmeans", "x86", "x86"),
        ("kmeans", "portable", "portable"),
        ("kmeans", "x86-avx2", "x86"),  # these kernels have no such tier
    ],
)
def test_the_setting_kernels_forces_a_tier(family: str, wanted: str, name: str) -> None:
    assert kernels.choose(family, wanted, processor(family)).name == name


def test_a_forced_tier_that_the_device_can_not_run_is_an_error() -> None:
    with pytest.raises(KernelError, match="'x86-avx512vnni' needs avx512_vnni, avx512bw"):
        kernels.choose("network", "x86-avx512vnni", replace(processor("network"), cpu_flags=frozenset({"avx2"})))


def processor(family: str) -> Properties:
    """One that runs all of a family's tiers for processors."""
    found = [one for one in tiers(folder() / family) if one.name.startswith("x86")]
    return replace(found[0].requires, cpu_flags=frozenset().union(*(one.requires.cpu_flags for one in found)))


@pytest.mark.parametrize("family", ["network", *ESTIMATORS])
def test_boards_with_channels_run_the_engine(family: str) -> None:
    board = Properties((1, 2), extensions=frozenset({"cl_intel_channels", "cl_khr_fp64"}))

    assert kernels.choose(family, "auto", board).name == "fpga"


def test_the_setting_kernels_names_the_tiers_that_there_are() -> None:
    (row,) = (row for row in settings.table() if row.key == "kernels")

    names = {one.name for family in ("network", *ESTIMATORS) for one in tiers(folder() / family)}
    assert set(row.choices) == names | {"auto"}


def test_the_network_kernels_have_a_tier_for_any_opencl_device() -> None:
    found = tiers(folder() / "network")

    assert found[-1].name == "portable"
    assert all(one.source.is_file() for one in found)
    assert found[-1].requires.opencl_c == (1, 2)
    assert not found[-1].requires.extensions


@pytest.mark.parametrize("family", ESTIMATORS)
def test_the_estimators_kernels_have_a_tier_for_any_device_with_double_precision(family: str) -> None:
    found = tiers(folder() / family)

    assert [one.name for one in found] == ["fpga", "x86", "portable"]
    assert found[-1].requires.opencl_c == (1, 2)
    assert found[-1].requires.extensions == {"cl_khr_fp64"}
    assert not found[-1].requires.cpu_flags


@pytest.mark.parametrize("family", ESTIMATORS)
@pytest.mark.parametrize(
    ("lost", "name"),
    [
        ({}, "x86"),
        ({"cpu_flags": frozenset()}, "portable"),  # a GPU, or not on Linux
        ({"cpu_flags": frozenset({"avx2", "fma"})}, "portable"),
        ({"target_attribute": False}, "portable"),
    ],
)
def test_the_x86_tier_is_for_processors_and_compilers_with_all_it_needs(
    family: str, lost: dict[str, Any], name: str
) -> None:
    assert select(tiers(folder() / family), replace(processor(family), **lost))[0].name == name


@pytest.mark.parametrize("family", ESTIMATORS)
def test_a_source_contains_what_it_includes(family: str) -> None:
    for one in tiers(folder() / family):
        text = one.text()

        assert "#include" not in text
        if one.name == "fpga":
            assert "define CHANNEL" in text
        else:
            assert "typedef double real;" in text
            assert "add_slices" in text


@pytest.mark.parametrize("family", ESTIMATORS)
def test_tiles_read_no_more_rows_behind_the_last_than_there_are(family: str) -> None:
    for one in tiers(folder() / family):
        assert one.defines.get("ROWS", 1) <= 1 + opencl_rows._SPARE_ROWS
        assert one.defines.get("BLOCK", 16) % 16 == 0  # whole vectors of margins


def test_an_included_file_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.cl").write_text('#include "b.h"\n')

    with pytest.raises(KernelError, match=r"b\.h can't be read.*install spark-accel again"):
        replace(ANY, source=tmp_path / "a.cl").text()


def test_build_options_carry_the_defines_of_the_manifest() -> None:
    portable = tiers(folder() / "network")[-1]

    assert "-DLANES=16" in portable.build_options()
    assert portable.defines["TILE"] <= 512  # sums of more products are not exact in float32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"tiers": [{"name": "x"}]}',
        '{"tiers": [{"name": "x", "file": "x.cl", "requires": {"gpus": 2}}]}',
    ],
)
def test_a_broken_manifest_is_an_error_that_names_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)

    with pytest.raises(KernelError, match=r"manifest\.json is no manifest of kernels"):
        tiers(tmp_path)


def test_a_layout_that_the_host_does_not_know_is_refused(tmp_path: Path) -> None:
    manifest = json.loads((folder() / "network" / "manifest.json").read_text())
    manifest["tiers"][-1]["layouts"]["weights"] = "int8 [in][out]"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(KernelError, match=r"'portable'.*unknown layouts.*int8 \[in\]\[out\]"):
        steps(random_plan(np.random.default_rng(0)), tiers(tmp_path)[-1])


def test_an_installation_without_kernels_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kernels, "_FOLDERS", (tmp_path / "kernels",))

    with pytest.raises(KernelError, match="install spark-accel again"):
        folder()
