"""Names what is in pictures: files, folders or globs."""

import json
import pathlib

import numpy as np
import tensorflow as tf

from efficientnetv2 import model_dir as model_dir_lib
from efficientnetv2.data import picture_files, preprocess

_BATCH = 32


def _read(path, image_size, style):
    """A picture ready for the model, or a line that says what is wrong."""
    try:
        data = path.read_bytes()
        if not data:
            return None, "empty file"
        image = preprocess.preprocess_image(data, image_size, style=style)
        return image.numpy(), None
    except (OSError, tf.errors.OpError) as error:
        return None, _reason(error)


def _reason(error):
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "not a picture that can be decoded"


def _batches(pictures):
    for start in range(0, len(pictures), _BATCH):
        yield pictures[start : start + _BATCH]


def predict_files(trained, paths, *, top_k=5):
    """Classifies picture files.

    Args:
        trained: A `model_dir.Trained`.
        paths: Paths of picture files.
        top_k: Number of classes for each picture, >= 1.

    Yields:
        A dict for each path: `path` and either `classes`, a list of
        `{"class", "probability"}` from the most probable on, or `error`.

    Raises:
        ValueError: if `top_k` is below 1.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be >= 1. Received: {top_k}")
    names = trained.class_names
    for batch in _batches([pathlib.Path(path) for path in paths]):
        read = [_read(p, trained.image_size, trained.style) for p in batch]
        good = [image for image, _ in read if image is not None]
        scores = iter(trained.probabilities(np.stack(good)) if good else ())
        for path, (image, error) in zip(batch, read, strict=True):
            if image is None:
                yield {"path": str(path), "error": error}
                continue
            row = next(scores)
            best = np.argsort(-row, kind="stable")[:top_k]
            yield {
                "path": str(path),
                "classes": [
                    {"class": names[i], "probability": float(row[i])}
                    for i in best
                ],
            }


def _table(row):
    if "error" in row:
        return f"{row['path']}\n    cannot be read: {row['error']}"
    lines = [row["path"]]
    for item in row["classes"]:
        bar = "#" * round(20 * item["probability"])
        percent = f"{100 * item['probability']:5.1f} %"
        lines.append(f"    {percent}  {bar:<20}  {item['class']}")
    return "\n".join(lines)


def predict_run(
    config, model_dir, *, inputs, format="table", top_k=5, weights=None
):
    """`--mode=predict`: prints classes and probabilities of pictures.

    Args:
        config: The `Config` of the command: the run's own, with what the
            flags change of it.
        model_dir: Folder of a run.
        inputs: Files, folders or globs.
        format: 'table' or 'json' (one object a line).
        top_k: Classes for each picture, >= 1.
        weights: A weights file or a published name instead of `model_dir`.

    Returns:
        0, or 1 if no picture could be read.
    """
    paths = picture_files.find_pictures(inputs)
    if weights:
        trained = model_dir_lib.from_weights(config, weights)
    else:
        trained = model_dir_lib.load(model_dir, config=config)
    good = 0
    for row in predict_files(trained, paths, top_k=top_k):
        good += "error" not in row
        print(json.dumps(row) if format == "json" else _table(row), flush=True)
    return 0 if good else 1
