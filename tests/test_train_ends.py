"""How training ends: by signals, with errors of one line, at its end."""

import itertools
import os
import signal

import numpy as np
import pytest
import small_runs
import tensorflow as tf

from efficientnetv2 import (
    checkpoint,
    config,
    evaluate,
    metrics_file,
    metrics_log,
    train,
)
from efficientnetv2.train_step import TrainStep

EPOCH_STEPS, STEPS = 6, 24


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Four epochs in two stages, evaluated on what is trained on."""
    folder = tmp_path_factory.mktemp("data")
    found = small_runs.settings(folder, {"eval.split": "validation"})
    small_runs.small_data.write_data_set(
        folder / "data", split="validation", count=20
    )
    return found


@pytest.fixture(scope="module")
def undisturbed(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert train.train_and_evaluate(settings, folder) == 0
    return folder


def _signal_at(monkeypatch, owner, name, condition, number):
    """Sends the process a signal in a call that fits; returns the calls."""
    call, fits = getattr(owner, name), []

    def watched(self, *args, **kwargs):
        result = call(self, *args, **kwargs)
        if condition(*args):
            fits.append(args)
            os.kill(os.getpid(), number)
        return result

    monkeypatch.setattr(owner, name, watched)
    return fits


@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_saves_and_the_same_command_goes_on(
    number, code, settings, undisturbed, tmp_path, monkeypatch, capfd
):
    with monkeypatch.context() as patch:
        _signal_at(
            patch, metrics_log.MetricsLog, "step", lambda n, _: n == 9, number
        )
        assert train.train_and_evaluate(settings, tmp_path) == code
    assert small_runs.end(tmp_path)[1]["step"] == 9
    printed = capfd.readouterr()
    assert f"Stopped at step 9 of {STEPS}" in printed.out
    assert "ctrl-C again ends at once" in printed.err
    assert train.train_and_evaluate(settings, tmp_path) == 0
    assert "Going on from step 9" in capfd.readouterr().out
    small_runs.assert_same_end(tmp_path, undisturbed)


def test_a_signal_cuts_an_evaluation_short_which_is_done_afterwards(
    settings, undisturbed, tmp_path, monkeypatch
):
    """Also the last one, behind which there is no step left."""
    # The second start begins with the evaluation that the first has left.
    for epoch, evaluation in ((1, 2), (3, 3)):
        with monkeypatch.context() as patch:
            numbers = itertools.count(1)
            _signal_at(
                patch,
                evaluate.Evaluator,
                "_batches",
                lambda n=numbers, last=evaluation: next(n) == last,
                signal.SIGTERM,
            )
            assert train.train_and_evaluate(settings, tmp_path) == 143
        step = (epoch + 1) * EPOCH_STEPS
        assert small_runs.end(tmp_path)[1]["step"] == step
        assert small_runs.end(tmp_path)[1]["evaluated_step"] < step
    assert train.train_and_evaluate(settings, tmp_path) == 0
    small_runs.assert_same_end(tmp_path, undisturbed)
    rows = metrics_file.read(tmp_path / metrics_file.FILE)
    evaluated = [row["step"] for row in rows if row["kind"] == "eval"]
    assert evaluated == [6, 12, 18, 24]


def test_steps_in_one_call_end_like_single_ones(
    settings, undisturbed, tmp_path
):
    changed = config.override(
        settings,
        "runtime.iterations_per_loop=4,runtime.log_step_count_steps=5,"
        "runtime.save_checkpoints_steps=7",
    )
    assert train.train_and_evaluate(changed, tmp_path) == 0
    small_runs.assert_same_end(tmp_path, undisturbed)
    rows = metrics_file.read(tmp_path / metrics_file.FILE)
    steps = [row["step"] for row in rows if row["kind"] == "train"]
    assert steps == [5, 6, 10, 12, 15, 18, 20, 24]
    saved = [step for step, _ in checkpoint.saved(tmp_path / "checkpoints")]
    assert {7, 14, 21} <= {12, 24, *saved}


def test_the_end_says_time_speed_accuracy_and_where_things_are(
    settings, tmp_path, capsys
):
    assert train.train(settings, tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, x in enumerate(lines) if x.startswith("Trained"))
    assert lines[start].startswith("Trained 4 epochs in 0:00:")
    assert lines[start + 1].split() == [
        "stage", "size", "epochs", "time", "images/s",
    ]  # fmt: skip
    first, second = (line.split() for line in lines[start + 2 : start + 4])
    assert first[:4] == ["1", "16", "px", "0-1"]
    assert second[:4] == ["2", "24", "px", "2-3"]
    assert int(second[-1]) > 0
    assert lines[start + 4] == "not evaluated yet: --mode=eval does"
    assert str(tmp_path) in lines[start + 5]
    # The same again: finished; with evaluations: what is left of it.
    assert train.train(settings, tmp_path) == 0
    assert "This run is finished" in capsys.readouterr().out
    assert train.train_and_evaluate(settings, tmp_path) == 0
    assert "best top-1" in capsys.readouterr().out
    assert train.train_and_evaluate(settings, tmp_path) == 0
    assert "This run is finished" in capsys.readouterr().out


def test_tensorboard_has_settings_and_pictures_of_every_stage(undisturbed):
    (path,) = (undisturbed / metrics_log.TENSORBOARD).iterdir()
    shapes, text = {}, None
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            if value.tag == "settings":
                text = value.tensor.string_val[0].decode()
            if value.HasField("image"):
                size = value.image.height, value.image.width
                shapes.setdefault(value.tag.split("/")[0], []).append(size)
    assert "| train.epochs | 4 |" in text
    assert shapes == {"stage 1": [(16, 16)] * 8, "stage 2": [(24, 24)] * 8}


def test_the_best_checkpoint_is_kept_apart(undisturbed):
    rows = metrics_file.read(undisturbed / metrics_file.FILE)
    rows = [row for row in rows if row["kind"] == "eval"]
    best = max(rows, key=lambda row: row["accuracy"])
    _, meta = checkpoint.read(undisturbed / "checkpoints" / checkpoint.BEST)
    assert meta["step"] == best["step"]
    assert meta["best_accuracy"] == best["accuracy"]


# Errors.


def test_a_loss_that_is_never_finite_stops_the_run(settings, tmp_path):
    changed = config.override(
        settings,
        "train.optimizer=sgd,train.lr_base=1e30,train.lr_warmup_epoch=0,"
        "train.max_bad_steps=3,runtime.save_checkpoints_steps=1",
    )
    with pytest.raises(ValueError) as caught:
        train.train(changed, tmp_path)
    line = str(caught.value)
    assert "not finite in 3 steps in a row (train.max_bad_steps)" in line
    arrays, meta = small_runs.end(tmp_path)
    assert f"the checkpoint of step {meta['step']} is kept" in line
    assert meta["bad_steps"] == 2
    assert all(np.all(np.isfinite(array)) for array in arrays.values())
    # It counts on where it is started again.
    with pytest.raises(ValueError, match="in 3 steps in a row"):
        train.train(changed, tmp_path)


def test_no_space_for_a_checkpoint_is_one_line_and_the_one_before_stays(
    settings, undisturbed, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        _signal_at(
            patch,
            metrics_log.MetricsLog,
            "step",
            lambda n, _: n == 9,
            signal.SIGTERM,
        )
        assert train.train_and_evaluate(settings, tmp_path) == 143
    with (
        small_runs.full_disk(100_000),
        pytest.raises(checkpoint.CheckpointError) as caught,
    ):
        train.train_and_evaluate(settings, tmp_path)
    line = str(caught.value)
    assert "cannot write the checkpoint" in line and "stay good" in line
    assert small_runs.end(tmp_path)[1]["step"] == 9
    assert sorted(os.listdir(tmp_path / "checkpoints")) == [
        "best.npz",
        "ckpt-0000000006.npz",
        "ckpt-0000000009.npz",
    ]
    assert train.train_and_evaluate(settings, tmp_path) == 0
    small_runs.assert_same_end(tmp_path, undisturbed)


def test_out_of_memory_says_what_to_lower(settings, tmp_path, monkeypatch):
    call = TrainStep.__call__

    def full(self, batches, step, *args, **kwargs):
        if step < 2 * EPOCH_STEPS:
            return call(self, batches, step, *args, **kwargs)
        raise tf.errors.ResourceExhaustedError(
            None, None, "Graph execution error:\n\nOOM when allocating [8]"
        )

    monkeypatch.setattr(TrainStep, "__call__", full)
    with pytest.raises(ValueError) as caught:
        train.train(settings, tmp_path)
    line = str(caught.value)
    assert "out of memory in stage 2 with 8 images of 24 px a device" in line
    for key in ("train.batch_size", "train.isize", "runtime.mixed_precision"):
        assert key in line
    assert "OOM when allocating [8]" in line and "\n" not in line
    # What the first stage has learnt is there.
    assert small_runs.end(tmp_path)[1]["step"] == 2 * EPOCH_STEPS


def test_settings_of_a_folder_bind_once_something_is_trained(
    settings, undisturbed, tmp_path
):
    wrong = config.override(settings, f"train.ft_init_ckpt={tmp_path / 'no'}")
    with pytest.raises(FileNotFoundError):
        train.train(wrong, tmp_path)
    changed = config.override(settings, "train.label_smoothing=0.2")
    assert train.train(changed, tmp_path) == 0
    with pytest.raises(ValueError, match="label_smoothing: 0.2 -> 0.1"):
        train.train(settings, tmp_path)


def test_another_model_in_the_folder_is_refused_by_its_name(
    settings, undisturbed
):
    other = config.load(
        "efficientnetv2-b0", settings.dataset_cfg, "train.stages=1"
    )
    with pytest.raises(ValueError) as caught:
        train.train(other, undisturbed)
    line = str(caught.value)
    assert f"model_name: {small_runs.BLOCKS} -> efficientnetv2-b0" in line
    assert "model.blocks" not in line


@pytest.mark.parametrize(
    "overrides, words",
    [
        ("train.batch_size=50", ["<= the 48 examples", "50"]),
        ("train.split=trian", ["trian"]),
        ("data.data_dir=/nowhere", ["data_dir", "/nowhere"]),
        ("runtime.strategy=multiworker", ["TF_CONFIG"]),
        ("runtime.strategy=tpu,runtime.tpu=pod", ["no TPU 'pod'"]),
    ],
)
def test_what_does_not_fit_is_one_line(overrides, words, settings, tmp_path):
    with pytest.raises(ValueError) as caught:
        train.train(config.override(settings, overrides), tmp_path / "run")
    line = str(caught.value)
    assert all(word in line for word in words) and "\n" not in line
    assert not (tmp_path / "run").exists()


def test_evaluating_on_what_is_trained_on_is_refused(settings, tmp_path):
    same = config.override(settings, "eval.split=train")
    with pytest.raises(ValueError, match="eval.split must have no example"):
        train.train_and_evaluate(same, tmp_path)


def test_a_folder_that_is_a_file_is_one_line(settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        train.train(settings, tmp_path / "file")
