"""Counts a model's multiply-adds from its graph of layers."""

import math

import keras

_COUNTED = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Dense,
)


def count(model, image_size):
    """Multiplications of one picture's forward pass, each with its addition.

    Of convolutions and dense layers, each number of a kernel once for every
    place where it is applied. That is the convention that comes nearest to
    the published figures (see `variants`): within 0.7 % of them for V2. What
    is done once a value (normalisation, activations, gates) is left out; it is
    less than 2 % of V2-S.

    Args:
        model: A model of `model.build`.
        image_size: Side of a square picture, pixels, >= 1.

    Returns:
        An int.
    """
    layers = [layer for layer in model.layers if isinstance(layer, _COUNTED)]
    # Shapes follow from the graph alone; nothing is computed.
    probe = keras.Model(model.inputs, [layer.output for layer in layers])
    shape = [
        image_size if size is None else size for size in model.input_shape[1:]
    ]
    shapes = probe.compute_output_shape((1, *shape))
    return sum(
        math.prod(layer.kernel.shape) * math.prod(out[1:-1])
        for layer, out in zip(layers, shapes, strict=True)
    )
