"""Reads and writes Keras weights in keras.applications' layout.

Three layouts: `.weights.h5` of Keras 3 (layers/<class>_<n>/vars/<i>, the
layer's name as an attribute), the same inside a `.keras` archive, and the
older `.h5` (a group a layer, variables by name).
"""

import io
import os
import pathlib
import tempfile
import zipfile
import zlib

import numpy as np

from efficientnetv2.weights import names
from efficientnetv2.weights.source import Source, WeightsError, damaged

KIND = "Keras weights"
# What h5py and zipfile raise for torn bytes, names and types among them.
_DAMAGE = (
    OSError, LookupError, RuntimeError, TypeError, ValueError, AttributeError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
ARCHIVED = "model.weights.h5"  # in a .keras file
# keras.applications' V1 models normalise in a layer with variables.
_NORMALIZATION = ("mean", "variance", "count")
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def read(path, layers, *, moving_average=True):
    """Reads a `.weights.h5`, `.keras` or older `.h5` file.

    Args:
        path: The file.
        layers: See `names`.
        moving_average: Unused: the file holds one value a variable.

    Returns:
        A `Source`.

    Raises:
        WeightsError: if the file is damaged or holds no layers.
    """
    import h5py

    try:
        with _opened(path) as file, h5py.File(file, "r") as root:
            root = root.get("model_weights", root)  # of a whole model
            if "layer_names" in root.attrs:
                stored, pair = _older(root), _by_order
            else:
                stored, pair = _keras_3(root), _by_group
            if not stored:
                raise WeightsError(f"{str(path)!r} holds no layer of Keras")
            return _source(stored, layers, pair)
    except WeightsError:
        raise
    except _DAMAGE as error:
        raise damaged(path, error) from None


def _opened(path):
    """The HDF5 file itself, also from inside a `.keras` archive."""
    file = open(path, "rb")
    if file.read(2) != b"PK":
        return file
    with file, zipfile.ZipFile(file) as archive:
        return io.BytesIO(archive.read(ARCHIVED))


def _older(root):
    """Layer -> {variable: dataset} of a Keras 2 file, in the file's order."""
    result = {}
    for layer in _strings(root.attrs["layer_names"]):
        group = root[layer]
        stored = {}
        for name in _strings(group.attrs.get("weight_names", ())):
            leaf = name.rpartition("/")[2].partition(":")[0]
            stored["kernel" if leaf.endswith("kernel") else leaf] = group[name]
        if stored:
            result[layer] = stored
    return result


def _strings(values):
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def _keras_3(root):
    """Layer or group -> {number: dataset} of a Keras 3 file."""
    result = {}

    def visit(path, item):
        group, _, last = path.rpartition("/")
        if last != "vars" or not len(item) or "optimizer" in path:
            return
        layer = item.attrs.get("name") or group.rpartition("/")[2]
        result.setdefault(layer, dict(item))

    root.visititems(visit)
    return result


def _source(stored, layers, pair):
    """Finds each layer by its name, its alias or else by `pair`."""
    stored = {
        layer: variables
        for layer, variables in stored.items()
        if not _is_normalization(layer, variables)
    }
    found = {}
    for layer in layers:
        for name in (layer, names.keras_alias(layer)):
            if name in stored:
                found[layer] = name
                break
    if 2 * len(found) < len(layers):  # the file has other names or none
        found = pair(layers, stored)
    arrays = {}
    for layer, theirs in found.items():
        values = stored[theirs]
        for number, leaf in enumerate(layers[layer]):
            value = values.get(leaf, values.get(str(number)))
            if value is not None:
                arrays[f"{layer}/{leaf}"] = _array(value)
    used = set(found.values())
    unknown = [
        f"{layer}/{leaf}"
        for layer, variables in stored.items()
        if layer not in used and layer not in ("predictions", "dense")
        for leaf in variables
    ]
    return Source(KIND, arrays, tuple(unknown))


def _by_order(layers, stored):
    return dict(zip(layers, stored, strict=False))


def _by_group(layers, stored):
    groups = names.keras_groups(layers)
    return {layer: group for layer, group in groups.items() if group in stored}


def _is_normalization(layer, variables):
    if any(leaf in variables for leaf in _NORMALIZATION):
        return True
    return layer.partition("_")[0] == "normalization"


def _array(dataset):
    array = np.asarray(dataset)
    if dataset.attrs.get("dtype") == "bfloat16":
        import ml_dtypes

        array = array.view(ml_dtypes.bfloat16)
    return array


def write(model, path):
    """Writes `.weights.h5` as keras.applications' own models read it.

    The file is complete before it has its name.

    Args:
        model: A model of `efficientnetv2.model`.
        path: File to write; ends in '.weights.h5', as Keras asks.

    Returns:
        The path.

    Raises:
        WeightsError: for another ending or a model that is not ours.
    """
    import h5py
    import keras

    path = pathlib.Path(path)
    if not path.name.endswith(".weights.h5"):
        raise WeightsError(
            f"path must end in '.weights.h5'. Received: {str(path)!r}"
        )
    variables = names.variables(model)
    layers = names.layers(variables)
    if "stem_conv" not in layers:
        raise WeightsError(
            f"model must be an EfficientNet of this package. "
            f"Received: {model.name!r}"
        )
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    try:
        with h5py.File(temporary, "w") as root:
            for layer, group in names.keras_groups(layers).items():
                values = [
                    keras.ops.convert_to_numpy(variables[f"{layer}/{leaf}"])
                    for leaf in layers[layer]
                ]
                _write_layer(root, group, layer, values)
            if "block1a_dwconv" in layers:
                _write_normalization(root, variables["stem_conv/kernel"])
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        pathlib.Path(temporary).unlink(missing_ok=True)
    return str(path)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_layer(root, group, layer, values):
    group = root.create_group(f"layers/{group}/vars")
    group.attrs["name"] = layer
    for number, value in enumerate(values):
        group[str(number)] = value


def _write_normalization(root, stem):
    channels = int(stem.shape[2])
    mean, variance = np.zeros(channels), np.ones(channels)
    if channels == 3:
        mean = np.array(_IMAGENET_MEAN)
        variance = np.square(_IMAGENET_DEVIATION)
    values = [mean.astype("float32"), variance.astype("float32")]
    _write_layer(root, "normalization", "normalization", [*values, np.int32(0)])
