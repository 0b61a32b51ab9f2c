"""What is written already: conversion.json in the folder of the shards."""

import contextlib
import fcntl
import json
import os
import posixpath
import re

import tensorflow as tf

from efficientnetv2 import storage
from efficientnetv2.data.sources import record_scan, stored_bytes

_FILE = "conversion.json"
_LOCK = ".conversion.lock"
_OURS = re.compile(r"labels\.txt|\.?\w+-\d{5}-of-\d{5}(\.tmp)?")


class Ledger:
    """The finished shards of a conversion; on the disk whenever it returns.

    Args:
        folder: Of the shards; may be remote.
        plan: The `plan.Plan`.

    Raises:
        ValueError: if the folder holds something else.
    """

    def __init__(self, folder, plan):
        self._path = posixpath.join(folder, _FILE)
        self._folder = folder
        self._fingerprint = plan.fingerprint
        self._shards = self._read()
        self._write()

    def _read(self):
        if not tf.io.gfile.exists(self._path):
            _check_empty(self._folder)
            return {}
        try:
            found = json.loads(stored_bytes.read_file(self._path))
            fingerprint, shards = found["fingerprint"], found["shards"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{self._path} is damaged; --overwrite begins anew"
            ) from None
        if fingerprint != self._fingerprint:
            raise ValueError(
                "output_dir holds a conversion of other pictures or with "
                "other settings; give another or --overwrite. "
                f"Received: {self._folder!r}"
            )
        return shards

    def _write(self):
        content = {"fingerprint": self._fingerprint, "shards": self._shards}
        text = json.dumps(content, indent=1)
        storage.write(self._path, lambda file: file.write(text.encode()))

    def path(self, name):
        """Path of a shard."""
        return posixpath.join(self._folder, name)

    def enter(self, name, *, examples, left_out):
        """Notes a shard that is in its place.

        Args:
            name: The shard's.
            examples: Number of its records.
            left_out: Number of pictures that are broken.
        """
        size = stored_bytes.stamp(self.path(name))[1]
        self._shards[name] = {
            "examples": examples,
            "bytes": size,
            "left_out": left_out,
        }
        self._write()

    def entry(self, name):
        """The figures of a finished shard, None of one that is not whole."""
        entry = self._shards.get(name)
        try:
            size = stored_bytes.stamp(self.path(name))[1]
        except OSError:
            return None
        if entry is None or size != entry["bytes"]:
            return None
        offsets, _, rest = record_scan.scan(self.path(name), size)
        is_whole = not rest and len(offsets) == entry["examples"]
        return entry if is_whole else None


def _check_empty(folder):
    others = [n for n in tf.io.gfile.listdir(folder) if not n.startswith(".")]
    if others:
        raise ValueError(
            "output_dir must be empty, or hold a conversion begun before. "
            f"Received: {folder!r} with {sorted(others)[0]!r}"
        )


def clear(folder):
    """Removes what an earlier conversion has left in a folder.

    Args:
        folder: May be remote, or not be there.
    """
    if not tf.io.gfile.exists(posixpath.join(folder, _FILE)):
        return
    # The list goes last: what remains after a stop is known as ours.
    names = filter(_OURS.fullmatch, tf.io.gfile.listdir(folder))
    for name in (*names, _FILE):
        tf.io.gfile.remove(posixpath.join(folder, name))


@contextlib.contextmanager
def alone(folder):
    """Context in which no other process converts into a local folder.

    Raises:
        ValueError: if one does.
    """
    if storage.is_remote(folder):
        yield
        return
    path = os.path.join(folder, _LOCK)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"another process converts into {folder!r}"
            ) from None
        try:
            yield
        finally:
            os.remove(path)
