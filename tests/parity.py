"""How far other implementations' outputs are from ours, on the same weights.

`python tests/parity.py [variant ...]` prints the table of docs/weights.md; with
timm's column where PyTorch and timm are installed.
"""

import gc
import importlib.machinery
import importlib.util
import json
import pathlib
import sys
import tempfile
import types
import zlib

import keras
import numpy as np
from random_weights import (
    BRANCH,
    distance,
    picture,
    randomise,
    settle,
    write_safetensors,
)

import efficientnetv2
from efficientnetv2 import variants, weights, zoo
from efficientnetv2.weights import names

REFERENCE = pathlib.Path(__file__).resolve().parents[2] / "shared/reference"
OF_ORIGINAL = ("efficientnetv2-b0", "efficientnetv2-s", "efficientnet-b0")
# Variant -> the class in keras.applications, after 'EfficientNet'.
OF_KERAS = {
    f"efficientnetv2-{size.lower()}": f"V2{size}"
    for size in ("B0", "B1", "B2", "B3", "S", "M", "L")
} | {f"efficientnet-b{index}": f"B{index}" for index in range(8)}
OF_TIMM = {name: "tf_" + name.replace("-", "_") for name in variants.VARIANTS}
ENDPOINTS = [f"reduction_{index}" for index in range(1, 6)]


# The original: figures that it computed, on weights made from their names.


