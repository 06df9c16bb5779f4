"""The protocol's datatypes: their names in requests, in configurations, and how many bytes an element has."""

from collections.abc import Mapping

from tritonclient.grpc import model_config_pb2

BYTES = "BYTES"

# BYTES elements have no fixed size: see byte_strings.py.
ITEM_SIZES: Mapping[str, int] = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
}
NAMES = frozenset((*ITEM_SIZES, BYTES))


def of_config(data_type: int) -> str:
    """The name in requests of a ModelConfig's DataType: TYPE_FP32 is FP32, TYPE_STRING is BYTES."""
    name = model_config_pb2.DataType.Name(data_type).removeprefix("TYPE_")
    return BYTES if name == "STRING" else name
