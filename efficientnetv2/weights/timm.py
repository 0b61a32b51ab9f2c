"""Reads timm's state dicts: `.safetensors`, and `.pth` by PyTorch.

Layouts differ: PyTorch's convolutions are [out, in, height, width], its
dense kernels [out, in].
"""

import argparse
import json
import pathlib
import pickle
import struct

import numpy as np

from efficientnetv2.weights import names
from efficientnetv2.weights.source import Source, WeightsError, damaged

KIND = "a timm state dict"
_LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# Of safetensors, huggingface.co/docs/safetensors.
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_LARGEST_HEADER = 100_000_000  # bytes, the format's own limit
# Where a training checkpoint keeps the state dict; averages first.
_AVERAGES = ("state_dict_ema", "model_ema")
_WRAPPERS = ("state_dict", "model")
# What torn bytes lead to in JSON, numpy, zip files and pickles.
_DAMAGE = (
    OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError,
    AttributeError,
)  # fmt: skip
# PyTorch's file before 1.6 begins with this number, pickled.
_OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def read(path, layers, *, moving_average=True):
    """Reads a state dict.

    Args:
        path: A `.safetensors` or `.pth` file.
        layers: See `names`.
        moving_average: Take the averages where a training checkpoint has
            them.

    Returns:
        A `Source`.

    Raises:
        WeightsError: if the file is damaged or not a timm EfficientNet.
    """
    if is_safetensors(path):
        tensors = _read_safetensors(path)
    else:
        tensors = _read_pth(path, moving_average)
    tensors = {_bare(name): value for name, value in tensors.items()}
    if "conv_stem.weight" not in tensors:
        some = ", ".join(sorted(tensors)[:3]) or "nothing"
        raise WeightsError(
            f"{str(path)!r} holds no EfficientNet of timm: no "
            f"'conv_stem.weight' but {some} ..."
        )
    arrays = {}
    for layer, module in names.timm(layers).items():
        for leaf in layers[layer]:
            value = tensors.pop(f"{module}.{_LEAVES[leaf]}", None)
            if value is not None:
                arrays[f"{layer}/{leaf}"] = _keras_layout(layer, value)
    unknown = [
        name
        for name in tensors
        if not name.endswith("num_batches_tracked")
        and not name.startswith("classifier.")
    ]
    return Source(KIND, arrays, tuple(sorted(unknown)))


def is_safetensors(path):
    """Whether a file begins as the format does: a length, then JSON."""
    with open(path, "rb") as file:
        start = file.read(9)
    if len(start) < 9 or start[8:] != b"{":
        return False
    return struct.unpack("<Q", start[:8])[0] <= _LARGEST_HEADER


def _bare(name):
    return name.removeprefix("module.").removeprefix("model.")


def _keras_layout(layer, value):
    if value.ndim == 4 and layer.endswith(("dwconv", "dwconv2")):
        return value.transpose(2, 3, 0, 1)  # [height, width, channels, 1]
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)  # [height, width, in, out]
    return value.transpose()


def _read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    length = 8 + struct.unpack("<Q", data[:8])[0]
    tensors = {}
    try:
        header = json.loads(data[8:length])
        header.pop("__metadata__", None)
        for name, entry in header.items():
            if entry["dtype"] not in _DTYPES:
                continue  # counters
            first, last = entry["data_offsets"]
            raw = memoryview(data)[length + first : length + last]
            array = np.frombuffer(raw, _DTYPES[entry["dtype"]])
            array = array.reshape(entry["shape"])
            if entry["dtype"] == "BF16":  # the upper half of a float32
                array = (array.astype("<u4") << 16).view("<f4")
            tensors[name] = array
    except _DAMAGE as error:
        raise damaged(path, error) from None
    return tensors


def _read_pth(path, moving_average):
    with open(path, "rb") as file:
        start = file.read(len(_OLD_MAGIC))
    if start[:2] != b"PK" and start != _OLD_MAGIC:
        raise WeightsError(f"{str(path)!r} is a pickle, but not of weights")
    try:
        import torch
    except ImportError:
        raise WeightsError(
            f"reading {str(path)!r} needs PyTorch: pip install torch, or "
            "take the .safetensors file"
        ) from None
    try:
        # Training scripts of timm save their flags, a plain namespace.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise WeightsError(
                f"{str(path)!r} is a pickle, but not of weights: it wants to "
                "run code, so it is not read"
            ) from None
        raise damaged(path, error) from None
    except _DAMAGE as error:
        raise damaged(path, error) from None
    wrappers = _AVERAGES if moving_average else ()
    for wrapper in (*wrappers, *_WRAPPERS):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not any(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise WeightsError(f"{str(path)!r} is a pickle, but not of weights")
    return {
        name: value.float().numpy()
        for name, value in content.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    }
