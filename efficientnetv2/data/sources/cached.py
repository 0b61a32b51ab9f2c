"""Keeps the payloads of a slow source in memory or on the local disk."""

import errno
import fcntl
import hashlib
import math
import os
import threading
import zlib

import numpy as np
from absl import logging

from efficientnetv2 import storage
from efficientnetv2.data import cache_folder
from efficientnetv2.data.sources import stored_bytes
from efficientnetv2.data.sources.source import Source

_VERSION = 2  # of what lies on the disk


class CachedSource(Source):
    """A source that reads each payload from another one only once.

    Args:
        source: The other one.
        store: Has `get(number)`, bytes or None, and `put(number, payload)`.
    """

    def __init__(self, source, store):
        self.name = source.name
        self.num_examples = source.num_examples
        self.class_names = source.class_names
        self.multi_label = source.multi_label
        self._source = source
        self._store = store

    def read(self, numbers):
        numbers = np.asarray(numbers)
        payloads = [self._store.get(number) for number in numbers.tolist()]
        missing = [row for row, data in enumerate(payloads) if data is None]
        if missing:
            found = self._source.read(numbers[missing])
            for row, payload in zip(missing, found, strict=True):
                payloads[row] = payload
                if payload:  # what cannot be read may be back next time
                    self._store.put(int(numbers[row]), payload)
        return payloads

    def parse(self, payload, number):
        return self._source.parse(payload, number)

    def place(self, number):
        return self._source.place(number)

    def explain(self, number):
        return self._source.explain(number)

    def graph_reader(self, first, end):
        return self._source.graph_reader(first, end)  # past the cache

    def order(self, seed, epoch):
        return self._source.order(seed, epoch)

    def files(self):
        return self._source.files()


class Memory:
    """Payloads in memory.

    Args:
        num_examples: Number of examples.
    """

    def __init__(self, num_examples):
        self._payloads = [None] * num_examples

    def get(self, number):
        """The payload of an example, or None."""
        return self._payloads[number]

    def put(self, number, payload):
        """Keeps the payload of an example."""
        self._payloads[number] = payload


class Disk:
    """Payloads in a file of the cache folder, kept from run to run.

    A process that is killed, at whatever moment, leaves a cache in which each
    payload is whole or not there.

    Args:
        folder: A local folder, this source's own. One process writes to it;
            others that use it at the same time only read.
        num_examples: Number of examples.

    Raises:
        OSError: if the folder cannot be written.
    """

    def __init__(self, folder, num_examples):
        os.makedirs(folder, exist_ok=True)
        self._lock = threading.Lock()
        descriptor = os.open(
            os.path.join(folder, "payloads"), os.O_RDWR | os.O_CREAT, 0o644
        )
        self._data = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._writes = True
        except OSError:
            self._writes = False
        self._places = self._open_places(
            os.path.join(folder, "places"), (num_examples, 3)
        )

    def _open_places(self, path, shape):
        """Place, length and checksum of each payload; length 0: not here."""
        size = 8 * math.prod(shape)
        is_whole = os.path.exists(path) and os.path.getsize(path) == size
        if not is_whole and not self._writes:
            return np.zeros(shape, np.int64)  # the other one is about to
        if not is_whole:
            self._data.truncate(0)
            # Zeros, not a hole: a disk found full later on would be fatal.
            with open(f"{path}.tmp", "wb") as file:
                file.write(bytes(size))
            os.replace(f"{path}.tmp", path)
        return np.memmap(
            path, np.int64, "r+" if self._writes else "r", shape=shape
        )

    def get(self, number):
        """The payload of an example, or None."""
        place, length, checksum = self._places[number].tolist()
        descriptor = self._data.fileno()
        end = os.fstat(descriptor).st_size
        if not (0 < length <= end and 0 <= place <= end - length):
            return None
        payload = os.pread(descriptor, length, place)
        # Of a writer at work or a machine that went down, the one may be on
        # the disk and the other not.
        return payload if zlib.crc32(payload) == checksum else None

    def put(self, number, payload):
        """Keeps the payload of an example."""
        if not self._writes:
            return
        descriptor = self._data.fileno()
        try:
            with self._lock:
                place = os.lseek(descriptor, 0, os.SEEK_END)
                if os.pwrite(descriptor, payload, place) < len(payload):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._writes = False
            logging.warning("the disk cache takes no more: %s", error)
            return
        self._places[number] = place, len(payload), zlib.crc32(payload)


def _fingerprint(source):
    """What tells one source's numbers from another's, or its data changed."""
    files = source.files()
    digest = hashlib.sha256(repr((_VERSION, source.num_examples)).encode())
    for stamp in stored_bytes.stamps(files):
        digest.update(repr(stamp).encode() + files[stamp[0]].tobytes())
    return digest.hexdigest()[:32]


def wrap(source, cache):
    """Puts a cache before a source.

    Args:
        source: A `Source`.
        cache: 'none', 'memory' or 'disk'.

    Returns:
        A `Source`.

    Raises:
        ValueError: if there is no such cache, or the cache folder is remote.
    """
    if cache == "none":
        return source
    if cache == "memory":
        return CachedSource(source, Memory(source.num_examples))
    if cache != "disk":
        raise ValueError(
            f"data.cache must be none, memory or disk. Received: {cache!r}"
        )
    folder = os.path.join(cache_folder.root(), "payloads", _fingerprint(source))
    if storage.is_remote(folder):
        raise ValueError(
            "data.cache=disk needs a local cache folder. "
            f"Received: {cache_folder.root()!r}"
        )
    return CachedSource(source, Disk(folder, source.num_examples))
