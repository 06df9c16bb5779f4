"""What the configuration of a user's kernel says (backend `opencl`), checked as far as that can be without a device.

Everything of ours stands in the ModelConfig's `parameters`; docs/own-kernels.md has the keys. Whether the program fits
is seen where it is built (`daemon/own_kernel_program.py`), whether a request fits, in `binding.py`.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInput, ModelOutput

from spark_accel.daemon import datatypes, request_parameters
from spark_accel.errors import ModelError
from spark_accel.own_kernels import sizes
from spark_accel.own_kernels.sizes import Size, SizeError

BACKEND = "opencl"
SCALARS = (*(f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)), "FP32", "FP64")
LONGEST_SECONDS = 900.0  # a worker that takes longer for anything counts as hung
_DEFAULT_SECONDS = 60.0
_KEYS = (
    "kernel",
    "arguments",
    "shapes",
    "scalars",
    "global_size",
    "local_size",
    "time_limit_seconds",
    "build_options",
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHAPE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*\[([^\[\]]*)\]")
_OPTION = re.compile(r"-D[A-Za-z_][A-Za-z0-9_]*(=[A-Za-z0-9_.+-]*)?|-cl-[a-z0-9-]+(=[A-Za-z0-9.]+)?")


@dataclass(frozen=True)
class Tensor:
    """An input or output: `dims` as in config.pbtxt (-1: any), `shape` the sizes that they are."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    shape: tuple[Size, ...]


