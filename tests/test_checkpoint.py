"""The state of a run as arrays and back: names, strictness, no aliasing."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from efficientnetv2 import checkpoint, ema, optimizers
from efficientnetv2.checkpoint import CheckpointError


def _model(width=5):
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(width, 3, use_bias=False, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="conv_bn")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x))


def _run(name="rmsprop", width=5, **kwargs):
    """Model, averages and optimizer, one after each other's creation."""
    model = _model(width)
    optimizer = optimizers.build(name, 0.1, **kwargs)
    optimizer.build(model.trainable_variables)
    return model, ema.ExponentialMovingAverage(model.weights, 0.9), optimizer


def _train(model, averages, optimizer, steps=3):
    rng = np.random.default_rng(int(optimizer.iterations.numpy()))
    for _ in range(steps):
        gradients = [
            tf.constant(rng.normal(size=v.shape), tf.float32)
            for v in model.trainable_variables
        ]
        optimizer.apply(gradients, model.trainable_variables)
        averages.update(optimizer.iterations)


def _assert_equal(one, other):
    assert list(one) == list(other)
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_names_are_paths_and_slots():
    model, averages, optimizer = _run()
    assert set(checkpoint.snapshot(model)) == {
        "model/conv/kernel",
        "model/conv_bn/gamma",
        "model/conv_bn/beta",
        "model/conv_bn/moving_mean",
        "model/conv_bn/moving_variance",
        "model/head/kernel",
        "model/head/bias",
    }
    keys = set(checkpoint.snapshot(model, averages, optimizer))
    assert {k for k in keys if k.startswith("optimizer/conv")} == {
        "optimizer/conv/kernel/mean_square",
        "optimizer/conv/kernel/momentum",
        "optimizer/conv_bn/gamma/mean_square",
        "optimizer/conv_bn/gamma/momentum",
        "optimizer/conv_bn/beta/mean_square",
        "optimizer/conv_bn/beta/momentum",
    }
    assert {"optimizer/iteration", "optimizer/learning_rate"} <= keys
    assert {k for k in keys if k.startswith("ema/")} == {
        f"ema/{v.path}" for v in model.weights
    }


@pytest.mark.parametrize("name", optimizers._OPTIMIZERS)
def test_names_are_the_same_for_the_second_of_a_process(name):
    assert list(checkpoint.snapshot(*_run(name))) == list(
        checkpoint.snapshot(*_run(name, dynamic_loss_scale=False))
    )


def test_paths_that_melt_into_one_word_are_told_apart():
    inputs = x = keras.Input((2,))
    for name in ("a", "a_b"):
        x = keras.layers.Dense(2, use_bias=False, name=name)(x)
    model = keras.Model(inputs, x)
    model.layers[1].kernel._path = "a/b_kernel"
    model.layers[2].kernel._path = "a_b/kernel"
    optimizer = optimizers.build("rmsprop", 0.1)
    optimizer.build(model.trainable_variables)
    keys = set(checkpoint.snapshot(model, optimizer=optimizer))
    assert {k for k in keys if k.endswith("/momentum")} == {
        "optimizer/a/b_kernel/momentum",
        "optimizer/a_b/kernel/momentum",
    }


def test_the_counters_of_a_wrapper_have_names_of_their_own():
    model = _model()
    optimizer = keras.optimizers.LossScaleOptimizer(optimizers.RMSProp(0.1))
    optimizer.build(model.trainable_variables)
    keys = [
        k
        for k in checkpoint.snapshot(model, optimizer=optimizer)
        if k.startswith("optimizer/")
    ]
    assert len(keys) == len(set(keys)) == len(optimizer.variables)


