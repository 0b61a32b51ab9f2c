"""A run survives its death, and replicas agree with one device."""

import json
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import small_data

SCRIPT = pathlib.Path(__file__).with_name("training_run.py")
EPOCH_STEPS = 5  # 40 examples in batches of 8
BROKEN = 7


def _run(model_dir, data_dir, *options):
    return subprocess.run(
        [sys.executable, SCRIPT, model_dir, data_dir, *options],
        capture_output=True,
        text=True,
        timeout=300,
    )


def _rows(result):
    lines = result.stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def _arrays(model_dir):
    newest = sorted((model_dir / "checkpoints").glob("ckpt-*.npz"))[-1]
    with np.load(newest) as file:
        return {key: file[key] for key in file.files if key != "meta"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = small_data.write_data_set(
        tmp_path_factory.mktemp("data"), broken=(BROKEN,)
    )
    (folder / "recipe.yaml").write_text(
        "data: {ds_name: mine, num_classes: 4, preprocessing: ft}\n"
        "train: {split: train}\n"
    )
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, data_dir):
    """(folder, result) of a run from its start to its end."""
    folder = tmp_path_factory.mktemp("undisturbed")
    result = _run(folder, data_dir)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_every_stage_trains_with_its_own_dropout_rate_in_one_trace(undisturbed):
    rows = _rows(undisturbed[1])
    assert [row["step"] for row in rows] == list(range(4 * EPOCH_STEPS))
    rates = [row["dropout"] for row in rows]
    assert rates[: 2 * EPOCH_STEPS] == [0.1] * (2 * EPOCH_STEPS)
    assert rates[2 * EPOCH_STEPS :] == [0.4] * (2 * EPOCH_STEPS)
    assert {row["traces"] for row in rows} == {1}


def test_a_broken_picture_is_named_and_counted(undisturbed):
    result = undisturbed[1]
    assert "4 broken examples left out" in result.stdout  # one an epoch
    assert "left out" in result.stderr
    assert "train-" in result.stderr


@pytest.mark.parametrize("kill_step", [7, 13])
def test_a_killed_run_ends_bit_equal(
    kill_step, undisturbed, data_dir, tmp_path
):
    killed = _run(tmp_path, data_dir, "--kill_step", str(kill_step))
    assert killed.returncode == -signal.SIGKILL
    again = _run(tmp_path, data_dir)
    assert again.returncode == 0, again.stderr
    assert "Going on from step" in again.stdout
    assert _rows(again)[0]["step"] > 0
    expected, found = _arrays(undisturbed[0]), _arrays(tmp_path)
    assert set(expected) == set(found)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_two_devices_end_like_one(undisturbed, data_dir, tmp_path):
    result = _run(tmp_path, data_dir, "--devices", "2")
    assert result.returncode == 0, result.stderr
    expected, found = _arrays(undisturbed[0]), _arrays(tmp_path)
    for key, value in expected.items():
        if key.startswith(("model/", "ema/")):
            scale = np.abs(value).max() + 1e-3
            np.testing.assert_allclose(
                found[key] / scale, value / scale, atol=2e-3, err_msg=key
            )


def test_a_finished_run_says_so(undisturbed, data_dir):
    result = _run(undisturbed[0], data_dir)
    assert result.returncode == 0, result.stderr
    assert "This run is finished" in result.stdout
    assert str(undisturbed[0]) in result.stdout
    assert not _rows(result)


def test_other_settings_are_refused_with_what_changed(undisturbed, data_dir):
    result = _run(
        undisturbed[0], data_dir, "--settings", "train.label_smoothing=0.2"
    )
    assert result.returncode != 0
    assert "train.label_smoothing: 0.1 -> 0.2" in result.stderr
