"""Picture files named in a CSV, with a line `path,label` for each."""

import csv
import io
import posixpath

import tensorflow as tf

from efficientnetv2.data.sources import record_folder, splits
from efficientnetv2.data.sources.files import FileSource
from efficientnetv2.data.sources.stored_bytes import read_text
from efficientnetv2.storage import is_remote

_TRAIN = "train"


def _read_rows(path):
    """Rows (path, label) of a CSV; a first line `path,label` is none."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    rows = []
    try:
        for line in reader:
            texts = [text.strip() for text in line]
            is_heading = not rows and texts[:1] and texts[0].lower() == "path"
            if not any(texts) or is_heading:
                continue
            if len(texts) != 2 or not all(texts):
                raise ValueError(
                    f"each line of {path} must be `path,label`. Received: "
                    f"{','.join(line)!r} in line {reader.line_num}"
                )
            rows.append(tuple(texts))
    except csv.Error as error:
        raise ValueError(
            f"{path} must be a CSV: {error} in line {reader.line_num}"
        ) from None
    if not rows:
        raise ValueError(f"{path} names no picture")
    return rows


def list_names(data_dir):
    """Names of the lists in a folder: the files' without `.csv`; a set."""
    return {
        name.removesuffix(".csv")
        for name in tf.io.gfile.listdir(data_dir)
        if name.endswith(".csv") and not name.startswith(".")
    }


def find_list(data_dir, split):
    """Finds the CSV of a split.

    Args:
        data_dir: Folder; may be remote.
        split: Name of the list; the names of the evaluation split stand for
            each other where just one of them is there.

    Returns:
        A path.

    Raises:
        ValueError: if it is not there.
    """
    there = list_names(data_dir)
    others = [name for name in splits.EVALUATION if name in there]
    if split not in there and split in splits.EVALUATION and len(others) == 1:
        split = others[0]
    if split not in there:
        raise ValueError(
            f"data_dir must hold {split}.csv. Received: {data_dir!r}"
        )
    return posixpath.join(data_dir, f"{split}.csv")


def _locate(data_dir, path):
    """A picture's place: of its own, or below the folder."""
    return path if is_remote(path) else posixpath.join(data_dir, path)


def _sorted_labels(labels):
    """Class names in order: numbers by value, others by spelling."""
    if all(label.isdecimal() for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


def _class_names(data_dir):
    """(path of the file that says them, names of the classes in order)."""
    path = record_folder.find_label_file(data_dir)
    if path is not None:
        return path, record_folder.read_label_file(path)
    path = find_list(data_dir, _TRAIN)
    return path, _sorted_labels({label for _, label in _read_rows(path)})


def open_csv(data_dir, split, *, name="csv", num_classes=None):
    """Opens a list of pictures.

    Args:
        data_dir: Folder with <split>.csv; may be remote. Paths in it are
            absolute or relative to the folder. The classes are the lines of
            labels.txt, in their order; without it the labels of train.csv.
        split: Name of the list, see `find_list`.
        name: The data set's name, for messages.
        num_classes: Number of classes, to be checked; None: as many as
            there are labels.

    Returns:
        A `FileSource`.

    Raises:
        ValueError: if a list is absent or empty, or a label unknown.
    """
    own = find_list(data_dir, split)
    rows = _read_rows(own)
    origin, class_names = _class_names(data_dir)
    if num_classes not in (None, len(class_names)):
        raise ValueError(
            f"data.num_classes must be {len(class_names)}, as many as {origin} "
            f"has labels. Received: {num_classes}"
        )
    numbers = {label: number for number, label in enumerate(class_names)}
    for path, label in rows:
        if label not in numbers:
            raise ValueError(
                f"{own} must have labels of {origin}. "
                f"Received: {label!r} for {path!r}"
            )
    return FileSource(
        f"{name}/{split}",
        [_locate(data_dir, path) for path, _ in rows],
        [numbers[label] for _, label in rows],
        class_names=class_names,
    )
