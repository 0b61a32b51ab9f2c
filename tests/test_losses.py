"""Losses against formulas written out in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnetv2 import losses

LOGITS = np.array(
    [[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [100.0, -100.0, 40.0]], "float32"
)
ONE_HOT = np.eye(3, dtype="float32")[[2, 1, 1]]
SEVERAL = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0]], "float32")


def _softmax_loss(labels, logits):
    logits = logits.astype("float64")
    top = logits.max(-1, keepdims=True)
    log_sum = top + np.log(np.exp(logits - top).sum(-1, keepdims=True))
    return -(labels * (logits - log_sum)).sum(-1)


def _sigmoid_loss(labels, logits):
    logits = logits.astype("float64")
    each = np.logaddexp(0, logits) - logits * labels
    return each.sum(-1)


def test_softmax_is_one_figure_an_example():
    loss = losses.cross_entropy(ONE_HOT, LOGITS)
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, _softmax_loss(ONE_HOT, LOGITS), rtol=1e-5)
    assert float(loss[2]) == pytest.approx(200.0)  # far out and still finite


def test_integer_labels_mean_the_same_as_one_hot_ones():
    for smoothing in (0.0, 0.1):
        np.testing.assert_array_equal(
            losses.cross_entropy(
                np.array([2, 1, 1], "int32"), LOGITS, label_smoothing=smoothing
            ),
            losses.cross_entropy(ONE_HOT, LOGITS, label_smoothing=smoothing),
        )


def test_softmax_smoothing_spreads_its_share_over_all_classes():
    loss = losses.cross_entropy(ONE_HOT, LOGITS, label_smoothing=0.3)
    smooth = ONE_HOT * 0.7 + 0.1
    np.testing.assert_allclose(loss, _softmax_loss(smooth, LOGITS), rtol=1e-5)


def test_mixed_labels_give_the_mixed_loss():
    mixed = 0.25 * ONE_HOT + 0.75 * ONE_HOT[::-1]
    separate = [
        losses.cross_entropy(labels, LOGITS, label_smoothing=0.1)
        for labels in (ONE_HOT, ONE_HOT[::-1])
    ]
    np.testing.assert_allclose(
        losses.cross_entropy(mixed, LOGITS, label_smoothing=0.1),
        0.25 * separate[0] + 0.75 * separate[1],
        rtol=1e-5,
    )


def test_sigmoid_sums_one_decision_a_class():
    loss = losses.cross_entropy(SEVERAL, LOGITS, loss_type="sigmoid")
    np.testing.assert_allclose(loss, _sigmoid_loss(SEVERAL, LOGITS), rtol=1e-5)


def test_sigmoid_smoothing_moves_each_label_towards_a_half():
    loss = losses.cross_entropy(
        SEVERAL, LOGITS, loss_type="sigmoid", label_smoothing=0.2
    )
    smooth = SEVERAL * 0.8 + 0.1
    np.testing.assert_allclose(loss, _sigmoid_loss(smooth, LOGITS), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_logits_are_computed_in_float32(dtype):
    logits = tf.cast(LOGITS, dtype)
    loss = losses.cross_entropy(ONE_HOT, logits, label_smoothing=0.1)
    assert loss.dtype == tf.float32
    exact = losses.cross_entropy(
        ONE_HOT, tf.cast(logits, tf.float32), label_smoothing=0.1
    )
    np.testing.assert_array_equal(loss, exact)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"loss_type": "softmx"}, "Received: 'softmx'"),
        ({"label_smoothing": 1.0}, r"must lie in \[0, 1\). Received: 1.0"),
        ({"label_smoothing": -0.1}, "Received: -0.1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        losses.cross_entropy(ONE_HOT, LOGITS, **settings)


def test_l2_is_half_the_squared_norm_and_its_gradient_the_kernel():
    values = [np.arange(6.0).reshape(2, 3), np.full((2, 2, 1), -0.5)]
    kernels = [keras.Variable(v.astype("float32")) for v in values]

    @tf.function
    def value_and_gradient():
        with tf.GradientTape() as tape:
            value = losses.l2(kernels)
        return value, tape.gradient(value, [k.value for k in kernels])

    value, gradients = value_and_gradient()
    assert float(value) == pytest.approx(0.5 * (55.0 + 4 * 0.25))
    for gradient, expected in zip(gradients, values, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_l2_of_nothing_is_0():
    assert float(losses.l2([])) == 0.0


def test_l2_leaves_out_what_the_expression_fits():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(2, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    outputs = keras.layers.Dense(2, name="dense")(x)
    model = keras.Model(inputs, outputs)
    kept = losses.decayed_variables(
        model.trainable_variables, ".*(bias|gamma|beta).*"
    )
    assert [v.path for v in kept] == ["conv/kernel", "dense/kernel"]
    kept = losses.decayed_variables(model.trainable_variables, "conv|norm")
    assert [v.path for v in kept] == ["dense/kernel", "dense/bias"]