@pytest.mark.parametrize("name", ["rmsprop", "adamw"])
def test_a_run_goes_on_from_a_snapshot_bit_for_bit(name, tmp_path):
    undisturbed = _run(name, dynamic_loss_scale=True)
    start = checkpoint.snapshot(*undisturbed)
    _train(*undisturbed, steps=6)
    interrupted = _run(name, dynamic_loss_scale=True)
    checkpoint.restore(start, *interrupted)
    _train(*interrupted)
    path = checkpoint.save(tmp_path, 3, checkpoint.snapshot(*interrupted), {})
    resumed = _run(name, dynamic_loss_scale=True)
    checkpoint.restore(checkpoint.read(path)[0], *resumed)
    # The gradients' seed is the optimizer's step: 0 for one, 3 for the other.
    checkpoint.restore(start, *undisturbed)
    _train(*undisturbed)
    _train(*undisturbed)
    _train(*resumed)
    _assert_equal(
        checkpoint.snapshot(*undisturbed), checkpoint.snapshot(*resumed)
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_later_steps_do_not_change_a_snapshot(compiled):
    model, averages, optimizer = _run()
    variables = model.trainable_variables

    @tf.function(jit_compile=compiled)
    def step():
        gradients = [tf.fill(v.shape, 0.5) for v in variables]
        optimizer.apply(gradients, variables)
        averages.update(optimizer.iterations)

    step()
    held = checkpoint.snapshot(model, averages, optimizer)
    copies = {key: value.copy() for key, value in held.items()}
    step()
    step()
    for variable in model.weights:
        variable.assign(variable * 0.5)
    _assert_equal(held, copies)
    later = checkpoint.snapshot(model, averages, optimizer)
    same = [k for k in held if np.array_equal(held[k], later[k])]
    assert set(same) <= {
        "optimizer/learning_rate",
        "model/conv_bn/moving_mean",  # zero all along
        "ema/conv_bn/moving_mean",
        "ema/conv_bn/moving_variance",
    }


def test_restoring_shares_no_memory_with_the_arrays():
    model, averages, optimizer = _run()
    arrays = checkpoint.snapshot(model, averages, optimizer)
    arrays = {key: np.array(value) for key, value in arrays.items()}
    copies = {key: value.copy() for key, value in arrays.items()}
    checkpoint.restore(arrays, model, averages, optimizer)
    _train(model, averages, optimizer)
    _assert_equal(arrays, copies)


def _unchanged(run, arrays, message):
    before = checkpoint.snapshot(*run)
    with pytest.raises(CheckpointError, match=message) as error:
        checkpoint.restore(arrays, *run)
    assert "\n" not in str(error.value)
    _assert_equal(checkpoint.snapshot(*run), before)


def test_what_does_not_fit_is_named_and_nothing_is_loaded():
    run = _run()
    arrays = checkpoint.snapshot(*_run())
    del arrays["model/head/bias"], arrays["ema/conv/kernel"]
    arrays["model/tail/bias"] = np.zeros(2)
    _unchanged(
        run,
        arrays,
        r"it lacks 2 \('model/head/bias', 'ema/conv/kernel'\); "
        r"it has 1 \('model/tail/bias'\) for which is no place",
    )


def test_another_shape_is_named_and_nothing_is_loaded():
    arrays = checkpoint.snapshot(*_run(width=6))
    _unchanged(
        _run(),
        arrays,
        r"have another shape, first 'model/conv/kernel': \(3, 3, 3, 6\), "
        r"needed \(3, 3, 3, 5\)",
    )


def test_the_state_of_another_optimizer_does_not_fit():
    arrays = checkpoint.snapshot(*_run("adam"))
    _unchanged(_run("rmsprop"), arrays, r"it lacks 5 .*it has 5 ")


def test_what_is_not_asked_for_is_left_aside():
    run = _run()
    _train(*run)
    arrays = checkpoint.snapshot(*run)
    model = _model()
    checkpoint.restore(arrays, model)
    for key, value in checkpoint.snapshot(model).items():
        np.testing.assert_array_equal(value, arrays[key])


def test_inference_takes_the_averages_where_there_are_some():
    run = _run()
    _train(*run)
    arrays = checkpoint.snapshot(*run)
    model = _model()
    for section, held in (
        ("ema", arrays),
        ("model", {k: v for k, v in arrays.items() if k[:4] != "ema/"}),
    ):
        checkpoint.restore_for_inference(held, model)
        for variable in model.weights:
            np.testing.assert_array_equal(
                variable.numpy(), arrays[f"{section}/{variable.path}"]
            )
    with pytest.raises(CheckpointError, match="it lacks 1"):
        checkpoint.restore_for_inference(
            {k: v for k, v in arrays.items() if k != "ema/head/bias"}, model
        )


def test_reading_needs_no_tensorflow(tmp_path):
    checkpoint.save(tmp_path, 1, {"model/a": np.ones(2)}, {})
    code = (
        "import sys; from efficientnetv2 import checkpoint_files as c; "
        f"print(c.latest({str(tmp_path)!r})[1]['step']); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
