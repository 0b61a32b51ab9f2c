"""The .keras format, in layers that Keras itself has."""

from . import artefact, inputs, publish, stock


def write(model, path, *, style=None, include_preprocessing=True):
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
    model,
    path,
    *,
    overwrite=False,
    verify=True,
    image_size=None,
    files=None,
    **settings,
):
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
