"""What a network's configuration says, which clients go by: the network's own tensors, a possible resize."""

from collections.abc import Mapping
from typing import Any

from spark_accel.errors import ModelError
from spark_accel.networks import plan

IMAGE, LOGITS, INDEX, SCORE = "image", "logits", "index", "score"
_TYPES = {IMAGE: "TYPE_UINT8", LOGITS: "TYPE_FP32", INDEX: "TYPE_INT32", SCORE: "TYPE_FP32"}
_MAX_RESIZE = 9999


def check(config: Mapping[str, Any], network: plan.Plan) -> None:
    """Raises ModelError for a configuration, as `MessageToDict` gives it, that is not the network's."""
    image, logits = [network.height, network.width, 3], [network.classes]
    expected = {IMAGE: image, LOGITS: logits}
    for tensor in (*config.get("input", ()), *config.get("output", ())):
        name, dims = tensor["name"], [int(side) for side in tensor.get("dims", ())]
        if dims != expected.pop(name, dims):
            shape = image if name == IMAGE else logits
            raise ModelError(f"'{name}' has dims {dims} in config.pbtxt, its network has {shape}")
        wanted = _TYPES.get(name)
        if wanted and (tensor.get("data_type") != wanted or tensor.get("optional")):
            optional = ", optional" if tensor.get("optional") else ""
            raise ModelError(
                f"'{name}' is {tensor.get('data_type')}{optional} in config.pbtxt, a network's is {wanted}"
            )
    if expected:
        names = " and ".join(f"'{name}'" for name in expected)
        raise ModelError(f"config.pbtxt of a network lacks {names}")
    resize(config.get("parameters", {}).get("resize", {}).get("string_value", ""), max(network.height, network.width))


def resize(text: str, side: int) -> int:
    """The shorter side of an image, in pixels, before `side` is cut out of it; raises ModelError for no such number."""
    if not text:
        return side
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_RESIZE)) and int(text) >= side):
        raise ModelError(f"the parameter resize is '{text[:20]}': expected pixels, {side} to {_MAX_RESIZE}")
    return int(text)
