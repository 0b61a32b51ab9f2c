"""What a recipe says of training reaches the weights."""

import numpy as np
import pytest
import small_runs

from efficientnetv2 import config, metrics_file, train, weights

# One epoch of six steps; no noise, so that runs differ by what is changed.
PLAIN = {
    "train.stages": 1,
    "train.epochs": 1,
    "train.lr_warmup_epoch": 0,
    "train.lr_base": 1.0,
    "train.ema_decay": 0.5,
    "model.dropout_rate": 0.0,
    "train.dropout_rate_start": 0.0,
    "model.survival_prob": 1.0,
    "data.mixup_alpha": 0.0,
    "data.mixup_alpha_start": 0.0,
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return small_runs.settings(tmp_path_factory.mktemp("data"), PLAIN)


def _train(settings, folder, overrides=""):
    """Arrays and meta at the end of a run."""
    assert train.train(config.override(settings, overrides), folder) == 0
    return small_runs.end(folder)


@pytest.fixture(scope="module")
def untrained(settings, tmp_path_factory):
    """What runs start from: a run with a learning rate of nothing."""
    folder = tmp_path_factory.mktemp("untrained")
    still = "train.lr_base=1e-30,train.optimizer=sgd"
    arrays, _ = _train(settings, folder, still)
    return arrays


def _changed(arrays, untrained):
    """Paths of the weights that are not the untrained ones."""
    return {
        key.partition("/")[2]
        for key, value in arrays.items()
        if key.startswith("model/")
        and np.abs(value - untrained[key]).max() > 1e-12
    }


def _is_statistic(path):
    return path.endswith(("moving_mean", "moving_variance"))


def test_only_variables_that_varsexp_fits_are_trained(
    settings, untrained, tmp_path
):
    arrays, _ = _train(settings, tmp_path, "train.varsexp=predictions|top_bn")
    trained = {
        path for path in _changed(arrays, untrained) if not _is_statistic(path)
    }
    assert trained == {
        "predictions/kernel",
        "predictions/bias",
        "top_bn/gamma",
        "top_bn/beta",
    }
    slots = {key for key in arrays if key.endswith("/momentum")}
    assert slots == {f"optimizer/{path}/momentum" for path in trained}


def test_varsexp_that_fits_nothing_is_one_line(settings, tmp_path):
    with pytest.raises(ValueError, match="train.varsexp .*predictions/bias"):
        _train(settings, tmp_path, "train.varsexp=head")


def test_frozen_batch_norm_stays_as_it_was(settings, untrained, tmp_path):
    arrays, _ = _train(settings, tmp_path, "train.freeze_bn=true")
    start = {"gamma": 1, "beta": 0, "moving_mean": 0, "moving_variance": 1}
    for key, value in arrays.items():
        if key.startswith("model/") and "_bn/" in key:
            assert np.all(value == start[key.rpartition("/")[2]]), key
    kernels = {key for key in arrays if key.endswith("kernel")}
    kernels = {k.removeprefix("model/") for k in kernels if k[:6] == "model/"}
    assert kernels <= _changed(arrays, untrained)


def test_lower_blocks_learn_slower_with_a_layer_decay(
    settings, untrained, tmp_path
):
    """One step, so that no layer sees what another has learnt."""
    ways = {}
    one_step = "train.batch_size=48,train.lr_base=0.01"
    for decay in (1.0, 0.5):
        arrays, _ = _train(
            settings,
            tmp_path / str(decay),
            f"train.lr_layer_decay={decay},train.weight_decay=0,{one_step}",
        )
        ways[decay] = {
            name: arrays[f"model/{name}"] - untrained[f"model/{name}"]
            for name in (
                "predictions/kernel",
                "block3b_project_conv/kernel",
                "block3a_project_conv/kernel",
                "block1a_project_conv/kernel",
                "stem_conv/kernel",
            )
        }
    # Head, then blocks 3b, 3a, 2b, 2a, 1a and the stem.
    factors = (1, 0.5, 0.25, 0.5**5, 0.5**6)
    for name, factor in zip(ways[1.0], factors, strict=True):
        whole, part = ways[1.0][name], ways[0.5][name]
        assert np.abs(whole).max() > 0, name
        # Differences of float32 weights: their last bits are lost.
        np.testing.assert_allclose(
            part, factor * whole, atol=2e-7, rtol=1e-3, err_msg=name
        )


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_decay_is_decoupled_where_the_optimizer_has_it(
    name, settings, untrained, tmp_path
):
    """A large decay shrinks the kernels, and neither gamma nor the loss."""
    losses = {}
    for decay in (0.0, 10.0):
        arrays, _ = _train(
            settings,
            tmp_path / str(decay),
            f"train.optimizer={name},train.lr_base=0.1,"
            f"train.weight_decay={decay},train.batch_size=48",
        )
        kernel = arrays["model/top_conv/kernel"]
        before = untrained["model/top_conv/kernel"]
        losses[decay] = _first_loss(tmp_path / str(decay))
        shrunk = np.linalg.norm(kernel) / np.linalg.norm(before)
        gamma = arrays["model/top_bn/gamma"]
        if decay:
            assert shrunk < 0.9  # lr 0.01875 * 10 = 0.1875 off
            assert gamma.min() > 0.95
        else:
            assert shrunk > 0.95
    assert losses[0.0] == losses[10.0]


def _first_loss(folder):
    return metrics_file.read(folder / metrics_file.FILE)[0]["loss"]


def test_l2_is_in_the_loss_of_the_other_optimizers(settings, tmp_path):
    first = {}
    for decay in (0.0, 0.01):
        overrides = f"train.weight_decay={decay},train.optimizer=sgd"
        _train(settings, tmp_path / str(decay), overrides)
        first[decay] = _first_loss(tmp_path / str(decay))
    assert first[0.01] > first[0.0] + 0.1


def test_a_run_starts_from_the_weights_of_another(
    settings, untrained, tmp_path
):
    source = tmp_path / "source"
    trained, _ = _train(settings, source)
    still = (
        "train.lr_base=1e-30,train.optimizer=sgd,"
        f"train.ft_init_ckpt={source / 'checkpoints'}"
    )
    fine, _ = _train(settings, tmp_path / "ema", still)
    plain, _ = _train(
        settings, tmp_path / "plain", f"{still},train.ft_init_ema=false"
    )
    name = "top_conv/kernel"
    averages, values = trained[f"ema/{name}"], trained[f"model/{name}"]
    assert not np.array_equal(averages, values)
    np.testing.assert_array_equal(fine[f"model/{name}"], averages)
    np.testing.assert_array_equal(plain[f"model/{name}"], values)


def test_other_classes_keep_the_body_and_a_new_head(
    settings, untrained, tmp_path
):
    network = small_runs.write_run(
        tmp_path / "source",
        config.override(settings, "data.num_classes=7"),
    )
    weights.save(network, tmp_path / "seven.weights.h5")
    still = (
        "train.lr_base=1e-30,train.optimizer=sgd,"
        f"train.ft_init_ckpt={tmp_path / 'seven.weights.h5'}"
    )
    arrays, _ = _train(settings, tmp_path / "run", still)
    np.testing.assert_array_equal(
        arrays["model/top_conv/kernel"],
        network.get_layer("top_conv").kernel.numpy(),
    )
    np.testing.assert_array_equal(
        arrays["model/predictions/kernel"],
        untrained["model/predictions/kernel"],
    )
