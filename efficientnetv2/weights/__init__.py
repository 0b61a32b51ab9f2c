"""Weights in and out: `load` reads what others publish, `save` writes Keras's.

One reader a source: `tf1` (the original), `trainer` (this project), `keras_h5`
(keras.applications), `timm` and `hub`. `detect` tells them apart, `names` has
the rules for names, `fitting` compares before anything is assigned.
"""

import dataclasses
import logging
import os
import pathlib
import typing

from efficientnetv2.weights import detect, fitting, keras_h5, local, names
from efficientnetv2.weights.addresses import KINDS, PUBLISHED, Published, lookup
from efficientnetv2.weights.fitting import Report
from efficientnetv2.weights.published import class_names, fetch
from efficientnetv2.weights.source import WeightsError

if typing.TYPE_CHECKING:
    import keras

__all__ = [
    "KINDS",
    "PUBLISHED",
    "Published",
    "Report",
    "WeightsError",
    "class_names",
    "fetch",
    "load",
    "lookup",
    "save",
]

_LOG = logging.getLogger(__name__)


def load(
    model: "keras.Model",
    path: str | os.PathLike[str],
    *,
    adapt: bool = False,
    strict: bool = True,
    moving_average: bool = True,
) -> Report:
    """Loads weights into a model; on an error the model stays as it was.

    The file's content decides how it is read: a TensorFlow checkpoint of the
    original (a folder, a prefix or a released `.tgz`), a checkpoint or run
    of this project's trainer, `.weights.h5`, `.keras` or `.h5` of Keras,
    `.safetensors` or `.pth` of timm, a TF-Hub module of this project.

    A model without classifier takes weights with one. Variables of an
    optimizer are left alone.

    Args:
        model: A model of `get_model`.
        path: A path (also 'gs://...'), or 'imagenet', 'imagenet21k' or
            'imagenet21k-ft1k' for the published weights of `model.name`.
        adapt: Take another number of input channels (the first kernel is
            adapted) and another number of classes (the classifier stays as
            it is).
        strict: Refuse a file that differs in anything else. False: refuse it
            only where fewer than half of the variables fit; the report and a
            warning name the others.
        moving_average: Take moving averages where the file has them.

    Returns:
        A `Report` of what went where.

    Raises:
        FileNotFoundError: if nothing is at `path`.
        WeightsError: one line, for a file that cannot be read or does not
            fit; a `ValueError`.
    """
    preprocessing = None
    if str(path) in KINDS and not pathlib.Path(path).exists():
        preprocessing = lookup(model.name, str(path)).preprocessing
        path = fetch(model.name, str(path))
    variables = names.variables(model)
    layers = names.layers(variables)
    with local.local_copy(path) as found:
        reader, file = detect.find(found)
        source = reader.read(str(file), layers, moving_average=moving_average)
    values, report = fitting.fit(variables, source, adapt=adapt)
    report = dataclasses.replace(report, preprocessing=preprocessing)
    fitting.check(report, strict=strict, path=path, model_name=model.name)
    for name, value in values.items():
        variables[name].assign(value)
    if not report.exact:
        _LOG.warning("%s: %s", path, report)
    return report


def save(model: "keras.Model", path: str | os.PathLike[str]) -> str:
    """Writes a model's weights in keras.applications' layout.

    `keras.applications.EfficientNetV2B0(weights=None).load_weights(path)`
    reads the file, and so does every other variant there; V1 files also hold
    the normalisation of keras.applications' V1 models.

    Args:
        model: A model of `get_model`.
        path: File to write, ending in '.weights.h5'.

    Returns:
        The path.

    Raises:
        WeightsError: for another ending or another model.
    """
    return keras_h5.write(model, path)
