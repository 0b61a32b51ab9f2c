"""The measurements of the training loop run and add up."""

import re

import numpy as np
import pytest
import small_runs

from efficientnetv2 import entry_point
from efficientnetv2.experiments import engine, engine_costs, schedule_time

SMALL = {"batch_size": 4, "image_size": 32}


@pytest.fixture(scope="module")
def changes():
    return engine_costs.measure_changes(
        small_runs.BLOCKS, changes=3, copies=2, **SMALL
    )


def test_growing_stages_share_one_trace(changes):
    assert changes.traces == 1


def test_a_change_is_the_start_of_the_input_and_a_rest(changes):
    assert changes.change.shape == changes.input_start.shape == (3,)
    assert np.all(changes.step > 0)
    # The first step waits for its input.
    assert np.all(changes.change > 0) and np.all(changes.input_start > 0)
    assert changes.copy.shape == (2,) and np.all(changes.copy > 0)


def test_the_table_has_a_row_a_figure(capsys):
    argv = [
        *("engine", f"--model_name={small_runs.BLOCKS}", "--batch_size=4"),
        *("--image_size=32", "--pairs=2", "--changes=2"),
        "--measures=loop,memory",
    ]
    assert entry_point.run(engine._run, argv) == 0
    text = capsys.readouterr().out
    rows = re.findall(r"^\| (.*) \| (.*) \|$", text, re.MULTILINE)[1:]
    figures = dict(rows)
    low, high = re.fullmatch(
        r"-?[\d.]+ % \((-?[\d.]+) to (-?[\d.]+)\)",
        figures["the loop, beyond it"],
    ).groups()
    assert float(low) <= float(high)
    for stage in (2, 3):
        mib = figures[f"memory where stage {stage} begins"]
        assert float(mib.removesuffix(" MiB")) > 100


def test_a_schedule_costs_the_mean_of_its_stages_weighted_by_epochs():
    # Table 6 of the paper: S, four stages of about 87 epochs.
    sizes = np.array([128, 185, 243, 300])
    work = schedule_time.ratios([87, 88, 87, 88], sizes**2)
    assert work == pytest.approx(0.5555, abs=0.002)
    rounds = schedule_time.ratios([1, 3], [[1.0, 2.0], [2.0, 2.0]])
    np.testing.assert_allclose(rounds, [0.875, 1.0])


def test_steps_of_all_stages_are_timed_in_turn(capsys):
    argv = [
        *("schedule_time", f"--model_name={small_runs.BLOCKS}"),
        *("--batch_size=2", "--rounds=2"),
    ]
    assert entry_point.run(schedule_time._run, argv) == 0
    text = capsys.readouterr().out
    rows = re.findall(r"^\| (\d) \| (\d+) px \| (\d+) \|", text, re.MULTILINE)
    assert [stage for stage, *_ in rows] == ["1", "2", "3", "4"]
    sizes = np.array([int(size) for _, size, _ in rows])
    assert sum(int(epochs) for *_, epochs in rows) == 350
    assert "pixels alone: " in text and sizes[0] < sizes[-1]


@pytest.mark.parametrize(
    "run, flags, words",
    [
        (engine._run, ["--measures=lop"], ["measures", "loop,", "'lop'"]),
        (engine._run, ["--changes=1"], ["changes must be >= 2", "1"]),
        (engine._run, ["--modle_name=a"], ["'--model_name'"]),
        (schedule_time._run, ["--rounds=0"], ["rounds must be >= 1", "0"]),
        (schedule_time._run, ["--batch_size=0"], ["train.batch_size"]),
        (schedule_time._run, ["--model_name=efficientnet-b0"], ["one stage"]),
    ],
)
def test_a_mistake_is_one_line(run, flags, words, capsys):
    assert entry_point.run(run, ["program", *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert all(word in error for word in words), error
