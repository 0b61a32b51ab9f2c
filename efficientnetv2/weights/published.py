"""Fetches published weights and class names, once."""

import contextlib
import hashlib
import http.client
import logging
import os
import pathlib
import sys
import tempfile
import urllib.error
import urllib.request

from efficientnetv2.weights import addresses
from efficientnetv2.weights.source import WeightsError

_LOG = logging.getLogger(__name__)
_BLOCK = 1 << 20  # bytes
_TIMEOUT_SECONDS = 30


def cache_folder() -> pathlib.Path:
    """The folder where keras.applications keeps its weights, too."""
    home = os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras"
    return pathlib.Path(home) / "models"


def fetch(name: str, kind: str) -> str:
    """Gives the published weights of a variant as a local file.

    Args:
        name: Name of a variant, as 'efficientnetv2-s'.
        kind: 'imagenet', 'imagenet21k' or 'imagenet21k-ft1k'.

    Returns:
        The path of the file in the cache.

    Raises:
        WeightsError: one line: there are none, there is no network, or the
            hash does not fit.
    """
    published = addresses.lookup(name, kind)
    target = cache_folder() / published.file_name
    if target.is_file() and published.md5 in (None, _md5(target)):
        return str(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            _download(published.address, file, target)
        found = _md5(part)
        if published.md5 not in (None, found):
            raise WeightsError(
                f"{published.address} has the MD5 hash {found}, but Keras "
                f"states {published.md5}; it is not used"
            )
        os.chmod(part, 0o644)  # else the user's alone; the cache may be shared
        os.replace(part, target)  # complete before it has its name
    finally:
        pathlib.Path(part).unlink(missing_ok=True)
    return str(target)


def _md5(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.md5(usedforsecurity=False)
        ).hexdigest()


def _download(address, file, target):
    import tqdm

    try:
        with urllib.request.urlopen(
            address, timeout=_TIMEOUT_SECONDS
        ) as response:
            length = response.headers.get("Content-Length")
            length = int(length) if length else None
            with tqdm.tqdm(
                desc=target.name,
                total=length,
                unit="B",
                unit_scale=True,
                disable=None,  # no bar where nobody watches
            ) as bar:
                while block := response.read(_BLOCK):
                    file.write(block)
                    bar.update(len(block))
        if length is not None and file.tell() != length:
            raise OSError(f"it ended after {file.tell()} of {length} bytes")
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error
        if isinstance(error, urllib.error.URLError) and not isinstance(
            error, urllib.error.HTTPError
        ):
            reason = error.reason
        raise WeightsError(
            f"cannot fetch {address} ({reason}); without network, put the "
            f"file at {str(target)!r}"
        ) from None


def class_names(num_classes: int) -> tuple[str, ...] | None:
    """Names of the classes that published weights know.

    Args:
        num_classes: Classes of the head.

    Returns:
        A tuple of names for 1000 classes, ImageNet's in Keras's own class
        index (fetched once); else, or without network, None.
    """
    if num_classes != 1000:
        return None
    import keras
    import numpy as np

    decode = keras.applications.imagenet_utils.decode_predictions
    try:
        # Row i has its one in column i: its best class is class i. What Keras
        # says of the download is no result of the program.
        with contextlib.redirect_stdout(sys.stderr):
            rows = decode(np.eye(1000, dtype="float32"), top=1)
    except Exception as error:  # Keras raises plain `Exception` here
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        _LOG.warning("no class names, numbers instead: %s", reason)
        return None
    return tuple(row[0][1] for row in rows)
