"""Output that is whole or not there: a temporary name, then one rename."""

import contextlib
import os
import pathlib
import shutil
import tempfile


def check_free(path, *, overwrite=False):
    """Refuses a path that is taken, before any work is done.

    Args:
        path: File or folder to be written; an empty folder counts as free.
        overwrite: Whether it may be replaced.

    Raises:
        ValueError: if it exists and `overwrite` is False.
    """
    path = pathlib.Path(path)
    empty = path.is_dir() and not any(path.iterdir())
    if path.exists() and not empty and not overwrite:
        raise ValueError(
            "the output must not exist, or be replaced with --overwrite. "
            f"Received: {str(path)!r}"
        )


def _remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _move(source, path):
    """Puts `source` at `path`; what was there is kept until the new is."""
    if not path.exists():
        os.rename(source, path)
        return
    old = source.with_name(source.name + ".old")
    os.rename(path, old)
    try:
        os.rename(source, path)
    except BaseException:
        os.rename(old, path)
        raise
    _remove(old)


@contextlib.contextmanager
def staged(path, *, overwrite=False):
    """Gives a temporary name beside `path` and moves it there on success.

    On an error nothing is left and what was at `path` stays.

    Args:
        path: File or folder to write, on a local disk. Folders above it are
            made.
        overwrite: Replace what is at `path`.

    Yields:
        The temporary path, a string that nothing is at; it ends in the name
        of `path`, since writers look at the suffix.

    Raises:
        ValueError: if `path` exists and `overwrite` is False.
        OSError: if it cannot be written; one line.
    """
    path = pathlib.Path(path).absolute()
    check_free(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(
        tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-")
    )
    temporary = folder / path.name
    try:
        with _one_line(path):
            yield str(temporary)
            _move(temporary, path)
    finally:
        _remove(folder)


@contextlib.contextmanager
def _one_line(path):
    """Turns errors of writing into an `OSError` that names the output."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        reason = str(error.message).splitlines()[0]
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
    else:
        return
    raise OSError(f"cannot write {str(path)!r}: {reason}")
