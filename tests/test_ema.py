"""Moving averages against the rule in NumPy; swapping in and out."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnetv2 import ema

RNG = np.random.default_rng(3)
SHAPES = [(3,), (2, 2), (), (70, 80), (5000,), (4096,)]  # small and large


def _variables():
    return [
        keras.Variable(
            RNG.normal(size=shape).astype("float32"), name=f"v{number}"
        )
        for number, shape in enumerate(SHAPES)
    ]


def _numbers(variables):
    return [v.numpy().copy() for v in variables]


def _move(variables, scale=1.0):
    for variable in variables:
        variable.assign(scale * RNG.normal(size=variable.shape))


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_averages_follow_the_rule_with_warm_up(mode):
    variables = _variables()
    averages = ema.ExponentialMovingAverage(variables, 0.3)
    expected = [np.array(v, "float64") for v in _numbers(variables)]
    update = averages.update
    if mode != "eager":
        update = tf.function(update, jit_compile=mode == "xla")
    for step in range(5):
        _move(variables)
        update(tf.constant(step, tf.int64))
        # 0.1, 0.182, 0.25, then the decay itself: 0.3
        decay = min(0.3, (1 + step) / (10 + step))
        for mean, value in zip(expected, _numbers(variables), strict=True):
            mean -= (1 - decay) * (mean - value)
    found = averages.values()
    assert list(found) == [v.path for v in variables]
    for variable, mean in zip(variables, expected, strict=True):
        assert found[variable.path].shape == variable.shape
        np.testing.assert_allclose(
            found[variable.path], mean, rtol=1e-5, atol=1e-6
        )


def test_an_average_that_has_arrived_stays_to_the_last_bit():
    variables = _variables()
    averages = ema.ExponentialMovingAverage(variables, 0.9999)
    for step in range(3):
        averages.update(step)
    for variable in variables:
        np.testing.assert_array_equal(
            averages.values()[variable.path], variable.numpy()
        )


def test_swapping_is_exact_and_restores_exactly_even_after_an_error():
    variables = _variables()
    averages = ema.ExponentialMovingAverage(variables, 0.5)
    _move(variables)
    averages.update(0)
    before, means = _numbers(variables), averages.values()
    with pytest.raises(KeyError), averages.swapped():
        for variable in variables:
            np.testing.assert_array_equal(
                variable.numpy(), means[variable.path]
            )
        raise KeyError
    for value, variable in zip(before, variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_swapping_shares_no_memory_between_weights_and_averages():
    variables = _variables()
    averages = ema.ExponentialMovingAverage(variables, 0.5)
    _move(variables)
    averages.update(0)
    means = {path: m.copy() for path, m in averages.values().items()}
    with averages.swapped():
        for variable in variables:  # in place, as a train step does
            variable.value.assign_add(tf.ones(variable.shape))
    for variable in variables:
        variable.value.assign_add(tf.ones(variable.shape))
    for path, value in averages.values().items():
        np.testing.assert_array_equal(value, means[path])


def test_values_do_not_change_with_later_updates():
    variables = _variables()
    averages = ema.ExponentialMovingAverage(variables, 0.5)
    held = averages.values()
    copies = {path: value.copy() for path, value in held.items()}
    for step in range(3):
        _move(variables)
        averages.update(step)
    for path, value in held.items():
        np.testing.assert_array_equal(value, copies[path])
        assert not np.array_equal(value, averages.values()[path])


def test_assign_puts_back_what_values_gave():
    variables = _variables()
    averages = ema.ExponentialMovingAverage(variables, 0.5)
    saved = averages.values()
    _move(variables)
    averages.update(0)
    averages.assign(saved)
    for path, value in averages.values().items():
        np.testing.assert_array_equal(value, saved[path])


def test_averages_of_half_precision_variables_are_float32():
    variable = keras.Variable(np.ones(3, "float32"), dtype="bfloat16")
    averages = ema.ExponentialMovingAverage([variable], 0.9999)
    variable.assign([2.0, 2.0, 2.0])
    for step in range(10**6, 10**6 + 10):
        averages.update(step)  # ten steps of 1e-4, each lost in bfloat16
    np.testing.assert_allclose(
        averages.values()[variable.path], 2 - 0.9999**10, rtol=1e-6
    )


def test_a_network_needs_few_operations():
    variables = [
        keras.Variable(np.zeros(s, "float32"), name=f"v{n}")
        for n, s in enumerate([(8,)] * 30 + [(3, 3, 40, 40)] * 10)
    ]
    averages = ema.ExponentialMovingAverage(variables, 0.9)
    graph = (
        tf.function(averages.update).get_concrete_function(tf.constant(0)).graph
    )
    used = [o for o in graph.get_operations() if o.type != "Placeholder"]
    # A read a small variable; two reads, a difference, an update a large one.
    assert len(used) < 30 + 4 * 10 + 30


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_an_impossible_decay_is_refused(decay):
    with pytest.raises(ValueError, match=rf"\(0, 1\). Received: {decay}"):
        ema.ExponentialMovingAverage([], decay)


def test_variables_of_integers_are_refused():
    counter = keras.Variable(0, dtype="int32", name="counter")
    with pytest.raises(ValueError, match="Received: int32 'counter'"):
        ema.ExponentialMovingAverage([counter], 0.9)
