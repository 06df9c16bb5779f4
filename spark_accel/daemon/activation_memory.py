"""Which activations of a network share memory: few buffers, each reused once its content was last read."""

from dataclasses import dataclass
from math import prod

from spark_accel.networks.plan import INPUT, Convolution, Plan


@dataclass(frozen=True)
class ActivationMemory:
    """`buffer` is the buffer of each activation, `sizes` the bytes an image of each buffer."""

    buffer: dict[str, int]
    sizes: tuple[int, ...]


def assign(plan: Plan) -> ActivationMemory:
    """Buffers for all uint8 activations of `plan`, the input included; a layer's inputs and output never share one.

    Each output goes to the free buffer that it fills best, growing the largest one or, where none is free, a new one.
    """
    wanted = {name: prod(shape) for name, shape in plan.shapes().items()}
    last_use = {INPUT: 0}
    for index, layer in enumerate(plan.layers):
        last_use[layer.output] = index
        last_use[layer.input] = index
        if isinstance(layer, Convolution) and layer.residual is not None:
            last_use[layer.residual] = index

    buffer = {INPUT: 0}
    sizes = [wanted[INPUT]]
    for index, layer in enumerate(plan.layers[:-1]):  # the last one makes logits
        occupied = {buffer[name] for name in buffer if last_use[name] >= index}
        free = [number for number in range(len(sizes)) if number not in occupied]
        size = wanted[layer.output]
        if free:
            fitting = [number for number in free if sizes[number] >= size]
            chosen = min(fitting, key=sizes.__getitem__) if fitting else max(free, key=sizes.__getitem__)
        else:
            chosen = len(sizes)
            sizes.append(0)
        buffer[layer.output] = chosen
        sizes[chosen] = max(sizes[chosen], size)
    return ActivationMemory(buffer, tuple(sizes))
