"""The .keras format, in layers that Keras itself has."""

import os
import typing
from collections.abc import Sequence

import keras

from . import artefact, inputs, publish, stock


def write(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    style: str | None = None,
    include_preprocessing: bool = True,
) -> list[artefact.Artefact]:
    """Writes a .keras file; arguments as `export`.

    Returns:
        A list of one `artefact.Artefact`.
    """
    style = inputs.resolve_style(model, style)
    copy = stock.stock(model, style=style if include_preprocessing else None)
    copy.save(str(path))
    feed = "raw" if include_preprocessing else "normalized"
    return [artefact.Artefact("keras", str(path), "keras", feed, "logits")]


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
    """Writes a .keras file that loads and trains without this package.

    Args:
        model: Functional model of `efficientnetv2.get_model`, float32.
        path: File to write, ending in '.keras'.
        overwrite: Replace `path` where it exists.
        verify: Load it in a process of its own and compare it with `model`.
        image_size: Pixels that are compared at; None: the variant's.
        files: Pictures to compare on, a list of files' bytes; None: drawn.
        **settings: `style`: normalisation of the model's input, 'v2', 'v1',
            'ft' or None: the variant's. `include_preprocessing`: True: the
            file's model takes RGB in 0..255.

    Returns:
        The path.

    Raises:
        ValueError: for another ending, if `path` exists, or if the file does
            not do what the model does.
    """
    if not str(path).endswith(".keras"):
        raise ValueError(f"path must end in .keras. Received: {str(path)!r}")
    return publish.publish(
        lambda temporary: write(model, temporary, **settings),
        path,
        model=model if verify else None,
        style=settings.get("style"),
        image_size=image_size,
        files=files,
        overwrite=overwrite,
    )
