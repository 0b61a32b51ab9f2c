"""TFRecords of encoded pictures and labels, as ImageNet is kept."""

import concurrent.futures
import dataclasses
import posixpath
import re

import numpy as np
import tensorflow as tf
from absl import logging

from efficientnetv2.data.sources import record_index, splits
from efficientnetv2.data.sources.source import Source
from efficientnetv2.data.sources.stored_bytes import OpenFiles

_REMOTE_READS = 64  # at once; each waits for the network
_LABEL_FILES = ("labels.txt", "classes.txt")
# Data sets differ in what they call the split to evaluate on.
_EVALUATION = ("validation", "val", "eval", "test")
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})(?=\.|$)")


@dataclasses.dataclass(frozen=True)
class RecordFormat:
    """How an example is laid out.

    Args:
        encoded_key: Feature that holds the picture file's bytes.
        label_key: Feature that holds the label, or with `multi_label` some.
        label_offset: The first class's label.
        multi_label: Whether a picture has several labels.
    """

    encoded_key: str = "image/encoded"
    label_key: str = "image/class/label"
    label_offset: int = 1
    multi_label: bool = False


class RecordSource(Source):
    """Examples in TFRecords.

    Args:
        name: For messages.
        index: A `record_index.RecordIndex`.
        rows: Rows of the index that are the examples, int64 [n].
        class_names: A name for each class.
        record_format: A `RecordFormat`.
    """

    def __init__(self, name, index, *, rows, class_names, record_format):
        self.name = name
        self.index = index
        self.rows = rows
        self.class_names = tuple(class_names)
        self.record_format = record_format
        self.num_examples = len(rows)
        self.multi_label = record_format.multi_label
        self._files = OpenFiles(index.paths)
        self._executor = None
        if any(record_index.is_remote(path) for path in index.paths):
            self._executor = concurrent.futures.ThreadPoolExecutor(
                _REMOTE_READS
            )

    def read(self, numbers):
        run = map if self._executor is None else self._executor.map
        return list(run(self._read_row, self.rows[numbers].tolist()))

    def _read_row(self, row):
        index = self.index
        try:
            return self._files.read(
                int(index.files[row]),
                int(index.offsets[row]),
                int(index.lengths[row]),
            )
        except OSError:
            return b""

    def parse(self, payload, number):
        form = self.record_format
        kind = tf.io.VarLenFeature if form.multi_label else _one_number
        features = tf.io.parse_single_example(
            payload,
            {
                form.encoded_key: tf.io.FixedLenFeature([], tf.string),
                form.label_key: kind(tf.int64),
            },
        )
        label = features[form.label_key]
        if form.multi_label:
            label = label.values
        label -= form.label_offset
        inside = (label >= 0) & (label < self.num_classes)
        label = tf.cast(tf.where(inside, label, 0), tf.int32)
        good = tf.reduce_all(inside)
        if form.multi_label:
            good &= tf.size(label) > 0
            label = tf.math.bincount(
                label,
                minlength=self.num_classes,
                maxlength=self.num_classes,
                dtype=tf.float32,
            )
            label = tf.minimum(label, 1.0)  # [classes]
            label = tf.ensure_shape(label, [self.num_classes])
        return tf.where(good, features[form.encoded_key], ""), label

    def place(self, number):
        row = int(self.rows[number])
        path = self.index.paths[int(self.index.files[row])]
        return f"{path}, record {self.index.within_file(row)}"


def _one_number(kind):
    return tf.io.FixedLenFeature([], kind)


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
        if not name.endswith((".json", ".txt", "/"))
    ]

    def called(word):
        shard = re.compile(
            rf"(?:.*[-_.])?{re.escape(word)}(?:-.*|\.tfrecords?.*)"
        )
        return sorted(name for name in names if shard.fullmatch(name))

    found = called(split)
    if not found and split in _EVALUATION:
        others = [rows for word in _EVALUATION if (rows := called(word))]
        found = others[0] if len(others) == 1 else []
    return [posixpath.join(data_dir, name) for name in found]


def _warn_of_missing_shards(paths):
    totals = {int(match[2]) for path in paths if (match := _SHARD.search(path))}
    for total in totals - {len(paths)}:
        logging.warning(
            "%s: %d of %d files are here", paths[0], len(paths), total
        )


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
    for name in _LABEL_FILES:
        path = posixpath.join(data_dir, name)
        if tf.io.gfile.exists(path):
            with tf.io.gfile.GFile(path) as file:
                lines = [line.strip() for line in file.read().splitlines()]
            names = tuple(line for line in lines if line)
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
    data_dir, split, *, name, num_classes=None, record_format=None
):
    """Opens a folder of TFRecords.

    Args:
        data_dir: Folder with files such as train-00000-of-01024; may be
            remote.
        split: See `splits`.
        name: The data set's name, for messages.
        num_classes: Number of classes; None: as labels.txt says.
        record_format: A `RecordFormat`; None: ImageNet's.

    Returns:
        A `RecordSource`.

    Raises:
        ValueError: if there are no files or no examples, or a file is empty.
    """
    indices, offsets = {}, {}
    for base in splits.base_names(split):
        if base in indices:
            continue
        files = find_files(data_dir, base)
        if not files:
            raise ValueError(
                f"data_dir must hold TFRecords called {base}-*. "
                f"Received: {data_dir!r}"
            )
        _warn_of_missing_shards(files)
        offsets[base] = sum(len(index) for index in indices.values())
        indices[base] = record_index.build(files)
    chosen = splits.select(split, lambda base: len(indices[base]))
    numbers = np.concatenate([offsets[base] + rows for base, rows in chosen])
    if not numbers.size:
        raise ValueError(
            f"split must hold an example of {name}. Received: {split!r}"
        )
    return RecordSource(
        f"{name}/{split}",
        record_index.join(list(indices.values())),
        rows=numbers,
        class_names=read_class_names(data_dir, num_classes),
        record_format=record_format or RecordFormat(),
    )
