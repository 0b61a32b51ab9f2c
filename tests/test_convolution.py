"""The convolution layer: its own gradients, and where it has none."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnetv2 import convolution


@pytest.mark.parametrize(
    ("policy", "tolerance"),
    [("float32", 1e-5), ("mixed_bfloat16", 3e-2), ("mixed_float16", 4e-3)],
)
@pytest.mark.parametrize("size", [1, 3, (5, 3)])
def test_own_gradients_are_those_of_the_convolution(size, policy, tolerance):
    layer = convolution.Conv2D(
        7, size, padding="same", use_bias=False, dtype=policy
    )
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(3, 4, 5, 6)), layer.compute_dtype)
    upstream = tf.constant(rng.normal(size=(3, 4, 5, 7)), x.dtype)
    layer.build(x.shape)
    kernel = layer.kernel.value

    def run(convolve):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = convolve()
        return [y, *tape.gradient(y, [x, kernel], upstream)]

    expected = run(lambda: tf.nn.conv2d(x, tf.cast(kernel, x.dtype), 1, "SAME"))
    found = run(lambda: layer(x, training=True))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        other = np.float32(other)
        np.testing.assert_allclose(
            np.float32(one), other, atol=tolerance * np.max(np.abs(other))
        )


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3, "strides": 2},
        {"kernel_size": 2},
        {"kernel_size": 3, "padding": "valid"},
        {"kernel_size": 3, "dilation_rate": 2},
        {"kernel_size": 1, "groups": 2},
    ],
)
def test_other_convolutions_are_keras_own_in_training(settings):
    layer = convolution.Conv2D(4, **{"padding": "same"} | settings)
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 2)).astype("float32")
    twin = keras.layers.Conv2D.from_config(layer.get_config())
    expected = twin(x)
    layer.build(x.shape)
    layer.set_weights(twin.get_weights())
    with tf.GradientTape() as tape:
        y = layer(x, training=True)
    np.testing.assert_array_equal(y, expected)
    assert tape.gradient(y, layer.kernel.value).shape == layer.kernel.shape
