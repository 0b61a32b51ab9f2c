"""Writes a file that several workers of a search may write at once."""

import os
import pathlib


def write(path, content):
    """Writes a file; it is complete or not there, and one worker's whole.

    Args:
        path: The file; one of this name is replaced.
        content: Text or bytes.
    """
    path = pathlib.Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
