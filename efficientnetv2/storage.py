"""Files of a run, on a local disk or behind an address such as gs://.

A file that is written here is complete or not there at all.
"""

import contextlib
import io
import os
import pathlib
import shutil
import struct
import tempfile
import zipfile
import zlib

TEMPORARY = ".tmp"  # what an unfinished file's name ends in
# What `np.load` and its archive raise for an .npz that is empty, cut off, or
# in which bits have flipped.
NPZ_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,  # a flag says encrypted, or an unknown compression
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


def is_remote(path):
    """Whether TensorFlow's file systems must be asked: gs://, ram:// ..."""
    return "://" in str(path)


def place(path):
    """A path as functions here take it: a Path, or a string if remote."""
    # A Path would make one slash of the two of gs://, a local folder's name.
    return str(path) if is_remote(path) else pathlib.Path(path)


def join(folder, name):
    """The path of a file in a folder: a Path, or a string if remote."""
    if is_remote(folder):
        return f"{str(folder).rstrip('/')}/{name}"
    return place(folder) / name


@contextlib.contextmanager
def _gfile():
    """TensorFlow's file functions; its errors become OSErrors."""
    import tensorflow as tf

    try:
        yield tf.io.gfile
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(error.message) from None
    except tf.errors.OpError as error:
        raise OSError(0, error.message) from None


def make_folder(folder):
    """Makes a folder and those above it, if they are not there."""
    if not is_remote(folder):
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        return
    with _gfile() as gfile:
        gfile.makedirs(str(folder))


def names(folder):
    """Names in a folder, sorted; none where there is no folder."""
    try:
        if not is_remote(folder):
            return sorted(os.listdir(folder))
        with _gfile() as gfile:
            return sorted(name.rstrip("/") for name in gfile.listdir(folder))
    except FileNotFoundError:
        return []


def open_bytes(path):
    """Opens a file for reading bytes; a remote one is fetched whole."""
    if not is_remote(path):
        return open(path, "rb")
    with _gfile() as gfile, gfile.GFile(path, "rb") as file:
        return io.BytesIO(file.read())


def remove(path):
    """Removes a file; it may be gone already."""
    if not is_remote(path):
        pathlib.Path(path).unlink(missing_ok=True)
        return
    with contextlib.suppress(FileNotFoundError), _gfile() as gfile:
        gfile.remove(path)


def write(path, produce):
    """Writes a file under another name, then renames it.

    Args:
        path: The file; one of this name is replaced.
        produce: Function that takes a binary file, writes, and can seek.

    Raises:
        OSError: if it cannot be written; what was there before stays.
    """
    if is_remote(path):
        with tempfile.TemporaryFile() as file:
            produce(file)
            file.seek(0)
            _upload(file, path)
        return
    temporary = f"{path}{TEMPORARY}"
    try:
        with open(temporary, "wb") as file:
            produce(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(pathlib.Path(path).parent)


def _upload(file, path):
    with _gfile() as gfile:
        temporary = f"{path}{TEMPORARY}"
        with gfile.GFile(temporary, "wb") as remote:
            remote.write(b"")  # an empty file is a file too
            shutil.copyfileobj(file, remote, 1 << 24)
        gfile.rename(temporary, path, overwrite=True)


def _sync_folder(folder):
    """Makes a rename last through a loss of power, where folders can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def duplicate(path, target):
    """Gives a finished file a second name, without a copy where possible.

    Args:
        path: A file that is never changed in place.
        target: Its other name; a file of that name is replaced.
    """
    if is_remote(path):
        with _gfile() as gfile:
            gfile.copy(path, f"{target}{TEMPORARY}", overwrite=True)
            gfile.rename(f"{target}{TEMPORARY}", target, overwrite=True)
        return
    temporary = pathlib.Path(f"{target}{TEMPORARY}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without links
        with open(path, "rb") as file:
            write(target, lambda copy: shutil.copyfileobj(file, copy))
        return
    os.replace(temporary, target)
    # Where both were names of one file already, the rename does nothing.
    temporary.unlink(missing_ok=True)
