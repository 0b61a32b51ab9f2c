"""Noise belongs to examples: statistics, independence, any row or replica."""

import pathlib
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from efficientnetv2 import layers, noise

tf = pytest.importorskip("tensorflow")

ROOT = pathlib.Path(__file__).resolve().parent.parent
IDS = np.arange(4000, dtype=np.int64) * 7 + 3
MASK32 = np.uint64(0xFFFFFFFF)


def _seed(step=11, run_seed=5):
    return noise.fold(run_seed, tf.constant(step, tf.int64))


def _draw(place=1, count=16, *, step=11, ids=IDS, run_seed=5):
    scope = noise.NoiseScope(_seed(step, run_seed), tf.constant(ids))
    return scope.uniform(place, count).numpy()


def _correlation(a, b):
    return abs(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_uniform_fills_the_unit_interval_evenly():
    values = _draw(count=64)  # 256,000 values
    assert values.dtype == np.float32
    assert values.min() >= 0 and values.max() < 1
    assert abs(values.mean() - 0.5) < 4 * np.sqrt(1 / 12 / values.size)
    counts = np.histogram(values, 256, (0, 1))[0]
    expected = values.size / 256
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - 255) < 5 * np.sqrt(2 * 255)


@pytest.mark.parametrize(
    "other",
    [
        {"place": 2},
        {"place": 1 + 2**31},
        {"step": 12},
        {"run_seed": 6},
        {"ids": IDS + 1},
        {"ids": IDS + 2**32},
        {"ids": IDS + 2**40},
    ],
    ids=str,
)
def test_draws_are_independent(other):
    a, b = _draw(), _draw(**other)
    assert _correlation(a, b) < 4.5 / np.sqrt(a.size)
    assert (a == b).mean() < 1e-3


def test_neighbours_are_independent():
    values = _draw(count=32)
    limit = 4.5 / np.sqrt(values.size)
    assert _correlation(values[1:], values[:-1]) < limit  # examples
    assert _correlation(values[:, 1:], values[:, :-1]) < limit  # elements
    first = [_draw(count=1, step=step)[:, 0] for step in range(30)]
    assert _correlation(np.array(first[1:]), np.array(first[:-1])) < limit * 2


def test_same_example_same_noise_whatever_its_row():
    values = _draw()
    order = np.random.default_rng(0).permutation(len(IDS))
    np.testing.assert_array_equal(_draw(ids=IDS[order]), values[order])
    np.testing.assert_array_equal(_draw(ids=IDS[100:103]), values[100:103])
    assert _draw(ids=IDS[:0]).shape == (0, 16)


def test_uniform_equals_the_hash_written_in_numpy():
    """The stream is a promise: a resumed run draws what it would have."""

    def scramble(x):
        x = x ^ (x >> np.uint64(16))
        x = x * np.uint64(0x7FEB352D) & MASK32
        x = x ^ (x >> np.uint64(15))
        x = x * np.uint64(0x846CA68B) & MASK32
        return x ^ (x >> np.uint64(16))

    ids = np.array([0, 1, 2**32 + 1, 2**40 + 12345], np.int64)
    wide = ids.astype(np.uint64)
    seed = scramble(scramble(np.uint64(5)) ^ np.uint64(11))
    key = scramble(seed ^ np.uint64(99))
    key = scramble(key ^ (wide >> np.uint64(32)))
    key = scramble(key ^ (wide & MASK32))
    counters = np.arange(6, dtype=np.uint64) * np.uint64(0x9E3779B9)
    bits = scramble((key[:, None] + counters) & MASK32) >> np.uint64(8)
    np.testing.assert_array_equal(
        _draw(99, 6, ids=ids), bits.astype(np.float32) * np.float32(2.0**-24)
    )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_draws_equal_plain_ones(jit_compile):
    @tf.function(jit_compile=jit_compile)
    def draw(step, ids):
        return noise.NoiseScope(noise.fold(5, step), ids).uniform(1, 16)

    values = draw(tf.constant(11, tf.int64), tf.constant(IDS))
    np.testing.assert_array_equal(values.numpy(), _draw())


