"""TFRecords of encoded pictures and labels, as ImageNet is kept."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from efficientnetv2.data import order
from efficientnetv2.data.sources import record_index, splits, stored_bytes
from efficientnetv2.data.sources.graph_reader import RecordReader
from efficientnetv2.data.sources.remote_blocks import RemoteBlocks
from efficientnetv2.data.sources.source import Source
from efficientnetv2.data.sources.stored_bytes import OpenFiles
from efficientnetv2.storage import is_remote


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
        shuffle_memory_mb: Memory for remote records read ahead of their turn,
            MiB; such ones are shuffled as far as it reaches.
    """

    def __init__(
        self,
        name,
        index,
        *,
        rows,
        class_names,
        record_format,
        shuffle_memory_mb=256,
    ):
        self.name = name
        self.index = index
        self.rows = rows
        self.class_names = tuple(class_names)
        self.record_format = record_format
        self.num_examples = len(rows)
        self.multi_label = record_format.multi_label
        self._files = OpenFiles(index.paths)
        self._remote = None
        if any(is_remote(path) for path in index.paths):
            memory_bytes = shuffle_memory_mb << 20
            self._remote = RemoteBlocks(index, memory_bytes)
            # The other half is for blocks that are only partly read.
            reach = memory_bytes / 2 / max(1.0, float(index.lengths.mean()))
            blocks = self._remote.blocks[rows]
            self._remote_order = functools.lru_cache(4)(
                functools.partial(order.shuffled_nearby, blocks, reach)
            )

    def order(self, seed, epoch):
        if self._remote is None:
            return super().order(seed, epoch)
        return self._remote_order(seed, epoch)

    def read(self, numbers):
        rows = self.rows[numbers]
        if self._remote is not None:
            payloads = self._remote.read(rows)
            good = self.index.good[rows]
            return [
                data if is_good else b""
                for data, is_good in zip(payloads, good, strict=True)
            ]
        return [self._read_row(row) for row in rows.tolist()]

    def _read_row(self, row):
        index = self.index
        if not index.good[row]:
            return b""
        try:
            return self._files.read(
                int(index.files[row]),
                int(index.offsets[row]),
                int(index.lengths[row]),
            )
        except OSError:
            return b""

    def files(self):
        rows = np.sort(self.rows)
        files, offsets = self.index.files[rows], self.index.offsets[rows]
        first = np.searchsorted(files, np.arange(1, len(self.index.paths)))
        parts = np.split(offsets, first)
        return dict(zip(self.index.paths, parts, strict=True))

    def _take_apart(self, payload):
        """The encoded picture and the label as stored, or [k] labels."""
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
        label = label.values if form.multi_label else label
        return features[form.encoded_key], label

    def parse(self, payload, number):
        encoded, label = self._take_apart(payload)
        label -= self.record_format.label_offset
        inside = (label >= 0) & (label < self.num_classes)
        label = tf.cast(tf.where(inside, label, 0), tf.int32)
        good = tf.reduce_all(inside)
        if self.multi_label:
            good &= tf.size(label) > 0
            label = tf.math.bincount(
                label,
                minlength=self.num_classes,
                maxlength=self.num_classes,
                dtype=tf.float32,
            )
            label = tf.minimum(label, 1.0)  # [classes]
            label = tf.ensure_shape(label, [self.num_classes])
        return tf.where(good, encoded, ""), label

    def place(self, number):
        row = int(self.rows[number])
        path = self.index.paths[int(self.index.files[row])]
        return f"{path}, record {self.index.within_file(row)}"

    def graph_reader(self, first, end):
        sizes = [size for _, size, _ in stored_bytes.stamps(self.index.paths)]
        return RecordReader(self.index, self.rows[first:end], sizes, first)

    def explain(self, number):
        if not self.index.good[self.rows[number]]:
            return "does not fit its checksum"
        return super().explain(number)

    def _why_unusable(self, payload):
        form = self.record_format
        try:
            _, labels = self._take_apart(payload)
        except tf.errors.OpError:
            return (
                f"not a serialized example with {form.encoded_key} and "
                f"{'' if form.multi_label else 'one '}{form.label_key}"
            )
        first, end = form.label_offset, form.label_offset + self.num_classes
        labels = labels.numpy().reshape(-1).tolist()
        outside = [label for label in labels if not first <= label < end]
        if outside:
            return f"its label {outside[0]} is not in {first}..{end - 1}"
        return "no picture in it" if labels else "no label in it"


def _one_number(kind):
    return tf.io.FixedLenFeature([], kind)


def open_split(
    split,
    files_of,
    *,
    name,
    class_names,
    record_format,
    shuffle_memory_mb=256,
):
    """Opens the records that a split stands for.

    Args:
        split: See `splits`.
        files_of: Function of a stored split's name: its files, in order.
        name: The data set's name, for messages.
        class_names: A name for each class.
        record_format: A `RecordFormat`.
        shuffle_memory_mb: See `RecordSource`.

    Returns:
        A `RecordSource`.

    Raises:
        ValueError: if there are no examples, or a file is empty.
    """
    names = list(dict.fromkeys(splits.base_names(split)))
    indices = [record_index.build(files_of(stored)) for stored in names]
    counts = dict(zip(names, map(len, indices), strict=True))
    first = dict(zip(names, np.cumsum([0, *counts.values()])[:-1], strict=True))
    rows = np.concatenate(
        [
            first[stored] + numbers
            for stored, numbers in splits.select(split, counts.get)
        ]
    )
    if not rows.size:
        raise ValueError(
            f"split must hold an example of {name}. Received: {split!r}"
        )
    return RecordSource(
        f"{name}/{split}",
        record_index.join(indices),
        rows=rows,
        class_names=class_names,
        record_format=record_format,
        shuffle_memory_mb=shuffle_memory_mb,
    )
