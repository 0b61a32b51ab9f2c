"""Layers: activations by formula, gradients, masks, serialisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnetv2 import layers

X = np.linspace(-6, 6, 97, dtype=np.float32).reshape(1, -1)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


FORMULAS = {
    "silu": lambda x: x * _sigmoid(x),
    "swish": lambda x: x * _sigmoid(x),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hard_silu": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "tanh": np.tanh,
    "identity": lambda x: x,
    "linear": lambda x: x,
}


@pytest.mark.parametrize("name", layers.ACTIVATIONS)
def test_activation_equals_its_formula(name):
    y = keras.ops.convert_to_numpy(layers.Activation(name)(X))
    assert y.dtype == np.float32
    if name in FORMULAS:
        np.testing.assert_allclose(y, FORMULAS[name](X), atol=2e-6)
    else:
        expected = keras.activations.get(name)(X)
        np.testing.assert_array_equal(y, keras.ops.convert_to_numpy(expected))


def test_activation_gives_the_nearest_name():
    with pytest.raises(ValueError, match="Received: 'hswich'.*'hswish'"):
        layers.Activation("hswich")


def test_silu_gradient_equals_the_derivative_to_second_order():
    x = tf.constant(X)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = layers.silu(x) * 3
        first = inner.gradient(y, x)
    second = outer.gradient(first, x)
    gate = _sigmoid(X.astype(np.float64))
    slope = gate * (1 - gate)
    np.testing.assert_allclose(first, 3 * (gate + X * slope), atol=2e-6)
    curve = slope * (2 + X * (1 - 2 * gate))
    np.testing.assert_allclose(second, 3 * curve, atol=5e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_silu_keeps_half_types(dtype):
    x = tf.cast(X, dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layers.silu(x)
    slope = tape.gradient(y, x)
    assert y.dtype == slope.dtype == x.dtype
    tolerance = 2e-3 if dtype == "float16" else 2e-2
    x = tf.cast(x, tf.float32).numpy()
    np.testing.assert_allclose(
        tf.cast(y, tf.float32), x * _sigmoid(x), rtol=tolerance, atol=1e-3
    )


@pytest.mark.parametrize("kind", [layers.Dropout, layers.StochasticDepth])
def test_noise_layers_pass_inputs_unchanged_in_inference(kind):
    x = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype("float32")
    for y in (
        kind(0.5)(x),
        kind(0.5)(x, training=False),
        kind(0.0)(x, training=True),
    ):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(y), x)


def test_stochastic_depth_drops_whole_examples_and_keeps_the_mean():
    x = np.ones((4000, 2, 2, 3), "float32")
    layer = layers.StochasticDepth(0.3, seed=1)
    y = keras.ops.convert_to_numpy(layer(x, training=True))
    per_example = y.reshape(len(y), -1)
    assert (per_example == per_example[:, :1]).all()
    assert abs((per_example[:, 0] == 0).mean() - 0.3) < 0.03
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7], rtol=1e-6)


def test_dropout_without_a_training_step_draws_anew_each_call():
    layer = layers.Dropout(0.5, seed=1)
    x = np.ones((50, 100), "float32")
    a, b = (
        keras.ops.convert_to_numpy(layer(x, training=True)) for _ in range(2)
    )
    assert abs((a == 0).mean() - 0.5) < 0.03
    assert abs((a == b).mean() - 0.5) < 0.03


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, "0.2", None, float("nan")])
def test_rate_out_of_range_is_an_error(rate):
    with pytest.raises(ValueError, match=r"rate must lie in \[0, 1\)"):
        layers.Dropout(rate)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Activation("mish", name="a"),
        layers.Dropout(0.3, staged=False, seed=4, name="d"),
        layers.StochasticDepth(0.2, name="s"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layer_comes_back_from_its_config(layer):
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()
    assert copy.compute_output_shape((None, 4, 4, 8)) == (None, 4, 4, 8)


def test_noise_layers_add_no_parameters():
    layer = layers.Dropout(0.5)
    layer.build((None, 4))
    assert layer.count_params() == 0
