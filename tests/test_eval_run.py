"""An evaluation that follows a training run until its end."""

import contextlib
import threading
import time

import numpy as np
import pytest
import small_runs

from efficientnetv2 import (
    app,
    checkpoint,
    eval_run,
    metrics_file,
    model_dir,
    report,
)

END = 30


def _save(folder, arrays, step, *, favourite=1):
    """A checkpoint as training writes it, of a model that knows one class.

    Of 41 pictures class 0 has 11, the others 10.
    """
    bias = 1e4 * np.eye(4, dtype="float32")[favourite]
    changed = {**arrays, "ema/predictions/bias": bias}
    meta = {
        "epoch": step // 10 - 1,
        "end_step": END,
        "class_names": [f"class {i}" for i in range(4)],
    }
    checkpoint.save(folder / model_dir.CHECKPOINTS, step, changed, meta)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Settings of a run, its folder, and arrays for its checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    settings = small_runs.settings(folder, split="validation", count=41)
    small_runs.write_run(folder / "model", settings)
    arrays, _ = small_runs.end(folder / "model")
    return settings, arrays


@pytest.fixture
def folder(run, tmp_path):
    """A run that has got to step 10 of 30."""
    settings, arrays = run
    small_runs.write_run(tmp_path, settings)
    (tmp_path / model_dir.CHECKPOINTS / "ckpt-0000000007.npz").unlink()
    _save(tmp_path, arrays, 10)
    return tmp_path


def _main(folder, seconds):
    return app.main(
        ["main.py", "--mode=eval", f"--model_dir={folder}"]
        + [f"--follow={seconds}"]
    )


def test_a_torn_row_does_not_spoil_those_behind_it(tmp_path):
    path = tmp_path / metrics_file.EVALUATIONS
    path.write_text('{"kind": "eval", "step": 10, "accuracy": 0.5}\n{"kind": ')
    figures = {"accuracy": 0.25}
    meta = {"step": 20, "epoch": 1}
    with contextlib.closing(eval_run._Records(tmp_path)) as records:
        assert records.step == 10
        records.add(figures, {}, meta)
    assert [row["step"] for row in metrics_file.read(path)] == [10, 20]


def test_each_new_checkpoint_is_evaluated_until_the_end(run, folder, capsys):
    arrays = run[1]
    path = folder / metrics_file.EVALUATIONS

    def train():
        for count, step, favourite in ((1, 20, 0), (2, END, 2)):
            while not path.is_file() or path.read_text().count("\n") < count:
                time.sleep(0.01)  # until the one before is evaluated
            _save(folder, arrays, step, favourite=favourite)

    thread = threading.Thread(target=train)
    thread.start()
    code = _main(folder, 60)
    thread.join()
    assert code == 0
    rows = metrics_file.read(path)
    assert [(row["step"], row["epoch"]) for row in rows] == [
        (10, 0),
        (20, 1),
        (30, 2),
    ]
    hits = [round(41 * row["accuracy"]) for row in rows]
    assert hits == [10, 11, 10]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == [
        "step 10 of 30",
        "step 20 of 30",
        "step 30 of 30",
    ]
    _, meta = checkpoint.read(folder / model_dir.CHECKPOINTS / "best.npz")
    assert meta["step"] == 20
    assert report.read_rows(folder) == ([], rows)
    # Given again, it has nothing left to do.
    assert _main(folder, 60) == 0
    assert "evaluated already: top-1" in capsys.readouterr().out
    assert metrics_file.read(path) == rows


def test_it_gives_up_where_no_new_checkpoint_comes(folder, capsys):
    assert _main(folder, 0.5) == 1
    printed = capsys.readouterr()
    assert "step 10 of 30: top-1" in printed.out
    assert printed.err.splitlines()[-1] == (
        f"error: no new checkpoint in '{folder / 'checkpoints'}' for 0.5 "
        "seconds; the newest is of step 10"
    )


def test_a_torn_checkpoint_is_waited_over(run, folder, capsys):
    path = folder / model_dir.CHECKPOINTS / f"ckpt-{END:010d}.npz"
    _save(folder, run[1], END)
    data = np.fromfile(path, np.uint8)
    data[: len(data) // 2].tofile(path)
    assert _main(folder, 0.5) == 1
    assert "step 10 of 30: top-1" in capsys.readouterr().out
