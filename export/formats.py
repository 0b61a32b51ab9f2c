"""The formats by name, and writing one or several of them."""

import dataclasses
import difflib
import importlib
import os

from . import staging


@dataclasses.dataclass(frozen=True)
class Format:
    """A format that `--format` names.

    Args:
        what: A line for --help.
        write: Name of this module's function that writes it.
    """

    what: str
    write: str


FORMATS = {
    "saved_model": Format(
        "for TensorFlow Serving: picture files in, class names out",
        "_saved_model",
    ),
    "hub": Format(
        "TF-Hub modules: feature_vector, classification, feature_maps", "_hub"
    ),
}


def parse(text):
    """Reads the value of --format.

    Args:
        text: Names joined by commas, or 'all'.

    Returns:
        A list of names.

    Raises:
        ValueError: for an unknown name, or none.
    """
    known = ", ".join(FORMATS)
    if not text:
        raise ValueError(f"say which format: --format=all or {known}")
    if text == "all":
        return list(FORMATS)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in FORMATS:
            near = difflib.get_close_matches(name, FORMATS, n=1)
            hint = f" (nearest: {near[0]!r})" if near else ""
            raise ValueError(
                f"format must be one of all, {known}. Received: {name!r}{hint}"
            )
    return list(dict.fromkeys(names))


def _module(name):
    # Imported when used: TensorFlow takes seconds.
    return importlib.import_module(f".{name}", __package__)


def _saved_model(origin, path):
    _module("saved_model").export(
        origin.model,
        path,
        class_names=origin.class_names,
        image_size=origin.image_size,
        style=origin.style,
        loss_type=origin.config.train.loss_type,
    )


def _hub(origin, path):
    hub = _module("hub")
    for kind in hub.KINDS:
        hub.export(
            origin.model,
            os.path.join(path, kind),
            kind=kind,
            style=origin.style,
            weight_decay=origin.config.train.weight_decay,
            weight_decay_exclude=origin.config.train.weight_decay_exclude,
        )


def export(origin, path, formats, *, overwrite=False):
    """Writes a model in one or several formats.

    Args:
        origin: An `origin.Origin`.
        path: Folder to write; with several formats it holds a folder for
            each. It appears only when all of it is done.
        formats: Keys of `FORMATS`.
        overwrite: Replace `path` where it exists.

    Raises:
        ValueError: if `path` exists.
    """
    with staging.staged(path, overwrite=overwrite) as temporary:
        for name in formats:
            print(f"writing {name} ...", flush=True)
            single = len(formats) == 1
            folder = temporary if single else os.path.join(temporary, name)
            globals()[FORMATS[name].write](origin, folder)
