"""Each stage trains with its own size, dropout, augmentation and mixing."""

import numpy as np
import pytest
import small_runs

from efficientnetv2 import checkpoint, config, metrics_file, model_dir, train

EPOCHS = 2  # a stage each
EPOCH_STEPS = 6
# What the stages have where a test changes nothing: the same in both.
SETTINGS = {
    "train.epochs": EPOCHS,
    "train.lr_warmup_epoch": 0,
    "data.augname": "randaug",
    "data.ram_start": 3,
    "data.ram": 3,
    "data.mixup_alpha_start": 0.1,
    "data.mixup_alpha": 0.1,
    "data.cutmix_alpha_start": 0.1,
    "data.cutmix_alpha": 0.1,
    "train.dropout_rate_start": 0.1,
    "model.dropout_rate": 0.1,
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return small_runs.settings(tmp_path_factory.mktemp("data"), SETTINGS)


def _stage_ends(settings, folder):
    """Weights at the end of each stage, dicts."""
    assert train.train(settings, folder) == 0
    ends = []
    for stage in range(EPOCHS):
        name = f"ckpt-{(stage + 1) * EPOCH_STEPS:010d}.npz"
        path = folder / model_dir.CHECKPOINTS / name
        arrays, _ = checkpoint.read(path)
        ends.append({k: v for k, v in arrays.items() if k[:6] == "model/"})
    return ends


@pytest.fixture(scope="module")
def even(settings, tmp_path_factory):
    """Folder and ends of the run whose stages differ in size alone."""
    folder = tmp_path_factory.mktemp("even")
    return folder, _stage_ends(settings, folder)


def _are_equal(one, other):
    return all(np.array_equal(one[key], other[key]) for key in one)


def test_stages_have_their_sizes(even):
    rows = metrics_file.read(even[0] / metrics_file.FILE)
    sizes = [row["image_size"] for row in rows]
    assert sizes == [16] * EPOCH_STEPS + [24] * EPOCH_STEPS


@pytest.mark.parametrize(
    "key, value",
    [
        ("model.dropout_rate", 0.6),
        ("data.ram", 9),
        ("data.mixup_alpha", 5.0),
        ("data.cutmix_alpha", 5.0),
    ],
)
def test_the_last_stage_alone_has_its_last_value(
    key, value, settings, even, tmp_path
):
    changed = config.override(settings, {key: value})
    first, last = _stage_ends(changed, tmp_path)
    assert _are_equal(first, even[1][0])
    assert not _are_equal(last, even[1][1])


def test_momentum_of_the_statistics_is_the_recipes(settings, tmp_path):
    """All steps move each mean the same share of what is left of the way."""
    found = {}
    still = (
        "train.optimizer=sgd,train.lr_base=1e-30,train.stages=1,train.epochs=1,"
        "data.augname=none,data.mixup_alpha=0,data.cutmix_alpha=0,"
        "model.dropout_rate=0,model.survival_prob=1,train.batch_size=48"
    )
    for momentum in (0.5, 0.75):
        one_step = config.override(
            settings, f"{still},model.bn_momentum={momentum}"
        )
        folder = tmp_path / str(momentum)
        assert train.train(one_step, folder) == 0
        arrays, _ = small_runs.end(folder)
        found[momentum] = arrays["model/stem_bn/moving_mean"]
    assert np.abs(found[0.5]).max() > 0.01
    np.testing.assert_allclose(found[0.5], 2 * found[0.75], rtol=1e-4)
