"""Tiny models with random weights, and how far two arrays are apart."""

import json
import re
import struct

import keras
import numpy as np
import pytest

from efficientnetv2 import model as model_lib
from efficientnetv2 import variants, weights

BRANCH = 0.1  # size of a residual branch beside the trunk, about
_REPEATED = re.compile(r"block\d+([b-z]|[a-z]{2})_project_bn")
TINY = "r1_k3_s1_e1_i8_o8_c1;r2_k3_s2_e4_i8_o16_c1;r2_k3_s2_e6_i16_o24_se0.25"


def randomise(model, seed=0):
    """Gives every variable values, moving statistics too, unlike any start.

    Args:
        model: A Keras model whose variables are named as Keras names them.
        seed: Seed of the values.
    """
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        leaf = variable.path.split("/")[-1]
        variable.assign(_values(rng, leaf, tuple(variable.shape)))


def settle(model, image):
    """Sets moving statistics to those of a picture, residual branches small.

    Without it the signal dies from layer to layer, and outputs say little
    about the first ones; with large branches rounding errors grow instead.

    Args:
        model: A Keras model; its layers' momentum is 0 afterwards.
        image: Its input.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            if _REPEATED.fullmatch(layer.name):
                layer.gamma.assign(layer.gamma * BRANCH)
    model(image, training=True)


def _values(rng, leaf, shape):
    if leaf in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape).astype("float32")
    if leaf.endswith("kernel"):
        size = np.prod(shape[:3]) if shape[-1] > 1 else np.prod(shape[:2])
        values = rng.standard_normal(shape, "float32")
        return values * np.float32(1 / np.sqrt(size))
    return rng.standard_normal(shape, "float32") * np.float32(0.1)


def distance(ours, theirs):
    """Largest difference, by the largest value of `theirs`."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def picture(size=64, seed=1):
    """A float32 picture [1, size, size + 16, 3] in [-1, 1]."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (1, size, size + 16, 3)).astype("float32")


def equal(first, second):
    """Whether two models hold the same bits under the same names."""
    a = {v.path: np.asarray(v.numpy()) for v in first.weights}
    b = {v.path: np.asarray(v.numpy()) for v in second.weights}
    return a.keys() == b.keys() and all(
        np.array_equal(a[name], b[name]) for name in a
    )


def build(blocks=TINY, **settings):
    """A tiny model."""
    architecture = variants.lookup(blocks).architecture
    return model_lib.build(architecture, **{"num_classes": 5} | settings)


def pair():
    """A tiny model with random weights, and an untouched twin."""
    first = build()
    randomise(first)
    return first, build()


def one_line(call, match):
    """Runs `call`, expects a `WeightsError` of one line, and gives it."""
    with pytest.raises(weights.WeightsError, match=match) as caught:
        call()
    if "\n" in str(caught.value):
        pytest.fail(f"more than one line: {caught.value}")
    return caught.value


def write_safetensors(path, arrays, *, dtype="F32"):
    """Writes the format as huggingface.co/docs/safetensors states it."""
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
