"""What a kernel's config.pbtxt may say, what it is refused for, and what a request makes of it."""

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from kernel_models import EXAMPLES, VECTOR, parameters_text
from tritonclient.grpc.model_config_pb2 import ModelConfig

from spark_accel.errors import ModelError
from spark_accel.own_kernels import binding, definition, sizes
from spark_accel.own_kernels.binding import BindingError
from spark_accel.own_kernels.definition import Definition
from spark_accel.own_kernels.sizes import SizeError

MATRIX = """
    backend: "opencl"
    input [ { name: "m" data_type: TYPE_FP64 dims: [-1, 3] }, { name: "v" data_type: TYPE_FP64 dims: 3 } ]
    output { name: "p" data_type: TYPE_FP64 dims: -1 }
    parameters { key: "shapes" value { string_value: "m[rows, width], v[width], p[divide_up(rows, 2) + extra]" } }
    parameters { key: "scalars" value { string_value: "extra: UINT8, width: INT32, factor: FP32" } }
    parameters { key: "arguments" value { string_value: "m, v, p, width, factor" } }
    parameters { key: "global_size" value { string_value: "round_up(rows, 4), width" } }"""


def read(config: str = VECTOR, **parameters: str | None) -> Definition:
    text = config + (parameters_text(parameters) if config == VECTOR else "")
    return definition.of_config(text_format.Parse(f'name: "twice" {text}', ModelConfig()))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"globl_size": "n"}, "unknown parameter 'globl_size'; nearest: 'global_size'"),
        ({"global_size": None}, "parameter 'global_size' is missing"),
        ({"arguments": None}, "parameter 'arguments' is missing"),
        ({"shapes": None}, r"'x' has dims \[-1\] and no shape: .* \"x\[n\]\""),
        ({"shapes": "x[n], y[n], z[n]"}, "'shapes' is .*: there is no input or output 'z'"),
        ({"shapes": "x[n], y"}, "'y' is no shape"),
        ({"shapes": "x[n, m], y[n]"}, "'x' has 2 sizes there and 1 dims"),
        ({"shapes": "x[n], y[m]"}, "'m' is no size that a request gives; sizes are n"),
        ({"scalars": "n: INT32, timeout: INT32"}, "'timeout' is a parameter of the protocol's own"),
        ({"shapes": "x[n], y[n / 2]"}, "'n / 2' is no size: take numbers"),
        ({"arguments": "x, y, m"}, "'m' is no input, output or scalar; there are x, y, n"),
        ({"arguments": "x, n"}, "y is missing: all inputs and outputs belong there"),
        ({"arguments": "x, y, x"}, "'x' is there twice"),
        ({"scalars": ""}, "'n' is no input, output or scalar; it is a size: give it a type in 'scalars'"),
        ({"scalars": "n: int"}, "'n: int' is no scalar: write .NAME: TYPE., TYPE one of INT8"),
        ({"scalars": "n: INT32, x: FP32"}, "'x' is a tensor and a scalar"),
        ({"scalars": "n: INT32, f: FP32", "global_size": "f"}, "'f' is no size that a request gives"),
        ({"global_size": "1, 2, 3, 4"}, "4 sizes; OpenCL has at most 3"),
        ({"local_size": "1, 2"}, "2 sizes, and 'global_size' has 1"),
        ({"time_limit_seconds": "0"}, "'time_limit_seconds' is \"0\": expected seconds, above 0 and at most 900"),
        ({"time_limit_seconds": "901"}, "at most 900"),
        ({"build_options": "-I/etc"}, "'-I/etc' is not taken: only -DNAME"),
        ({"build_options": "-DX=1;rm"}, "is not taken"),
        ({"kernel": "a b"}, "'a b' can't be a function of OpenCL C"),
    ],
)
def test_a_fault_in_the_configuration_is_named_with_key_value_and_remedy(
    parameters: dict[str, str | None], said: str
) -> None:
    with pytest.raises(ModelError, match=f"config.pbtxt of model 'twice': .*{said}"):
        read(**parameters)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("TYPE_FP32", "TYPE_STRING"), "'x' has the data_type of BYTES, which kernels can't take"),
        (("dims: -1", "dims: -1 optional: true"), "input 'x' is optional"),
        (('backend: "opencl"', 'backend: "opencl" max_batch_size: 8'), "leave out 'max_batch_size'"),
        (('name: "x"', 'name: "x y"'), "tensor 'x y' has a name that can't be used"),
    ],
)
def test_tensors_that_no_kernel_takes_are_refused(change: tuple[str, str], said: str) -> None:
    text = (VECTOR + parameters_text({})).replace(*change, 1)

    with pytest.raises(ModelError, match=said):
        definition.of_config(text_format.Parse(f'name: "twice" {text}', ModelConfig()))


