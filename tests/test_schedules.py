"""Learning rates against the original's figures and against formulas."""

import json
import math
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnetv2 import schedules

CASES = json.loads(
    (pathlib.Path(__file__).parent / "golden" / "lr.json").read_text()
)


def _rates(schedule, steps):
    return [float(schedule(step)) for step in steps]


@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: c["args"]["lr_decay_type"]
)
def test_rates_equal_the_original(case):
    schedule = schedules.learning_rate(**case["args"])
    np.testing.assert_allclose(
        _rates(schedule, case["steps"]), case["lr"], rtol=2e-6, atol=1e-9
    )


@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: c["args"]["lr_decay_type"]
)
def test_a_compiled_step_counter_gives_the_same_rates(case):
    schedule = schedules.learning_rate(**case["args"])
    compiled = tf.function(
        schedule, input_signature=[tf.TensorSpec([], tf.int64)]
    )
    got = [compiled(tf.constant(step, tf.int64)) for step in case["steps"]]
    np.testing.assert_allclose(got, case["lr"], rtol=2e-6, atol=1e-9)
    assert got[0].dtype == tf.float32


def test_exponential_decay_is_a_staircase_from_step_0_not_from_the_warm_up():
    schedule = schedules.learning_rate(
        1.0, 10, decay_factor=0.5, decay_epochs=2, warmup_epochs=3
    )
    # Warm-up ends at step 30; the first fall was due at 20, the next is at 40.
    assert _rates(schedule, [15, 29, 30, 39, 40, 59, 60]) == pytest.approx(
        [0.5, 29 / 30, 0.5, 0.5, 0.25, 0.25, 0.125]
    )


def test_cosine_and_linear_end_at_0_and_stay_there():
    settings = {"total_steps": 100, "warmup_epochs": 0}
    cosine = schedules.learning_rate(
        2.0, 10, lr_decay_type="cosine", **settings
    )
    linear = schedules.learning_rate(
        2.0, 10, lr_decay_type="linear", **settings
    )
    steps = [0, 25, 50, 99, 100, 150]
    assert _rates(cosine, steps) == pytest.approx(
        [1 + math.cos(math.pi * min(s / 100, 1)) for s in steps], abs=1e-6
    )
    assert _rates(linear, steps) == pytest.approx(
        [2 * (1 - min(s / 100, 1)) for s in steps], abs=1e-6
    )


def test_constant_is_constant_after_the_warm_up():
    schedule = schedules.learning_rate(
        0.5, 10, lr_decay_type="constant", warmup_epochs=0.5
    )
    assert _rates(schedule, [0, 1, 4, 5, 10**6]) == pytest.approx(
        [0.0, 0.1, 0.4, 0.5, 0.5]
    )


def test_minimal_lr_bounds_the_decay_but_not_the_warm_up():
    schedule = schedules.learning_rate(
        1.0,
        10,
        lr_decay_type="linear",
        total_steps=100,
        warmup_epochs=1,
        minimal_lr=0.3,
    )
    assert _rates(schedule, [0, 1, 50, 90, 200]) == pytest.approx(
        [0.0, 0.1, 0.5, 0.3, 0.3]
    )


def test_a_schedule_survives_serialisation():
    schedule = schedules.learning_rate(**CASES[0]["args"])
    config = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(
        json.loads(json.dumps(config))
    )
    steps = CASES[0]["steps"]
    assert _rates(again, steps) == _rates(schedule, steps)


def test_a_keras_optimizer_takes_the_schedule_at_its_own_step():
    schedule = schedules.learning_rate(
        1.0, 10, lr_decay_type="constant", warmup_epochs=1
    )
    optimizer = keras.optimizers.SGD(schedule)
    variable = keras.Variable(np.float32(0.0))
    for _ in range(3):
        optimizer.apply([keras.ops.convert_to_tensor(1.0)], [variable])
    assert float(variable.value) == pytest.approx(-(0.0 + 0.1 + 0.2))


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"lr_decay_type": "cosin"}, "nearest: 'cosine'"),
        ({"lr_decay_type": "cosine"}, "total_steps must be >= 1 for 'cosine'"),
        ({"initial_lr": 0}, "initial_lr must be > 0. Received: 0"),
        ({"initial_lr": math.nan}, "initial_lr must be > 0. Received: nan"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be >= 1. Received: 0"),
        ({"warmup_epochs": -1}, "warmup_epochs must be >= 0. Received: -1"),
        ({"decay_epochs": 0}, "decay_epochs must be > 0. Received: 0"),
        ({"decay_factor": -0.9}, "decay_factor must be > 0. Received: -0.9"),
    ],
)
def test_impossible_settings_are_one_clear_line(changed, message):
    settings = {"initial_lr": 0.1, "steps_per_epoch": 10, **changed}
    with pytest.raises(ValueError, match=message) as error:
        schedules.learning_rate(**settings)
    assert "\n" not in str(error.value)
