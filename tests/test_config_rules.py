"""Tests of `config_rules`: impossible values and contradictions."""

import pytest

from efficientnetv2 import config


def load(overrides="", model="efficientnetv2-s", dataset="imagenet", **rest):
    return config.load(model, dataset, overrides, **rest)


def message(function, *args, **kwargs):
    """The one line of the ValueError that a call raises."""
    with pytest.raises(ValueError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "overrides, parts",
    [
        ("train.batch_size=0", ["train.batch_size must be >= 1", ": 0"]),
        ("train.epochs=0", ["train.epochs must be >= 1"]),
        ("train.epochs=3", ["train.epochs must be >= train.stages (4)"]),
        ("train.lr_warmup_epoch=350", ["must be < the run's 350 epochs"]),
        ("data.ibase=301", ["data.ibase must be <= train.isize", "301 > 300"]),
        ("data.ram=3", ["data.ram_start must be <= data.ram"]),
        ("model.dropout_rate=0", ["train.dropout_rate_start must be <="]),
        ("model.dropout_rate=1", ["model.dropout_rate must be >= 0 and < 1"]),
        ("model.survival_prob=0", ["model.survival_prob must be > 0"]),
        ("model.blocks=r1_k3", ["missing key 's'", "'r1_k3'"]),
        ("model.bn_type=tpu", ["one of none, local, gn", "'tpu'"]),
        ("train.label_smoothing=1", ["must be >= 0 and < 1", "1.0"]),
        ("train.varsexp=(", ["train.varsexp must be a regular expression"]),
        ("train.lr_min=1", ["train.lr_min must be <="]),
        ("data.num_classes=1", ["data.num_classes must be >= 2"]),
        (
            "data.mixup_alpha=0.2,train.batch_size=33",
            ["train.batch_size must be even", "33"],
        ),
    ],
)
def test_impossible_values_get_one_line(overrides, parts):
    line = message(load, overrides)
    assert all(part in line for part in parts), line


@pytest.mark.parametrize(
    "overrides",
    [
        "train.stages=1,data.ibase=500",
        "data.augname=none,data.ram=0",
        "train.schedule=released,model.dropout_rate=0",
        "train.min_steps=10000,train.epochs=1",
    ],
)
def test_rules_do_not_judge_what_the_run_will_not_read(overrides):
    load(overrides)
