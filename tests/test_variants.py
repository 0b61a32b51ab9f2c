"""Variants: exact parameter counts, published figures, models of one's own."""

import dataclasses
import gc
import json
import pathlib

import keras
import pytest

from efficientnetv2 import multiply_adds, scaling, variants, zoo

COUNTS = json.loads(
    (pathlib.Path(__file__).parent / "golden/parameter_counts.json").read_text()
)
# Multiply-adds of convolutions and dense layers at the evaluation size, by the
# published figure: its difference in percent. What was published is rounded to
# two or three digits.
DEVIATIONS = {
    "efficientnetv2-b0": -0.27, "efficientnetv2-b1": -0.25,
    "efficientnetv2-b2": -0.12, "efficientnetv2-b3": 0.37,
    "efficientnetv2-s": -0.41, "efficientnetv2-m": -0.48,
    "efficientnetv2-l": -0.39, "efficientnetv2-xl": -0.69,
    "efficientnet-b0": -1.07, "efficientnet-b1": -1.86,
    "efficientnet-b2": -0.60, "efficientnet-b3": 1.5,
    "efficientnet-b4": 4.62, "efficientnet-b5": 3.70,
    "efficientnet-b6": 0.36, "efficientnet-b7": 2.02,
}  # fmt: skip
TINY = ["r1_k3_s1_e1_i8_o8_c1", "r2_k3_s2_e4_i8_o16_se0.25"]


def _multiply_adds_deviation(model):
    """Percent above the published figure; None where there is none."""
    variant = variants.lookup(model.name)
    published = variant.billions_multiply_adds
    if published is None:
        return None
    count = multiply_adds.count(model, variant.eval_size)
    return 100 * (count / 1e9 / published - 1)


def test_every_variant_has_a_golden_parameter_count():
    assert list(COUNTS) == list(variants.VARIANTS)


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_variant_has_its_parameters_and_multiply_adds(name, monkeypatch):
    # Values do not matter here, and drawing 500 million normals takes long.
    monkeypatch.setattr(
        keras.initializers.VarianceScaling,
        "__call__",
        lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype),
    )
    model = zoo.get_model(name)
    assert model.name == name
    assert model.count_params() == COUNTS[name]
    deviation = _multiply_adds_deviation(model)
    assert deviation == pytest.approx(DEVIATIONS.get(name), abs=0.06)
    if COUNTS[name] > 10**8:
        del model
        gc.collect()  # up to 2 GB in reference cycles


@pytest.mark.parametrize(
    "name", ["efficientnetv2-b0", "efficientnetv2-s", "efficientnet-b0"]
)
def test_sizes_and_counts_equal_the_reference(name, reference_folder):
    figures = json.loads((reference_folder / f"{name}.json").read_text())
    variant = variants.lookup(name)
    assert COUNTS[name] == figures["params_total"]
    assert variant.eval_size == figures["eval_isize"]
    if figures["train_isize"] > 1:  # else a fraction of another size
        assert variant.train_size == figures["train_isize"]


def test_published_sizes_and_preprocessing():
    rows = {
        name: (variant.train_size, variant.eval_size, variant.preprocessing)
        for name, variant in variants.VARIANTS.items()
    }
    assert rows["efficientnetv2-b3"] == (240, 300, "v1")
    assert rows["efficientnetv2-s"] == (300, 384, "v2")
    assert rows["efficientnetv2-m"] == (380, 480, "v2")
    assert rows["efficientnetv2-l"] == (380, 480, "v2")
    assert rows["efficientnetv2-xl"] == (380, 512, "v2")
    assert rows["efficientnet-b7"] == (600, 600, "v1")


def test_v1_b3_keeps_the_guard_that_its_published_weights_need():
    ours = variants.lookup("efficientnet-b3").architecture
    released = dataclasses.replace(ours, family="v2")  # rounds without it
    widths = [
        [stage.output_filters for stage in scaling.scale_stages(architecture)]
        for architecture in (ours, released)
    ]
    assert widths[0] == [24, 32, 48, 96, 136, 232, 384]
    assert widths[1] == [16, 32, 48, 96, 136, 232, 384]


def test_lookup_takes_block_strings_joined_or_in_a_list():
    joined = variants.lookup(";".join(TINY))
    assert joined.architecture.blocks == tuple(TINY)
    assert variants.lookup(TINY) == joined
    assert variants.lookup(TINY[0]).architecture.blocks == tuple(TINY[:1])


def test_lookup_reads_a_yaml_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "blocks:\n"
        + "".join(f"  - {string}\n" for string in TINY)
        + "feature_size: 64\nfamily: v1\ntrain_size: 96\npreprocessing: v1\n"
    )
    variant = variants.lookup(str(path))
    assert variants.lookup(path) == variant
    assert variant.architecture.name == "mine"
    assert variant.architecture.blocks == tuple(TINY)
    assert variant.architecture.feature_size == 64
    assert variant.architecture.family == "v1"
    assert (variant.train_size, variant.preprocessing) == (96, "v1")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("- a\n- b\n", "must hold a mapping with the key 'blocks'"),
        ("name: x\n", "must hold a mapping with the key 'blocks'"),
        ("blocks: r1_k3\n", "blocks must be a list of block strings"),
        ("blocks: [r1_k3]\n", "missing key 's' in 'r1_k3'"),
        ("blocks: []\n", "blocks must be a tuple of block strings"),
        ("a: [1\nblocks: {", "is not YAML"),
        ("blocks: [{tiny}]\nwidht_coefficient: 2\n", "nearest: 'width_coef"),
        ("blocks: [{tiny}]\n3: 2\n", "unknown key '3'"),
        ("blocks: [{tiny}]\nfamily: v3\n", "family must be one of v1, v2"),
        ("blocks: [{tiny}]\nfeature_size: 1.5\n", "feature_size must be a wh"),
        ("blocks: [{tiny}]\ndropout_rate: 1\n", "dropout_rate must be >= 0"),
        ("blocks: [{tiny}]\nsurvival_prob: x\n", "survival_prob must be > 0"),
        ("blocks: [{tiny}]\npreprocessing: ft\n", "preprocessing must be one"),
        ("blocks: [{tiny}]\ntrain_size: 0\n", "train_size must be a whole"),
    ],
)
def test_bad_yaml_model_is_one_line_with_the_path(tmp_path, text, rule):
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("{tiny}", TINY[0]))
    with pytest.raises(ValueError) as error:
        variants.lookup(str(path))
    assert rule in str(error.value)
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_name_gives_the_nearest_one():
    with pytest.raises(ValueError, match="nearest: 'efficientnetv2-s'"):
        variants.lookup("efficientnet2-s")
    with pytest.raises(ValueError, match="model file not found: 'no.yaml'"):
        variants.lookup("no.yaml")
    with pytest.raises(ValueError, match="model_name must be one of"):
        variants.lookup(None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width_coefficient", 0),
        ("width_coefficient", float("nan")),
        ("survival_prob", 0),
        ("survival_prob", None),
        ("bn_type", "tpu"),
        ("conv_dropout", 1.0),
        ("headbias", "a"),
        ("local_pooling", 1),
        ("gn_groups", True),
        ("data_format", "NCHW"),
        ("blocks", TINY),
        ("name", ""),
    ],
)
def test_architecture_names_the_field_the_rule_and_the_value(field, value):
    architecture = variants.lookup("efficientnetv2-b0").architecture
    with pytest.raises(ValueError) as error:
        dataclasses.replace(architecture, **{field: value})
    assert str(error.value).startswith(f"{field} must be ")
    assert f"Received: {value!r}" in str(error.value)
