"""--mode=search with trials that are trained, each in a process of its own.

Workers whose trials take no time are in test_search_workers.py.
"""

import contextlib
import os
import pathlib
import signal
import sys
import time

import optuna
import pytest
import small_data
import small_runs
from optuna.trial import TrialState

from efficientnetv2 import config
from efficientnetv2.search import objective, results, study, trial_process

BACKBONE = "r1_k3_s1_e1_i8_o8_c1;r1_k3_s2_e4_i8_o16_c1"
CHANGES = {
    "train.stages": 1,
    "train.epochs": 1,
    "train.isize": 16,
    "train.lr_warmup_epoch": 0,
    "eval.isize": 16,
}
SEARCH = (
    "search.layers=1,search.expansions=1|4,search.step_pairs=1,"
    "search.heartbeat_secs=1"
)
LIMIT_SECONDS = 300


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for split in ("train", "validation"):
        small_data.write_data_set(
            folder / "data", split=split, count=24, shards=1
        )
    return small_runs.write_recipe(
        folder / "mine.yaml", folder / "data", CHANGES
    )


def start(recipe, folder, trials):
    return small_runs.start(
        "--mode=search",
        f"--model_name={BACKBONE}",
        f"--dataset_cfg={recipe}",
        f"--model_dir={folder}",
        f"--hparam_str={SEARCH},search.trials={trials}",
    )


def trials_of(folder):
    the_study = optuna.load_study(
        study_name="search", storage=f"sqlite:///{folder / study.DATABASE}"
    )
    return the_study, the_study.get_trials()


def wait_for(condition):
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except Exception:  # the study is not there yet
            pass
        time.sleep(0.2)
    raise TimeoutError("the search did not get there")


def children(pid):
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()]


def is_alive(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return text.rpartition(") ")[2][0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_search_goes_on_and_tries_its_trial_again(recipe, tmp_path):
    folder = tmp_path / "search"

    def second_runs():
        trials = trials_of(folder)[1]
        log = objective.folder_of(folder, 1) / trial_process.LOG
        is_running = trials[1].state == TrialState.RUNNING
        return is_running and log.exists() and trials

    first = start(recipe, folder, trials=2)
    before = wait_for(second_runs)
    processes = children(first.pid)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert processes
    wait_for(lambda: not any(map(is_alive, processes)))
    again = start(recipe, folder, trials=2)
    output, errors = again.communicate(timeout=LIMIT_SECONDS)
    assert again.returncode == 0, errors
    the_study, trials = trials_of(folder)
    assert [t.state.name for t in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert trials[0] == before[0]  # done ones stay as they were
    assert trials[2].params == trials[1].params
    assert [row.trial for row in results.rows(the_study)] in ([0, 2], [2, 0])
    assert "[2/2] trial 2 done; reward" in output
    best = config.load(str(folder / "best.yaml"), recipe)
    keys = {trial.user_attrs["blocks"] for trial in (trials[0], trials[2])}
    assert ";".join(best.model.blocks) in keys
    for name in ("leaderboard.csv", "leaderboard.md", "pareto.png"):
        assert (folder / name).stat().st_size > 0


def _die(pipe, made):
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does, out of memory


def _raise(pipe, made):
    raise MemoryError("no 9 GiB")


@pytest.mark.parametrize(
    "task, reason",
    [
        (_die, "was ended \\(exit code -9\\), as happens when the memory"),
        (_raise, "^MemoryError: out of memory. no 9 GiB$"),
    ],
)
def test_a_process_that_dies_is_a_reason(task, reason):
    with pytest.raises(trial_process.TrialFailedError, match=reason):
        list(trial_process._messages(task, None))


def _sleep(pipe, made):
    pipe.send(("step", os.getpid()))
    time.sleep(LIMIT_SECONDS)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_trial_that_is_pruned_ends_its_process():
    messages = trial_process._messages(_sleep, None)
    with contextlib.closing(messages):
        pid = next(value for kind, value in messages if kind == "step")
        assert is_alive(pid)
    assert not is_alive(pid)


def test_data_that_are_not_there_end_the_search_at_once(tmp_path, recipe):
    worker = small_runs.start(
        "--mode=search",
        f"--model_name={BACKBONE}",
        f"--dataset_cfg={recipe}",
        f"--data_dir={tmp_path / 'nowhere'}",
        f"--model_dir={tmp_path / 'search'}",
    )
    _, errors = worker.communicate(timeout=LIMIT_SECONDS)
    assert worker.returncode == 1
    assert errors.startswith("error: ") and errors.count("\n") == 1
    assert not (tmp_path / "search").exists()
