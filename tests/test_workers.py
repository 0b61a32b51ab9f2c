"""Workers in processes of their own train like one device, and end together."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
import small_data
import small_runs
import tensorflow as tf
from conftest import ROOT

from efficientnetv2 import metrics_file, train, workers

# Two epochs of five steps, a stage each; without broken pictures two hosts
# read what one does.
SETTINGS = {
    "train.epochs": 2,
    "train.lr_base": 0.05,
    "eval.batch_size": 4,
    "runtime.save_checkpoints_steps": 3,
}
PATIENCE = 240  # seconds


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    small_data.write_data_set(folder, count=40)
    small_data.write_data_set(folder, split="validation", count=13)
    return small_runs.write_recipe(folder / "mine.yaml", folder, SETTINGS)


def _free_address():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return f"localhost:{found.getsockname()[1]}"


def _start(model_dir, recipe, *, task=None, addresses=()):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    if task is not None:
        environment["TF_CONFIG"] = json.dumps(
            {
                "cluster": {"worker": addresses},
                "task": {"type": "worker", "index": task},
            }
        )
    return subprocess.Popen(
        [
            *(sys.executable, ROOT / "main.py"),
            *small_runs.flags(recipe, model_dir, "traineval"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def _run_workers(model_dir, recipe, *, then=None):
    """Runs two workers; [(exit code, output)] of both.

    Args:
        model_dir: Folder of the run.
        recipe: Path of its recipe.
        then: (step, worker, signal): what is sent after a step.
    """
    addresses = [_free_address() for _ in range(2)]
    workers = [
        _start(model_dir, recipe, task=task, addresses=addresses)
        for task in range(2)
    ]
    outputs = [[], []]

    def listen(index):
        for line in workers[index].stdout:
            outputs[index].append(line)
            if then and index == 0 and line.startswith(f"step {then[0]}/"):
                workers[then[1]].send_signal(then[2])

    threads = [
        threading.Thread(target=listen, args=(index,)) for index in range(2)
    ]
    for thread in threads:
        thread.start()
    try:
        codes = [worker.wait(PATIENCE) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for thread in threads:
        thread.join()
    return [
        (code, "".join(lines))
        for code, lines in zip(codes, outputs, strict=True)
    ]


@pytest.fixture(scope="module")
def alone(recipe, tmp_path_factory):
    """Folder of the run on one device."""
    folder = tmp_path_factory.mktemp("alone")
    process = _start(folder, recipe)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    return folder


@pytest.fixture(scope="module")
def together(recipe, tmp_path_factory):
    """(folder, results): one worker dies, then one is told to stop, then all
    goes to the end."""
    folder = tmp_path_factory.mktemp("together")
    died = _run_workers(folder, recipe, then=(4, 1, signal.SIGKILL))
    stopped = _run_workers(folder, recipe, then=(5, 1, signal.SIGTERM))
    step = small_runs.end(folder)[1]["step"]
    done = _run_workers(folder, recipe)
    return folder, {
        "died": died,
        "stopped": stopped,
        "stopped at": step,
        "done": done,
    }


def test_a_worker_that_dies_ends_the_others_with_a_clear_line(together):
    (code, output), (killed, _) = together[1]["died"]
    assert killed == -signal.SIGKILL
    assert code == 1
    assert "another worker has died or cannot be reached" in output
    assert "the same command on all workers" in output


def test_sigterm_at_one_worker_stops_all_at_the_same_step(together):
    results = together[1]
    (first, output), (second, _) = results["stopped"]
    assert (first, second) == (143, 143), output
    step = results["stopped at"]
    assert 5 < step < 10
    assert f"Stopped at step {step} of 10" in output
    assert "Going on from step 3" in output  # the last one before the death
    assert f"Going on from step {step}" in results["done"][0][1]


def test_two_workers_end_like_one_device(together, alone):
    folder, results = together
    for code, output in results["done"]:
        assert code == 0, output
    (arrays, meta), (expected, other) = map(small_runs.end, (folder, alone))
    assert meta["step"] == other["step"] == 10
    assert arrays.keys() == expected.keys()
    for key, value in expected.items():
        scale = np.abs(value).max() + 1e-3
        np.testing.assert_allclose(
            arrays[key] / scale, value / scale, atol=1e-3, err_msg=key
        )


def test_two_workers_log_and_evaluate_like_one_device(together, alone):
    ours, theirs = (
        metrics_file.read_run(folder) for folder in (together[0], alone)
    )
    assert len(ours) == len(theirs)
    for row, other in zip(ours, theirs, strict=True):
        assert (row["kind"], row["step"]) == (other["kind"], other["step"])
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-3)
        assert row["accuracy"] == pytest.approx(other["accuracy"])
    evaluations = [row for row in ours if row["kind"] == "eval"]
    assert [row["examples"] for row in evaluations] == [13, 13]


def test_only_the_first_worker_writes_and_speaks(together):
    folder, results = together
    second = results["done"][1][1]
    assert not re.search(r"^(step|stage|Trained) ", second, re.MULTILINE)
    events = list((folder / "tensorboard").iterdir())
    assert len(events) == 3  # one a start


@pytest.mark.parametrize(
    "message, told",
    [
        (
            "Graph execution error:\n\nDetected at node 'a' defined at:\n"
            '  File "b.py", line 1\nOOM when allocating [8]\n'
            "\t [[{{node a}}]]",
            "OOM when allocating [8]",
        ),
        ("<stack traces unavailable>\nConnection reset", "Connection reset"),
        ("assertion failed: [it is too long] [Op:Assert]", "it is too long"),
    ],
)
def test_the_reason_is_the_line_that_says_what_happened(message, told):
    error = tf.errors.ResourceExhaustedError(None, None, message)
    assert workers.reason(error) == told


def test_one_workers_folder_is_another_folder_of_the_others():
    """Found by the newest checkpoint, before anything is trained."""
    setup = types.SimpleNamespace(
        checkpoints=pathlib.Path("/nowhere"),
        folder=pathlib.Path("/nowhere"),
        workers=types.SimpleNamespace(
            share=lambda step: np.array([[step], [step + 9]])
        ),
    )
    with pytest.raises(ValueError, match="same folder on all workers.*0, 9"):
        train._newest(setup)
