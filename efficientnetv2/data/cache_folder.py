"""Where files that can be made again are kept between runs."""

import contextlib
import os
import shutil
import tempfile

import tensorflow as tf


def root():
    """The project's cache folder.

    Returns:
        A path, not made yet: $EFFICIENTNETV2_CACHE (may be remote, gs://...),
        or else `efficientnetv2` in $XDG_CACHE_HOME or ~/.cache.
    """
    own = os.environ.get("EFFICIENTNETV2_CACHE")
    if own:
        return own
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "efficientnetv2")


@contextlib.contextmanager
def new_folder(path, is_whole):
    """Fills a folder so that it appears whole or not at all.

    Of two processes that do it at once the first wins.

    Args:
        path: The local folder to make.
        is_whole: Function of a path: whether a folder that is there already
            is good and stays.

    Yields:
        A temporary folder beside it, renamed to `path` at the end.
    """
    parent, name = os.path.split(os.path.abspath(path))
    os.makedirs(parent, exist_ok=True)
    work = tempfile.mkdtemp(prefix=f".{name}-", dir=parent)
    made = os.path.join(work, "new")
    os.mkdir(made)
    try:
        yield made
        if not is_whole(path):
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, os.path.join(work, "old"))
            try:
                os.rename(made, path)
            except OSError:
                if not is_whole(path):  # not another process's doing
                    raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_file(path, data):
    """Writes a file so that it appears whole or not at all.

    Args:
        path: May be remote.
        data: bytes.
    """
    tf.io.gfile.makedirs(os.path.dirname(path))
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with tf.io.gfile.GFile(temporary, "wb") as file:
            file.write(data)
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except BaseException:
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.remove(temporary)
        raise
