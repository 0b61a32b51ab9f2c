"""What a run shows and writes down: rows, lines, the bar, resume."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from efficientnetv2 import metrics_file, metrics_log
from efficientnetv2.progressive import Stage

STAGE = Stage(
    index=1,
    first_epoch=2,
    end_epoch=4,
    image_size=160,
    randaug_magnitude=7.5,
    mixup_alpha=0.0,
    cutmix_alpha=0.0,
    dropout_rate=0.2,
)


def _figures(loss):
    return {"loss": tf.constant(loss), "accuracy": tf.constant(0.25)}


def _run(folder, steps, *, every=2, end_step=6, losses=None, **kwargs):
    """Logs steps (done so far, to do) with the step as loss."""
    first, last = steps
    with metrics_log.MetricsLog(
        folder, first_step=first, end_step=end_step, every=every, **kwargs
    ) as log:
        log.stage(STAGE, stages=4)
        for step in range(first + 1, last + 1):
            log.step(
                step,
                _figures((losses or {}).get(step, float(step))),
                images=8,
                epoch=2,
                learning_rate=lambda step=step: step / 100,
            )
    return metrics_file.read(folder / metrics_file.FILE)


def test_a_row_holds_the_means_since_the_last_one(tmp_path):
    rows = _run(tmp_path, (0, 5), end_step=5)
    assert [row["step"] for row in rows] == [2, 4, 5]
    assert [row["loss"] for row in rows] == [1.5, 3.5, 5.0]
    row = rows[0]
    assert row["kind"] == "train" and row["epoch"] == 2
    assert row["accuracy"] == 0.25 and row["learning_rate"] == 0.02
    assert row["stage"] == 1 and row["image_size"] == 160
    assert row["images_per_second"] == pytest.approx(16 / row["seconds"])


def test_a_row_can_be_asked_for_early(tmp_path):
    with metrics_log.MetricsLog(
        tmp_path, first_step=0, end_step=9, every=5
    ) as log:
        for step in (1, 2, 3):
            log.step(
                step,
                _figures(1.0),
                images=8,
                epoch=0,
                learning_rate=float,
                last=step == 2,
            )
        log.evaluation(3, 0, {"accuracy": 0.5, "examples": 10})
    rows = metrics_file.read(tmp_path / metrics_file.FILE)
    assert [(row["kind"], row["step"]) for row in rows] == [
        ("train", 2),
        ("eval", 3),
    ]
    assert rows[1] == {
        "kind": "eval",
        "step": 3,
        "epoch": 0,
        "accuracy": 0.5,
        "examples": 10,
    }


def test_without_a_terminal_there_are_plain_lines(tmp_path, capsys):
    _run(tmp_path, (0, 2), terminal=False)
    stage, step = capsys.readouterr().out.splitlines()
    assert stage == (
        "stage 2/4: epochs 2 to 3, 160 px, RandAugment 7.5, mixup 0, "
        "CutMix 0, dropout 0.2"
    )
    assert step.startswith("step 2/6 loss 1.500 accuracy 25.0 % lr 0.02 ")
    assert step.endswith(" images/s stage 2 at 160 px")


def test_on_a_terminal_there_is_a_bar(tmp_path, capsys):
    _run(tmp_path, (2, 6), terminal=True)
    out = capsys.readouterr().out
    assert "stage 2/4: epochs 2 to 3" in out
    assert "| 2/6 [" in out and "| 6/6 [" in out
    assert "loss 5.500" in out and "stage 2 at 160 px" in out


def test_rows_after_the_step_that_a_run_resumes_from_are_dropped(tmp_path):
    _run(tmp_path, (0, 6))
    rows = _run(tmp_path, (4, 6), losses={5: 50.0, 6: 60.0})
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert [row["loss"] for row in rows] == [1.5, 3.5, 55.0]


@pytest.mark.parametrize("end", [b'{"kind": "tr', b"\x00\xff", b"17\n"])
def test_a_torn_last_line_is_left_out_and_written_over(tmp_path, end):
    whole = _run(tmp_path, (0, 4))
    path = tmp_path / metrics_file.FILE
    path.write_bytes(path.read_bytes() + end)
    assert metrics_file.read(path) == whole
    rows = _run(tmp_path, (4, 6))
    assert [row["step"] for row in rows] == [2, 4, 6]


def test_every_line_is_json_though_the_loss_is_not_a_number(tmp_path):
    rows = _run(tmp_path, (0, 4), losses={3: np.nan})
    assert [row["loss"] for row in rows] == [1.5, None]

    def refuse(constant):
        raise AssertionError(constant)

    for line in (tmp_path / metrics_file.FILE).read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_tensorboard_gets_numbers_pictures_and_settings(tmp_path):
    with metrics_log.MetricsLog(
        tmp_path, first_step=0, end_step=2, every=1
    ) as log:
        log.settings({"train.epochs": 3}, 0)
        log.images("augmented", np.zeros((1, 4, 4, 3), "uint8"), 0)
        log.evaluation(1, 0, {"accuracy": 0.5})
    (path,) = (tmp_path / metrics_log.TENSORBOARD).iterdir()
    values = [
        value
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    ]
    assert [value.tag for value in values] == [
        "settings",
        "augmented/image/0",
        "eval/epoch",
        "eval/accuracy",
    ]
    assert b"| train.epochs | 3 |" in values[0].tensor.string_val[0]
    assert values[3].simple_value == 0.5


def test_without_a_folder_nothing_is_written_or_shown(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with metrics_log.MetricsLog(None, first_step=0, end_step=2, every=1) as log:
        log.stage(STAGE, stages=4)
        log.step(1, _figures(1.0), images=8, epoch=0, learning_rate=float)
        log.evaluation(1, 0, {"accuracy": 0.5})
        log.settings({"a": 1}, 0)
        log.images("augmented", np.zeros((1, 4, 4, 3), "uint8"), 0)
        log.say("a line")
    assert os.listdir(tmp_path) == []
    assert capsys.readouterr() == ("", "")


def test_a_remote_folder_works_alike():
    folder = f"ram://{os.getpid()}/log"
    for first in (0, 1):
        with metrics_log.MetricsLog(
            folder, first_step=first, end_step=3, every=1
        ) as log:
            log.evaluation(first + 1, 0, {"accuracy": 0.5})
            log.evaluation(first + 2, 0, {"accuracy": 0.5})
    rows = metrics_file.read(f"{folder}/{metrics_file.FILE}")
    assert [row["step"] for row in rows] == [1, 2, 3]


def test_seconds_by_stage_add_up_over_the_rows():
    rows = [
        {"kind": "train", "step": 1, "stage": 0, "seconds": 2.0},
        {"kind": "eval", "step": 1, "seconds": 99.0},
        {"kind": "train", "step": 2, "stage": 0, "seconds": 3.0},
        {"kind": "train", "step": 3, "stage": 1, "seconds": 4.0},
    ]
    assert metrics_file.seconds_by_stage(rows) == {0: 5.0, 1: 4.0}
