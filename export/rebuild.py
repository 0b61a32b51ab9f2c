"""Copies of a model with other layers in it, for formats that know fewer."""

import keras

from . import inputs

FIRST = "stem_conv"  # reads the model's input


def rescaling(style):
    """The layer that normalises RGB in 0..255.

    Args:
        style: A style of `data.preprocess`.

    Returns:
        A `keras.layers.Rescaling`, with a scale and an offset a channel.
    """
    scale, offset = inputs.affine(style)
    return keras.layers.Rescaling(
        [float(value) for value in scale],
        [float(value) for value in offset],
        name="preprocessing",
    )


def rebuild(model, replace, *, style=None):
    """Copies a functional model layer by layer, without its weights.

    Args:
        model: Functional model of `efficientnetv2.model`.
        replace: Function from a layer to the new one, or to None, which
            leaves it out.
        style: A style of `data.preprocess`: the copy takes RGB in 0..255 and
            normalises it; None: it takes what the model takes.

    Returns:
        A functional Keras model whose layers keep their names.
    """
    own = any(layer.name == "preprocessing" for layer in model.layers)
    normalize = None if own or style is None else rescaling(style)
    gone = set()

    def clone(layer):
        copy = replace(layer)
        if copy is None:
            gone.add(layer.name)
            return layer
        return copy

    def call(layer, *args, **kwargs):
        if layer.name in gone:
            return args[0]
        if layer.name == FIRST and normalize is not None:
            args = (normalize(args[0]), *args[1:])
        return layer(*args, **kwargs)

    return keras.models.clone_model(
        model, clone_function=clone, call_function=call
    )
