"""timm's models give the same outputs as ours on the same weights."""

import importlib.machinery
import sys
import types

import numpy as np
import pytest
from random_weights import BRANCH, distance, picture, write_safetensors

import efficientnetv2
from efficientnetv2 import variants

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


def _randomise(network, image, seed=0):
    """Random values for all of a timm model, statistics of the image."""
    import torch

    rng = np.random.default_rng(seed)
    values = {}
    for name, tensor in network.state_dict().items():
        shape = tuple(tensor.shape)
        if not tensor.is_floating_point():
            continue
        if "bn" in name and name.endswith("weight"):
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            value = rng.standard_normal(shape, "float32")
            value /= np.sqrt(np.prod(shape[1:]))
        else:
            value = rng.standard_normal(shape) * 0.1
        values[name] = torch.from_numpy(np.float32(value))
    network.load_state_dict(values, strict=False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    for stage in network.blocks:
        for block in list(stage)[1:]:
            norms = [n for n in block.modules() if hasattr(n, "running_var")]
            norms[-1].weight.mul_(BRANCH)
    network.train()(image)
    network.eval()


def _parity(timm, name, folder):
    import torch

    image = picture()
    channels_first = torch.from_numpy(image.transpose(0, 3, 1, 2))
    network = timm.create_model(MODELS[name])
    with torch.no_grad():
        _randomise(network, channels_first)
        theirs = network(channels_first).numpy()
    path = folder / "model.safetensors"
    write_safetensors(
        path,
        {
            name: tensor.numpy()
            for name, tensor in network.state_dict().items()
            if tensor.is_floating_point()
        },
    )
    del network
    ours = efficientnetv2.get_model(name, weights=str(path))
    return distance(ours(image, training=False), theirs)


@pytest.mark.parametrize("name", QUICK)
def test_timms_model_gives_our_outputs(timm, name, tmp_path):
    assert _parity(timm, name, tmp_path) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in MODELS if name not in QUICK]
)
def test_timms_other_models_give_our_outputs(timm, name, tmp_path):
    assert _parity(timm, name, tmp_path) < 1e-4
