"""Tests of `config_layers`: overrides and YAML, and their errors."""

import pytest
import yaml

from efficientnetv2 import config

B0_BLOCKS = ("r1_k3_s1_e1_i32_o16_c1", "r2_k3_s2_e4_i16_o32_c1")


def load(overrides="", model="efficientnetv2-s", dataset="imagenet", **rest):
    return config.load(model, dataset, overrides, **rest)


def message(function, *args, **kwargs):
    """The one line of the ValueError that a call raises."""
    with pytest.raises(ValueError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_overrides_hold_numbers_lists_and_equals_signs():
    c = load(
        "train.epochs=7, train.weight_decay=1e-6,"
        "model.blocks=r1_k3_s1_e1_i32_o16_c1|r2_k3_s2_e4_i16_o32_c1,"
        "train.ft_init_ckpt=gs://bucket/lr=0.1/ckpt,runtime.strategy=one"
    )
    assert (c.train.epochs, c.train.weight_decay) == (7, 1e-6)
    assert c.model.blocks == B0_BLOCKS
    assert c.train.ft_init_ckpt == "gs://bucket/lr=0.1/ckpt"


def test_a_value_holds_a_comma_where_no_key_follows():
    assert load("train.varsexp=(a|b){1,2}.*").train.varsexp == "(a|b){1,2}.*"


@pytest.mark.parametrize("text", ["none", "None", "null"])
def test_none_means_not_set(text):
    assert (
        load(f"train.dropout_rate_start={text}").train.dropout_rate_start
        is None
    )


def test_none_is_a_value_where_a_key_has_it():
    assert load("data.augname=none").data.augname == "none"


def test_names_of_the_released_code_are_known():
    c = load(
        "model.blocks_args=r1_k3_s1_e1_i32_o16_c1,model.num_classes=7,"
        "runtime.strategy=gpu,runtime.mixed_precision=true,train.gclip=0"
    )
    assert (c.model.blocks, c.data.num_classes) == (B0_BLOCKS[:1], 7)
    assert c.runtime.strategy == "mirrored"
    assert c.runtime.mixed_precision == "bfloat16"
    assert c.train.gclip is None


def test_overrides_may_be_a_yaml_file(tmp_path):
    path = tmp_path / "a=b.yaml"
    path.write_text("train: {epochs: 9, weight_decay: 1e-6}\ndata.ram: 6\n")
    c = load(str(path))
    assert (c.train.epochs, c.train.weight_decay, c.data.ram) == (9, 1e-6, 6)


def test_overrides_may_be_a_dict():
    assert load({"train": {"epochs": 9}}) == load("train.epochs=9")


def test_a_dataset_recipe_of_ones_own_is_read(tmp_path):
    path = tmp_path / "birds.yaml"
    path.write_text("data: {ds_name: folder}\ntrain: {epochs: 9}\n")
    c = load(dataset=str(path), data_dir="/birds")
    assert (c.data.ds_name, c.train.epochs) == ("folder", 9)
    assert c.dataset_cfg == str(path)


def test_a_yaml_file_with_blocks_is_a_model(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(
        yaml.safe_dump(
            {"blocks": list(B0_BLOCKS), "train_size": 200, "dropout_rate": 0.4}
        )
    )
    c = load(model=str(path))
    assert (c.model.name, c.model.blocks) == ("tiny", B0_BLOCKS)
    assert (c.train.isize, c.model.dropout_rate) == (200, 0.4)


def test_block_strings_are_a_model():
    assert load(model=";".join(B0_BLOCKS)).model.blocks == B0_BLOCKS


@pytest.mark.parametrize(
    "overrides, parts",
    [
        ("train.epoch=1", ["'train.epoch'", "nearest: 'train.epochs'"]),
        ("epochs=1", ["nearest: 'train.epochs'"]),
        ("data.batch_size=1", ["nearest: 'train.batch_size'"]),
        ("train.mixup=1", ["nearest: 'data.mixup_alpha'"]),
        ("Train.Epochs=1", ["nearest: 'train.epochs'"]),
        ("train=5", ["train must be a mapping", "'5'"]),
        ("train.epochs", ["section.key=value", "'train.epochs'"]),
        ("train.epochs=1,train.epochs=2", ["doubled key 'train.epochs'"]),
        ("model.blocks=a,model.blocks_args=b", ["doubled key"]),
        ("train.seed=1,stages=2", ["nearest: 'train.stages'"]),
        ("train.epochs=ten", ["train.epochs must be a whole number", "'ten'"]),
        ("train.epochs=1.5", ["train.epochs must be a whole number", "'1.5'"]),
        ("train.epochs=none", ["train.epochs must be a whole number"]),
        ("train.lr_base=nan", ["train.lr_base must be a number", "'nan'"]),
        ("train.lr_base=true", ["train.lr_base must be a number"]),
        ("data.multiclass=maybe", ["must be true or false", "'maybe'"]),
        ("train.optimizer=rmspop", ["one of rmsprop", "nearest: 'rmsprop'"]),
        ("train.ft_init_ckpt=", ["train.ft_init_ckpt must be text", "''"]),
        ("absent.yaml", ["file not found", "'absent.yaml'"]),
    ],
)
def test_wrong_keys_and_types_get_one_line(overrides, parts):
    line = message(load, overrides)
    assert all(part in line for part in parts), line


@pytest.mark.parametrize(
    "text, part",
    [
        ("train: {epochs: 1}\ntrain: {seed: 1}\n", "doubled key 'train' in"),
        ("train: {epochs: 9}\ntrain.epochs: 9\n", "doubled key 'train.epochs'"),
        ("train: [1", "is not YAML"),
        ("- 1\n", "must hold a mapping"),
        ("train: {epochs: '9x'}", "whole number"),
        ("train: {optimizer: off}", "must be one of rmsprop"),
        ("? [1]\n: 2\n", "is not YAML"),
        ("1: 2\n", "unknown key '1'"),
    ],
)
def test_a_bad_yaml_file_gets_one_line_with_its_name(tmp_path, text, part):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    line = message(load, str(path))
    assert part in line
    assert "bad.yaml" in line or "overrides" in line
