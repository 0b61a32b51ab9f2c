"""A model made of Keras's own layers, which any Keras 3 loads and trains."""

import keras

from efficientnetv2 import convolution, layers, normalization

from . import rebuild


def _replace(layer):
    if isinstance(layer, layers.Activation):
        # All but silu, which has a gradient of its own, are Keras's.
        function = layers.ACTIVATIONS[layer.activation]
        own = function is layers.silu
        return keras.layers.Activation(
            "silu" if own else function, name=layer.name
        )
    if isinstance(layer, layers.StochasticDepth):
        # One draw an example is stochastic depth.
        return keras.layers.Dropout(
            layer.rate, noise_shape=(None, 1, 1, 1), name=layer.name
        )
    if isinstance(layer, layers.Dropout):
        return keras.layers.Dropout(layer.rate, name=layer.name)
    config = layer.get_config()
    if isinstance(layer, convolution.Conv2D):
        return keras.layers.Conv2D.from_config(config)
    if isinstance(layer, normalization.BatchNormalization):
        # Other backends refuse a synchronised one.
        config["synchronized"] = False
        return keras.layers.BatchNormalization.from_config(config)
    return layer.__class__.from_config(config)


def stock(model, *, style=None):
    """Copies a model into layers of Keras itself.

    Args:
        model: Functional model of `efficientnetv2.model`.
        style: A style of `data.preprocess`: the copy takes RGB in 0..255 and
            normalises it; None: it takes what the model takes.

    Returns:
        A functional Keras model: same names, weights and outputs.
    """
    copy = rebuild.rebuild(model, _replace, style=style)
    for layer in copy.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return copy
