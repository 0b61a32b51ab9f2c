"""The compiled step: bad steps, several steps a call, XLA, precision."""

import keras
import numpy as np
import pytest
import small_runs
import tensorflow as tf

from efficientnetv2 import (
    checkpoint,
    config,
    ema,
    model_dir,
    optimizers,
    train_step,
)

BATCH, CLASSES, SIZE = 6, 4, 16
BLOCKS = ["r1_k3_s1_e1_i8_o8_c1", "r2_k3_s2_e4_i8_o16_se0.25"]


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    found = small_runs.settings(tmp_path_factory.mktemp("data"))
    return config.override(found, {"model.blocks": BLOCKS})


class _Run:
    """A small model and its step."""

    def __init__(self, settings, *, precision=None, **changes):
        keras.utils.set_random_seed(1)
        self.model = model_dir.build_model(settings, precision=precision)
        self.optimizer = optimizers.build(
            "rmsprop", 0.01, dynamic_loss_scale=precision == "float16"
        )
        self.optimizer.build(self.model.trainable_variables)
        self.averages = ema.ExponentialMovingAverage(self.model.weights, 0.9)
        self.step = train_step.TrainStep(
            self.model,
            self.optimizer,
            self.averages,
            strategy=tf.distribute.get_strategy(),
            settings=train_step.StepSettings(
                global_batch=BATCH,
                num_classes=CLASSES,
                style="v2",
                **changes,
            ),
        )

    def snapshot(self):
        arrays = checkpoint.snapshot(self.model, self.averages, self.optimizer)
        return {key: np.array(value) for key, value in arrays.items()}


def _batches(count, *, bad=(), sizes=None):
    """Batches; those with a number in `bad` have labels that are no number."""
    rng = np.random.default_rng(0)

    def make(number):
        size = SIZE if sizes is None else sizes[number]
        labels = np.eye(CLASSES, dtype="float32")[
            rng.integers(CLASSES, size=BATCH)
        ]
        return {
            "image": rng.integers(
                256, size=(BATCH, size, size, 3), dtype="uint8"
            ),
            "label": labels * (np.nan if number in bad else 1.0),
            "index": np.arange(BATCH) + number * BATCH,
            "offset": np.arange(BATCH) + number * BATCH,
        }

    side = SIZE if sizes is None else None
    spec = {
        "image": tf.TensorSpec([BATCH, side, side, 3], tf.uint8),
        "label": tf.TensorSpec([BATCH, CLASSES], tf.float32),
        "index": tf.TensorSpec([BATCH], tf.int64),
        "offset": tf.TensorSpec([BATCH], tf.int64),
    }
    return iter(
        tf.data.Dataset.from_generator(
            lambda: map(make, range(count)), output_signature=spec
        )
    )


def _assert_equal(one, other, *, but=()):
    assert one.keys() == other.keys()
    different = {
        key for key in one if one[key].tobytes() != other[key].tobytes()
    }
    assert different == set(but)


def test_a_step_that_is_not_finite_changes_nothing_but_the_count(settings):
    run = _Run(settings)
    batches = _batches(3, bad=[1])
    figures, _ = run.step(batches, 0, 0.1)
    assert figures["bad"].numpy() == [0] and np.isfinite(figures["loss"])
    before = run.snapshot()
    figures, _ = run.step(batches, 1, 0.1)
    assert figures["bad"].numpy() == [1] and np.isnan(figures["loss"])
    _assert_equal(run.snapshot(), before, but=["optimizer/iteration"])
    figures, _ = run.step(batches, 2, 0.1)
    assert figures["bad"].numpy() == [0] and np.isfinite(figures["loss"])
    after = run.snapshot()
    still = [k for k in before if np.array_equal(before[k], after[k])]
    assert set(still) <= {"optimizer/learning_rate"}


