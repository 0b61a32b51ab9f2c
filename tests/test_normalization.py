"""Batch normalisation equals Keras's own, alone and over replicas."""

import pathlib
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

from efficientnetv2 import normalization

tf = pytest.importorskip("tensorflow")

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOLERANCE = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def _inputs(dtype="float32", shape=(6, 7, 5, 4)):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape) * [0.5, 1, 2, 3] + [-3, 0, 1, 10]
    return tf.cast(x, dtype), tf.cast(rng.normal(size=shape), dtype)


def _layer(kind, dtype="float32", **settings):
    policy = dtype if dtype == "float32" else f"mixed_{dtype}"
    layer = kind(momentum=0.9, epsilon=1e-3, dtype=policy, **settings)
    layer.build((None, None, None, 4))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.uniform(0.5, 2, 4) for _ in layer.weights])
    return layer


def _run(layer, x, upstream, *, training):
    """Outputs, gradients of input, gamma and beta, moving statistics."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
    weights = [layer.gamma.value, layer.beta.value]
    gradients = tape.gradient(y, [x, *weights], output_gradients=upstream)
    moving = [layer.moving_mean.value, layer.moving_variance.value]
    return [y, *gradients, *moving]


def _assert_close(ours, theirs, dtype):
    for a, b in zip(ours, theirs, strict=True):
        a, b = (tf.cast(t, tf.float32).numpy() for t in (a, b))
        scale = np.abs(b).max()
        assert np.abs(a - b).max() <= TOLERANCE[dtype] * scale


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_equals_keras_in_outputs_gradients_and_statistics(dtype, training):
    x, upstream = _inputs(dtype)
    ours, theirs = (
        _run(_layer(kind, dtype), x, upstream, training=training)
        for kind in (
            normalization.BatchNormalization,
            keras.layers.BatchNormalization,
        )
    )
    assert ours[0].dtype == theirs[0].dtype == dtype
    assert ours[1].dtype == dtype
    _assert_close(ours, theirs, dtype)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_training_equals_plain_training(jit_compile):
    x, upstream = _inputs()
    layer = _layer(normalization.BatchNormalization)
    plain = [t.numpy() for t in _run(layer, x, upstream, training=True)]
    other = _layer(normalization.BatchNormalization)
    run = tf.function(
        lambda x, u: _run(other, x, u, training=True), jit_compile=jit_compile
    )
    _assert_close(run(x, upstream), plain, "float32")


def test_moving_variance_is_the_biased_one():
    x, upstream = _inputs()
    layer = _layer(normalization.BatchNormalization)
    before = layer.moving_variance.numpy()
    moved = _run(layer, x, upstream, training=True)[-1]
    expected = 0.9 * before + 0.1 * x.numpy().var((0, 1, 2))
    np.testing.assert_allclose(moved, expected, rtol=1e-5)


def test_the_fused_kernel_is_what_runs():
    graph = (
        tf.function(_layer(normalization.BatchNormalization))
        .get_concrete_function(
            tf.TensorSpec([None, None, None, 4]), training=True
        )
        .graph
    )
    kinds = {op.type for op in graph.get_operations()}
    assert "FusedBatchNormV3" in kinds
    assert not kinds & {"Rsqrt", "Mean", "SquaredDifference"}


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"axis": 1}, (3, 4, 5, 6)),
        ({}, (6, 4)),
        ({}, (2, 3, 3, 3, 4)),
        ({"scale": False}, (3, 5, 5, 4)),
        ({"center": False}, (3, 5, 5, 4)),
    ],
)
def test_what_the_kernel_cannot_do_takes_keras_code(settings, shape):
    x = tf.random.stateless_normal(shape, [1, 2])
    results = []
    for kind in (
        normalization.BatchNormalization,
        keras.layers.BatchNormalization,
    ):
        layer = kind(**settings)
        results.append([layer(x, training=True), *layer.weights])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_pure_bfloat16_and_float64_train_as_keras_does():
    for dtype in ("bfloat16", "float64"):
        x = tf.cast(_inputs()[0], dtype)
        ours, theirs = (
            kind(dtype=dtype)(x, training=True)
            for kind in (
                normalization.BatchNormalization,
                keras.layers.BatchNormalization,
            )
        )
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours, theirs)


def test_not_trainable_keeps_the_moving_statistics_and_uses_them():
    x, _ = _inputs()
    layer = _layer(normalization.BatchNormalization)
    layer.trainable = False
    before = [weight.numpy() for weight in layer.weights]
    y = layer(x, training=True)
    for old, new in zip(before, layer.weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    np.testing.assert_array_equal(y, layer(x, training=False))


def test_stateless_call_returns_the_statistics_and_changes_nothing():
    x, upstream = _inputs()
    layer = _layer(normalization.BatchNormalization)
    before = layer.moving_mean.numpy()
    _, moving = layer.stateless_call(
        layer.trainable_variables,
        layer.non_trainable_variables,
        x,
        training=True,
    )
    np.testing.assert_array_equal(layer.moving_mean.numpy(), before)
    expected = _run(layer, x, upstream, training=True)[-2:]
    for a, b in zip(moving, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_momentum_can_be_a_tensor():
    x, _ = _inputs()
    layer = _layer(normalization.BatchNormalization)
    before = layer.moving_mean.numpy()

    @tf.function
    def train(momentum):
        with normalization.batch_norm_momentum(momentum):
            layer(x, training=True)

    train(tf.constant(1.0))
    np.testing.assert_array_equal(layer.moving_mean.numpy(), before)
    train(tf.constant(0.0))
    mean = x.numpy().mean((0, 1, 2))
    np.testing.assert_allclose(layer.moving_mean.numpy(), mean, rtol=1e-5)


def test_layer_comes_back_from_its_config():
    layer = normalization.BatchNormalization(synchronized=True, momentum=0.7)
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is normalization.BatchNormalization
    assert copy.get_config() == layer.get_config()
    assert (copy.synchronized, copy.momentum) == (True, 0.7)


_REPLICAS = """
    import sys
    import numpy as np
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    from efficientnetv2 import normalization

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 5, 3, 4)) * [1, 2, 3, 1] + [0, 20, -3, 100]
    x = x.astype("float32")
    upstream = rng.normal(size=x.shape).astype("float32")

    def layer(synchronized, dtype="float32"):
        policy = dtype if dtype == "float32" else f"mixed_{dtype}"
        made = normalization.BatchNormalization(
            momentum=0.6, synchronized=synchronized, dtype=policy
        )
        made.build((None, None, None, 4))
        values = [1, 2, 0.5, 3], [0, 1, 2, 3], [9, 9, 0, 9], [2, 2, 2, 2]
        made.set_weights([np.array(v, "float32") for v in values])
        return made

    def run(layer, x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        weights = [layer.gamma.value, layer.beta.value]
        return y, *tape.gradient(y, [x, *weights], output_gradients=upstream)

    def train(synchronized, cut, dtype):
        with strategy.scope():
            made = layer(synchronized, dtype)
        def part(value):
            halves = value[:cut], value[cut:]
            return strategy.experimental_distribute_values_from_function(
                lambda c: tf.cast(halves[c.replica_id_in_sync_group], dtype)
            )
        step = tf.function(
            lambda x, u: strategy.run(run, args=(made, x, u)),
        )
        y, dx, gamma, beta = map(
            strategy.experimental_local_results, step(part(x), part(upstream))
        )
        moving = [made.moving_mean.numpy(), made.moving_variance.numpy()]
        y, dx = tf.concat(y, 0), tf.concat(dx, 0)
        return [y, dx, sum(gamma), sum(beta), *moving]

    def alone(dtype):
        made = layer(True, dtype)
        y = run(made, tf.cast(x, dtype), tf.cast(upstream, dtype))
        return [*y, made.moving_mean.numpy(), made.moving_variance.numpy()]

    results = {"one": alone("float32"), "one_half": alone("float16")}
    for cut in (4, 5, 8):
        results[f"two{cut}"] = train(True, cut, "float32")
    results["half"] = train(True, 4, "float16")
    results["local"] = train(False, 4, "float32")
    results["local_empty"] = train(False, 8, "float32")
    np.savez(
        sys.argv[1],
        **{
            f"{key}:{index}": np.asarray(tf.cast(value, tf.float32))
            for key, values in results.items()
            for index, value in enumerate(values)
        },
    )
"""
NAMES = ("outputs", "input", "gamma", "beta", "mean", "variance")


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    """Results on one device and on two, by the program above."""
    path = tmp_path_factory.mktemp("replicas") / "results.npz"
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_REPLICAS), str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    figures = np.load(path)
    return lambda key: {
        name: figures[f"{key}:{index}"] for index, name in enumerate(NAMES)
    }


@pytest.mark.parametrize(
    "cut", [4, 5, 8], ids=["even", "uneven", "second replica empty"]
)
def test_synchronized_replicas_equal_one_device(replicas, cut):
    one, two = replicas("one"), replicas(f"two{cut}")
    for name in NAMES:
        scale = np.abs(one[name]).max()
        assert np.abs(two[name] - one[name]).max() < 2e-5 * scale, name


def test_synchronized_half_precision_equals_one_device(replicas):
    one, two = replicas("one_half"), replicas("half")
    for name in NAMES:
        scale = np.abs(one[name]).max()
        assert np.abs(two[name] - one[name]).max() < 2e-3 * scale, name


def test_local_statistics_move_by_the_mean_of_the_replicas(replicas):
    one, two = replicas("one"), replicas("local")
    np.testing.assert_allclose(two["mean"], one["mean"], rtol=1e-5)
    assert np.abs(two["outputs"] - one["outputs"]).max() > 1e-2
    assert (two["variance"] < one["variance"]).any()


def test_local_empty_replica_gives_no_nan(replicas):
    one, two = replicas("one"), replicas("local_empty")
    for name in ("outputs", "input", "gamma", "beta"):
        scale = np.abs(one[name]).max()
        assert np.abs(two[name] - one[name]).max() < 1e-4 * scale, name
    assert np.isfinite(two["mean"]).all()
    assert np.isfinite(two["variance"]).all()
