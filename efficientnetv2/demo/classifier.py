"""An exported SavedModel as a classifier that shows where it looked."""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

_SIGNATURE = "grad_cam"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the model makes of a picture.

    Args:
        classes: Names, the most probable first.
        probabilities: Their probabilities, in [0, 1].
        heat_maps: For each of them float32 [rows, columns], 0 to 1: where in
            the picture it is seen.
        picture: What the model was shown, uint8 [size, size, 3].
    """

    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    heat_maps: tuple[np.ndarray, ...]
    picture: np.ndarray


def _find(export_dir):
    """The folder of the SavedModel in what `python -m export` wrote."""
    for folder in (export_dir, export_dir / "saved_model"):
        if tf.saved_model.contains_saved_model(folder):
            return folder
    raise ValueError(
        "export_dir must hold a model that `python -m export "
        f"--format=saved_model` wrote. Received: {str(export_dir)!r}"
    )


def _distinct(names):
    """Two classes of one name ('crane') get numbers."""
    return tuple(
        f"{name} ({names[: place + 1].count(name)})"
        if names.count(name) > 1
        else name
        for place, name in enumerate(names)
    )


class Classifier:
    """A SavedModel of `python -m export`, loaded once.

    Args:
        export_dir: Folder that an export wrote.

    Raises:
        ValueError: if there is no such SavedModel in it.
    """

    def __init__(self, export_dir):
        folder = _find(pathlib.Path(export_dir))
        try:
            # The signatures do not keep the variables alive.
            self._loaded = tf.saved_model.load(str(folder))
        except (OSError, tf.errors.OpError) as error:
            raise ValueError(
                f"the model in {str(folder)!r} cannot be loaded: {error}"
            ) from None
        signatures = self._loaded.signatures
        if _SIGNATURE not in signatures:
            raise ValueError(
                f"the model in {str(folder)!r} has no signature "
                f"{_SIGNATURE!r}; export it again"
            )
        self._explain = signatures[_SIGNATURE]

    def classify(self, data):
        """Classifies a picture.

        Args:
            data: The bytes of a picture file.

        Returns:
            An `Answer`.

        Raises:
            ValueError: if the bytes are no picture.
        """
        found = self._explain(image_bytes=tf.constant([data]))
        row = {name: value[0].numpy() for name, value in found.items()}
        if row["top_indices"][0] < 0:
            raise ValueError("the file is not a picture that can be decoded")
        names = [name.decode() for name in row["top_classes"]]
        return Answer(
            classes=_distinct(names),
            probabilities=tuple(float(p) for p in row["top_probabilities"]),
            heat_maps=tuple(row["heat_maps"]),
            picture=row["pictures"],
        )
