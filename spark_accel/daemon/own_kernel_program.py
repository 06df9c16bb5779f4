"""The program of a user's kernel: which file of the version's folder the device takes, built, held against the config.

The most specific file comes first: a binary for this kind of device, then source with Intel's channels, then OpenCL C.
A binary that the device refuses was made for another one: the next file is tried. Source that does not compile is an
error.
"""

import hashlib
import logging
import re
from pathlib import Path
from typing import cast

import pyopencl as cl

from spark_accel.daemon import devices
from spark_accel.daemon.backends import BackendError
from spark_accel.daemon.uncached_program import uncached
from spark_accel.own_kernels import files
from spark_accel.own_kernels.definition import Definition

_log = logging.getLogger(__name__)

_CHANNELS = "cl_intel_channels"
_MOST_SOURCE_BYTES = 2**20
_SHOWN = 2000  # characters of a compiler's message
_BUILD = (cl.RuntimeError, cl.LogicError, cl.MemoryError)
# OpenCL C's names of types, by the protocol's datatypes
_TYPES = {
    "BOOL": "uchar",
    "UINT8": "uchar",
    "UINT16": "ushort",
    "UINT32": "uint",
    "UINT64": "ulong",
    "INT8": "char",
    "INT16": "short",
    "INT32": "int",
    "INT64": "long",
    "FP16": "half",
    "BF16": "ushort",
    "FP32": "float",
    "FP64": "double",
}
# A directive that puts another file into the source, as C99 and C++ write it, or one that a comment hides. Comments are
# looked at like all else: telling them apart takes a compiler.
_INCLUDE = re.compile(
    r"(?:#|%:|\?\?=)[ \t\v\f\0]*"
    r"""(?:/\*|(?:include|include_next|import|embed)\b[ \t\v\f\0]*(?P<file>"[^"\n]*"|<[^>\n]*>|[^\n]*))"""
)
_SPLICE = re.compile(r"(?:\\|\?\?/)[ \t\f\v]*(?:\r\n|\r|\n)")
_TYPE = re.compile(r"(?:(unsigned) )?([a-z]+?)(2|3|4|8|16)?\*?")


def load(folder: Path, definition: Definition, context: cl.Context) -> tuple[cl.Program, cl.Kernel]:
    """Program and kernel from a version's folder, for the one device of `context`; raises BackendError."""
    device = context.devices[0]
    file, program = _program(folder, definition, context, device)
    where = f"{file} of model '{definition.model}'"
    try:
        found = cl.Kernel(program, definition.kernel)
    except _BUILD:
        raise BackendError(
            f"Invalid argument: {where} has no kernel '{definition.kernel}', only {_names(program)}: set the parameter"
            " 'kernel' in config.pbtxt to the one that is meant"
        ) from None
    if found.num_args != len(definition.arguments):
        raise BackendError(
            f"Invalid argument: kernel '{definition.kernel}' in {where} takes {found.num_args} arguments, and"
            f" 'arguments' in config.pbtxt names {len(definition.arguments)} ({', '.join(definition.arguments)})"
        )
    for index, name in enumerate(definition.arguments):
        _check_argument(found, index, name, definition, where)
    return program, found


def digest(folder: Path, definition: Definition) -> str:
    """What tells programs of one name apart: of all that a version's folder has for devices, and of the options."""
    found = hashlib.sha256(repr(definition.build_options).encode())
    for name in files.ALL:
        if (folder / name).is_file():
            found.update((folder / name).read_bytes())
    return found.hexdigest()[:12]


def constants(kernel: cl.Kernel, definition: Definition) -> frozenset[str]:
    """The arguments that the source declares `const`, where the driver tells it."""
    info = cl.kernel_arg_info
    try:
        return frozenset(
            name
            for index, name in enumerate(definition.arguments)
            if cast(int, kernel.get_arg_info(index, info.TYPE_QUALIFIER)) & cl.kernel_arg_type_qualifier.CONST
        )
    except cl.Error:  # of a binary, drivers need not know
        return frozenset()


