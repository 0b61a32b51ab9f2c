"""Checkpoint files: written whole, found again, kept in number.

A file `ckpt-0000001234.npz` holds NumPy arrays by name and a text `meta`, JSON
with the step, the position in the data and whatever the trainer adds. The zip
container has a checksum of every array, which tells a torn file.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from efficientnetv2 import storage

BEST = "best.npz"
"""Name of the best checkpoint by evaluation, apart from those counted."""
_FORMAT = 1
_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"ckpt-(\d{10,})\.npz")


class CheckpointError(ValueError):
    """A checkpoint cannot be written, read or put into a model."""


def saved(folder: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """Lists the checkpoints of a folder, whole or not.

    Args:
        folder: Folder of the checkpoints; it need not be there.

    Returns:
        A list of (step, path), oldest first.
    """
    found = [(_NAME.fullmatch(n), n) for n in storage.names(folder)]
    return sorted(
        (int(match.group(1)), storage.join(folder, name))
        for match, name in found
        if match
    )


def _write(folder, name, arrays, meta):
    path = storage.join(folder, name)
    text = json.dumps({**meta, "format": _FORMAT})
    try:
        storage.make_folder(folder)
        storage.write(
            path, lambda file: np.savez(file, meta=np.array(text), **arrays)
        )
    except OSError as error:
        raise CheckpointError(
            f"cannot write the checkpoint {str(path)!r}: "
            f"{error.strerror or error}; the ones before stay good"
        ) from None
    return path


def save(
    folder: str | os.PathLike[str],
    step: int,
    arrays: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
    *,
    keep: int = 5,
) -> str:
    """Writes a checkpoint and removes the oldest ones.

    Args:
        folder: Folder of the checkpoints.
        step: Global step, >= 0.
        arrays: Dict from name to NumPy array.
        meta: Dict that JSON can hold; `step` is added.
        keep: Number of checkpoints that stay, >= 1.

    Returns:
        The file's path.

    Raises:
        CheckpointError: if it cannot be written; older ones stay as they are.
    """
    if keep < 1:
        raise ValueError(f"keep must be >= 1. Received: {keep}")
    path = _write(
        folder, f"ckpt-{step:010d}.npz", arrays, {**meta, "step": step}
    )
    # Newer ones are left over from before a resume, and torn: not counted.
    older = [p for s, p in saved(folder) if s <= step]
    for old in older[:-keep]:
        try:
            storage.remove(old)
        except OSError as error:
            _LOG.warning("cannot remove %s: %s", old, error)
    return path


def read(
    path: str | os.PathLike[str],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads a checkpoint whole, with its checksums.

    Args:
        path: The file.

    Returns:
        `(arrays, meta)`.

    Raises:
        CheckpointError: if the file is torn, none of ours, or newer than
            this program.
    """
    try:
        with (
            storage.open_bytes(path) as file,
            np.load(file, allow_pickle=False) as archive,
        ):
            arrays = {key: archive[key] for key in archive.files}
        meta = json.loads(str(arrays.pop("meta")))
        version = meta.get("format", _FORMAT)
        meta["step"] = int(meta["step"])
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {str(path)!r}") from None
    except (
        *storage.NPZ_DAMAGE,
        AttributeError,  # a plain .npy, or JSON that is no object
        TypeError,
    ) as error:
        raise CheckpointError(
            f"not a whole checkpoint: {str(path)!r} ({type(error).__name__})"
        ) from None
    if version > _FORMAT:
        raise CheckpointError(
            f"checkpoint {str(path)!r} has format {version}; this program "
            f"reads up to {_FORMAT}"
        )
    return arrays, meta


def latest(
    folder: str | os.PathLike[str],
) -> tuple[dict[str, np.ndarray], dict[str, Any], str] | None:
    """Finds the newest whole checkpoint.

    Args:
        folder: Folder of the checkpoints.

    Returns:
        `(arrays, meta, path)`, or None if there is none. Torn files are
        passed over with a warning in the log.
    """
    for _, path in reversed(saved(folder)):
        try:
            return (*read(path), path)
        except CheckpointError as error:
            _LOG.warning("%s; taking an older one", error)
    return None


def mark_best(
    folder: str | os.PathLike[str], path: str | os.PathLike[str]
) -> str:
    """Keeps a checkpoint as the best one, apart from those that are counted.

    Args:
        folder: Folder of the checkpoints.
        path: The checkpoint's file.

    Returns:
        The path of the best one.

    Raises:
        CheckpointError: if it cannot be written; the former best one stays.
    """
    best = storage.join(folder, BEST)
    try:
        storage.duplicate(path, best)
    except OSError as error:
        raise CheckpointError(
            f"cannot keep the best checkpoint as {str(best)!r}: "
            f"{error.strerror or error}"
        ) from None
    return best


def save_best(
    folder: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
) -> str:
    """Writes a checkpoint as the best one; for one that may be gone by now.

    Args:
        folder: Folder of the checkpoints.
        arrays: What `read` read.
        meta: The same.

    Returns:
        The path of the best one.

    Raises:
        CheckpointError: if it cannot be written; the former best one stays.
    """
    return _write(folder, BEST, arrays, meta)