def test_several_steps_in_a_call_are_those_of_single_calls(settings):
    single, several = _Run(settings), _Run(settings, several=True)
    batches = _batches(7, bad=[3])
    rows = [single.step(batches, step, 0.3) for step in range(7)]
    batches = _batches(7, bad=[3])
    calls = [
        several.step(batches, 0, 0.3, count=2, requests=(1, 0)),
        several.step(batches, 2, 0.3, count=4),
        several.step(batches, 6, 0.3, count=1),
    ]
    for key in ("loss", "accuracy", "bad"):
        one, other = (
            np.concatenate([figures[key] for figures, _ in found])
            for found in (rows, calls)
        )
        assert one.tobytes() == other.tobytes()
    places = np.concatenate([offsets for _, offsets in calls])
    np.testing.assert_array_equal(places.ravel(), np.arange(7 * BATCH))
    np.testing.assert_array_equal(calls[0][0]["requests"], [[1, 0], [1, 0]])
    _assert_equal(single.snapshot(), several.snapshot())
    assert several.step.traces == single.step.traces == 1


def test_batches_of_unknown_size_share_one_trace(settings):
    run = _Run(settings)
    batches = _batches(3, sizes=[16, 24, 17])
    losses = [
        float(run.step(batches, step, 0.0)[0]["loss"][0]) for step in range(3)
    ]
    assert np.all(np.isfinite(losses))
    assert run.step.traces == 1


def test_sigmoid_is_a_decision_a_class(settings):
    """Untrained logits are near 0: ln 4 of a softmax, 4 ln 2 of sigmoids."""
    first = {}
    for kind in ("softmax", "sigmoid"):
        run = _Run(settings, loss_type=kind, weight_decay=0.0)
        first[kind] = float(run.step(_batches(1), 0, 0.0)[0]["loss"][0])
    assert first["softmax"] == pytest.approx(np.log(4), rel=0.25)
    assert first["sigmoid"] == pytest.approx(4 * np.log(2), rel=0.25)


def test_xla_gives_the_same_step(settings):
    one_block = {"model.blocks": ["r1_k3_s1_e2_i8_o8_se0.25"]}
    small = config.override(settings, one_block)
    plain, compiled = _Run(small), _Run(small, jit_compile=True)
    for run in (plain, compiled):
        batches = _batches(2, bad=[1])
        run.step(batches, 0, 0.3)
        run.step(batches, 1, 0.3)
    one, other = plain.snapshot(), compiled.snapshot()
    for key, value in one.items():
        scale = np.abs(value).max() + 1e-3
        np.testing.assert_allclose(
            other[key] / scale, value / scale, atol=1e-3, err_msg=key
        )


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_computes_in_it_and_keeps_float32(settings, precision):
    full, half = _Run(settings), _Run(settings, precision=precision)
    assert half.model.compute_dtype == precision
    assert {v.dtype for v in half.model.weights} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    losses = [
        float(run.step(_batches(1), 0, 0.0)[0]["loss"][0])
        for run in (full, half)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    assert losses[1] != losses[0]


def test_a_loss_scale_that_is_too_large_is_no_bad_step(settings):
    run = _Run(settings, precision="float16")
    scale = run.optimizer._loss_scale
    assert float(scale) == 2.0**15
    scale.assign(1e38)
    before = run.snapshot()
    batches = _batches(3, bad=[1])
    figures, _ = run.step(batches, 0, 0.0)
    assert figures["bad"].numpy() == [0] and np.isfinite(figures["loss"])
    assert float(scale) == pytest.approx(0.5e38)
    _assert_equal(
        run.snapshot(),
        before,
        but=["optimizer/iteration", "optimizer/loss_scale"],
    )
    # Labels that are no number are, whatever the scale.
    figures, _ = run.step(batches, 1, 0.0)
    assert figures["bad"].numpy() == [1]


def test_a_loss_that_is_not_finite_is_bad_though_the_step_was_taken():
    figures = train_step._figures(
        tf.constant([[np.inf, 0.5, 0, 0, 0], [1.0, 0.5, 1, 0, 0], [1.0] * 5])
    )
    assert figures["bad"].numpy().tolist() == [1, 1, 1]
