"""Checkpoints: the state of a run as arrays by stable names, and back.

    model/<path>                weights of the model, by Keras variable path
    ema/<path>                  their moving averages
    optimizer/<path>/<slot>     what the optimizer keeps for a variable
    optimizer/<name>            what it keeps for all, such as `iteration`

Keras's own names of an optimizer's variables count the optimizers of a process
and melt path and slot into one word, so they are taken apart here. Files are
the matter of `checkpoint_files` and `checkpoint_writer`, whose names are
here too.
"""

from collections.abc import Mapping

import keras
import numpy as np

from efficientnetv2 import ema, frozen_values
from efficientnetv2.checkpoint_files import (
    BEST,
    CheckpointError,
    latest,
    mark_best,
    read,
    save,
    save_best,
    saved,
)
from efficientnetv2.checkpoint_writer import Writer

__all__ = [
    "BEST",
    "CheckpointError",
    "Writer",
    "latest",
    "mark_best",
    "read",
    "restore",
    "restore_for_inference",
    "save",
    "save_best",
    "saved",
    "snapshot",
]
_SHOWN = 3  # variables that an error names


def _optimizer_variables(model, optimizer):
    """The optimizer's variables by `<path>/<slot>` or plain name."""
    paths = {}
    for variable in model.weights:
        paths.setdefault(variable.path.replace("/", "_"), []).append(
            variable.path
        )
    named, seen = {}, {}
    for variable in optimizer.variables:
        # Two paths may melt into one word: they come in the model's order.
        turn = seen[variable.name] = seen.get(variable.name, -1) + 1
        key = _taken_apart(variable.name, paths, turn)
        if key in named:  # counters of a wrapper and what it wraps
            key = f"{key}_{turn}"
        named[key] = variable
    return named


def _taken_apart(name, paths, turn):
    end = name.rfind("_")
    while end > 0:
        candidates = paths.get(name[:end])
        if candidates:
            place = min(turn, len(candidates) - 1)
            return f"{candidates[place]}/{name[end + 1 :]}"
        end = name.rfind("_", 0, end)
    return name


def _variables(model, optimizer):
    named = {f"model/{v.path}": v for v in model.weights}
    if optimizer is not None:
        for name, variable in _optimizer_variables(model, optimizer).items():
            named[f"optimizer/{name}"] = variable
    return named


def snapshot(
    model: keras.Model,
    averages: ema.ExponentialMovingAverage | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> dict[str, np.ndarray]:
    """Keeps the state of a run in memory; later steps do not change it.

    Args:
        model: Keras model.
        averages: An `ema.ExponentialMovingAverage`, or None.
        optimizer: A built Keras optimizer, or None.

    Returns:
        A dict from name to NumPy array.
    """
    arrays = {
        key: _storable(frozen_values.read(variable))
        for key, variable in _variables(model, optimizer).items()
    }
    if averages is not None:
        for path, value in averages.values().items():
            arrays[f"ema/{path}"] = value
    return arrays


def _storable(array):
    # NumPy's file format does not know bfloat16; float32 holds all of it.
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


def _names(keys):
    """'3 (a, b, c)' or '452 (a, b, c, ...)'."""
    shown = ", ".join(repr(key) for key in keys[:_SHOWN])
    return f"{len(keys)} ({shown}{', ...' if len(keys) > _SHOWN else ''})"


def _check(arrays, shapes, *, sections):
    """Raises unless the arrays of the sections fit the shapes exactly.

    Args:
        arrays: Dict from key to array.
        shapes: Dict from key to the shape that is needed.
        sections: First parts of the keys that are looked at.
    """
    there = {k for k in arrays if k.partition("/")[0] in sections}
    missing = [key for key in shapes if key not in there]
    unexpected = sorted(there - set(shapes))
    unfit = [
        key
        for key, shape in shapes.items()
        if key in there and arrays[key].shape != tuple(shape)
    ]
    complaints = []
    if missing:
        complaints.append(f"it lacks {_names(missing)}")
    if unexpected:
        complaints.append(f"it has {_names(unexpected)} for which is no place")
    if unfit:
        key = unfit[0]
        complaints.append(
            f"{len(unfit)} have another shape, first {key!r}: "
            f"{arrays[key].shape}, needed {tuple(shapes[key])}"
        )
    if complaints:
        raise CheckpointError(
            f"the checkpoint does not fit: {'; '.join(complaints)}"
        )


def restore(
    arrays: Mapping[str, np.ndarray],
    model: keras.Model,
    averages: ema.ExponentialMovingAverage | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> None:
    """Puts a snapshot back; nothing is changed unless all of it fits.

    Args:
        arrays: What `snapshot` returned or `read` read. Averages and the
            optimizer's state are left aside where they are not asked for.
        model: Keras model.
        averages: An `ema.ExponentialMovingAverage`, or None.
        optimizer: A built Keras optimizer, or None.

    Raises:
        CheckpointError: names what is missing, too much or of another shape.
    """
    variables = _variables(model, optimizer)
    shapes = {key: variable.shape for key, variable in variables.items()}
    sections = {"model"}
    if optimizer is not None:
        sections.add("optimizer")
    if averages is not None:
        sections.add("ema")
        shapes |= {f"ema/{v.path}": v.shape for v in averages.variables}
    _check(arrays, shapes, sections=sections)
    for key, variable in variables.items():
        variable.assign(arrays[key])
    if averages is not None:
        averages.assign(
            {v.path: arrays[f"ema/{v.path}"] for v in averages.variables}
        )


def restore_for_inference(
    arrays: Mapping[str, np.ndarray], model: keras.Model
) -> None:
    """Puts the moving averages (else the weights) into a model.

    Args:
        arrays: What `read` read.
        model: Keras model.

    Raises:
        CheckpointError: names what is missing, too much or of another shape.
    """
    averaged = any(key.startswith("ema/") for key in arrays)
    section = "ema" if averaged else "model"
    variables = {f"{section}/{v.path}": v for v in model.weights}
    shapes = {key: variable.shape for key, variable in variables.items()}
    _check(arrays, shapes, sections={section})
    for key, variable in variables.items():
        variable.assign(arrays[key])
