"""Checkpoints: one file each, complete or not there at all.

A file `ckpt-0000001234.npz` holds NumPy arrays by name and a text `meta`:

    model/<path>            weights of the model, by Keras variable path
    ema/<path>              their moving averages
    optimizer/<number>      the optimizer's variables, in their order
    meta                    JSON: step, offset, class_names, ...

The zip container has a checksum of every array, which tells a torn file.
"""

import json
import logging
import os
import pathlib
import queue
import shutil
import tempfile
import threading
import zipfile

import numpy as np

_PATTERN = "ckpt-*.npz"
BEST = "best.npz"


class CheckpointError(ValueError):
    """A checkpoint cannot be written, read or put into a model."""


def _variables(model, averages, optimizer):
    named = {f"model/{v.path}": v for v in model.weights}
    if averages is not None:
        for variable, value in zip(
            averages.variables, averages.values, strict=True
        ):
            named[f"ema/{variable.path}"] = value
    if optimizer is not None:
        # By number: Keras's own names count the optimizers of a process.
        for number, variable in enumerate(optimizer.variables):
            named[f"optimizer/{number:04d}"] = variable
    return named


def snapshot(model, averages=None, optimizer=None):
    """Copies the state of a run into memory.

    Args:
        model: Keras model.
        averages: An `ema.ExponentialMovingAverage`, or None.
        optimizer: A built Keras optimizer, or None.

    Returns:
        A dict from name to NumPy array; later steps do not change it.
    """
    named = _variables(model, averages, optimizer)
    # np.array copies: on CPU `numpy()` may share memory with the variable.
    return {key: np.array(_value(v)) for key, v in named.items()}


def _value(variable):
    import keras

    return keras.ops.convert_to_numpy(variable)


def _check(arrays, named):
    """Raises for the first arrays that do not fit the variables."""
    missing = [key for key in named if key not in arrays]
    if missing:
        raise CheckpointError(
            f"checkpoint lacks {len(missing)} of {len(named)} variables, "
            f"first {missing[0]!r}"
        )
    for key, variable in named.items():
        if tuple(arrays[key].shape) != tuple(variable.shape):
            raise CheckpointError(
                f"checkpoint has shape {tuple(arrays[key].shape)} for {key!r}; "
                f"the model needs {tuple(variable.shape)}"
            )


def restore(arrays, model, averages=None, optimizer=None):
    """Puts a snapshot back; nothing is changed unless all of it fits.

    Args:
        arrays: What `snapshot` returned or `read` read.
        model: Keras model.
        averages: An `ema.ExponentialMovingAverage`, or None.
        optimizer: A built Keras optimizer, or None.

    Raises:
        CheckpointError: names what is missing or has another shape.
    """
    named = _variables(model, averages, optimizer)
    _check(arrays, named)
    for key, variable in named.items():
        variable.assign(arrays[key])


def restore_for_inference(arrays, model):
    """Puts the moving averages (else the weights) into a model.

    Args:
        arrays: What `read` read.
        model: Keras model.

    Raises:
        CheckpointError: names what is missing or has another shape.
    """
    averaged = {f"ema/{v.path}": v for v in model.weights}
    plain = {f"model/{v.path}": v for v in model.weights}
    named = averaged if set(averaged) & set(arrays) else plain
    _check(arrays, named)
    for key, variable in named.items():
        variable.assign(arrays[key])


def save(folder, step, arrays, meta, *, keep=5):
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
    folder = pathlib.Path(folder)
    path = folder / f"ckpt-{step:010d}.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, arrays, {**meta, "step": step})
    except OSError as error:
        raise CheckpointError(
            f"cannot write the checkpoint {str(path)!r}: {error.strerror}; "
            "the ones before stay good"
        ) from None
    for old in sorted(folder.glob(_PATTERN))[:-keep]:
        old.unlink(missing_ok=True)
    return path


def _write(path, arrays, meta):
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, meta=np.array(json.dumps(meta)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise


def read(path):
    """Reads a checkpoint whole, with its checksums.

    Args:
        path: The file.

    Returns:
        `(arrays, meta)`.

    Raises:
        CheckpointError: if the file is torn or none of ours.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        meta = json.loads(str(arrays.pop("meta")))
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {str(path)!r}") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise CheckpointError(
            f"not a whole checkpoint: {str(path)!r}"
        ) from None
    return arrays, meta


def latest(folder):
    """Finds the newest whole checkpoint.

    Args:
        folder: Folder of the checkpoints.

    Returns:
        `(arrays, meta, path)`, or None if there is none. Torn files are
        passed over with a warning in the log.
    """
    for path in sorted(pathlib.Path(folder).glob(_PATTERN), reverse=True):
        try:
            return (*read(path), path)
        except CheckpointError as error:
            logging.getLogger(__name__).warning("%s; taking an older one", error)
    return None


def mark_best(folder, path):
    """Keeps a copy of a checkpoint as the best one.

    Args:
        folder: Folder of the checkpoints.
        path: The checkpoint's file.

    Returns:
        Path of the copy.
    """
    best = pathlib.Path(folder) / BEST
    temporary = best.with_suffix(".tmp")
    shutil.copyfile(path, temporary)
    os.replace(temporary, best)
    return best


class Writer:
    """Writes checkpoints in the background; training waits for a copy only.

    Args:
        folder: Folder of the checkpoints.
        keep: Number of checkpoints that stay, >= 1.
    """

    def __init__(self, folder, *, keep=5):
        self.folder = folder
        self.keep = keep
        self._error = None
        self._queue = queue.Queue(maxsize=1)  # at most one copy waits
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(quiet=kind is not None)

    def _work(self):
        while (job := self._queue.get()) is not None:
            step, arrays, meta, best = job
            try:
                path = save(self.folder, step, arrays, meta, keep=self.keep)
                if best:
                    mark_best(self.folder, path)
            except Exception as error:  # told at the next submit or close
                self._error = error

    def submit(self, step, arrays, meta, *, best=False):
        """Hands a snapshot over.

        Args:
            step: Global step.
            arrays: What `snapshot` returned.
            meta: Dict that JSON can hold.
            best: Whether to keep a copy as the best one.

        Raises:
            CheckpointError: if an earlier one could not be written.
        """
        self._raise()
        self._queue.put((step, arrays, meta, best))

    def close(self, *, quiet=False):
        """Waits until all is written; raises what went wrong unless quiet."""
        self._queue.put(None)
        self._thread.join()
        if not quiet:
            self._raise()

    def _raise(self):
        error, self._error = self._error, None
        if error is not None:
            raise error