def test_negative_run_seeds_and_long_steps_are_folded():
    seeds = {
        int(_seed(step, run_seed))
        for step in (0, 1, 2**31, 2**32 - 1)
        for run_seed in (-1, 0, 1, 2**33 + 5)
    }
    assert len(seeds) == 16


def test_scope_ends_with_its_block_and_stays_in_its_thread():
    seen = []
    with noise.training_noise(_seed(), tf.constant(IDS)):
        outer = noise.current()
        with pytest.raises(KeyError):
            with noise.training_noise(_seed(1), tf.constant(IDS)):
                assert noise.current() is not outer
                raise KeyError
        assert noise.current() is outer
        thread = threading.Thread(target=lambda: seen.append(noise.current()))
        thread.start()
        thread.join()
    assert seen == [None]
    assert noise.current() is None


def test_dropout_rate_of_the_scope_changes_without_a_retrace():
    layer = layers.Dropout(0.9, name="top")
    traces = []

    @tf.function
    def call(x, rate):
        traces.append(None)
        ids = tf.range(tf.shape(x)[0], dtype=tf.int64)
        with noise.training_noise(_seed(), ids, dropout_rate=rate):
            return layer(x, training=True)

    x = tf.ones([500, 200])
    for rate in (0.1, 0.3, 0.5, 0.0):
        y = call(x, tf.constant(rate)).numpy()
        assert abs((y == 0).mean() - rate) < 0.006
        np.testing.assert_allclose(y[y > 0], 1 / (1 - rate), rtol=1e-6)
    assert len(traces) == 1


def test_scope_without_a_rate_leaves_each_layer_its_own():
    x = tf.ones([400, 300])
    ids = tf.range(400, dtype=tf.int64)
    staged = layers.Dropout(0.25, name="staged")
    fixed = layers.Dropout(0.25, staged=False, name="fixed")
    with noise.training_noise(_seed(), ids):
        assert abs((staged(x, training=True) == 0).numpy().mean() - 0.25) < 0.01
    with noise.training_noise(_seed(), ids, dropout_rate=tf.constant(0.6)):
        assert abs((staged(x, training=True) == 0).numpy().mean() - 0.6) < 0.01
        assert abs((fixed(x, training=True) == 0).numpy().mean() - 0.25) < 0.01


def test_layers_draw_by_their_name():
    x = tf.ones([64, 100])
    one, same, other = (
        layers.Dropout(0.5, name=name) for name in ("a", "a", "b")
    )
    with noise.training_noise(_seed(), tf.range(64, dtype=tf.int64)):
        first, second, third = (
            layer(x, training=True).numpy() for layer in (one, same, other)
        )
    np.testing.assert_array_equal(first, second)
    assert abs((first == third).mean() - 0.5) < 0.03


_REPLICAS = """
    import numpy as np
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    import keras
    from efficientnetv2 import layers, noise

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        inputs = keras.Input((3, 3, 4))
        x = layers.StochasticDepth(0.4, name="drop")(inputs)
        x = layers.Dropout(0.5, name="dropout")(x)
        model = keras.Model(inputs, x)

    def call(x, ids, step):
        with noise.training_noise(noise.fold(3, step), ids):
            return model(x, training=True)

    @tf.function
    def two(x, ids, step):
        return strategy.run(call, args=(x, ids, step))

    def split(value):
        return strategy.experimental_distribute_values_from_function(
            lambda c: value[4 * c.replica_id_in_sync_group :][:4]
        )

    x = tf.ones([8, 3, 3, 4])
    ids = tf.constant([5, 2**33, 0, 7, 8, 1, 900, 2], tf.int64)
    step = tf.constant(17, tf.int64)
    parts = strategy.experimental_local_results(
        two(split(x), split(ids), step)
    )
    np.testing.assert_array_equal(tf.concat(parts, 0), call(x, ids, step))
    if np.array_equal(parts[0], parts[1]):
        raise SystemExit("both replicas drew the same noise")
"""


def test_two_replicas_draw_what_one_device_draws():
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_REPLICAS)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr[-2000:]