def _value(name, shape):
    """The reference's rule: a variable's values follow from its name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    leaf = name.split("/")[-1]
    if leaf in ("kernel", "depthwise_kernel"):
        fan_in = np.prod(shape[:2] if leaf != "kernel" else shape[:-1])
        return rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)
    if leaf == "gamma":
        return rng.uniform(0.5, 1.5, shape)
    return rng.standard_normal(shape) * 0.1


def original_names(model, published):
    """Our variable's path -> the original's name, each used once.

    Args:
        model: One of our models.
        published: The original's names, any container with a length.

    Returns:
        A dict.

    Raises:
        ValueError: if a name is not published, or one is left over.
    """
    paths = list(names.variables(model))
    originals = names.original(names.layers(paths))
    result = {}
    for path in paths:
        layer, _, leaf = path.rpartition("/")
        leaf = names.kernel_name(layer) if leaf == "kernel" else leaf
        scope = originals[layer].replace("/norm", "/tpu_batch_norm")
        result[path] = f"{model.name}/{scope}/{leaf}"
    if set(result.values()) != set(published):
        odd = sorted(set(result.values()) ^ set(published))
        raise ValueError(f"names differ from the original's: {odd[:3]}")
    return result


def original_case(name, folder):
    """A model with the reference's weights, and the reference's figures.

    Args:
        name: One of `OF_ORIGINAL`.
        folder: Where the reference lies.

    Returns:
        A Keras model with the outputs logits, reduction_1 .. reduction_5,
        pooled; and a dict of arrays.
    """
    published = json.loads((folder / f"{name}.json").read_text())["variables"]
    figures = np.load(folder / f"{name}.npz")
    model = zoo.get_model(name, with_endpoints=True)
    originals = original_names(model, published)
    for path, variable in names.variables(model).items():
        original = originals[path]
        if f"stat:{original}" in figures:
            variable.assign(figures[f"stat:{original}"])
            continue
        shape = tuple(variable.shape)
        if list(shape) != published[original]:
            raise ValueError(f"{path} has the shape {shape}")
        variable.assign(_value(original, shape).astype("float32"))
    outputs = [*model.outputs, model.get_layer("avg_pool").output]
    return keras.Model(model.input, outputs), figures


def original_distances(model, figures):
    """Distances from the original's figures, by the figure's name.

    Args:
        model: Of `original_case`.
        figures: Likewise.

    Returns:
        A dict of floats.
    """
    x = np.random.default_rng(7).uniform(-1, 1, (2, 64, 96, 3))
    ours = model(x.astype("float32"), training=False)
    found = dict(zip(["logits", *ENDPOINTS, "pooled"], ours, strict=True))
    found["features"] = found["reduction_5"]
    x = np.random.default_rng(8).uniform(-1, 1, (2, 57, 57, 3))
    found["logits_odd57"] = model(x.astype("float32"), training=False)[0]
    return {key: distance(y, figures[key]) for key, y in found.items()}


# keras.applications: our files there, theirs here.


def keras_model(name, **settings):
    """The model of keras.applications, untrained, giving logits."""
    build = getattr(keras.applications, f"EfficientNet{OF_KERAS[name]}")
    settings = {"weights": None, "classifier_activation": None} | settings
    return build(**settings)


def keras_distances(name, folder):
    """Distances of the logits: our weights in both, theirs in both.

    Both models take RGB in 0..255, so the normalisation is compared too.

    Args:
        name: A key of `OF_KERAS`.
        folder: Where the files of weights go.

    Returns:
        Two floats; infinity where not all of a file was loaded.
    """
    image = 127.5 * (picture() + 1)
    ours = efficientnetv2.get_model(name, include_preprocessing=True)
    randomise(ours)
    settle(ours, image)
    path = str(folder / "ours.weights.h5")
    weights.save(ours, path)
    theirs = keras_model(name, input_shape=image.shape[1:])
    theirs.load_weights(path)
    out = distance(ours(image, training=False), theirs(image, training=False))
    randomise(theirs, seed=2)
    _normalise(theirs)
    settle(theirs, image)
    path = str(folder / "theirs.weights.h5")
    theirs.save_weights(path)
    report = weights.load(ours, path)
    back = distance(ours(image, training=False), theirs(image, training=False))
    return out, back if report.complete else float("inf")


def _normalise(theirs):
    """Gives V1's normalisation layer ImageNet's figures again."""
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            layer.set_weights(
                [
                    np.array([0.485, 0.456, 0.406]),
                    np.square([0.229, 0.224, 0.225]),
                    np.int32(0),
                ]
            )
            layer.finalize_state()


# timm: its model's weights here.


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
        "NEAREST",
        "BILINEAR",
        "BICUBIC",
        "BOX",
        "HAMMING",
        "LANCZOS",
        "NEAREST_EXACT",
    )
}


def import_timm():
    """The module timm, or None where it or PyTorch is not installed."""
    if None in map(importlib.util.find_spec, ("torch", "timm")):
        return None
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [n for n in sys.modules if n.startswith("torchvision")]:
            del sys.modules[name]
        sys.meta_path.insert(0, _NoTorchvision())
    import timm

    return timm


def _randomise_timm(network, image, seed=0):
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


def timm_distance(timm, name, folder):
    """Distance of the logits, timm's random weights in both.

    Args:
        timm: The module, of `import_timm`.
        name: A variant.
        folder: Where the file of weights goes.

    Returns:
        A float.
    """
    import torch

    image = picture()
    channels_first = torch.from_numpy(image.transpose(0, 3, 1, 2))
    network = timm.create_model(OF_TIMM[name])
    with torch.no_grad():
        _randomise_timm(network, channels_first)
        theirs = network(channels_first).numpy()
    path = folder / "model.safetensors"
    write_safetensors(
        path,
        {
            key: tensor.numpy()
            for key, tensor in network.state_dict().items()
            if tensor.is_floating_point()
        },
    )
    del network
    ours = efficientnetv2.get_model(name, weights=str(path))
    return distance(ours(image, training=False), theirs)


def _row(timm, name, folder):
    cells = ["-", "-", "not installed" if timm is None else "-"]
    if name in OF_ORIGINAL and REFERENCE.is_dir():
        found = original_distances(*original_case(name, REFERENCE))
        cells[0] = f"{max(found.values()):.1e}"
    if name in OF_KERAS:
        cells[1] = f"{max(keras_distances(name, folder)):.1e}"
    if timm is not None:
        cells[2] = f"{timm_distance(timm, name, folder):.1e}"
    return f"| {' | '.join([name, *cells])} |"


def main(chosen):
    """Prints a row for each variant.

    Args:
        chosen: Names of variants; empty: all.
    """
    timm = import_timm()
    print("| variant | the original | keras.applications | timm |")
    print("|---|---|---|---|")
    for name in chosen or variants.VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            print(_row(timm, name, pathlib.Path(folder)), flush=True)
        gc.collect()  # models are reference cycles of up to 2 GB


if __name__ == "__main__":
    main(sys.argv[1:])
