"""The embedded data set: drawn pictures as TFRecords in the cache folder.

Ten classes that need shape, texture and colour to be told apart (see
`drawing`), in the form of ImageNet: JPEG, labels from 1. It needs no network,
takes seconds to make and is read by the same code as ImageNet.
"""

import concurrent.futures
import json
import os
import zlib

import numpy as np
import tensorflow as tf

from efficientnetv2 import storage
from efficientnetv2.data import cache_folder, drawing, record_example

NUM_EXAMPLES = {"train": 4000, "validation": 1000}
CLASS_NAMES = drawing.CLASS_NAMES

# Part of the folder's name: raise it when the pictures change.
_VERSION = 2
_SHARDS = {"train": 4, "validation": 1}
_SIDES = (72, 97)  # height and width, pixels; the end is not reached
_QUALITY = (85, 96)  # of the JPEG
_DRAWN_AT_ONCE = 50  # pictures of one size; few enough for the CPU's caches
_MANIFEST = "manifest.json"


def _file_name(split, shard):
    return f"{split}-{shard:05d}-of-{_SHARDS[split]:05d}"


def _draw_examples(split, group):
    """Serialized examples number group * 50 to group * 50 + 49 of a split."""
    # The split is part of the seed, so no picture is in both.
    seed = [_VERSION, list(NUM_EXAMPLES).index(split), group]
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(*_SIDES, 2))
    # Equally many of each class.
    labels = rng.permutation(np.arange(_DRAWN_AT_ONCE) % len(CLASS_NAMES))
    images = drawing.draw(labels, [*seed, 1], height=height, width=width)
    examples = []
    for image, label in zip(images, labels.tolist(), strict=True):
        jpeg = tf.io.encode_jpeg(image, quality=int(rng.integers(*_QUALITY)))
        examples.append(
            record_example.serialize(
                jpeg.numpy(),
                label,
                text=CLASS_NAMES[label],
                height=height,
                width=width,
            )
        )
    return examples


def _write_split(folder, split, executor):
    groups = NUM_EXAMPLES[split] // _DRAWN_AT_ONCE
    shards = np.array_split(np.arange(groups), _SHARDS[split])
    for shard, members in enumerate(shards):
        path = os.path.join(folder, _file_name(split, shard))
        with tf.io.TFRecordWriter(path) as writer:
            for examples in executor.map(
                _draw_examples, [split] * len(members), members.tolist()
            ):
                for example in examples:
                    writer.write(example)


def _checksum(path):
    with open(path, "rb") as file:
        return zlib.crc32(file.read())


def _write(folder):
    """Makes all files of the data set in an empty folder."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as executor:
        for split in NUM_EXAMPLES:
            _write_split(folder, split, executor)
    with open(os.path.join(folder, "labels.txt"), "w") as file:
        file.writelines(f"{name}\n" for name in CLASS_NAMES)
    sums = {
        name: _checksum(os.path.join(folder, name))
        for name in sorted(os.listdir(folder))
    }
    with open(os.path.join(folder, _MANIFEST), "w") as file:
        json.dump(sums, file, indent=1)


def _is_whole(folder):
    """Whether every file is there and as it was written."""
    try:
        with open(os.path.join(folder, _MANIFEST)) as file:
            sums = json.load(file)
        return bool(sums) and all(
            _checksum(os.path.join(folder, name)) == checksum
            for name, checksum in sums.items()
        )
    except (OSError, ValueError, AttributeError):
        return False


def prepare(folder=None):
    """Makes the data set, or finds it made; a damaged one is made again.

    Args:
        folder: Where; None: `shapes-v<version>` in the cache folder.

    Returns:
        The folder, with TFRecords train-*, validation-* and labels.txt.

    Raises:
        OSError: if it cannot be written.
        ValueError: if the cache folder is remote.
    """
    if folder is None:
        folder = os.path.join(cache_folder.root(), f"shapes-v{_VERSION}")
        if storage.is_remote(folder):
            raise ValueError(
                "the data set 'shapes' needs a local cache folder. "
                f"Received: {cache_folder.root()!r}"
            )
    if not _is_whole(folder):
        with cache_folder.new_folder(folder, _is_whole) as work:
            _write(work)
    return folder


def write_pictures(folder):
    """Writes a picture of each class that is in no split, to predict on.

    Args:
        folder: Where to; made if it is not there.

    Returns:
        Paths of the JPEGs, named after their classes.

    Raises:
        OSError: if they cannot be written.
    """
    os.makedirs(folder, exist_ok=True)
    seed = [_VERSION, len(NUM_EXAMPLES), 0]  # no split has this number
    labels = np.arange(len(CLASS_NAMES))
    images = drawing.draw(labels, seed, height=84, width=92)
    paths = []
    for name, image in zip(CLASS_NAMES, images, strict=True):
        path = os.path.join(folder, f"{name.replace(' ', '_')}.jpg")
        tf.io.write_file(path, tf.io.encode_jpeg(image, quality=90))
        paths.append(path)
    return paths
