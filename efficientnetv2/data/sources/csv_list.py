"""Picture files named in a CSV, with a line `path,label` for each."""

import csv
import posixpath

import tensorflow as tf

from efficientnetv2.data.sources.files import FileSource

_TRAIN = "train"


def _read_rows(path):
    """Rows (path, label) of a CSV; a first line `path,label` is none."""
    with tf.io.gfile.GFile(path) as file:
        lines = list(csv.reader(file.read().splitlines()))
    rows = []
    for number, line in enumerate(lines, 1):
        if not line or (number == 1 and line[0].strip().lower() == "path"):
            continue
        if len(line) != 2 or not all(text.strip() for text in line):
            raise ValueError(
                f"each line of {path} must be `path,label`. "
                f"Received: {','.join(line)!r} in line {number}"
            )
        rows.append((line[0].strip(), line[1].strip()))
    if not rows:
        raise ValueError(f"{path} names no picture")
    return rows


def _sorted_labels(labels):
    """Class names in order: numbers by value, others by spelling."""
    if all(label.isdecimal() for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


def open_csv(data_dir, split, *, name="csv", num_classes=None):
    """Opens a list of pictures.

    Args:
        data_dir: Folder with <split>.csv and train.csv, whose labels are the
            classes; may be remote. Paths in them are relative to it.
        split: Name of the list.
        name: The data set's name, for messages.
        num_classes: Number of classes, to be checked; None: as many as
            train.csv has labels.

    Returns:
        A `FileSource`.

    Raises:
        ValueError: if a list is absent or empty, or a label unknown.
    """
    own, train = (
        posixpath.join(data_dir, f"{stem}.csv") for stem in (split, _TRAIN)
    )
    for path in (own, train):
        if not tf.io.gfile.exists(path):
            raise ValueError(
                f"data_dir must hold {posixpath.basename(path)}. "
                f"Received: {data_dir!r}"
            )
    rows = _read_rows(own)
    class_names = _sorted_labels({label for _, label in _read_rows(train)})
    if num_classes not in (None, len(class_names)):
        raise ValueError(
            f"data.num_classes must be {len(class_names)}, as many as {train} "
            f"has labels. Received: {num_classes}"
        )
    numbers = {label: number for number, label in enumerate(class_names)}
    for path, label in rows:
        if label not in numbers:
            raise ValueError(
                f"{own} must have labels of {train}. "
                f"Received: {label!r} for {path!r}"
            )
    return FileSource(
        f"{name}/{split}",
        [posixpath.join(data_dir, path) for path, _ in rows],
        [numbers[label] for _, label in rows],
        class_names=class_names,
    )
