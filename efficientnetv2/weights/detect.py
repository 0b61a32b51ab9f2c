"""Finds out what a weights file or folder is, by looking at it."""

import pathlib
import zipfile

from efficientnetv2 import checkpoint, spelling
from efficientnetv2.weights import (
    addresses,
    hub,
    keras_h5,
    tf1,
    timm,
    trainer,
)
from efficientnetv2.weights.source import WeightsError, damaged

_HDF5 = b"\x89HDF\r\n\x1a\n"
_SUFFIXES = (".h5", ".keras", ".npz", ".pth", ".safetensors")


def find(path):
    """Finds the reader of a path.

    Args:
        path: A local file, folder or checkpoint prefix.

    Returns:
        A reader module (with `read` and `KIND`) and the path to give it.

    Raises:
        FileNotFoundError: if nothing is there.
        WeightsError: if it is nothing that can be read, or a folder holds
            several weights.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return _look_into(path)
    if path.name.endswith(".index") or ".data-0" in path.name:
        path = path.with_name(_prefix(path.name))
    if path.with_name(f"{path.name}.index").is_file():
        return tf1, path
    if not path.is_file():
        hint = spelling.nearest(path, addresses.KINDS)
        raise FileNotFoundError(f"weights file not found: {str(path)!r}{hint}")
    return _reader(path), path


def _prefix(name):
    return name.removesuffix(".index").partition(".data-0")[0]


def _look_into(folder):
    if (folder / "saved_model.pb").is_file():
        return hub, folder
    if (folder / "checkpoints").is_dir():  # a run of the trainer
        folder = folder / "checkpoints"
    found = {
        path.with_name(_prefix(path.name)) for path in folder.glob("*.index")
    }
    steps = set(folder.glob("ckpt-*.npz"))
    if steps:  # a run keeps its last few and a copy of the best
        found.add(_newest(folder))
        steps.add(folder / checkpoint.BEST)
    found |= {
        path
        for path in folder.iterdir()
        if path.name.endswith(_SUFFIXES) and path not in steps
    }
    if len(found) > 1:
        names = ", ".join(sorted(path.name for path in found))
        raise WeightsError(
            f"{str(folder)!r} holds {len(found)} weights; name one of them: "
            f"{names}"
        )
    if found:
        return find(found.pop())
    folders = [path for path in folder.iterdir() if path.is_dir()]
    if len(folders) == 1:  # an unpacked archive
        return _look_into(folders[0])
    raise WeightsError(f"{str(folder)!r} holds no weights that can be read")


def _newest(folder):
    newest = checkpoint.latest(folder)
    if newest is None:
        raise WeightsError(f"{str(folder)!r} holds no whole checkpoint")
    return pathlib.Path(newest[-1])


def _reader(path):
    with open(path, "rb") as file:
        start = file.read(16)
    if start.startswith(_HDF5):
        return keras_h5
    if start.startswith(b"PK"):
        return _zip_reader(path)
    if start.startswith(b"\x80"):  # a pickle
        return timm
    if timm.is_safetensors(path):
        return timm
    raise WeightsError(
        f"{str(path)!r} is no weights file that can be read: a checkpoint of "
        "the original or of this trainer, Keras, timm or a TF-Hub module. "
        f"It begins with {start!r}"
    )


def _zip_reader(path):
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError) as error:
        raise damaged(path, error) from None
    if keras_h5.ARCHIVED in members:
        return keras_h5
    if "meta.npy" in members:
        return trainer
    if any(name.endswith("data.pkl") for name in members):
        return timm
    some = ", ".join(members[:3]) or "nothing"
    raise WeightsError(
        f"{str(path)!r} is a zip file without weights: it holds {some}"
    )
