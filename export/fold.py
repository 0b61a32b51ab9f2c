"""Inference graphs: batch normalisation folded into convolutions.

A convolution followed by y = gamma (x - mean) / sqrt(var + eps) + beta is one
convolution with a bias. What remains are operations that converters know.
"""

import keras
import numpy as np

from efficientnetv2 import layers

from . import rebuild

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
_NOISE = (layers.Dropout, layers.StochasticDepth)
_SILU = ("silu", "swish")


def _silu(x):
    # Two plain operations: kernels fuse them with the convolution before,
    # which the one with its own gradient prevents (a fourteenth of the time).
    return x * keras.ops.sigmoid(x)


def _pairs(model):
    """{name of a convolution: the batch normalisation that reads it}."""
    producers = {
        id(layer.output): layer
        for layer in model.layers
        if isinstance(layer, _CONVOLUTIONS) and not layer.use_bias
    }
    pairs = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            conv = producers.get(id(layer.input))
            if conv is not None:
                pairs[conv.name] = layer
    return pairs


def _folded_weights(conv, norm):
    """Kernel and bias, computed in float64."""
    mean, variance = (
        keras.ops.convert_to_numpy(v).astype(np.float64)
        for v in (norm.moving_mean, norm.moving_variance)
    )
    factor = 1.0 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        factor = factor * keras.ops.convert_to_numpy(norm.gamma)
    bias = -mean * factor
    if norm.center:
        bias = bias + keras.ops.convert_to_numpy(norm.beta)
    kernel = keras.ops.convert_to_numpy(conv.kernel).astype(np.float64)
    if isinstance(conv, keras.layers.DepthwiseConv2D):
        factor = factor.reshape(kernel.shape[2:])  # [channels, multiplier]
    return [(kernel * factor).astype(np.float32), bias.astype(np.float32)]


def fold(model, *, style=None):
    """Copies a model for inference.

    Args:
        model: Functional model of `efficientnetv2.model`.
        style: A style of `data.preprocess`: the copy takes RGB in 0..255 and
            normalises it; None: it takes what the model takes.

    Returns:
        A functional Keras model with, up to rounding, the same outputs in
        inference; the given one is left as it is.
    """
    pairs = _pairs(model)
    folded = {norm.name for norm in pairs.values()}

    def replace(layer):
        if layer.name in folded or isinstance(layer, _NOISE):
            return None
        if isinstance(layer, layers.Activation):
            name = layer.activation
            function = _silu if name in _SILU else layers.ACTIVATIONS[name]
            return keras.layers.Activation(function, name=layer.name)
        config = layer.get_config()
        if layer.name in pairs:
            config["use_bias"] = True
        return layer.__class__.from_config(config)

    copy = rebuild.rebuild(model, replace, style=style)
    for layer in copy.layers:
        if layer.name in pairs:
            conv = model.get_layer(layer.name)
            layer.set_weights(_folded_weights(conv, pairs[layer.name]))
        elif layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return copy
