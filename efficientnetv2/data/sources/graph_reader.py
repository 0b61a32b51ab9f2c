"""Reads examples by TensorFlow's ops alone, block by block.

So that a machine can do it which has nothing but TensorFlow and the files.
"""

import abc
import os

import numpy as np
import tensorflow as tf

_BLOCK_EXAMPLES = 16
_BLOCK_BYTES = 8 << 20  # of a file, at most
_HEADER_BYTES = 12  # of a record: length and checksum
_FOOTER_BYTES = 4  # its data's checksum
_ANYWHERE = (1, 2)  # seeds of an order that stays


class GraphReader(abc.ABC):
    """Neighbouring examples of a source, in blocks.

    What is known of the files lies in the graph: a few bytes a record, of
    files of their own the path.

    Args:
        edges: int64 [blocks + 1], the number of each block's first example
            and, in the end, the one behind the last.
        mean_bytes: Memory of a reference, about.
    """

    def __init__(self, edges, mean_bytes):
        self.edges = edges
        self.mean_bytes = mean_bytes
        # Made here, tables are inputs of the functions that look into them.
        self._edges = tf.constant(edges)

    @property
    def num_blocks(self):
        """Number of blocks."""
        return len(self.edges) - 1

    def numbers(self, block):
        """The numbers of a block's examples: a dataset of int64 scalars."""
        return tf.data.Dataset.range(self._edges[block], self._edges[block + 1])

    @abc.abstractmethod
    def references(self, block):
        """Makes ready what a block's examples are loaded from.

        Args:
            block: int64 scalar.

        Returns:
            A dataset of string scalars, one for each of `numbers`; it does not
            fail.
        """

    @abc.abstractmethod
    def load(self, reference):
        """The payload of an example, string scalar; fails if it is broken."""


def _edges(parts, first):
    """Where blocks begin: where a column changes, and in the end."""
    new = np.flatnonzero(np.any(parts[1:] != parts[:-1], axis=1)) + 1
    return np.concatenate([[0], new, [len(parts)]]).astype(np.int64) + first


def _places(count):
    """The number of the block of each example, if nothing else ends one."""
    return np.arange(count) // _BLOCK_EXAMPLES


class FileReader(GraphReader):
    """Files of their own; the references are their paths.

    What is near each other in a folder is of one class, so that a block is of
    files from anywhere.

    Args:
        paths: The files.
        first: Number of the first example.
    """

    def __init__(self, paths, first):
        places = _places(len(paths))[:, np.newaxis]
        paths = [os.fsencode(path) for path in paths]
        super().__init__(_edges(places, first), np.mean([*map(len, paths)]))
        self._first = first
        self._paths = tf.constant(paths)

    def numbers(self, block):
        last = tf.cast(tf.size(self._paths) - 1, tf.int64)

        def number(place):
            row = tf.random.experimental.index_shuffle(
                place - self._first, _ANYWHERE, last
            )
            return row + self._first

        return super().numbers(block).map(number)

    def references(self, block):
        return self.numbers(block).map(lambda n: self._paths[n - self._first])

    def load(self, reference):
        return tf.io.read_file(reference)


class RecordReader(GraphReader):
    """Records of TFRecord files; a block is read in one go.

    Args:
        index: A `record_index.RecordIndex`.
        rows: Rows of the index that are the examples, int64 [n].
        sizes: Sizes of the index's files, bytes.
        first: Number of the first example.
    """

    def __init__(self, index, rows, sizes, first):
        files, good = index.files[rows], index.good[rows]
        begins = index.offsets[rows] - _HEADER_BYTES
        ends = index.offsets[rows] + index.lengths[rows]
        parts = [
            files,
            begins // _BLOCK_BYTES,
            np.cumsum(np.diff(rows, prepend=rows[:1]) != 1),  # a gap
            np.cumsum(~good) * 2 + good,  # each bad one alone
            _places(len(rows)),
        ]
        super().__init__(
            _edges(np.stack(parts, axis=1), first),
            float(index.lengths[rows].mean()),
        )
        firsts, lasts = self.edges[:-1] - first, self.edges[1:] - first - 1
        self._paths = tf.constant(index.paths)
        self._sizes = tf.constant(sizes, tf.int64)
        self._files = tf.constant(files[firsts])
        self._begins = tf.constant(begins[firsts])
        # Of what does not fit its checksum nothing is read.
        spans = np.where(good[firsts], ends[lasts] - begins[firsts], 0)
        self._spans = tf.constant(spans)

    def _read(self, block):
        """A block's bytes; fails where the file has changed."""
        file, begin, span = (
            table[block] for table in (self._files, self._begins, self._spans)
        )
        piece = tf.data.FixedLengthRecordDataset(
            [self._paths[file]],
            span,
            header_bytes=begin,
            footer_bytes=self._sizes[file] - begin - span,
            buffer_size=span,
        )
        return piece.get_single_element()

    def references(self, block):
        data = tf.data.Dataset.from_tensors(block).map(self._read)
        nothing = tf.data.Dataset.from_tensors(tf.constant(b""))
        data = data.ignore_errors().concatenate(nothing).take(1)
        data = data.get_single_element()
        return self.numbers(block).scan(
            tf.constant(0, tf.int64), lambda place, _: _next(data, place)
        )

    def load(self, reference):
        return reference


def _next(data, place):
    """The place behind the record at a place, and the record's data.

    Of data that end too early comes what there is, and then nothing.
    """
    size = tf.strings.length(data, unit="BYTE")
    size = tf.cast(size, tf.int64)
    length = tf.strings.substr(data, place, 8) + b"\0" * 8
    length = tf.io.decode_raw(tf.strings.substr(length, 0, 8), tf.int64)[0]
    begin = tf.minimum(place + _HEADER_BYTES, size)
    length = tf.clip_by_value(length, 0, size - begin)
    end = tf.minimum(begin + length + _FOOTER_BYTES, size)
    return end, tf.strings.substr(data, begin, length)
