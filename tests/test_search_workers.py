"""Workers of one study that are killed, stopped or work at the same time."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import optuna
import pytest
import small_runs
from optuna.trial import TrialState

from efficientnetv2.search import objective, results

WORKER = pathlib.Path(__file__).with_name("search_worker.py")
BACKBONE = "r1_k3_s1_e1_i8_o8_c1;r1_k3_s2_e4_i8_o16_c1"
LIMIT_SECONDS = 120


def start(folder, *, trials, seconds=0.3, storage=None):
    """Starts a worker."""
    hparams = f"search.trials={trials},search.heartbeat_secs=1"
    if storage is not None:
        hparams += f",search.storage={storage}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIAL_SECONDS", str(seconds))
        return small_runs.start(
            "--mode=search",
            f"--model_name={BACKBONE}",
            "--dataset_cfg=shapes",
            f"--model_dir={folder}",
            f"--hparam_str={hparams}",
            script=WORKER,
        )


def finish(worker):
    """Waits for its end; returns what it printed."""
    output, errors = worker.communicate(timeout=LIMIT_SECONDS)
    assert worker.returncode == 0, errors
    return output


def trials_of(folder, storage=None):
    the_study = optuna.load_study(
        study_name="search",
        storage=storage or f"sqlite:///{folder / 'study.db'}",
    )
    return the_study.get_trials(), results.rows(the_study)


def wait_for_trial(folder, number):
    """Waits until the trial is at work."""
    mark = objective.folder_of(folder, number) / "began"
    end = time.monotonic() + LIMIT_SECONDS
    while not mark.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"trial {number} did not begin")
        time.sleep(0.05)


def test_a_killed_workers_trial_is_tried_again(tmp_path):
    # The first is done, the second is under way for long.
    finish(start(tmp_path, trials=1))
    worker = start(tmp_path, trials=2, seconds=100)
    wait_for_trial(tmp_path, 1)
    worker.kill()
    worker.communicate()
    before, _ = trials_of(tmp_path)
    assert before[1].state == TrialState.RUNNING
    output = finish(start(tmp_path, trials=2))
    trials, rows = trials_of(tmp_path)
    assert [t.state.name for t in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert trials[0] == before[0]
    assert trials[2].params == trials[1].params
    assert sorted(row.trial for row in rows) == [0, 2]
    assert "Waiting for the trials of 1 other worker(s)" in output
    assert "[2/2] trial 2 done; reward" in output


@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_stopped_workers_trial_is_tried_again(tmp_path, number, code):
    worker = start(tmp_path, trials=1, seconds=100)
    wait_for_trial(tmp_path, 0)
    worker.send_signal(number)
    output, _ = worker.communicate(timeout=LIMIT_SECONDS)
    assert worker.returncode == code
    assert "the same command goes on" in output
    finish(start(tmp_path, trials=1))
    trials, rows = trials_of(tmp_path)
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE"]
    assert trials[0].params == trials[1].params
    assert [row.trial for row in rows] == [1]


def test_two_workers_that_start_at_once_share_a_study(tmp_path):
    workers = [start(tmp_path, trials=8) for _ in range(2)]
    outputs = [finish(worker) for worker in workers]
    trials, rows = trials_of(tmp_path)
    assert [row.state for row in rows] == ["done"] * 8
    assert len({row.blocks for row in rows}) == 8
    for output in outputs:  # both had a part of the work, and see all of it
        assert 0 < output.count("] trial ") < 8
        assert "best.yaml, leaderboard.csv" in output


def test_two_workers_share_a_journal_file(tmp_path):
    path = tmp_path / "study.log"
    folders = [tmp_path / "one", tmp_path / "other"]
    workers = [start(f, trials=6, storage=path) for f in folders]
    for worker in workers:
        finish(worker)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(path))
    )
    _, rows = trials_of(tmp_path, storage)
    assert {row.state for row in rows} == {"done"}
    assert 6 <= len({row.blocks for row in rows}) == len(rows) <= 7


def test_a_storage_that_goes_away_ends_a_worker_with_a_line(tmp_path):
    worker = start(tmp_path, trials=2, seconds=3)
    wait_for_trial(tmp_path, 0)
    (tmp_path / "study.db").write_bytes(b"no database any more" * 1000)
    _, errors = worker.communicate(timeout=LIMIT_SECONDS)
    assert worker.returncode == 1
    assert errors.startswith("error: the study's storage '")
    assert "goes on when it is back" in errors and errors.count("\n") == 1


def test_a_report_writes_again_what_a_search_has_found(tmp_path):
    finish(start(tmp_path, trials=2))
    names = ["best.yaml", "leaderboard.csv", "leaderboard.md", "pareto.png"]
    before = (tmp_path / "best.yaml").read_text()
    for name in names:
        (tmp_path / name).unlink()
    report = small_runs.start(
        "--mode=report", "--what=search", f"--model_dir={tmp_path}"
    )
    output = finish(report)
    assert (tmp_path / "best.yaml").read_text() == before
    assert all((tmp_path / name).exists() for name in names)
    assert "best: " in output


def test_a_report_of_no_search_is_a_line(tmp_path):
    finish(start(tmp_path, trials=1))
    (tmp_path / "study.db").unlink()
    report = small_runs.start(
        "--mode=report", "--what=search", f"--model_dir={tmp_path}"
    )
    _, errors = report.communicate(timeout=LIMIT_SECONDS)
    assert report.returncode == 1
    assert errors.startswith("error: model_dir must hold a search, with study")


KILLED = """
import os, signal
import tqdm
from efficientnetv2.search import trial_process


def work(pipe, config):
    tqdm.tqdm(total=1, file=open(os.devnull, "w")).update()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    try:
        list(trial_process._messages(work, None))
    except trial_process.TrialFailedError as error:
        print(error)
"""


def test_a_killed_trial_leaves_no_warning_at_the_end(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    done = subprocess.run(
        [sys.executable, "-W", "always", script],
        env={**os.environ, "PYTHONPATH": str(small_runs.ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "its process was ended (exit code -9)" in done.stdout
    assert "leaked" not in done.stderr