def test_the_kernel_is_the_models_name_and_the_limit_a_minute_unless_the_configuration_says_so() -> None:
    plain, said = read(), read(kernel="other", time_limit_seconds="1.5", build_options="-DA=2 -cl-fast-relaxed-math")

    assert (plain.kernel, plain.time_limit, plain.build_options) == ("twice", 60, ())
    assert (said.kernel, said.time_limit, said.build_options) == ("other", 1.5, ("-DA=2", "-cl-fast-relaxed-math"))


def test_sizes_come_from_shapes_and_parameters() -> None:
    bound = binding.bind(read(MATRIX), {"m": (5, 3), "v": (3,)}, {"extra": 4, "factor": 2})

    assert bound.outputs == {"p": (7,)}
    assert bound.global_size == (8, 3)
    assert bound.local_size is None
    assert bound.scalars == {"extra": np.uint8(4), "width": np.int32(3), "factor": np.float32(2)}
    assert [value.dtype for value in bound.scalars.values()] == [np.uint8, np.int32, np.float32]


@pytest.mark.parametrize(
    ("shapes", "parameters", "said"),
    [
        ({"v": (4,)}, {}, r"input 'v' has shape \[4\]: its 'width' is 4, and another input's is 3"),
        ({}, {"factor": None}, "request parameter 'factor', a scalar of the kernel, is missing"),
        ({}, {"extra": 256}, r"scalar 'extra' is 256, expected 0 to 255 \(UINT8\)"),
        ({}, {"extra": 1.0}, "scalar 'extra' is 1.0, expected an integer"),
        ({}, {"extra": True}, "scalar 'extra' is True, expected an integer"),
        ({}, {"factor": "2"}, "scalar 'factor' is '2', expected a number"),
        ({}, {"factor": 1e39}, "too large for FP32"),
        ({}, {"factor": 10**400}, "too large for FP32"),
        ({"m": (2**40, 3)}, {}, "more than 1099511627776 work items"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(
    shapes: dict[str, tuple[int, ...]], parameters: dict[str, object], said: str
) -> None:
    given = {"extra": 4, "factor": 2.0} | parameters

    with pytest.raises(BindingError, match=said):
        binding.bind(
            read(MATRIX),
            {"m": (5, 3), "v": (3,)} | shapes,
            {name: value for name, value in given.items() if value is not None},
        )


def test_a_size_of_the_shape_that_has_no_value_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(ModelError, match=r"'shapes' is .*: .*1 - 2"):
        read(VECTOR.replace("dims: -1", "dims: 4", 1) + parameters_text({"shapes": "x[1 - 2], y[n]"}))


def test_functions_of_sizes_may_be_within_each_other() -> None:
    made = read(global_size="round_up(n, divide_up(n, 2)), 2 * (n + 1)")

    assert [size.text for size in made.global_size] == ["round_up(n, divide_up(n, 2))", "2 * (n + 1)"]


def test_a_work_size_that_groups_do_not_fill_is_refused_with_the_remedy() -> None:
    made = read(local_size="64")

    with pytest.raises(BindingError, match=r"\[100\] is no multiple of local_size \[64\]: write 'round_up\(n, 64\)'"):
        binding.bind(made, {"x": (100,)}, {})


def test_a_group_without_work_items_is_refused() -> None:
    with pytest.raises(BindingError, match=r"local_size is \[0\]: a group has at least 1 work item"):
        binding.bind(read(local_size="n - 4"), {"x": (4,)}, {})


@given(st.integers(0, 10**6), st.integers(1, 1000))
def test_round_up_and_divide_up_are_what_they_say(size: int, step: int) -> None:
    known = {"n": size, "step": step}

    assert sizes.parse("divide_up(n, step)").value(known) == -(-size // step)
    assert sizes.parse("round_up(n, step)").value(known) == min(
        one for one in range(size, size + step) if one % step == 0
    )


@pytest.mark.parametrize(
    "text",
    [
        *("", "n ** 2", "n // 2", "-n", "f(n)", "n.real", "'n'", "True", "1.5", "[n]", "round_up(n)", "n if n else 1"),
        *("(", "__import__('os')", "(" * 99 + "n", "n" * 201),
    ],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SizeError):
        sizes.parse(text)


def test_the_documentation_has_the_examples_in_full() -> None:
    page = (EXAMPLES.parents[1] / "docs" / "own-kernels.md").read_text()

    files = [path for path in EXAMPLES.rglob("*") if path.is_file()]
    assert len(files) == 4
    assert [path for path in files if path.read_text() not in page] == []


@pytest.mark.parametrize(("text", "said"), [("n - 5", "'n - 5' is -2"), ("round_up(n, n - 3)", "by 0")])
def test_a_size_without_a_value_is_refused(text: str, said: str) -> None:
    with pytest.raises(SizeError, match=said):
        sizes.parse(text).value({"n": 3})
