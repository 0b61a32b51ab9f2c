"""Tests of `config`: precedence, errors, and that nothing is lost on disk."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from efficientnetv2 import config, config_schema

B0_BLOCKS = ("r1_k3_s1_e1_i32_o16_c1", "r2_k3_s2_e4_i16_o32_c1")


def load(overrides="", model="efficientnetv2-s", dataset="imagenet", **rest):
    return config.load(model, dataset, overrides, **rest)


def message(function, *args, **kwargs):
    """The one line of the ValueError that a call raises."""
    with pytest.raises(ValueError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Names


def test_dataset_names_are_known_in_any_case():
    assert load(dataset="imagenetft") == load(dataset="IMAGENETFT")
    assert load(dataset="imagenetft").dataset_cfg == "imagenetFt"


def test_model_names_are_known_in_any_case():
    assert load(model="EfficientNetV2-S") == load()


def test_a_dataset_is_not_needed_and_is_shapes_then():
    assert config.load("efficientnetv2-s").dataset_cfg == "shapes"


def test_data_dir_alone_names_the_datasets_that_read_it():
    line = message(config.load, "efficientnetv2-s", data_dir="/data")
    assert "cifar10" in line and "folder" in line and "shapes" not in line


def test_recipes_are_found_in_a_wheel_too(tmp_path):
    source = config.recipes_folder().parent
    package = tmp_path / "efficientnetv2"
    package.mkdir()
    for file in (source / "efficientnetv2").glob("*.py"):
        shutil.copy(file, package)
    shutil.copytree(config.recipes_folder(), package / "hparams")
    code = (
        "from efficientnetv2 import config;"
        "print(config.recipes_folder());"
        "print(config.load('efficientnetv2-b0', 'cifar10').train.isize)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert output == [
        str(package / "hparams"),
        str(load(dataset="cifar10", model="efficientnetv2-b0").train.isize),
    ]


def test_config_imports_neither_numpy_nor_keras_nor_tensorflow():
    code = (
        "import sys; from efficientnetv2 import config, progressive;"
        "progressive.plan(config.load('efficientnetv2-s', 'imagenet'));"
        "print([m for m in ('numpy', 'keras', 'tensorflow')"
        " if m in sys.modules])"
    )
    folder = config.recipes_folder().parent
    output = subprocess.check_output(
        [sys.executable, "-c", code], cwd=folder, text=True
    )
    assert output.strip() == "[]"


# Precedence, as hparams/README.md states it


def test_defaults_hold_where_no_recipe_speaks(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"blocks": list(B0_BLOCKS)}))
    c = config.load(path, "imagenet")
    assert c.train.epochs == config_schema.TrainConfig(isize=1).epochs == 350


def test_model_recipe_beats_defaults():
    default = config_schema.DataConfig(preprocessing="v2").ram
    assert (default, load(model="efficientnetv2-m").data.ram) == (15, 20)


def test_dataset_recipe_beats_model_recipe():
    c = load(dataset="cifar10", model="efficientnetv2-b0")
    assert load(model="efficientnetv2-b0").train.isize == 192
    assert (c.train.isize, c.eval.isize, c.data.ibase) == (64, 72, 32)


def test_overrides_beat_dataset_recipe():
    c = load("train.isize=96", dataset="cifar10", model="efficientnetv2-b0")
    assert (c.train.isize, c.eval.isize) == (96, 72)


def test_data_dir_beats_overrides():
    assert load("data.data_dir=/a", data_dir="/b").data.data_dir == "/b"
    assert load("data.data_dir=/a").data.data_dir == "/a"


def test_readme_lists_every_key_with_its_default():
    text = (config.recipes_folder() / "README.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+\.\w+)` \| (.*?) \| ", text, re.M))
    for key in config_schema.TYPES:
        section, field = key.split(".")
        if section == "model":
            assert rows.pop(key, "variant") == "variant"
        elif key in config_schema.REQUIRED:
            assert rows.pop(key) == "variant"
        else:
            default = getattr(config_schema.SECTIONS[section], field)
            shown = str(default).replace("|", "\\|")
            if isinstance(default, float):
                shown = f"{default:g}"
            elif default is None or isinstance(default, bool):
                shown = shown.lower()
            assert rows.pop(key) == shown, key
    assert not [key for key in rows if key.split(".")[0] != "model"]


@pytest.mark.parametrize(
    "model, dataset, hint",
    [
        ("efficientnetv2-ss", "imagenet", "efficientnetv2-s"),
        ("efficientnetv2-s", "imagnet", "imagenet"),
        ("efficientnetv2-s", "CIFAR10-FT", "cifar10Ft"),
    ],
)
def test_an_unknown_name_gets_the_nearest(model, dataset, hint):
    assert f"nearest: '{hint}'" in message(config.load, model, dataset)


# Frozen, saved, read


def test_no_part_of_a_config_can_be_changed():
    c = load()
    for part in (c, c.model, c.train, c.eval, c.data, c.runtime):
        name = dataclasses.fields(part)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, name, 1)
    hash(c)  # no list or dict inside


def test_a_replaced_part_is_checked():
    c = load()
    train = dataclasses.replace(c.train, batch_size=0)
    assert "train.batch_size" in message(dataclasses.replace, c, train=train)


@pytest.mark.parametrize("dataset", config.list_datasets())
def test_save_and_read_give_an_equal_config(tmp_path, dataset):
    c = load(
        "train.varsexp=a: 'b' # \u00e9,train.weight_decay=3e-7", dataset=dataset
    )
    config.save(c, tmp_path / "config.yaml")
    assert config.read(tmp_path / "config.yaml") == c
    assert os.listdir(tmp_path) == ["config.yaml"]


_KEYS = st.fixed_dictionaries(
    {
        "train.lr_base": st.floats(1e-9, 1e9),
        "train.label_smoothing": st.floats(0, 1, exclude_max=True),
        "train.seed": st.integers(0, 2**31 - 1),
        "train.split": st.text(min_size=1).filter(lambda s: s.isprintable()),
        "train.gclip": st.none() | st.floats(1e-9, 1e9),
        "train.freeze_bn": st.booleans(),
    }
)


@settings(max_examples=30, deadline=None)
@given(_KEYS)
def test_any_values_survive_yaml(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("any") / "config.yaml"
    c = load(values)
    config.save(c, path)
    assert config.read(path) == c
    assert c.train.split == values["train.split"]


def test_a_saved_config_needs_neither_recipe_nor_model_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"blocks": list(B0_BLOCKS)}))
    c = load(model=str(path))
    config.save(c, tmp_path / "config.yaml")
    path.unlink()
    assert config.read(tmp_path / "config.yaml") == c


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    config.save(load(), path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        config.save(load("train.seed=1"), path)
    assert config.read(path) == load()
    assert os.listdir(tmp_path) == ["config.yaml"]


@pytest.mark.parametrize(
    "change, part",
    [
        (lambda d: d["train"].pop("isize"), "missing key 'train.isize'"),
        (lambda d: d.pop("model"), "missing key 'model.name'"),
        (lambda d: d.pop("model_name"), "must hold model_name"),
        (lambda d: d["train"].update(epoch=1), "unknown key 'train.epoch'"),
    ],
)
def test_a_damaged_config_file_gets_one_line(tmp_path, change, part):
    data = config.to_dict(load())
    change(data)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(data))
    assert part in message(config.read, path)


def test_keys_younger_than_a_config_file_take_their_defaults():
    data = config.to_dict(load())
    del data["train"]["max_bad_steps"]
    assert config.from_dict(data) == load()


def test_override_replaces_some_settings_of_a_saved_config():
    c = config.override(load("train.epochs=9"), "data.ram=6", data_dir="/a")
    assert c == load("train.epochs=9,data.ram=6", data_dir="/a")
    assert "'train.epochs'" in message(config.override, c, "train.epoch=1")


def test_difference_lists_what_decides_the_weights_and_nothing_else():
    changed = load(
        "train.epochs=9,data.ram=16,eval.batch_size=7,data.cache=disk,"
        "runtime.keep_checkpoint_max=2,runtime.mixed_precision=bfloat16"
    )
    assert config.difference(load(), load()) == []
    assert config.difference(load(), changed) == [
        "train.epochs: 350 -> 9",
        "data.ram: 15.0 -> 16.0",
        "runtime.mixed_precision: None -> bfloat16",
    ]
