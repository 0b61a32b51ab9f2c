"""Keeps the payloads of a slow source in memory or on the local disk."""

import fcntl
import hashlib
import os
import threading
import zlib

import numpy as np
from absl import logging

from efficientnetv2.data import cache_folder
from efficientnetv2.data.sources.source import Source


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

    Args:
        folder: A local folder, this source's own. One process writes to it;
            others that use it at the same time only read.
        num_examples: Number of examples.
    """

    def __init__(self, folder, num_examples):
        os.makedirs(folder, exist_ok=True)
        self._lock = threading.Lock()
        self._data = os.open(
            os.path.join(folder, "payloads"), os.O_RDWR | os.O_CREAT, 0o644
        )
        try:
            fcntl.flock(self._data, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._writes = True
        except OSError:
            self._writes = False
        places = os.path.join(folder, "places")
        if not os.path.exists(places):
            with open(places, "ab") as file:
                file.truncate(num_examples * 24)
        # Place + 1, length and checksum of each payload; 0: not here.
        self._places = np.memmap(
            places, np.int64, "r+", shape=(num_examples, 3)
        )

    def get(self, number):
        """The payload of an example, or None."""
        place, length, checksum = self._places[number].tolist()
        if not place:
            return None
        payload = os.pread(self._data, length, place - 1)
        # A machine that went down may have written the one and not the other.
        return payload if zlib.crc32(payload) == checksum else None

    def put(self, number, payload):
        """Keeps the payload of an example."""
        if not self._writes:
            return
        try:
            with self._lock:
                place = os.lseek(self._data, 0, os.SEEK_END)
                os.pwrite(self._data, payload, place)
        except OSError as error:
            self._writes = False
            logging.warning("the disk cache takes no more: %s", error)
            return
        self._places[number] = place + 1, len(payload), zlib.crc32(payload)


def _fingerprint(source):
    """What tells one source's numbers from another's."""
    digest = hashlib.sha256(str(source.num_examples).encode())
    for path, places in source.files().items():
        digest.update(path.encode() + b"\0" + places.tobytes())
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
    if "://" in folder:
        raise ValueError(
            "data.cache=disk needs a local cache folder. "
            f"Received: {cache_folder.root()!r}"
        )
    return CachedSource(source, Disk(folder, source.num_examples))
