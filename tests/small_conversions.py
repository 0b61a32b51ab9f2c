"""Pictures for tests of the converter, large enough to fill some files."""

import numpy as np
import tensorflow as tf

from efficientnetv2.data.convert import conversion

PICTURES = {"train": 96, "eval": 8}


def _noise(seed):
    """A JPEG of some 30 kB, so that few fill a file of 1 MiB."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (140, 160, 3), np.uint8)
    return tf.io.encode_jpeg(image, quality=95).numpy()


def write_pictures(root):
    """A folder of two classes; the part to train on is more than 2 MiB."""
    for split, count in PICTURES.items():
        for number in range(count):
            folder = root / split / ("cat", "dog")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            seed = [number, split == "eval"]
            (folder / f"{number:03d}.jpg").write_bytes(_noise(seed))
    return root


def convert(pictures, folder, **settings):
    """`conversion.convert` into files of 1 MiB."""
    return conversion.convert(
        str(pictures), str(folder), **{"shard_mb": 1, "threads": 2, **settings}
    )


def contents(folder):
    """Dict from name to bytes of a folder's files."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
