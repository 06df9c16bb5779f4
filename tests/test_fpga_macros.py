"""Which macros the kernels for FPGAs can be built with: the host's rule is the one that the kernels' `#error`s hold."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_accel.fpga import builder, macros, toolchains

TIERS = macros.tiers()
ERRORS = re.compile(r"^#if (.+)\n#error (.+)$", re.MULTILINE)


def compiler_refuses(family: str, defines: Mapping[str, int]) -> bool:
    """Whether a condition before one of the kernels' `#error`s is met."""
    conditions = [condition.replace("||", "or") for condition, _ in ERRORS.findall(TIERS[family].text())]
    # Of numbers above 0 this is C, too.
    return any(eval(condition.replace("/", "//"), {}, dict(defines)) for condition in conditions)  # noqa: S307 - ours


@given(st.data())
@pytest.mark.parametrize("family", sorted(TIERS))
def test_the_host_refuses_what_the_kernels_refuse(family: str, data: st.DataObject) -> None:
    names = sorted(TIERS[family].defines.keys() & {"VEC", "LANES", "PIX", "DRAIN", "FEATURES", "DEPTH", "IN_FLIGHT"})
    small = st.one_of(st.integers(1, 40), st.sampled_from([64, 128, 1024]))
    defines = {**TIERS[family].defines, **{name: data.draw(small, name) for name in names}}

    assert bool(macros.problem(family, defines)) == compiler_refuses(family, defines)


@pytest.mark.parametrize("family", sorted(TIERS))
def test_all_errors_of_the_kernels_are_known_to_the_host(family: str) -> None:
    text = TIERS[family].text()

    assert len(ERRORS.findall(text)) == text.count("#error")


@pytest.mark.parametrize("target", [toolchains.EMULATOR, "intel:board"])
@pytest.mark.parametrize("family", sorted(TIERS))
def test_the_macros_that_a_build_takes_by_itself_go_together(family: str, target: str) -> None:
    chosen = builder.tier(family, {}, target)

    assert macros.problem(family, chosen.defines) == ""


@pytest.mark.parametrize(
    ("family", "change", "reason"),
    [
        ("network", {"LANES": 7}, "LANES (7) must be a multiple of VEC (16)"),
        ("network", {"DRAIN": 8}, "DRAIN (8) must be at most PIX (7)"),
        ("network", {"IN_FLIGHT": 13}, "IN_FLIGHT (13) must be 14 or more, or all stages wait for ever"),
        ("network", {"LANES": 2**31 - 1}, "macro LANES is 2147483647, expected a number from 1 to 1024"),
        ("network", {"LANES": True}, "macro LANES is True, expected a number"),
        ("network", {"WORDS": 0}, "macro WORDS is 0, expected a number from 1 to 2147483647"),
        ("kmeans", {"VEC": 32}, "VEC (32) must divide 16"),
        ("logistic", {"LANES": 3}, "LANES (3) must be 2, 4, 8 or 16"),
        ("logistic", {"DEPTH": 127}, "DEPTH (127) is less than FEATURES (2048) / VEC (16)"),
    ],
)
def test_a_problem_names_the_macros_and_their_values(family: str, change: dict[str, int], reason: str) -> None:
    assert reason in macros.problem(family, {**TIERS[family].defines, **change})
