"""timm's models give the same outputs as ours on the same weights."""

import argparse
import importlib.machinery
import json
import pathlib
import pickle
import struct
import sys
import types

import numpy as np
import pytest
from random_weights import TINY, distance, equal, picture, randomise

import efficientnetv2
from efficientnetv2 import model as model_lib
from efficientnetv2 import variants, weights

MODELS = {
    name: "tf_" + name.replace("-", "_") for name in variants.VARIANTS
}
QUICK = ("efficientnetv2-b0", "efficientnetv2-s", "efficientnet-b0")


def _blank(name):
    """A class that has what timm reads of names when it is imported."""
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), _INTERPOLATIONS)


class _NoTorchvision:
    """Stands in for torchvision, which has no build for PyTorch's CPU wheel.

    timm imports names from it that no EfficientNet uses.
    """

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = _blank
        return module

    def exec_module(self, module):
        pass


# timm turns a dict of these round, so their values differ.
_INTERPOLATIONS = {
    name: name.lower()
    for name in (
        "NEAREST", "BILINEAR", "BICUBIC", "BOX", "HAMMING", "LANCZOS",
        "NEAREST_EXACT",
    )
}


@pytest.fixture(scope="module")
def timm():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [n for n in sys.modules if n.startswith("torchvision")]:
            del sys.modules[name]
        sys.meta_path.insert(0, _NoTorchvision())
    return pytest.importorskip("timm", reason="timm is not installed")


def _state_dict(network, seed=0):
    """Random values for all of a timm model, as a state dict of numpy."""
    import torch

    rng = np.random.default_rng(seed)
    values = {}
    for name, tensor in network.state_dict().items():
        shape = tuple(tensor.shape)
        if not tensor.is_floating_point():
            continue
        if "running_var" in name or ("bn" in name and "weight" in name):
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            value = rng.standard_normal(shape, "float32")
            value /= np.sqrt(np.prod(shape[1:]))
        else:
            value = rng.standard_normal(shape) * 0.1
        values[name] = torch.from_numpy(np.float32(value))
    network.load_state_dict(values, strict=False)
    return values


def _write_safetensors(path, arrays, *, dtype="F32"):
    """The format as huggingface.co/docs/safetensors states it."""
    header, data, end = {}, [], 0
    for name, array in arrays.items():
        data.append(np.ascontiguousarray(array).tobytes())
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [end, end + len(data[-1])],
        }
        end += len(data[-1])
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def _parity(timm, name, folder):
    import torch

    network = timm.create_model(MODELS[name]).eval()
    path = folder / "model.safetensors"
    arrays = {k: v.numpy() for k, v in _state_dict(network).items()}
    _write_safetensors(path, arrays)
    del arrays
    image = picture()
    with torch.no_grad():
        theirs = network(torch.from_numpy(image.transpose(0, 3, 1, 2)))
    del network
    ours = efficientnetv2.get_model(name, weights=str(path))
    return distance(ours(image, training=False), theirs.numpy())


@pytest.mark.parametrize("name", QUICK)
def test_timms_model_gives_our_outputs(timm, name, tmp_path):
    assert _parity(timm, name, tmp_path) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in MODELS if name not in QUICK]
)
def test_timms_other_models_give_our_outputs(timm, name, tmp_path):
    assert _parity(timm, name, tmp_path) < 1e-4




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
        "stem_conv": "conv_stem", "stem_bn": "bn1", "top_conv": "conv_head",
        "top_bn": "bn2", "predictions": "classifier",
    }
    for ours, (theirs, parts) in blocks.items():
        for part in parts:
            left, _, right = part.partition(":")
            layers[ours + left] = theirs + right
    leaves = {
        "kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias",
        "moving_mean": "running_mean", "moving_variance": "running_var",
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
    "expand_conv:conv_exp", "expand_bn:bn1", "project_conv:conv_pwl",
    "project_bn:bn2",
]
_INVERTED = [
    "expand_conv:conv_pw", "expand_bn:bn1", "dwconv2:conv_dw", "bn:bn2",
    "se_reduce:se.conv_reduce", "se_expand:se.conv_expand",
    "project_conv:conv_pwl", "project_bn:bn3",
]


@pytest.fixture
def tiny():
    """A tiny model with random weights, and an untouched twin."""
    architecture = variants.lookup(TINY).architecture
    first = model_lib.build(architecture, num_classes=5)
    randomise(first)
    return first, model_lib.build(architecture, num_classes=5)


def _floats(arrays):
    return {k: v for k, v in arrays.items() if v.dtype == "float32"}


def test_safetensors_round_trip_is_bit_equal(tiny, tmp_path):
    first, second = tiny
    path = tmp_path / "model.safetensors"
    _write_safetensors(path, _floats(_tiny_state_dict(first)))
    weights.load(second, path)
    assert equal(first, second)


def test_bfloat16_safetensors_are_read(tiny, tmp_path):
    first, second = tiny
    arrays = _floats(_tiny_state_dict(first))
    halves = {
        k: (v.view("<u4") >> 16).astype("<u2") for k, v in arrays.items()
    }
    path = tmp_path / "model.safetensors"
    _write_safetensors(path, halves, dtype="BF16")
    weights.load(second, path)
    kernel = second.get_layer("stem_conv").kernel.numpy()
    np.testing.assert_allclose(
        kernel, first.get_layer("stem_conv").kernel.numpy(), rtol=2**-7
    )


def test_pth_with_averages_prefers_them(tiny, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    first, second = tiny
    state = {
        k: torch.from_numpy(v) for k, v in _tiny_state_dict(first).items()
    }
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
    _write_safetensors(path, _floats(_tiny_state_dict(first)))
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
    _write_safetensors(path, {"layer1.0.weight": np.ones(3, "float32")})
    with pytest.raises(weights.WeightsError, match="no 'conv_stem.weight'"):
        weights.load(tiny[1], path)
