"""ONNX by Keras's own exporter, batch normalisation folded."""

import importlib.util
import json
import os
import typing
import warnings
from collections.abc import Sequence

import keras
import numpy as np

from . import artefact, fold, inputs, publish

_NEEDS = ("tf2onnx", "onnx", "onnxruntime")


def check_installed() -> None:
    """Raises ValueError where the packages of the extra are missing."""
    missing = [name for name in _NEEDS if not importlib.util.find_spec(name)]
    if missing:
        raise ValueError(
            f"the format onnx needs {', '.join(missing)}: "
            "pip install 'efficientnetv2[onnx]'"
        )


def _finish(path, class_names):
    """Names the output, and puts the classes beside the graph."""
    import onnx

    model = onnx.load(path)
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = [
            "logits" if name == output.name else name for name in node.output
        ]
    output.name = "logits"
    batch, height, width, _ = model.graph.input[0].type.tensor_type.shape.dim
    batch.dim_param, height.dim_param = "batch", "height"
    width.dim_param = "width"
    output.type.tensor_type.shape.dim[0].dim_param = "batch"
    if class_names:
        names = json.dumps(list(class_names))
        onnx.helper.set_model_props(model, {"class_names": names})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    style: str | None = None,
    include_preprocessing: bool = True,
    class_names: Sequence[str] | None = None,
) -> list[artefact.Artefact]:
    """Writes an .onnx file; arguments as `export`.

    Returns:
        A list of one `artefact.Artefact`.
    """
    check_installed()
    style = inputs.resolve_style(model, style)
    folded = fold.fold(model, style=style if include_preprocessing else None)
    folded(np.zeros((1, 32, 32, 3), np.float32))  # Keras wants it called once
    with warnings.catch_warnings():
        # Keras looks for a name that numpy will have again.
        warnings.simplefilter("ignore", FutureWarning)
        folded.export(str(path), format="onnx", verbose=False)
    _finish(str(path), class_names)
    feed = "raw" if include_preprocessing else "normalized"
    return [artefact.Artefact("onnx", str(path), "onnx", feed, "logits")]


def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    verify: bool = True,
    image_size: int | None = None,
    files: Sequence[bytes] | None = None,
    **settings: typing.Any,
) -> str:
    """Writes an ONNX file for inference.

    Input `image`, float32 [batch, height, width, 3] of any size; output
    `logits` [batch, classes].

    Args:
        model: Functional model of `efficientnetv2.get_model`, float32.
        path: File to write.
        overwrite: Replace `path` where it exists.
        verify: Run it by onnxruntime in a process of its own and compare it
            with `model`.
        image_size: Pixels that are compared at; None: the variant's.
        files: Pictures to compare on, a list of files' bytes; None: drawn.
        **settings: `style`: normalisation of the model's input, 'v2', 'v1',
            'ft' or None: the variant's. `include_preprocessing`: True: the
            file's model takes RGB in 0..255. `class_names`: go into the
            file's metadata as JSON.

    Returns:
        The path.

    Raises:
        ValueError: if a package is missing, if `path` exists, or if the file
            does not do what the model does.
    """
    return publish.publish(
        lambda temporary: write(model, temporary, **settings),
        path,
        model=model if verify else None,
        style=settings.get("style"),
        image_size=image_size,
        files=files,
        overwrite=overwrite,
    )
