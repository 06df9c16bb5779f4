"""Small random networks for tests of the tiers: every kind of layer, odd sizes, residuals."""

import numpy as np
import numpy.typing as npt

from spark_accel.networks.plan import (
    INPUT,
    Convolution,
    Dense,
    GlobalAveragePool,
    Layer,
    MaxPool,
    Plan,
    output_shape,
    validate,
)

Shape = tuple[int, int, int]


def random_images(rng: np.random.Generator, plan: Plan, count: int) -> npt.NDArray[np.uint8]:
    return rng.integers(0, 256, (count, plan.height, plan.width, 3), np.uint8)


def random_convolution(
    rng: np.random.Generator,
    shape: Shape,
    out: int,
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    *,
    padding: tuple[int, int, int, int] | None = None,
    input: str = INPUT,
    output: str = "y",
    residual: str | None = None,
    relu: bool = True,
) -> Convolution:
    """A convolution whose outputs spread over 0 to 255; `padding` None is half of the kernel on each side."""
    if padding is None:
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[0] // 2, kernel[1] // 2)
    terms = kernel[0] * kernel[1] * shape[2]
    spread = np.sqrt(terms) * 74 * 140  # of a sum of products of uniform uint8 and int8
    return Convolution(
        name=output,
        input=input,
        output=output,
        stride=stride,
        padding=padding,
        weights=rng.integers(-128, 128, (out, *kernel, shape[2]), np.int8),
        bias=rng.normal(0, spread, out).astype(np.int32),
        multiplier=(rng.uniform(40, 120, out) / spread).astype(np.float32),
        zero_point=np.zeros(out, np.uint8) if relu else rng.integers(0, 256, out, np.uint8),
        pad_value=rng.integers(0, 256, shape[2], np.uint8),
        residual=residual,
        residual_multiplier=None if residual is None else rng.integers(0, int(spread / 60) + 2, out).astype(np.int32),
    )


def random_dense(rng: np.random.Generator, channels: int, classes: int, *, input: str) -> Dense:
    return Dense(
        name="logits",
        input=input,
        output="logits",
        weights=rng.integers(-128, 128, (classes, channels), np.int8),
        bias=rng.integers(-100000, 100000, classes).astype(np.int32),
        multiplier=rng.uniform(1e-5, 1e-3, classes).astype(np.float32),
    )


def random_plan(
    rng: np.random.Generator,
    *,
    height: int = 33,
    width: int = 29,
    blocks: tuple[int, ...] = (2, 2),
    channels: int = 7,
    classes: int = 11,
) -> Plan:
    """A valid ResNet-like plan: stem, max-pool, bottleneck blocks, the first of a stage with a shortcut convolution."""
    shapes: dict[str, Shape] = {INPUT: (height, width, 3)}
    layers: list[Layer] = []

    def add(layer: Convolution | MaxPool | GlobalAveragePool) -> str:
        layers.append(layer)
        shapes[layer.output] = output_shape(layer, shapes[layer.input])
        return layer.output

    def convolution(x: str, output: str, out: int, side: int, stride: int, **options: str | bool) -> str:
        sides, strides = (side, side), (stride, stride)
        return add(random_convolution(rng, shapes[x], out, sides, strides, input=x, output=output, **options))

    x = convolution(INPUT, "stem", channels, 7, 2)
    x = add(MaxPool("pool", x, "pool", (3, 3), (2, 2), (1, 1, 1, 1)))
    for stage, count in enumerate(blocks):
        inner, out = channels * (stage + 1), 4 * channels * (stage + 1) + 1
        for block in range(count):
            name, stride = f"{stage}.{block}", 2 if stage and not block else 1
            shortcut = convolution(x, f"{name}.shortcut", out, 1, stride, relu=False) if not block else x
            y = convolution(x, f"{name}.a", inner, 1, 1)
            y = convolution(y, f"{name}.b", inner, 3, stride)
            x = convolution(y, f"{name}.c", out, 1, 1, residual=shortcut)
    rows, columns, out = shapes[x]
    multiplier = rng.uniform(0.5, 2, out) / (rows * columns)
    x = add(GlobalAveragePool("average", x, "average", multiplier.astype(np.float32)))
    plan = Plan(height, width, (*layers, random_dense(rng, out, classes, input=x)))
    validate(plan)
    return plan
