"""The formats by name, and writing one or several of them."""

import dataclasses
import importlib
import os
import pathlib
import typing
from collections.abc import Callable, Sequence

from efficientnetv2.architecture import Architecture
from efficientnetv2.spelling import nearest

from . import artefact, staging

if typing.TYPE_CHECKING:
    from efficientnetv2 import model_dir


@dataclasses.dataclass(frozen=True)
class Request:
    """What to export and how.

    Args:
        trained: The `model_dir.Trained` to export.
        files: Pictures to calibrate and to compare on, a list of files'
            bytes, or None.
        include_preprocessing: True: tflite, onnx and keras take RGB in
            0..255; False: normalised images.
    """

    trained: "model_dir.Trained"
    files: list | None = None
    include_preprocessing: bool = True


@dataclasses.dataclass(frozen=True)
class Format:
    """A format that `--format` names.

    Args:
        what: A line for --help.
        write: Function from a `Request` and a folder, which exists, to a list
            of `artefact.Artefact`.
        module: Module of this package whose `check_installed` must pass.
        channels_first: Whether it takes channels-first models.
    """

    what: str
    write: Callable[[Request, str], list[artefact.Artefact]]
    module: str | None = None
    channels_first: bool = False


def _module(name):
    # Imported when used: TensorFlow takes seconds.
    return importlib.import_module(f".{name}", __package__)


def _saved_model(request, folder):
    trained = request.trained
    return _module("saved_model").write(
        trained.model,
        folder,
        class_names=trained.class_names,
        image_size=trained.image_size,
        style=trained.style,
        loss_type=trained.config.train.loss_type,
    )


def _hub(request, folder):
    hub, trained = _module("hub"), request.trained
    artefacts = []
    for kind in hub.KINDS:
        path = os.path.join(folder, kind)
        artefacts += hub.write(
            trained.model,
            path,
            kind=kind,
            style=trained.style,
            weight_decay=trained.config.train.weight_decay,
            weight_decay_exclude=trained.config.train.weight_decay_exclude,
        )
        hub.pack(path, f"{path}.tar.gz")
    return artefacts


def _tflite(request, folder):
    lite, trained = _module("lite"), request.trained
    return lite.write(
        trained.model,
        {
            precision: os.path.join(folder, f"model_{precision}.tflite")
            for precision in lite.PRECISIONS
        },
        files=request.files,
        image_size=trained.image_size,
        style=trained.style,
        include_preprocessing=request.include_preprocessing,
    )


def _onnx(request, folder):
    return _module("onnx").write(
        request.trained.model,
        os.path.join(folder, "model.onnx"),
        style=request.trained.style,
        include_preprocessing=request.include_preprocessing,
        class_names=request.trained.class_names,
    )


def _keras(request, folder):
    return _module("keras_format").write(
        request.trained.model,
        os.path.join(folder, "model.keras"),
        style=request.trained.style,
        include_preprocessing=request.include_preprocessing,
    )


FORMATS = {
    "saved_model": Format(
        "for TensorFlow Serving: picture files in, class names out",
        _saved_model,
    ),
    "hub": Format(
        "TF-Hub modules: feature vector, classification, feature maps", _hub
    ),
    "tflite": Format(
        "for phones: float32, float16, dynamic range, int8",
        _tflite,
        module="lite",
    ),
    "onnx": Format("for onnxruntime and others", _onnx, module="onnx"),
    "keras": Format(
        "one file for Keras 3, to train on or to run",
        _keras,
        channels_first=True,
    ),
}


def parse(text: str | None) -> list[str]:
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
            raise ValueError(
                f"format must be one of all, {known}. Received: {name!r}"
                f"{nearest(name, FORMATS)}"
            )
    return list(dict.fromkeys(names))


def check(formats: Sequence[str], architecture: Architecture) -> None:
    """Refuses formats that cannot be written, before any work is done.

    Args:
        formats: Keys of `FORMATS`.
        architecture: The model's `Architecture`.

    Raises:
        ValueError: names the format and what can be done.
    """
    able = [name for name, row in FORMATS.items() if row.channels_first]
    for name in formats:
        if architecture.data_format == "channels_first" and name not in able:
            raise ValueError(
                f"a channels_first model cannot be exported as {name}; "
                f"it can as {', '.join(able)}"
            )
        if FORMATS[name].module is not None:
            _module(FORMATS[name].module).check_installed()


def _write(request, formats, folder, say):
    """Writes formats into a folder; returns their artefacts."""
    artefacts = []
    for name in formats:
        say(f"writing {name} ...")
        place = folder if len(formats) == 1 else os.path.join(folder, name)
        os.makedirs(place, exist_ok=True)
        artefacts += FORMATS[name].write(request, place)
    return artefacts


def export(
    request: Request,
    path: str | os.PathLike[str],
    formats: Sequence[str],
    *,
    overwrite: bool = False,
    say: Callable[[str], object] = print,
) -> list:
    """Writes a model in one or several formats, verified.

    Args:
        request: A `Request`.
        path: Folder to write; with several formats it holds a folder for
            each. It appears only when all is done and verified.
        formats: Keys of `FORMATS`.
        overwrite: Replace `path` where it exists.
        say: Function that a line of progress goes to.

    Returns:
        A list of `verify.Row`.

    Raises:
        ValueError: if `path` exists, or if an exported model does not do
            what the trained one does.
    """
    trained = request.trained
    check(formats, trained.config.model)
    if "tflite" in formats:  # before the others are written
        _module("lite").check_precision("int8", request.files)
    card, verify = _module("card"), _module("verify")
    with staging.staged(path, overwrite=overwrite) as temporary:
        artefacts = _write(request, formats, temporary, say)
        say("verifying, each in a process of its own ...")
        expected = verify.expect(
            trained.model,
            image_size=trained.image_size,
            style=trained.style,
            files=request.files,
            loss_type=trained.config.train.loss_type,
        )
        rows = verify.verify(artefacts, expected)
        say(card.table(rows))
        verify.require(rows)
        folder = pathlib.Path(temporary)
        labels = "".join(f"{name}\n" for name in trained.class_names)
        (folder / "labels.txt").write_text(labels, encoding="utf-8")
        text = card.card(request, formats, rows, pictures=len(expected.files))
        (folder / "README.md").write_text(text, encoding="utf-8")
    return rows
