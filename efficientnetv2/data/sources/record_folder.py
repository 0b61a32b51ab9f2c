"""TFRecords in a folder: which files are a split's, what the classes are."""

import posixpath
import re

import tensorflow as tf
from absl import logging

from efficientnetv2.data.sources import splits, tfrecords
from efficientnetv2.data.sources.stored_bytes import read_text

_LABEL_FILES = ("labels.txt", "classes.txt")
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})(?=\.|$)")


def find_files(data_dir, split):
    """Finds the TFRecord files of a stored split.

    Args:
        data_dir: Folder; may be remote.
        split: Stored split's name: files are called `train-*` or
            `<anything>-train.tfrecord*`. The names validation, val, eval and
            test stand for each other where just one of them is there.

    Returns:
        A sorted list of paths; empty if there are none.
    """
    names = [
        name
        for name in tf.io.gfile.listdir(data_dir)
        if not name.startswith(".")
        and not name.endswith((".json", ".txt", ".tmp", "/"))
    ]

    def called(word):
        shard = re.compile(
            rf"(?:.*[-_.])?{re.escape(word)}(?:-.*|\.tfrecords?.*)"
        )
        return sorted(name for name in names if shard.fullmatch(name))

    found = called(split)
    if not found and split in splits.EVALUATION:
        others = [rows for word in splits.EVALUATION if (rows := called(word))]
        found = others[0] if len(others) == 1 else []
    return [posixpath.join(data_dir, name) for name in found]


def _find_or_fail(data_dir, stored):
    files = find_files(data_dir, stored)
    if not files:
        raise ValueError(
            f"data_dir must hold TFRecords called {stored}-*. "
            f"Received: {data_dir!r}"
        )
    _warn_of_missing_shards(files)
    return files


def _warn_of_missing_shards(paths):
    totals = {int(match[2]) for path in paths if (match := _SHARD.search(path))}
    for total in totals - {len(paths)}:
        logging.warning(
            "%s: %d of %d files are here", paths[0], len(paths), total
        )


def find_label_file(data_dir):
    """Path of the file that names a folder's classes, or None."""
    paths = (posixpath.join(data_dir, name) for name in _LABEL_FILES)
    return next((path for path in paths if tf.io.gfile.exists(path)), None)


def read_label_file(path):
    """Names of the classes, one a line; a tuple.

    Raises:
        ValueError: for an empty line.
    """
    lines = read_text(path).rstrip().splitlines()
    names = tuple(line.strip() for line in lines)
    if not all(names):
        raise ValueError(
            f"each line of {path} must name a class. Received: an empty line "
            f"{names.index('') + 1}"
        )
    return names


def read_class_names(data_dir, num_classes):
    """Names of the classes, from labels.txt or classes.txt, one a line.

    Args:
        data_dir: Folder; may be remote.
        num_classes: Number of classes, or None.

    Returns:
        A tuple of names; numbers where no file names the classes.

    Raises:
        ValueError: if neither a file nor `num_classes` says how many classes
            there are, or they disagree.
    """
    path = find_label_file(data_dir)
    if path is not None:
        names = read_label_file(path)
        if num_classes not in (None, len(names)):
            raise ValueError(
                f"data.num_classes must be {len(names)}, as many as {path} "
                f"has lines. Received: {num_classes}"
            )
        return names
    if num_classes is None:
        raise ValueError(
            f"data.num_classes must be given, as {data_dir!r} has no "
            "labels.txt. Received: None"
        )
    return tuple(str(number) for number in range(num_classes))


def open_records(
    data_dir,
    split,
    *,
    name,
    num_classes=None,
    record_format=None,
    shuffle_memory_mb=256,
):
    """Opens a folder of TFRecords.

    Args:
        data_dir: Folder with files such as train-00000-of-01024; may be
            remote.
        split: See `splits`.
        name: The data set's name, for messages.
        num_classes: Number of classes; None: as labels.txt says.
        record_format: A `tfrecords.RecordFormat`; None: ImageNet's.
        shuffle_memory_mb: See `tfrecords.RecordSource`.

    Returns:
        A `tfrecords.RecordSource`.

    Raises:
        ValueError: if there are no files or no examples, or a file is empty.
    """
    files = {
        stored: _find_or_fail(data_dir, stored)
        for stored in splits.base_names(split)
    }
    return tfrecords.open_split(
        split,
        files.get,
        name=name,
        class_names=read_class_names(data_dir, num_classes),
        record_format=record_format or tfrecords.RecordFormat(),
        shuffle_memory_mb=shuffle_memory_mb,
    )
