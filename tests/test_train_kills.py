"""One run killed more than twenty times ends like an undisturbed one.

    python -m pytest -m slow tests/test_train_kills.py

takes some minutes. KILL_SEED=n takes other moments.
"""

import os
import random
import signal
import time

import pytest
import small_data
import small_runs

KILLS = 24
LONGEST = 40  # steps from a start to its kill: the run must not end before
SETTINGS = {
    "train.stages": 4,
    "train.epochs": 160,
    "train.lr_base": 0.05,
    "eval.every_epochs": 10,
    "runtime.save_checkpoints_steps": 7,
}
STEPS = 160 * 6


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    small_data.write_data_set(folder, count=48, broken=(7,))
    small_data.write_data_set(folder, split="validation", count=20)
    return small_runs.write_recipe(folder / "mine.yaml", folder, SETTINGS)


def _kill_somewhere(process, rng):
    """Kills at a random moment; returns the last step that was seen, or 0.

    A third of the moments lie in the start, where nothing is printed yet, the
    others a random time behind a random step.
    """
    if rng.random() < 1 / 3:
        time.sleep(rng.uniform(0, 10))
        process.send_signal(signal.SIGKILL)
    steps, last = rng.randint(1, LONGEST), 0
    for line in process.stdout:
        if line.startswith("step "):
            steps -= 1
            last = int(line.split()[1].partition("/")[0])
            if not steps:
                time.sleep(rng.uniform(0, 0.03))
                process.send_signal(signal.SIGKILL)
    return last


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_bit_equal(recipe, tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    process = small_runs.start(
        *small_runs.flags(recipe, undisturbed, "traineval")
    )
    _, error = process.communicate()
    assert process.returncode == 0, error
    seed = int(os.environ.get("KILL_SEED", "0"))
    rng = random.Random(seed)
    steps = []
    while len(steps) < KILLS:
        process = small_runs.start(
            *small_runs.flags(recipe, killed, "traineval")
        )
        steps.append(_kill_somewhere(process, rng))
        _, error = process.communicate()
        assert process.returncode == -signal.SIGKILL, error
    process = small_runs.start(*small_runs.flags(recipe, killed, "traineval"))
    output, error = process.communicate()
    assert process.returncode == 0, error
    print(f"seed {seed}, killed behind the steps {steps} of {STEPS}")
    assert "Going on from step" in output
    assert small_runs.end(killed)[1]["step"] == STEPS
    small_runs.assert_same_end(killed, undisturbed)
