"""The parameters of a request that are the protocol's own, and not a model's."""

from collections.abc import Mapping

RESERVED_PREFIX = "triton_"
FINAL_RESPONSE = "triton_enable_empty_final_response"

# By key: the types of value that it takes. `device` is ours: the id of the device that must run the request.
TYPES: Mapping[str, tuple[str, ...]] = {
    "sequence_id": ("int64_param", "string_param"),
    "sequence_start": ("bool_param",),
    "sequence_end": ("bool_param",),
    "priority": ("int64_param", "uint64_param"),
    "timeout": ("int64_param",),
    "device": ("string_param",),
    FINAL_RESPONSE: ("bool_param",),
}
