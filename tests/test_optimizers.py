"""Optimizers step by step against figures worked out in NumPy."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnetv2 import losses, optimizers, schedules

START = np.array([[0.5, -1.0], [2.0, 0.25]])
GRADIENTS = [
    np.array([[0.1, -3.0], [0.0, 1e-4]]),
    np.array([[-0.2, 0.5], [1.0, -2.0]]),
    np.array([[4.0, 0.0], [-1e-3, 0.7]]),
]
RATES = [0.1, 0.05, 0.2]


class _RMSProp:
    """The rule of the paper in float64."""

    def __init__(self, start, rho=0.9, momentum=0.9, epsilon=1e-3):
        self.value = np.array(start, "float64")
        self.mean_square = np.ones_like(self.value)
        self.update = np.zeros_like(self.value)
        self.rho, self.momentum, self.epsilon = rho, momentum, epsilon

    def step(self, gradient, rate):
        self.mean_square *= self.rho
        self.mean_square += (1 - self.rho) * gradient**2
        self.update *= self.momentum
        self.update += (
            rate * gradient / np.sqrt(self.mean_square + self.epsilon)
        )
        self.value -= self.update


def _variable(value=START, name="kernel"):
    return keras.Variable(np.asarray(value, "float32"), name=name)


def _tensor(value):
    return tf.constant(np.asarray(value), tf.float32)


def test_the_first_step_is_the_figure_worked_out_by_hand():
    # mean square 0.9 * 1 + 0.1 * 2^2 = 1.3; update 0.1 * 2 / sqrt(1.301).
    variable = _variable([1.0])
    optimizers.RMSProp(0.1).apply([_tensor([2.0])], [variable])
    assert float(variable.value[0]) == pytest.approx(1 - 0.2 / 1.301**0.5)
    # mean square 0.9 * 1.3 = 1.17; update 0.9 * 0.175345: momentum alone.
    variable = _variable([1.0])
    optimizer = optimizers.RMSProp(0.1)
    optimizer.apply([_tensor([2.0])], [variable])
    optimizer.apply([_tensor([0.0])], [variable])
    assert float(variable.value[0]) == pytest.approx(1 - 1.9 * 0.2 / 1.301**0.5)


@pytest.mark.parametrize("settings", [{}, {"rho": 0.5, "epsilon": 0.1}])
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_rmsprop_follows_the_rule_step_by_step(mode, settings):
    expected = _RMSProp(START, **settings)
    variable = _variable()
    optimizer = optimizers.RMSProp(0.1, **settings)
    optimizer.build([variable])

    def apply(gradient):
        optimizer.apply([gradient], [variable])

    if mode != "eager":
        apply = tf.function(apply, jit_compile=mode == "xla")
    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        optimizer.learning_rate = rate
        apply(_tensor(gradient))
        expected.step(gradient, rate)
        np.testing.assert_allclose(variable.value, expected.value, rtol=1e-6)
        np.testing.assert_allclose(
            optimizer.variables[2].value, expected.mean_square, rtol=1e-6
        )
    assert int(optimizer.iterations) == 3


def test_the_plain_operations_of_other_backends_agree_with_the_kernel(
    monkeypatch,
):
    monkeypatch.setattr(
        "efficientnetv2.replica_updates.in_replica", lambda: False
    )
    expected = _RMSProp(START)
    variable = _variable()
    optimizer = optimizers.RMSProp(0.1)
    for gradient in GRADIENTS:
        optimizer.apply([_tensor(gradient)], [variable])
        expected.step(gradient, 0.1)
        np.testing.assert_allclose(variable.value, expected.value, rtol=1e-6)


def test_rmsprop_is_one_op_a_variable():
    variables = [_variable(name=f"v{i}") for i in range(10)]
    optimizer = optimizers.RMSProp(0.1)
    optimizer.build(variables)
    graph = (
        tf.function(lambda grads: optimizer.apply(grads, variables))
        .get_concrete_function([_tensor(START)] * 10)
        .graph
    )
    kinds = [op.type for op in graph.get_operations()]
    assert kinds.count("ResourceApplyRMSProp") == 10
    assert len(kinds) < 10 + 60  # what all share: rate, counter, arguments


def test_rmsprop_in_compile_and_fit_saves_and_loads(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizers.RMSProp(0.05), "mse")
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = x @ np.array([[1.0], [-2.0], [0.5], [0.0]], "float32")
    history = model.fit(x, y, epochs=20, verbose=0).history["loss"]
    assert history[-1] < 0.01 * history[0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is optimizers.RMSProp
    for one, other in zip(
        model.optimizer.variables, again.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(one.value, other.value)


@pytest.mark.parametrize("name", optimizers._OPTIMIZERS)
def test_every_optimizer_survives_its_config(name):
    rate = schedules.learning_rate(0.1, 10)
    optimizer = optimizers.build(
        name, rate, gclip=1.0, learning_rate_factors={"kernel": 0.5}
    )
    config = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    again = keras.optimizers.deserialize(config)
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    "name, plain",
    [
        ("sgd", lambda: keras.optimizers.SGD(0.1)),
        ("momentum", lambda: keras.optimizers.SGD(0.1, momentum=0.9)),
        ("adam", lambda: keras.optimizers.Adam(0.1)),
        (
            "adamw",
            lambda: keras.optimizers.AdamW(0.1, weight_decay=0.05),
        ),
        ("lamb", lambda: keras.optimizers.Lamb(0.1, weight_decay=0.05)),
    ],
)
def test_the_others_do_what_keras_does(name, plain):
    decay = 0.05 if name in optimizers.DECOUPLED else None
    ours, theirs = optimizers.build(name, 0.1, weight_decay=decay), plain()
    one, other = _variable(), _variable()
    for gradient in GRADIENTS:
        ours.apply([_tensor(gradient)], [one])
        theirs.apply([_tensor(gradient)], [other])
        # Adam's kernel has 1 - beta_2 in float32, 1.3e-5 off, under a root.
        rtol = 1e-5 if name.startswith("adam") else 1e-6
        np.testing.assert_allclose(one.value, other.value, rtol=rtol)


def test_gclip_bounds_the_norm_of_all_gradients_together():
    variables = [_variable([0.0, 0.0]), _variable([0.0])]
    optimizer = optimizers.build("sgd", 1.0, gclip=0.5)
    optimizer.apply([_tensor([0.0, 3.0]), _tensor([4.0])], variables)
    np.testing.assert_allclose(variables[0].value, [0.0, -0.3], rtol=1e-6)
    np.testing.assert_allclose(variables[1].value, [-0.4], rtol=1e-6)
    optimizer.apply([_tensor([0.0, 0.3]), _tensor([0.0])], variables)
    np.testing.assert_allclose(variables[0].value, [0.0, -0.6], rtol=1e-6)


@pytest.mark.parametrize("name", ["rmsprop", "adam"])
def test_a_factor_scales_the_rate_of_its_variable(name):
    full, half, alone = (_variable([1.0], name=n) for n in ("a", "b", "c"))
    optimizer = optimizers.build(
        name, 0.1, learning_rate_factors={half.path: 0.5}
    )
    optimizer.apply([_tensor([2.0]), _tensor([2.0])], [full, half])
    optimizers.build(name, 0.05).apply([_tensor([2.0])], [alone])
    assert float(half.value[0]) == pytest.approx(float(alone.value[0]))
    assert 1 - float(full.value[0]) == pytest.approx(
        2 * (1 - float(half.value[0]))
    )


def test_weight_decay_leaves_out_what_the_expression_fits():
    inputs = keras.Input((2,))
    layer = keras.layers.Dense(2, bias_initializer="ones", name="head")
    model = keras.Model(inputs, layer(inputs))
    kernel, bias = (v.numpy() for v in model.trainable_variables)
    optimizer = optimizers.build(
        "adamw",
        0.1,
        weight_decay=0.5,
        weight_decay_exclude=".*(bias|gamma|beta).*",
    )
    zeros = [tf.zeros(v.shape) for v in model.trainable_variables]
    optimizer.apply(zeros, model.trainable_variables)
    np.testing.assert_allclose(layer.kernel.value, 0.95 * kernel, rtol=1e-6)
    np.testing.assert_array_equal(layer.bias.value, bias)
    left = losses.decayed_variables(
        model.trainable_variables, optimizer.weight_decay_exclude
    )
    assert [v.path for v in left] == ["head/kernel"]


def _state(optimizer, variables):
    return [v.numpy() for v in [*variables, *optimizer.variables]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["rmsprop", "adamw"])
def test_a_step_that_is_not_finite_changes_nothing_but_the_counter(name, bad):
    variables = [_variable(), _variable([1.0], name="bias")]
    decay = 0.1 if name == "adamw" else None
    optimizer = optimizers.build(name, 0.1, gclip=1.0, weight_decay=decay)
    optimizer.build(variables)
    apply = tf.function(
        lambda grads: optimizer.apply_if_finite(grads, variables)
    )
    good = [_tensor(GRADIENTS[0]), _tensor([0.5])]
    assert bool(apply(good))
    before = _state(optimizer, variables)
    assert not bool(apply([good[0], _tensor([bad])]))
    after = _state(optimizer, variables)
    assert int(optimizer.iterations) == 2
    del before[2], after[2]  # the counter
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["rmsprop", "adam"])
def test_apply_if_finite_is_apply_where_all_is_finite(name):
    ends = []
    for method in ("apply", "apply_if_finite"):
        variable = _variable()
        optimizer = optimizers.build(name, 0.1, gclip=2.0)
        for gradient in GRADIENTS:
            getattr(optimizer, method)([_tensor(gradient)], [variable])
        ends.append(variable.numpy())
    np.testing.assert_array_equal(*ends)


def test_the_loss_scale_is_taken_out_again_and_follows_the_gradients():
    plain, scaled = _variable(), _variable()
    one = optimizers.build("rmsprop", 0.1, gclip=1.0)
    other = optimizers.build("rmsprop", 0.1, gclip=1.0, dynamic_loss_scale=True)
    other.build([scaled])

    def scale():
        return float(other.scale_loss(tf.constant(1.0)))

    assert scale() == 2.0**15
    for gradient in GRADIENTS:
        one.apply([_tensor(gradient)], [plain])
        other.apply([scale() * _tensor(gradient)], [scaled])
    np.testing.assert_allclose(plain.value, scaled.value, rtol=1e-6)
    other.apply([_tensor(START * np.inf)], [scaled])
    assert scale() == 2.0**14
    np.testing.assert_allclose(plain.value, scaled.value, rtol=1e-6)


def test_the_loss_scale_doubles_after_2000_good_steps_in_a_row():
    variable = _variable([0.0])
    optimizer = optimizers.build("sgd", 0.1, dynamic_loss_scale=True)
    optimizer.build([variable])

    @tf.function
    def run(steps):
        for _ in tf.range(steps):
            optimizer.apply_if_finite([tf.constant([1.0])], [variable])
        return optimizer.scale_loss(tf.constant(1.0))

    assert float(run(1999)) == 2.0**15
    assert float(run(1)) == 2.0**16
    optimizer.apply_if_finite([tf.constant([np.nan])], [variable])
    assert float(run(1999)) == 2.0**15
    assert float(run(1)) == 2.0**16


def test_layer_factors_fall_from_the_head_to_the_stem():
    names = ["stem_conv", "block1a_project_bn", "block1b_conv", "block6ab_bn"]
    names += ["top_conv", "predictions"]
    layers = [keras.layers.Dense(1, use_bias=False, name=n) for n in names]
    inputs = x = keras.Input((1,))
    for layer in layers:
        x = layer(x)
    model = keras.Model(inputs, x)
    factors = optimizers.layer_factors(model.trainable_variables, 0.5)
    assert list(factors.values()) == [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 1]
    assert set(factors) == {f"{name}/kernel" for name in names}
    with pytest.raises(ValueError, match=r"decay must lie in \(0, 1\]"):
        optimizers.layer_factors([], 1.5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": "rmspropp"}, "nearest: 'rmsprop'"),
        ({"name": "rmsprop", "gclip": 0.0}, "gclip must be > 0 or None"),
        ({"name": "sgd", "weight_decay": 0.1}, "belongs into the loss"),
    ],
)
def test_impossible_settings_are_one_clear_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        optimizers.build(learning_rate=0.1, **arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("setting", [{"rho": 1.0}, {"epsilon": 0.0}])
def test_rmsprop_checks_its_settings(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        optimizers.RMSProp(0.1, **setting)
