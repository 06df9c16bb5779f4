"""Which activations of a network share memory: few buffers, each reused once its content was last read."""

from dataclasses import dataclass
from math import prod

from spark_accel.networks.plan import INPUT, Convolution, Plan


@dataclass(frozen=True)
class ActivationMemory:
    """`buffer` is the buffer of each activation, `sizes` the bytes an image of each buffer.

    `late` says of each buffer whether its activations are those that layers from the split on write or read.
    """

    buffer: dict[str, int]
    sizes: tuple[int, ...]
    late: tuple[bool, ...]


def assign(plan: Plan, split: int = 0) -> ActivationMemory:
    """Buffers for all uint8 activations of `plan`, the input included; a layer's inputs and output never share one.

    Each output goes to the free buffer that it fills best, growing the largest one or, where none is free, a new one.
    What layers from number `split` on write or read does not share buffers with what only those before it do.
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
    late = [last_use[INPUT] >= split]
    for index, layer in enumerate(plan.layers[:-1]):  # the last one makes logits
        occupied = {buffer[name] for name in buffer if last_use[name] >= index}
        is_late = last_use[layer.output] >= split
        free = [number for number in range(len(sizes)) if number not in occupied and late[number] == is_late]
        size = wanted[layer.output]
        if free:
            fitting = [number for number in free if sizes[number] >= size]
            chosen = min(fitting, key=sizes.__getitem__) if fitting else max(free, key=sizes.__getitem__)
        else:
            chosen = len(sizes)
            sizes.append(0)
            late.append(is_late)
        buffer[layer.output] = chosen
        sizes[chosen] = max(sizes[chosen], size)
    return ActivationMemory(buffer, tuple(sizes), tuple(late))
