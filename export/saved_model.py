"""SavedModel for serving: pictures in, classes with names out.

Signatures, each with the outputs `probabilities` [batch, classes],
`top_probabilities`, `top_indices` and `top_classes` [batch, k]:

    serving_default   images: float32 [batch, height, width, 3], RGB in [0, 1]
    image_bytes       image_bytes: string [batch], JPEG, PNG, GIF, BMP or WebP
    tf_example        examples: string [batch], with the key image/encoded
    grad_cam          image_bytes, as above; also gives `heat_maps` float32
                      [batch, k, rows, columns], 0 to 1, where the top classes
                      are seen in `pictures` uint8 [batch, size, size, 3], what
                      the model was shown

A file that is no picture gets probabilities of 0, the index -1 and the class
`serving.BROKEN`; the other rows of the batch are not touched.
"""

import os
import typing
from collections.abc import Sequence

import keras
import tensorflow as tf

from . import artefact, fold, inputs, publish, serving


def check_names(
    model: keras.Model, class_names: Sequence[str] | None
) -> list[str]:
    """Returns a name for each logit of a model.

    Args:
        model: Keras model.
        class_names: Names, or None to number the classes.

    Returns:
        A list of strings.

    Raises:
        ValueError: if there are more or fewer names than logits.
    """
    count = model.outputs[0].shape[-1]
    names = class_names or [str(index) for index in range(count)]
    if len(names) != count:
        raise ValueError(
            f"class_names must hold {count} names, one for each class of the "
            f"model. Received: {len(names)}"
        )
    return list(names)


def write(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
    image_size: int | None = None,
    style: str | None = None,
    loss_type: str = "softmax",
    top_k: int = 5,
) -> list[artefact.Artefact]:
    """Writes a SavedModel's folder; arguments as `export`.

    Returns:
        A list of `artefact.Artefact`.
    """
    folded = fold.fold(model)
    functions = serving.signatures(
        folded,
        class_names=check_names(model, class_names),
        image_size=inputs.resolve_size(model, image_size),
        style=inputs.resolve_style(model, style),
        loss_type=loss_type,
        top_k=top_k,
    )
    # Nothing to track: the weights are constants of the functions.
    root = tf.train.Checkpoint()
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(root, str(path), signatures=functions, options=options)
    return [
        artefact.Artefact(
            f"saved_model {signature}",
            str(path),
            "signature",
            feed,
            "probabilities",
            signature=signature,
        )
        for signature, feed in (
            ("serving_default", "unit"),
            ("image_bytes", "bytes"),
        )
    ]


def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    verify: bool = True,
    files: Sequence[bytes] | None = None,
    **settings: typing.Any,
) -> str:
    """Writes a SavedModel for serving, batch normalisation folded.

    Args:
        model: Keras model of `efficientnetv2.get_model`, float32.
        path: Folder to write.
        overwrite: Replace `path` where it exists.
        verify: Load it in a process of its own and compare it with `model`.
        files: Pictures to compare on, a list of files' bytes; None: drawn.
        **settings: `class_names`: a name for each logit; None: numbers.
            `image_size`: pixels; None: the variant's evaluation size.
            `style`: normalisation of the model's input, 'v2', 'v1', 'ft' or
            None: the variant's. `loss_type`: 'softmax', or 'sigmoid' for
            several labels a picture. `top_k`: number of classes in the top
            outputs, >= 1.

    Returns:
        The path.

    Raises:
        ValueError: if `path` exists, the names do not fit, or if what was
            written does not do what the model does.
    """
    return publish.publish(
        lambda temporary: write(model, temporary, **settings),
        path,
        model=model if verify else None,
        style=settings.get("style"),
        image_size=settings.get("image_size"),
        loss_type=settings.get("loss_type", "softmax"),
        files=files,
        overwrite=overwrite,
    )
