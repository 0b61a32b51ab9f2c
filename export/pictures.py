"""Pictures to calibrate and to verify an exported model with."""

import pathlib
import sys

import numpy as np

from . import inputs


def spread(items, limit):
    """Thins a sequence out evenly.

    Args:
        items: A sequence.
        limit: Largest number of items to keep.

    Returns:
        A list.
    """
    count = min(limit, len(items))
    return [items[int(i * len(items) / count)] for i in range(count)]


def from_paths(paths, *, limit):
    """Reads picture files.

    Args:
        paths: Files, folders (searched all the way down) or globs, a list or
            a string that joins them by commas.
        limit: Largest number of pictures; more are thinned out evenly.

    Returns:
        A list of files' bytes; broken ones are named and left out.

    Raises:
        ValueError: for a path that names no picture, or if all are broken.
    """
    from efficientnetv2.data import picture_files

    if isinstance(paths, (str, pathlib.Path)):
        paths = str(paths).split(",")
    files = picture_files.find_pictures(paths)
    read = [(path, path.read_bytes()) for path in spread(files, limit)]
    good = [data for path, data in read if _is_good(path, data)]
    if not good:
        raise ValueError(f"no picture can be decoded, first {str(files[0])!r}")
    return good


def _is_good(path, data):
    import tensorflow as tf

    from efficientnetv2.data import preprocess

    try:
        preprocess.preprocess_image(data, 32)
    except tf.errors.OpError:
        print(
            f"left out, {path}: not a picture that can be decoded",
            file=sys.stderr,
        )
        return False
    return True


def from_recipe(config, *, limit):
    """Reads pictures of the evaluation split of a recipe.

    Args:
        config: A `Config`.
        limit: Largest number of pictures, evenly spread over the split.

    Returns:
        A list of files' bytes; broken examples are left out.

    Raises:
        ValueError: if the data are not there.
    """
    import tensorflow as tf

    from efficientnetv2.data import sources

    source = sources.open_source(config.data, config.eval.split)
    numbers = np.array(spread(range(source.num_examples), limit), np.int64)
    payloads = source.read(numbers)
    return [
        source.parse(payload, tf.constant(number, tf.int64))[0].numpy()
        for number, payload in zip(numbers, payloads, strict=True)
        if source.explain(number) is None
    ]


def drawn(count, *, size=64, seed=0):
    """Draws coloured clouds, for a model without a picture at hand.

    Args:
        count: Number of pictures.
        size: Side, pixels.
        seed: Seed of the drawing.

    Returns:
        A list of PNG files' bytes.
    """
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    files = []
    for _ in range(count):
        cells = int(rng.integers(2, 9))
        coarse = rng.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
        image = tf.image.resize(coarse, [size, size], method="bicubic")
        image = tf.cast(tf.clip_by_value(image, 0, 255), tf.uint8)
        files.append(tf.io.encode_png(image).numpy())
    return files


def decode(files, image_size, style):
    """Brings files to a model's size, as evaluation does.

    Args:
        files: List of files' bytes.
        image_size: Pixels.
        style: A style of `data.preprocess`.

    Returns:
        `(raw, normalized)`, float32 [files, size, size, 3]: RGB in 0..255,
        not rounded, and what the model takes.
    """
    from efficientnetv2.data import preprocess

    normalized = np.stack(
        [
            preprocess.preprocess_image(data, image_size, style=style)
            for data in files
        ]
    )
    scale, offset = inputs.affine(style)
    return (normalized - offset) / scale, normalized


def pack(files):
    """Puts files' bytes into arrays that an npz file holds.

    Args:
        files: List of files' bytes.

    Returns:
        `(bytes, lengths)`: uint8 [all bytes] and int64 [files].
    """
    lengths = np.array([len(data) for data in files], np.int64)
    return np.frombuffer(b"".join(files), np.uint8), lengths
