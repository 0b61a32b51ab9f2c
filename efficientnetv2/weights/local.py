"""Brings weights into reach as plain local files: archives, remote paths."""

import contextlib
import os
import pathlib
import shutil
import tarfile
import tempfile
import zlib

from efficientnetv2 import storage
from efficientnetv2.weights.source import WeightsError, damaged


@contextlib.contextmanager
def local_copy(path):
    """Gives a local path for the time of a `with` block.

    Args:
        path: A local path, a local `.tgz` (unpacked), or a path that
            `tf.io.gfile` reads, as 'gs://bucket/prefix' (copied).

    Yields:
        A `pathlib.Path`.

    Raises:
        FileNotFoundError: if nothing is there.
        WeightsError: if the archive is damaged or unsafe.
    """
    with contextlib.ExitStack() as stack:
        if storage.is_remote(path):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            path = _download(str(path), pathlib.Path(folder))
        path = pathlib.Path(path).expanduser()
        if path.is_file() and _is_archive(path):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            unpack(path, folder)
            path = pathlib.Path(folder)
        yield path


def _is_archive(path):
    with open(path, "rb") as file:
        start = file.read(512)
    return start[:2] == b"\x1f\x8b" or start[257:262] == b"ustar"


def unpack(archive, folder):
    """Unpacks a tar file; nothing leaves `folder`.

    Args:
        archive: A `.tar` or `.tar.gz` file.
        folder: An empty folder.

    Raises:
        WeightsError: for a member outside the folder, a link out of it or a
            device, and if the archive is damaged. Nothing is unpacked then.
    """
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            for member in members:
                tarfile.data_filter(member, str(folder))
            tar.extractall(folder, members=members, filter="data")
    except tarfile.FilterError as error:
        member = error.tarinfo.name
        raise WeightsError(
            f"{str(archive)!r} is not unpacked: its member {member!r} is "
            "unsafe, it leaves the folder or is no plain file"
        ) from None
    except (
        tarfile.TarError,
        EOFError,
        OSError,
        ValueError,
        zlib.error,
    ) as error:
        raise damaged(archive, error) from None


def _download(path, folder):
    """Copies a file, a folder's files or a checkpoint's files."""
    try:
        import tensorflow as tf
    except ImportError:
        raise WeightsError(
            f"reading {path!r} needs TensorFlow: pip install tensorflow"
        ) from None
    gfile = tf.io.gfile
    try:
        if gfile.exists(f"{path}.index"):  # the prefix of a checkpoint
            files = gfile.glob(f"{path}.*")
        elif gfile.isdir(path):
            _copy_folder(gfile, path, folder)
            return folder
        elif gfile.exists(path):
            files = [path]
        else:
            raise FileNotFoundError(f"weights file not found: {path!r}")
        for file in files:
            gfile.copy(file, str(folder / file.rpartition("/")[2]))
    except tf.errors.OpError as error:
        reason = error.message or type(error).__name__
        raise WeightsError(f"cannot read {path!r}: {reason}") from None
    return folder / path.rpartition("/")[2]


def _copy_folder(gfile, source, target):
    for parent, _, files in gfile.walk(source):
        inside = os.path.relpath(parent, source)
        folder = target / inside
        folder.mkdir(parents=True, exist_ok=True)
        for name in files:
            with (
                gfile.GFile(f"{parent.rstrip('/')}/{name}", "rb") as reader,
                open(folder / name, "wb") as writer,
            ):
                shutil.copyfileobj(reader, writer)