@dataclass(frozen=True)
class Definition:
    """A user's kernel. Scalars and arguments are by name, in the configuration's order; limits are seconds."""

    model: str
    kernel: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    scalars: Mapping[str, str]  # datatypes
    arguments: tuple[str, ...]
    global_size: tuple[Size, ...]
    local_size: tuple[Size, ...]  # empty: the driver's choice
    time_limit: float
    build_options: tuple[str, ...]

    @property
    def sizes(self) -> frozenset[str]:
        """The names that shapes of inputs give values to."""
        return _bound(self.inputs)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The scalars that a request has to bring."""
        return tuple(name for name in self.scalars if name not in self.sizes)

    def tensor(self, name: str) -> Tensor | None:
        """The input or output of this name."""
        return next((one for one in (*self.inputs, *self.outputs) if one.name == name), None)


def of_config(config: ModelConfig) -> Definition:
    """The definition in a configuration whose `name` is set; raises ModelError, naming key, value and remedy."""
    reader = _Reader(config)
    reader.check_keys()
    shapes = reader.shapes()
    inputs = tuple(reader.tensor(tensor, shapes) for tensor in config.input)
    outputs = tuple(reader.tensor(tensor, shapes) for tensor in config.output)
    for name in shapes:
        reader.refuse("shapes", f"there is no input or output '{name}'")
    definition = Definition(
        model=config.name,
        kernel=reader.kernel(),
        inputs=inputs,
        outputs=outputs,
        scalars=reader.scalars(),
        arguments=tuple(reader.names("arguments")),
        global_size=reader.work_size("global_size"),
        local_size=reader.work_size("local_size"),
        time_limit=reader.seconds(),
        build_options=reader.options(),
    )
    _Check(reader, definition).all()
    return definition


class _Reader:
    """The parameters of a configuration as text, and what each one is read as."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self._texts = {key: value.string_value.strip() for key, value in config.parameters.items()}

    def fail(self, text: str) -> ModelError:
        return ModelError(f"config.pbtxt of model '{self.config.name}': {text}")

    def refuse(self, key: str, text: str) -> None:
        raise self.wrong(key, text)

    def wrong(self, key: str, text: str) -> ModelError:
        return self.fail(f"parameter '{key}' is \"{self._texts.get(key, '')}\": {text}")

    def check_keys(self) -> None:
        for key in self._texts:
            if key not in _KEYS:
                nearest = difflib.get_close_matches(key, _KEYS, n=1)
                hint = f"nearest: '{nearest[0]}'" if nearest else f"a kernel's are {', '.join(_KEYS)}"
                raise self.fail(f"unknown parameter '{key}'; {hint}")
        if self.config.max_batch_size or self.config.HasField("dynamic_batching"):
            raise self.fail(
                "a kernel gets its tensors as a request has them: leave out 'max_batch_size' and 'dynamic_batching',"
                " and write all dimensions into 'dims', -1 for any"
            )

    def kernel(self) -> str:
        name = self._texts.get("kernel") or str(self.config.name)
        if not _NAME.fullmatch(name):
            raise self.fail(
                f"'{name}' can't be a function of OpenCL C: set the parameter 'kernel' to its name in the source"
            )
        return name

    def names(self, key: str) -> list[str]:
        if not self._texts.get(key):
            raise self.fail(
                f"parameter '{key}' is missing: the names of inputs, outputs and scalars in the order in"
                ' which the kernel takes them, as in "a, b, sum, n"'
            )
        return [name.strip() for name in self._texts[key].split(",")]

    def scalars(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for entry in filter(None, (entry.strip() for entry in self._texts.get("scalars", "").split(","))):
            name, _, datatype = (part.strip() for part in entry.partition(":"))
            if not _NAME.fullmatch(name) or datatype not in SCALARS:
                self.refuse(
                    "scalars", f"'{entry}' is no scalar: write \"NAME: TYPE\", TYPE one of {', '.join(SCALARS)}"
                )
            if name in request_parameters.TYPES or name.startswith(request_parameters.RESERVED_PREFIX):
                self.refuse("scalars", f"'{name}' is a parameter of the protocol's own: give the scalar another name")
            if name in found:
                self.refuse("scalars", f"'{name}' is there twice")
            found[name] = datatype
        return found

    def shapes(self) -> dict[str, tuple[Size, ...]]:
        text = self._texts.get("shapes", "")
        left = _SHAPE.sub("", text).replace(",", "").strip()
        if left:
            self.refuse(
                "shapes", f'\'{left[:40]}\' is no shape: write "NAME[SIZE, …], …", as in "a[rows, columns], b[rows]"'
            )
        found: dict[str, tuple[Size, ...]] = {}
        for name, inside in _SHAPE.findall(text):
            if name in found:
                self.refuse("shapes", f"'{name}' is there twice")
            found[name] = self._sizes("shapes", inside)
        return found

    def work_size(self, key: str) -> tuple[Size, ...]:
        text = self._texts.get(key, "")
        if not text and key == "global_size":
            raise self.fail(
                "parameter 'global_size' is missing: how many work items run, one to three sizes, as in \"n\""
            )
        found = self._sizes(key, text) if text else ()
        if len(found) > 3:
            self.refuse(key, f"{len(found)} sizes; OpenCL has at most 3")
        return found

    def seconds(self) -> float:
        text = self._texts.get("time_limit_seconds", str(_DEFAULT_SECONDS))
        try:
            found = float(text)
        except ValueError:
            found = -1.0
        if not 0 < found <= LONGEST_SECONDS:
            self.refuse("time_limit_seconds", f"expected seconds, above 0 and at most {LONGEST_SECONDS:g}")
        return found

    def options(self) -> tuple[str, ...]:
        found = tuple(self._texts.get("build_options", "").split())
        for option in found:
            if not _OPTION.fullmatch(option):
                self.refuse("build_options", f"'{option}' is not taken: only -DNAME, -DNAME=VALUE and -cl-… are")
        return found

    def tensor(self, tensor: ModelInput | ModelOutput, shapes: dict[str, tuple[Size, ...]]) -> Tensor:
        name, dims = tensor.name, tuple(tensor.dims)
        datatype = datatypes.of_config(tensor.data_type)
        if not _NAME.fullmatch(name):
            raise self.fail(f"tensor '{name}' has a name that can't be used: letters, digits and _ only")
        if datatype not in datatypes.ITEM_SIZES:
            raise self.fail(f"'{name}' has the data_type of {datatype}, which kernels can't take: only numbers")
        if getattr(tensor, "optional", False):
            raise self.fail(f"input '{name}' is optional: a kernel needs all of its arguments")
        shape = shapes.pop(name, None)
        if shape is None:
            if -1 in dims:
                raise self.fail(
                    f"'{name}' has dims {list(dims)} and no shape: name what is -1 in the parameter 'shapes', as in"
                    f' "{name}[{", ".join("n" if dim == -1 else str(dim) for dim in dims)}]"'
                )
            shape = tuple(sizes.parse(str(dim)) for dim in dims)
        if len(shape) != len(dims):
            self.refuse("shapes", f"'{name}' has {len(shape)} sizes there and {len(dims)} dims")
        for size, dim in zip(shape, dims, strict=True):
            if dim != -1 and not size.names and self._value(size) != dim:
                self.refuse("shapes", f"'{name}' has '{size.text}' where its dims have {dim}")
        return Tensor(name, datatype, dims, shape)

    def _value(self, size: Size) -> int:
        """Of a size in `shapes` without names."""
        try:
            return size.value({})
        except SizeError as error:
            raise self.wrong("shapes", str(error)) from None

    def _sizes(self, key: str, text: str) -> tuple[Size, ...]:
        parts, depth = [""], 0
        for character in text:
            depth += {"(": 1, ")": -1}.get(character, 0)
            if character == "," and not depth:  # inside of parentheses it belongs to a function
                parts.append("")
            else:
                parts[-1] += character
        try:
            return tuple(sizes.parse(part) for part in parts)
        except SizeError as error:
            raise self.wrong(key, str(error)) from None


class _Check:
    """What the parts of a definition owe each other."""

    def __init__(self, reader: _Reader, definition: Definition) -> None:
        self._reader = reader
        self._definition = definition

    def all(self) -> None:
        """Raises ModelError for the first fault."""
        made = self._definition
        if not made.outputs:
            raise self._reader.fail("there is no output: a kernel that gives nothing can't be called")
        tensors = [tensor.name for tensor in (*made.inputs, *made.outputs)]
        for name, kind in [(name, "a scalar") for name in made.scalars] + [(name, "a size") for name in made.sizes]:
            if name in tensors:
                raise self._reader.fail(f"'{name}' is a tensor and {kind}: give one of them another name")
        self._arguments([*tensors, *made.scalars])
        whole = {name for name, datatype in made.scalars.items() if "INT" in datatype}
        known = made.sizes | whole
        self._known("shapes", (size for tensor in (*made.inputs, *made.outputs) for size in tensor.shape), known)
        self._known("global_size", made.global_size, known)
        self._known("local_size", made.local_size, known)
        if made.local_size and len(made.local_size) != len(made.global_size):
            self._reader.refuse(
                "local_size", f"{len(made.local_size)} sizes, and 'global_size' has {len(made.global_size)}"
            )

    def _arguments(self, known: list[str]) -> None:
        arguments = self._definition.arguments
        for name in arguments:
            if name not in known:
                hint = (
                    f"it is a size: give it a type in 'scalars', as in \"{name}: INT32\""
                    if name in self._definition.sizes
                    else f"there are {', '.join(known)}"
                )
                self._reader.refuse("arguments", f"'{name}' is no input, output or scalar; {hint}")
            if arguments.count(name) > 1:
                self._reader.refuse("arguments", f"'{name}' is there twice")
        missing = [name for name in known if name not in arguments and name not in self._definition.scalars]
        if missing:
            self._reader.refuse("arguments", f"{', '.join(missing)} is missing: all inputs and outputs belong there")

    def _known(self, key: str, used: Iterable[Size], known: set[str] | frozenset[str]) -> None:
        for size in used:
            for name in sorted(size.names - known):
                there = ", ".join(sorted(known)) or "none: name a dimension of an input in 'shapes'"
                self._reader.refuse(key, f"'{name}' is no size that a request gives; sizes are {there}")


def _bound(inputs: Iterable[Tensor]) -> frozenset[str]:
    return frozenset(size.name for tensor in inputs for size in tensor.shape if size.name)
