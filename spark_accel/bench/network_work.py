"""How much a network has to do for an image: only networks that have about as much are compared."""

from spark_accel.networks import plan

KERAS_RESNET50 = 3_858_000_000  # Keras' is the first version, of which a block's first convolution halves the image


def whole(network: plan.Plan) -> int:
    """Multiplications with an addition that a network needs for an image."""
    return sum(multiplications(network, layer) for layer in network.layers)


def multiplications(network: plan.Plan, layer: plan.Layer) -> int:
    """Multiplications with an addition that a layer needs for an image."""
    if isinstance(layer, plan.Dense):
        return int(layer.weights.size)
    if isinstance(layer, plan.Convolution):
        height, width, _ = network.shapes()[layer.output]
        return height * width * int(layer.weights.size)
    return 0
