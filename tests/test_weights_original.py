"""The original's checkpoints: names by rule, moving averages first."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from random_weights import distance, equal, pair

import efficientnetv2
from efficientnetv2 import weights
from efficientnetv2.weights import names


@pytest.fixture
def tiny():
    """A tiny model with random weights, and an untouched twin."""
    return pair()


def _original_name(layer, leaf):
    """Names of the tiny model in the original's scheme, by hand."""
    block = {
        "stem": "stem",
        "block1a": "blocks_0",
        "block2a": "blocks_1",
        "block2b": "blocks_2",
        "block3a": "blocks_3",
        "block3b": "blocks_4",
        "top": "head",
        "predictions": "head",
    }[layer.partition("_")[0]]
    part = {
        "expand_conv": "conv2d",
        "expand_bn": "tpu_batch_normalization",
        "dwconv2": "depthwise_conv2d",
        "se_reduce": "se/conv2d",
        "se_expand": "se/conv2d_1",
        "conv": "conv2d",
        "project_conv": "conv2d" if block == "blocks_0" else "conv2d_1",
        "predictions": "dense",
    }.get(layer.partition("_")[2] or layer)
    if part is None:
        number = {"project_bn": 1, "bn": 1}[layer.partition("_")[2]]
        if block in ("blocks_3", "blocks_4") and "project" in layer:
            number = 2
        if block in ("stem", "head", "blocks_0"):
            number = 0
        part = "tpu_batch_normalization" + (f"_{number}" if number else "")
    if layer.endswith("dwconv2"):
        leaf = "depthwise_kernel"
    return f"my-model/{block}/{part}/{leaf}"


def _write(prefix, values):
    """A TF1-style checkpoint: variables by name, no object graph."""
    tensors = [tf.constant(v) for v in values.values()]
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=tensors,
    )


def _values(model, *, averages):
    result = {"global_step": np.int64(7)}
    for variable in model.weights:
        name = _original_name(*variable.path.split("/"))
        value = variable.numpy()
        if averages:
            result[f"{name}/ExponentialMovingAverage"] = value
            value = np.zeros_like(value)
        result[name] = value
        result[f"{name}/RMSProp"] = np.ones_like(value)
    return result


@pytest.mark.parametrize("averages", [True, False])
def test_every_variable_is_found_by_rule(tiny, tmp_path, averages):
    first, second = tiny
    _write(tmp_path / "model.ckpt-7", _values(first, averages=averages))
    assert weights.load(second, tmp_path / "model.ckpt-7").complete
    assert equal(first, second)


def test_averages_can_be_left(tiny, tmp_path):
    first, second = tiny
    _write(tmp_path / "model", _values(first, averages=True))
    weights.load(second, tmp_path / "model", moving_average=False)
    assert not any(v.numpy().any() for v in second.weights)


@pytest.mark.parametrize(
    "form", ["", "model", "model.index", "model.data-00000-of-00001"]
)
def test_folder_prefix_and_either_file_name_the_checkpoint(
    tiny, tmp_path, form
):
    first, second = tiny
    _write(tmp_path / "model", _values(first, averages=True))
    weights.load(second, tmp_path / form)
    assert equal(first, second)


def test_two_checkpoints_in_a_folder_are_named(tiny, tmp_path):
    values = _values(tiny[0], averages=False)
    _write(tmp_path / "model.ckpt-1", values)
    _write(tmp_path / "model.ckpt-2", values)
    with pytest.raises(
        weights.WeightsError, match="2 weights.*model.ckpt-1, model.ckpt-2"
    ):
        weights.load(tiny[1], tmp_path)


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_a_truncated_checkpoint_changes_nothing(tiny, tmp_path, suffix):
    first, second = tiny
    before = [v.numpy() for v in second.weights]
    _write(tmp_path / "model", _values(first, averages=True))
    path = tmp_path / f"model.{suffix}"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(weights.WeightsError, match="damaged") as caught:
        weights.load(second, tmp_path)
    assert "\n" not in str(caught.value)
    after = [v.numpy() for v in second.weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_missing_data_file_is_told(tiny, tmp_path):
    _write(tmp_path / "model", _values(tiny[0], averages=True))
    (tmp_path / "model.data-00000-of-00001").unlink()
    with pytest.raises(weights.WeightsError, match="model"):
        weights.load(tiny[1], tmp_path)


def test_another_networks_checkpoint_is_refused(tiny, tmp_path):
    _write(tmp_path / "model", {"resnet/conv1/kernel": np.ones(3, "float32")})
    with pytest.raises(weights.WeightsError, match="no EfficientNet"):
        weights.load(tiny[1], tmp_path)


@pytest.mark.parametrize(
    "name", ["efficientnetv2-b0", "efficientnetv2-s", "efficientnet-b0"]
)
def test_names_and_shapes_are_the_originals(reference_folder, name):
    stated = json.loads((reference_folder / f"{name}.json").read_text())
    model = efficientnetv2.get_model(name)
    variables = names.variables(model)
    layers = names.layers(variables)
    ours = {}
    for layer, theirs in names.original(layers).items():
        for leaf in layers[layer]:
            kernel = names.kernel_name(layer) if leaf == "kernel" else leaf
            path = f"{name}/{theirs}/{kernel}"
            path = path.replace("/normalization", "/tpu_batch_normalization")
            ours[path] = list(variables[f"{layer}/{leaf}"].shape)
    assert ours == stated["variables"]


def test_the_original_checkpoint_gives_the_originals_logits(reference_folder):
    figures = np.load(reference_folder / "efficientnetv2-b0.npz")
    folder = reference_folder / "tf1_checkpoint" / "efficientnetv2-b0"
    model = efficientnetv2.get_model("efficientnetv2-b0", weights=str(folder))
    for seed, shape, key in (
        (7, (2, 64, 96, 3), "logits"),
        (8, (2, 57, 57, 3), "logits_odd57"),
    ):
        image = np.random.default_rng(seed).uniform(-1, 1, shape)
        logits = model(image.astype("float32"), training=False)
        assert distance(logits, figures[key]) < 1e-4


def test_another_variants_checkpoint_is_refused(reference_folder, tmp_path):
    folder = reference_folder / "tf1_checkpoint" / "efficientnetv2-b0"
    copy = tmp_path / "efficientnetv2-b1"
    shutil.copytree(folder, copy)
    model = efficientnetv2.get_model("efficientnetv2-b1")
    before = model.get_layer("stem_conv").kernel.numpy()
    for settings in ({}, {"adapt": True, "strict": False}):
        with pytest.raises(weights.WeightsError, match="efficientnetv2-b1"):
            weights.load(model, copy, **settings)
    np.testing.assert_array_equal(
        model.get_layer("stem_conv").kernel.numpy(), before
    )
