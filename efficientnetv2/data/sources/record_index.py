"""Where each record of TFRecord files begins; kept in the cache folder.

With the places known any record can be read at any time.
"""

import concurrent.futures
import dataclasses
import hashlib
import io
import os

import numpy as np
import tensorflow as tf
from absl import logging

from efficientnetv2 import storage
from efficientnetv2.data import cache_folder
from efficientnetv2.data.sources import record_scan
from efficientnetv2.data.sources.stored_bytes import read_piece, stamp

_THREADS = 16  # waiting for the disk or the network
# The data's own checksums are looked at where all files are this small, bytes;
# of larger data sets only the lengths are read.
_CHECKED_SIZE = 1 << 30
_VERSION = 1
_STORED = ("files", "offsets", "lengths", "good", "damage")


@dataclasses.dataclass(frozen=True, eq=False)
class RecordIndex:
    """The records of some files, in the files' order.

    Args:
        paths: The files.
        files: int32 [n], number of each record's file in `paths`, rising.
        offsets: int64 [n], place of the record's data in the file, bytes.
        lengths: int64 [n], length of the data, bytes.
        good: bool [n], False where the data do not fit their checksum.
    """

    paths: tuple[str, ...]
    files: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    good: np.ndarray

    def __len__(self):
        return len(self.offsets)

    def within_file(self, row):
        """Number of a record within its file, from 0."""
        return row - int(np.searchsorted(self.files, self.files[row]))


def _is_gzip(path, size):
    return size > 2 and read_piece(path, 0, 2) == b"\x1f\x8b"


def _index_file(path, size, checks):
    """Places, lengths and state of a file's records, and what to say of it."""
    offsets, lengths, rest = record_scan.scan(path, size)
    if not offsets:
        kind = "a gzip file, " if _is_gzip(path, size) else ""
        raise ValueError(f"{path} holds no records ({kind}{size} bytes)")
    sentence = None
    if rest:
        sentence = (
            f"{path} is damaged behind record {len(offsets) - 1} (byte "
            f"{size - rest} of {size}): the rest of it is lost"
        )
    good = np.ones(len(offsets), bool)
    if checks:
        good[record_scan.find_damaged(path, offsets, lengths)] = False
    return (
        np.array(offsets, np.int64),
        np.array(lengths, np.int64),
        good,
        sentence,
    )


def _cached_path(stamps):
    digest = hashlib.sha256(repr((_VERSION, stamps)).encode()).hexdigest()
    name = f"{digest[:32]}.npz"
    return os.path.join(cache_folder.root(), "record_index", name)


def _read_cached(path):
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            stored = np.load(io.BytesIO(file.read()))
            return {name: stored[name] for name in _STORED}
    except (tf.errors.OpError, TypeError, *storage.NPZ_DAMAGE):
        return None  # not there, or damaged


def _write_cached(path, arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    try:
        cache_folder.write_file(path, buffer.getvalue())
    except (tf.errors.OpError, OSError) as error:
        logging.warning("the record index is not kept: %s", error)


def _scan_all(paths, sizes, executor):
    checks = [sum(sizes) <= _CHECKED_SIZE] * len(paths)
    found = list(executor.map(_index_file, paths, sizes, checks))
    offsets, lengths, good, damage = zip(*found, strict=True)
    counts = [len(rows) for rows in offsets]
    return {
        "files": np.repeat(np.arange(len(paths), dtype=np.int32), counts),
        "offsets": np.concatenate(offsets),
        "lengths": np.concatenate(lengths),
        "good": np.concatenate(good),
        "damage": np.array([text for text in damage if text], np.str_),
    }


def build(paths):
    """Finds the records of TFRecord files.

    The result is kept in the cache folder, under the files' paths, sizes and
    times of change. What a damaged file has lost is logged.

    Args:
        paths: The files, in the order of their records; may be remote.

    Returns:
        A `RecordIndex`.

    Raises:
        ValueError: if a file holds no record.
    """
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as executor:
        stamps = tuple(executor.map(stamp, paths))
        kept = _cached_path(stamps)
        arrays = _read_cached(kept)
        if arrays is None:
            sizes = [size for _, size, _ in stamps]
            arrays = _scan_all(paths, sizes, executor)
            _write_cached(kept, arrays)
    for sentence in arrays["damage"].tolist():
        logging.warning("%s", sentence)
    return RecordIndex(tuple(paths), *(arrays[name] for name in _STORED[:-1]))


def join(indices):
    """One index of all records of some.

    Args:
        indices: A list of `RecordIndex`.

    Returns:
        A `RecordIndex`.
    """
    first_files = np.cumsum([0] + [len(index.paths) for index in indices[:-1]])
    shifted = [
        index.files + first
        for index, first in zip(indices, first_files, strict=True)
    ]
    return RecordIndex(
        tuple(path for index in indices for path in index.paths),
        np.concatenate(shifted).astype(np.int32),
        np.concatenate([index.offsets for index in indices]),
        np.concatenate([index.lengths for index in indices]),
        np.concatenate([index.good for index in indices]),
    )
