"""Reads files and pieces of files from many threads."""

import collections
import concurrent.futures
import errno
import itertools
import os
import stat
import threading

import tensorflow as tf

from efficientnetv2.storage import is_remote

_OPEN_FILES = 128  # most systems allow a process 1024
_STATS_AT_ONCE = 64  # of remote files: each waits for the network


class _Handle:
    """A local file open for reading, closed when nobody holds it any more."""

    def __init__(self, path):
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self, close=os.close):  # `os` may be gone at the very end
        # Not there if opening failed.
        if hasattr(self, "descriptor"):
            close(self.descriptor)


class OpenFiles:
    """Keeps the local files read last open, since opening costs time.

    Args:
        paths: The files that may be asked for, by their number.
    """

    def __init__(self, paths):
        self._paths = paths
        self._open = collections.OrderedDict()
        self._lock = threading.Lock()

    def read(self, file, offset, length):
        """Reads a piece of a file.

        Args:
            file: Number of the file.
            offset: Place of the first byte.
            length: Number of bytes.

        Returns:
            bytes; b"" if the file does not hold all of them any more.

        Raises:
            OSError: if the file cannot be read.
        """
        handle = self._handle(file)
        data = os.pread(handle.descriptor, length, offset)
        return data if len(data) == length else b""

    def _handle(self, file):
        with self._lock:
            handle = self._open.get(file)
            if handle is None:
                handle = self._open[file] = _Handle(self._paths[file])
                if len(self._open) > _OPEN_FILES:
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(file)
            return handle


def read_file(path):
    """Reads a whole file, local or remote.

    Args:
        path: The file.

    Returns:
        bytes.

    Raises:
        OSError: if it cannot be read.
    """
    if not is_remote(path):
        with open(path, "rb") as file:
            return file.read()
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except tf.errors.OpError as error:
        raise OSError(str(error)) from None


def stamp(path):
    """What tells whether a file is still the same.

    Args:
        path: The file, local or remote.

    Returns:
        (path, size in bytes, time of its last change in ns).

    Raises:
        OSError: if it is not there, or is a folder.
    """
    if is_remote(path):
        try:
            status = tf.io.gfile.stat(path)
        except tf.errors.OpError as error:
            raise OSError(str(error)) from None
        is_folder = status.is_directory
        size, changed = int(status.length), int(status.mtime_nsec)
    else:
        status = os.stat(path)  # there may be a million files
        is_folder = stat.S_ISDIR(status.st_mode)
        size, changed = status.st_size, status.st_mtime_ns
    if is_folder:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return path, size, changed


def stamps(paths):
    """`stamp` of many files, one after the other.

    Args:
        paths: The files, local or remote.

    Yields:
        The stamps in order; (path, 0, 0) of a file that is not there.
    """
    paths = iter(paths)
    with concurrent.futures.ThreadPoolExecutor(_STATS_AT_ONCE) as executor:
        while some := tuple(itertools.islice(paths, _STATS_AT_ONCE * 16)):
            # A thread for a local file would cost more than it saves.
            run = executor.map if any(map(is_remote, some)) else map
            yield from run(_stamp_or_none, some)


def _stamp_or_none(path):
    try:
        return stamp(path)
    except OSError:
        return path, 0, 0


def read_text(path):
    """Reads a text file, local or remote.

    Args:
        path: The file.

    Returns:
        A string, without the mark that some programs put before it.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no text in UTF-8.
    """
    try:
        return read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be text in UTF-8; byte {error.start} is not"
        ) from None


def read_piece(path, offset, length):
    """Reads a piece of a file, local or remote, that need not stay open.

    Args:
        path: The file.
        offset: Place of the first byte.
        length: Number of bytes.

    Returns:
        bytes; b"" if the file does not hold all of them.

    Raises:
        OSError: if it cannot be read.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            file.seek(offset)
            data = file.read(length)
    except tf.errors.OpError as error:
        raise OSError(str(error)) from None
    return data if len(data) == length else b""
