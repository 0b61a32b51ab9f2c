"""A run's folder gives back its model, and says what it lacks."""

import json
import os
import uuid

import keras
import numpy as np
import pytest
import small_runs
import tensorflow as tf

from efficientnetv2 import (
    checkpoint,
    config,
    model_dir,
    saved_config,
    train_setup,
    weights,
)

NAMES = tuple(f"class {number}" for number in range(4))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Settings, folder and model of a run at step 7."""
    folder = tmp_path_factory.mktemp("run")
    settings = small_runs.settings(folder)
    network = small_runs.write_run(folder / "run", settings)
    return settings, folder / "run", network


def _assert_same_weights(one, other):
    for ours, theirs in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), ours.path)


def test_the_moving_averages_come_before_the_weights(run):
    settings, folder, network = run
    trained = model_dir.load(folder)
    _assert_same_weights(trained.model, network)
    assert trained.config == settings
    assert trained.class_names == NAMES
    assert (trained.style, trained.image_size, trained.step) == ("v2", 24, 7)
    assert trained.description.startswith("moving averages after step 7 of")
    assert trained.accuracy is None


def test_without_averages_the_weights_are_taken(run, tmp_path):
    network = small_runs.write_run(tmp_path, run[0], averages=False)
    trained = model_dir.load(tmp_path)
    _assert_same_weights(trained.model, network)
    assert trained.description.startswith("weights after step 7 of")


def test_the_best_checkpoint_is_taken_if_asked_for(run, tmp_path):
    best = small_runs.write_run(tmp_path, run[0], step=5, seed=5)
    folder = tmp_path / model_dir.CHECKPOINTS
    checkpoint.mark_best(folder, folder / "ckpt-0000000005.npz")
    newest = small_runs.write_run(tmp_path, run[0], step=9, seed=9)
    rows = [
        {"kind": "eval", "step": 5, "accuracy": 0.75, "examples": 40},
        {"kind": "train", "step": 9},
        {"kind": "eval", "step": 9, "accuracy": 0.5, "examples": 40},
    ]
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows) + '{"kind": "ev'
    )
    trained = model_dir.load(tmp_path, best=True)
    _assert_same_weights(trained.model, best)
    assert trained.step == 5
    assert trained.accuracy == (
        f"top-1 75.00 % on 40 examples of {run[0].dataset_cfg}/validation"
    )
    trained = model_dir.load(tmp_path)
    _assert_same_weights(trained.model, newest)
    assert trained.step == 9 and "top-1 50.00 %" in trained.accuracy


def test_a_runs_folder_may_be_remote(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings, folder, network = run
    remote = f"ram://{uuid.uuid4().hex}/run"
    setup = train_setup.prepare(settings, remote)
    assert setup.checkpoints == f"{remote}/{model_dir.CHECKPOINTS}"
    assert saved_config.read(remote) == setup.config
    for path in (folder / model_dir.CHECKPOINTS).iterdir():
        tf.io.gfile.copy(str(path), f"{setup.checkpoints}/{path.name}")
    _assert_same_weights(model_dir.load(remote).model, network)
    other = config.override(settings, "train.seed=9")
    with pytest.raises(ValueError, match="train.seed: 3 -> 9"):
        train_setup.prepare(other, remote)
    assert os.listdir(tmp_path) == []  # a folder 'ram:' above all


def test_settings_given_replace_the_runs_own(run):
    settings, folder, _ = run
    changed = config.override(settings, "eval.isize=32")
    assert model_dir.load(folder, config=changed).image_size == 32


def test_without_names_classes_are_numbers(run, tmp_path):
    small_runs.write_run(tmp_path, run[0], names=False)
    assert model_dir.load(tmp_path).class_names == ("0", "1", "2", "3")
    named = model_dir.load(tmp_path, class_names=["a", "b", "c", "d"])
    assert named.class_names == ("a", "b", "c", "d")
    with pytest.raises(ValueError, match="must be 4, .* Received: 2 labels"):
        model_dir.load(tmp_path, class_names=["a", "b"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda run: (run / "config.yaml").unlink(),
            "model_dir must hold a run, with config.yaml. Received: '.*run'",
        ),
        (
            lambda run: next(run.glob("checkpoints/*")).unlink(),
            "model_dir must hold a checkpoint",
        ),
        (
            lambda run: next(run.glob("checkpoints/*")).write_bytes(b"PK torn"),
            "model_dir must hold a whole checkpoint",
        ),
    ],
    ids=["no run", "no checkpoint", "torn checkpoint"],
)
def test_what_is_missing_is_named(damage, message, run, tmp_path):
    folder = tmp_path / "run"
    small_runs.write_run(folder, run[0])
    damage(folder)
    with pytest.raises(ValueError, match=message):
        model_dir.load(folder)


def test_a_missing_best_checkpoint_says_how_to_get_one(run):
    with pytest.raises(ValueError, match="--mode=traineval keeps"):
        model_dir.load(run[1], best=True)


def test_the_checkpoint_of_another_model_is_named(run, tmp_path):
    settings, _, _ = run
    small_runs.write_run(tmp_path, settings)
    blocks = small_runs.BLOCKS.replace("o24", "o32")
    other = config.load(blocks, settings.dataset_cfg)
    config.save(other, tmp_path / model_dir.CONFIG)
    with pytest.raises(ValueError, match=r"ckpt-0000000007.npz does not fit"):
        model_dir.load(tmp_path)


def test_a_weights_file_makes_a_model_too(run, tmp_path):
    settings, _, network = run
    path = tmp_path / "mine.weights.h5"
    weights.save(network, path)
    trained = model_dir.from_weights(settings, str(path))
    _assert_same_weights(trained.model, network)
    assert trained.description == "the weights file mine.weights.h5"
    assert trained.class_names == ("0", "1", "2", "3")
    assert trained.step is None and trained.style == "v2"


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [("softmax", keras.ops.softmax), ("sigmoid", keras.ops.sigmoid)],
)
def test_probabilities_are_as_the_loss_was(run, tmp_path, loss_type, expected):
    settings = config.override(run[0], f"train.loss_type={loss_type}")
    network = small_runs.write_run(tmp_path, settings)
    images = np.random.default_rng(0).uniform(-1, 1, (3, 24, 24, 3))
    images = images.astype("float32")
    found = model_dir.load(tmp_path).probabilities(images)
    assert found.dtype == np.float32 and found.shape == (3, 4)
    np.testing.assert_allclose(
        found, expected(network(images, training=False)), rtol=1e-4, atol=1e-6
    )