def _program(folder: Path, definition: Definition, context: cl.Context, device: cl.Device) -> tuple[str, cl.Program]:
    kind = devices.kind(device)
    reasons = []
    for name in files.BINARIES.get(kind, ()):
        if not (folder / name).is_file():
            continue
        try:
            program = cl.Program(context, [device], [(folder / name).read_bytes()])
            return name, program.build()
        except _BUILD as error:
            reasons.append(f"{name} is not for device '{device.name.strip()}' ({_first_line(error)})")
            _log.warning("model '%s': %s", definition.model, reasons[-1])
    compiler = bool(device.compiler_available)
    takes = {
        files.CHANNEL_SOURCE: compiler and _CHANNELS in device.extensions.split(),
        files.SOURCE: compiler,
    }
    for name, taken in takes.items():
        if (folder / name).is_file():
            if taken:
                return name, _built(folder / name, definition, context, device)
            reasons.append(f"{name} needs a compiler{' and channels' * (name == files.CHANNEL_SOURCE)}")
    wanted = ", ".join((*files.BINARIES.get(kind, ()), *takes))
    raise BackendError(
        f"Invalid argument: model '{definition.model}' has nothing in its version folder that device"
        f" '{device.name.strip()}' takes ({wanted}){': ' if reasons else ''}{'; '.join(reasons)}"
    )


def _built(path: Path, definition: Definition, context: cl.Context, device: cl.Device) -> cl.Program:
    where = f"{path.name} of model '{definition.model}'"
    try:
        if path.stat().st_size > _MOST_SOURCE_BYTES:
            raise BackendError(f"Invalid argument: {where} has more than {_MOST_SOURCE_BYTES} bytes")
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BackendError(f"Invalid argument: {where} can't be read as UTF-8: {type(error).__name__}") from None
    _check_includes(source, where)
    program = uncached(context, source)
    try:
        program.build(options=[*definition.build_options, "-cl-kernel-arg-info"])
    except _BUILD as error:
        log = program.get_build_info(device, cl.program_build_info.LOG)  # type: ignore[no-untyped-call] # it has none
        log = str(log).strip() or _first_line(error)
        text = re.sub(r"\S*/[^\s/:]*(?=:\d+:)", path.name, log)  # where a driver keeps its files, is not told
        cut = f"{text[:_SHOWN]} …" if len(text) > _SHOWN else text
        raise BackendError(f"Invalid argument: {where} does not compile:\n{cut}") from None
    return program


def _check_includes(source: str, where: str) -> None:
    """Refuses files from elsewhere: the compiler would show their lines, and clients get its words."""
    for match in _INCLUDE.finditer(_SPLICE.sub("", source)):
        file = match["file"] or ""
        if file[:1] not in ('"', "<") or file[1:2] == "/" or ".." in file:
            raise BackendError(
                f"Invalid argument: {where} has '{match[0].strip()[:100]}': a kernel is one file, and may include only"
                ' what a driver brings, as in #include "NAME"'
            )


def _names(program: cl.Program) -> str:
    try:
        return str(program.kernel_names).replace(";", ", ") or "none"
    except _BUILD:  # Intel's runtime for FPGAs, of a program without kernels
        return "none"


def _check_argument(kernel: cl.Kernel, index: int, name: str, definition: Definition, where: str) -> None:
    """Holds what the source says of an argument, where the driver tells it, against the configuration."""
    info = cl.kernel_arg_info
    try:
        qualifier = kernel.get_arg_info(index, info.ADDRESS_QUALIFIER)
        declared = str(kernel.get_arg_info(index, info.TYPE_NAME))
    except cl.Error:  # of a binary, drivers need not know
        return
    tensor = definition.tensor(name)
    datatype = tensor.datatype if tensor is not None else definition.scalars[name]
    which = f"Invalid argument: argument {index + 1} of kernel '{definition.kernel}' in {where} is '{declared}'"
    places = cl.kernel_arg_address_qualifier
    if qualifier == places.LOCAL:
        raise BackendError(f"{which} in local memory: declare it inside of the kernel, config.pbtxt can't give it")
    is_buffer = qualifier in (places.GLOBAL, places.CONSTANT) and declared.endswith("*")  # images are global, too
    if is_buffer != (tensor is not None):
        kind, wanted = ("a scalar", "{}") if tensor is None else ("a tensor", "__global {} *")
        raise BackendError(
            f"{which}, and '{name}', {kind} of config.pbtxt, stands there: check 'arguments', or declare"
            f" '{wanted.format(_TYPES[datatype])}'"
        )
    match = _TYPE.fullmatch(declared)
    element = f"{'u' * bool(match[1])}{match[2]}" if match else ""
    # A tensor may be one of structs. Of a scalar's type that the source defines, drivers need not see the size.
    fits = element == _TYPES[datatype] or (tensor is not None and element not in _TYPES.values())
    if not fits or (tensor is None and match is not None and match[3]):
        raise BackendError(f"{which}, and '{name}' is {datatype} in config.pbtxt, which is '{_TYPES[datatype]}'")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
