"""From a function that writes to a verified file or folder in its place."""

from . import inputs, staging


def publish(
    write,
    path,
    *,
    model,
    style=None,
    image_size=None,
    loss_type="softmax",
    files=None,
    overwrite=False,
):
    """Writes under a temporary name, verifies, and moves into place.

    Args:
        write: Function from a path to a list of `artefact.Artefact`.
        path: File or folder to write.
        model: The trained model to compare with; None: nothing is compared.
        style: Normalisation of its input; None: its variant's.
        image_size: Pixels to compare at; None: its variant's.
        loss_type: 'softmax', or 'sigmoid' for several labels a picture.
        files: Pictures to compare on, a list of files' bytes; None: drawn.
        overwrite: Replace `path` where it exists.

    Returns:
        The path.

    Raises:
        ValueError: if `path` exists, or if what was written does not do what
            the model does; then nothing is at `path`.
    """
    with staging.staged(path, overwrite=overwrite) as temporary:
        artefacts = write(temporary)
        if model is not None:
            # Not at the top: it imports TensorFlow, and this file is small.
            from . import verify

            expected = verify.expect(
                model,
                image_size=inputs.resolve_size(model, image_size),
                style=inputs.resolve_style(model, style),
                files=files,
                loss_type=loss_type,
            )
            verify.require(verify.verify(artefacts, expected))
    return path
