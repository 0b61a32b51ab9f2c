"""Event files as the real TensorBoard reads them, and without it."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from efficientnetv2 import event_file

PICTURES = np.arange(2 * 4 * 5 * 3, dtype="uint8").reshape(2, 4, 5, 3)


def _write(folder):
    first = event_file.EventFile(folder, first_step=0)
    first.text("settings", "| key | value |\n|---|---|\n| a | 1 |", 0)
    for step in (10, 20, 30):
        first.scalars({"train/loss": step / 10, "train/stage": 0}, step)
    first.images("augmented", PICTURES, 10)
    first.close()


@pytest.fixture
def board():
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing import plugin_event_multiplexer

    def read(folder):
        found = plugin_event_multiplexer.EventMultiplexer()
        found.AddRunsFromDirectory(str(folder))
        found.Reload()
        return found

    return read


def _scalars(board, tag):
    return [
        (event.step, float(tf.make_ndarray(event.tensor_proto)))
        for event in board.Tensors(".", tag)
    ]


def test_tensorboard_reads_numbers_pictures_and_texts(tmp_path, board):
    _write(tmp_path)
    found = board(tmp_path)
    assert _scalars(found, "train/loss") == [(10, 1.0), (20, 2.0), (30, 3.0)]
    plugins = {
        tag: found.SummaryMetadata(".", tag).plugin_data.plugin_name
        for tag in found.Runs()["."]["tensors"]
    }
    assert plugins == {
        "settings": "text",
        "train/loss": "scalars",
        "train/stage": "scalars",
        "augmented/image/0": "images",
        "augmented/image/1": "images",
    }
    (event,) = found.Tensors(".", "augmented/image/1")
    _, _, encoded = tf.make_ndarray(event.tensor_proto)
    np.testing.assert_array_equal(tf.io.decode_png(encoded), PICTURES[1])
    (event,) = found.Tensors(".", "settings")
    assert b"| a | 1 |" in tf.make_ndarray(event.tensor_proto).item()


def test_tensorboard_forgets_steps_that_are_done_again(tmp_path, board):
    _write(tmp_path)
    path = next(tmp_path.iterdir())
    path.rename(tmp_path / path.name.replace("tfevents.", "tfevents.0"))
    again = event_file.EventFile(tmp_path, first_step=20)
    again.scalars({"train/loss": 7.0}, 30)
    again.close()
    assert _scalars(board(tmp_path), "train/loss") == [
        (10, 1.0),
        (20, 2.0),
        (30, 7.0),
    ]


def test_it_works_without_the_tensorboard_package(tmp_path):
    code = (
        "import sys; sys.modules['tensorboard'] = None; "
        "from test_event_file import _write; "
        f"import pathlib; _write(pathlib.Path({str(tmp_path)!r}))"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "tests",
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": ""},
        check=True,
    )
    (path,) = tmp_path.iterdir()
    events = list(tf.compat.v1.train.summary_iterator(str(path)))
    assert events[0].file_version == "brain.Event:2"
    assert [e.step for e in events if e.summary.value] == [0, 10, 20, 30, 10]
