"""State dicts of timm: the formats, and what is refused."""

import argparse
import pathlib
import pickle

import numpy as np
import pytest
from random_weights import equal, pair, write_safetensors

from efficientnetv2 import weights


@pytest.fixture
def tiny():
    """A tiny model with random weights, and an untouched twin."""
    return pair()


def _tiny_state_dict(model):
    """timm's names for the tiny model, written out by hand."""
    values = {v.path: v.numpy() for v in model.weights}
    blocks = {
        "block1a_": ("blocks.0.0.", ["project_conv:conv", "project_bn:bn1"]),
        "block2a_": ("blocks.1.0.", _EDGE),
        "block2b_": ("blocks.1.1.", _EDGE),
        "block3a_": ("blocks.2.0.", _INVERTED),
        "block3b_": ("blocks.2.1.", _INVERTED),
    }
    layers = {
        "stem_conv": "conv_stem",
        "stem_bn": "bn1",
        "top_conv": "conv_head",
        "top_bn": "bn2",
        "predictions": "classifier",
    }
    for ours, (theirs, parts) in blocks.items():
        for part in parts:
            left, _, right = part.partition(":")
            layers[ours + left] = theirs + right
    leaves = {
        "kernel": "weight",
        "bias": "bias",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    result = {"bn1.num_batches_tracked": np.zeros((), "int64")}
    for path, value in values.items():
        layer, _, leaf = path.partition("/")
        if "dwconv" in layer:
            value = value.transpose(2, 3, 0, 1)
        elif value.ndim == 4:
            value = value.transpose(3, 2, 0, 1)
        else:
            value = value.transpose()
        result[f"{layers[layer]}.{leaves[leaf]}"] = np.ascontiguousarray(value)
    return result


_EDGE = [
    "expand_conv:conv_exp",
    "expand_bn:bn1",
    "project_conv:conv_pwl",
    "project_bn:bn2",
]
_INVERTED = [
    "expand_conv:conv_pw",
    "expand_bn:bn1",
    "dwconv2:conv_dw",
    "bn:bn2",
    "se_reduce:se.conv_reduce",
    "se_expand:se.conv_expand",
    "project_conv:conv_pwl",
    "project_bn:bn3",
]


def _floats(arrays):
    return {k: v for k, v in arrays.items() if v.dtype == "float32"}


def test_safetensors_round_trip_is_bit_equal(tiny, tmp_path):
    first, second = tiny
    path = tmp_path / "model.safetensors"
    write_safetensors(path, _floats(_tiny_state_dict(first)))
    weights.load(second, path)
    assert equal(first, second)


def test_bfloat16_safetensors_are_read(tiny, tmp_path):
    first, second = tiny
    arrays = _floats(_tiny_state_dict(first))
    halves = {k: (v.view("<u4") >> 16).astype("<u2") for k, v in arrays.items()}
    path = tmp_path / "model.safetensors"
    write_safetensors(path, halves, dtype="BF16")
    weights.load(second, path)
    kernel = second.get_layer("stem_conv").kernel.numpy()
    np.testing.assert_allclose(
        kernel, first.get_layer("stem_conv").kernel.numpy(), rtol=2**-7
    )


def test_pth_with_averages_prefers_them(tiny, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    first, second = tiny
    state = {k: torch.from_numpy(v) for k, v in _tiny_state_dict(first).items()}
    zeros = {k: torch.zeros_like(v) for k, v in state.items()}
    path = tmp_path / "last.pth.tar"
    torch.save(
        {
            "epoch": 3,
            "args": argparse.Namespace(lr=0.1),
            "state_dict": zeros,
            "state_dict_ema": {f"module.{k}": v for k, v in state.items()},
        },
        path,
    )
    weights.load(second, path)
    assert equal(first, second)
    weights.load(second, path, moving_average=False)
    assert not second.get_layer("stem_conv").kernel.numpy().any()


class _Evil:
    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path("evil-was-here"),))


def test_a_pickle_that_runs_code_is_refused(tiny, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pth"
    torch.save({"conv_stem.weight": _Evil()}, path)
    with pytest.raises(weights.WeightsError, match="model.pth.*a pickle"):
        weights.load(tiny[1], path)
    assert not (tmp_path / "evil-was-here").exists()


def test_a_plain_pickle_is_refused_without_reading_it(tiny, tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps({"conv_stem.weight": [1.0]}))
    with pytest.raises(weights.WeightsError, match="model.pth.*not of weights"):
        weights.load(tiny[1], path)


def test_a_pth_without_tensors_is_refused(tiny, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    path = tmp_path / "model.pth"
    torch.save({"accuracy": 0.5}, path)
    with pytest.raises(weights.WeightsError, match="model.pth.*not of weights"):
        weights.load(tiny[1], path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_files_are_refused(tiny, tmp_path, share):
    first, second = tiny
    before = [v.numpy() for v in second.weights]
    path = tmp_path / "model.safetensors"
    write_safetensors(path, _floats(_tiny_state_dict(first)))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(weights.WeightsError, match="truncated") as caught:
        weights.load(second, path)
    assert "\n" not in str(caught.value)
    after = [v.numpy() for v in second.weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_truncated_pth_is_refused(tiny, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    path = tmp_path / "model.pth"
    torch.save({"conv_stem.weight": torch.ones(100)}, path)
    data = path.read_bytes()
    path.write_bytes(data[:-200])
    with pytest.raises(weights.WeightsError, match="model.pth"):
        weights.load(tiny[1], path)


def test_another_networks_state_dict_is_named(tiny, tmp_path):
    path = tmp_path / "resnet.safetensors"
    write_safetensors(path, {"layer1.0.weight": np.ones(3, "float32")})
    with pytest.raises(weights.WeightsError, match="no 'conv_stem.weight'"):
        weights.load(tiny[1], path)
