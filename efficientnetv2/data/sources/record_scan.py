"""Finds the records of one TFRecord file and the damaged ones among them.

A record is its length (8 bytes), a checksum of that (4), the data and a
checksum of them (4).
"""

import io
import os
import struct

import tensorflow as tf

from efficientnetv2.data.sources import crc32c
from efficientnetv2.storage import is_remote

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_REMOTE_CHUNK = 16 << 20


class _RemoteFile:
    """Reads a file forwards in large chunks."""

    def __init__(self, path):
        self._file = tf.io.gfile.GFile(path, "rb")
        self._start, self._chunk = 0, b""

    def read_at(self, offset, count):
        end = self._start + len(self._chunk)
        if offset < self._start or offset + count > end:
            self._file.seek(offset)
            self._start, self._chunk = offset, self._file.read(_REMOTE_CHUNK)
        begin = offset - self._start
        return self._chunk[begin : begin + count]

    def close(self):
        self._file.close()


class _LocalFile:
    def __init__(self, path):
        self._file = io.FileIO(path)

    def read_at(self, offset, count):
        return os.pread(self._file.fileno(), count, offset)

    def close(self):
        self._file.close()


def scan(path, size):
    """Finds the records of a file, up to the first damaged length.

    Args:
        path: The file; may be remote.
        size: Its length, bytes.

    Returns:
        Two lists, place and length of each record's data, bytes, and the
        number of bytes behind the last record.
    """
    offsets, lengths = [], []
    file = (_RemoteFile if is_remote(path) else _LocalFile)(path)
    place = 0
    try:
        while place < size:
            header = file.read_at(place, _HEADER.size)
            if len(header) < _HEADER.size:
                break
            length, checksum = _HEADER.unpack(header)
            end = place + _HEADER.size + length + _FOOTER.size
            if end > size or crc32c.masked(header[:8]) != checksum:
                break
            offsets.append(place + _HEADER.size)
            lengths.append(length)
            place = end
    finally:
        file.close()
    return offsets, lengths, size - place


def find_damaged(path, offsets, lengths):
    """Finds records whose data do not fit their checksum; reads all of a file.

    Args:
        path: The file; may be remote.
        offsets: Place of each record's data, bytes.
        lengths: Their length, bytes.

    Returns:
        A list of record numbers.
    """
    records = tf.data.TFRecordDataset(path).take(len(offsets))
    try:
        for _ in records.batch(256):  # checks them, and fast
            pass
        return []
    except tf.errors.DataLossError:
        pass
    damaged = []
    with tf.io.gfile.GFile(path, "rb") as file:
        for number, place in enumerate(zip(offsets, lengths, strict=True)):
            offset, length = place
            file.seek(offset)
            data, footer = file.read(length), file.read(_FOOTER.size)
            if crc32c.masked(data) != _FOOTER.unpack(footer)[0]:
                damaged.append(number)
    return damaged
