"""`python -m export`: writes a trained model in formats of other programs."""

import os
import pathlib
import sys
from collections.abc import Callable

from absl import flags

from efficientnetv2 import entry_point, startup
from efficientnetv2.spelling import nearest

# Rows: name, default (its type is the flag's), how help writes the value, help.
_FLAGS = (
    ("model_dir", None, "DIR", "folder of a run; its newest checkpoint"),
    ("best", False, "", "take the run's best checkpoint instead"),
    ("model_name", None, "NAME", "model of --weights"),
    ("weights", None, "PATH", "a weights file or published weights"),
    ("dataset_cfg", "imagenet", "NAME", "data set of --weights [imagenet]"),
    ("hparam_str", "", "K=V,...", "settings of --weights"),
    ("labels", None, "FILE", "class names, a line each"),
    ("pictures", None, "PATH,...", "to compare on [the run's evaluation data]"),
    ("num_pictures", 64, "N", "largest number of them [64]"),
    ("data_dir", None, "DIR", "folder of the data set's files"),
    (
        "include_preprocessing",
        True,
        "",
        "tflite, onnx and keras take normalised images",
    ),
    ("format", None, "NAME,...", "formats below, or all"),
    ("export_dir", None, "DIR", "where to [<model_dir>/export/<format>]"),
    ("overwrite", False, "", "replace what is there"),
    ("debug", False, "", "print the traceback of an error"),
    ("help", False, "", "print this"),
)


def _help():
    from .formats import FORMATS

    lines = [
        "Writes a trained model in formats of other programs.",
        "",
        "  python -m export --model_dir=DIR --format=saved_model,hub",
        "  python -m export --model_name=efficientnetv2-b0 --weights=FILE "
        "--format=all",
        "",
        "Formats",
        *(f"  {name:<14} {row.what}" for name, row in FORMATS.items()),
        "",
        "Flags",
    ]
    for name, default, value, what in _FLAGS:
        flag = f"--{name}={value}" if value else f"--{name}"
        if default is True:  # only turning it off says something
            flag = f"--no{name}"
        lines.append(f"  {flag:<25} {what}")
    return "\n".join(lines)


def _parse(argv):
    values = flags.FlagValues()
    kinds: dict[type, Callable[..., object]] = {
        bool: flags.DEFINE_boolean,
        int: flags.DEFINE_integer,
    }
    for name, default, _, _ in _FLAGS:
        define = kinds.get(type(default), flags.DEFINE_string)
        define(name, default, "", flag_values=values)
    try:
        others = values(argv)[1:]
    except flags.UnrecognizedFlagError as error:
        hint = nearest(error.flagname, [row[0] for row in _FLAGS])
        raise ValueError(
            f"unknown flag --{error.flagname}{hint}; --help lists the flags"
        ) from None
    except flags.Error as error:
        raise ValueError(str(error).removeprefix("ERROR:: ")) from None
    if others:
        raise ValueError(f"export takes only flags. Received: {others[0]!r}")
    return values


def _read_labels(path):
    """The class names in a text file, a name a line."""
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"labels must be a text file: {path!r}") from None
    return [line.strip() for line in lines if line.strip()]


def _read(values):
    """The `model_dir.Trained` that the flags name."""
    from efficientnetv2 import model_dir

    names = _read_labels(values.labels) if values.labels else None
    if values.model_dir is not None:
        return model_dir.load(
            values.model_dir, class_names=names, best=values.best
        )
    from efficientnetv2 import config

    settings = config.load(
        values.model_name, values.dataset_cfg, values.hparam_str
    )
    return model_dir.from_weights(settings, values.weights, class_names=names)


def _check(values):
    """Returns (formats, export_dir)."""
    from . import formats, staging

    chosen = formats.parse(values.format)
    if values.model_dir is None and values.weights is None:
        raise ValueError(
            "say what to export: --model_dir=DIR, or --model_name=NAME with "
            "--weights=PATH"
        )
    if values.model_dir is not None and values.weights is not None:
        raise ValueError("give --model_dir or --weights, not both")
    if values.weights is not None and values.model_name is None:
        raise ValueError("--weights needs --model_name")
    way, others = "--weights", ("best",)
    if values.model_dir is not None:
        way, others = "--model_dir", ("model_name", "dataset_cfg", "hparam_str")
    for name in others:
        if values[name].present:
            raise ValueError(
                f"--{name} has no effect with {way}. "
                f"Received: {values[name].value!r}"
            )
    if values.num_pictures < 1:
        raise ValueError(
            f"num_pictures must be >= 1. Received: {values.num_pictures}"
        )
    folder = values.export_dir
    if folder is None and values.model_dir is None:
        raise ValueError("--weights needs --export_dir")
    if folder is None:
        name = chosen[0] if len(chosen) == 1 else "all"
        folder = os.path.join(values.model_dir, "export", name)
    if "://" in folder:
        raise ValueError(
            f"export_dir must be a local folder. Received: {folder!r}"
        )
    staging.check_free(folder, overwrite=values.overwrite)
    return chosen, folder


def _files(values, settings):
    """Pictures to calibrate and compare on, or None where there are none."""
    from . import pictures

    if values.pictures is not None:
        return pictures.from_paths(values.pictures, limit=values.num_pictures)
    if values.data_dir is not None:
        from efficientnetv2 import config

        settings = config.override(settings, "", data_dir=values.data_dir)
    elif settings.data.data_dir is None and settings.data.ds_name != "shapes":
        return None
    try:
        return pictures.from_recipe(settings, limit=values.num_pictures)
    except (ValueError, OSError) as error:
        if values.data_dir is not None:
            raise
        # A run that came from another machine: its data stayed there.
        print(f"no evaluation pictures: {error}", file=sys.stderr)
        return None


def _run(argv):
    values = _parse(argv)
    if values.help:
        print(_help())
        return 0
    chosen, folder = _check(values)
    with startup.quiet():
        import tensorflow  # noqa: F401, only its chatter is awaited here

        from . import formats
    trained = _read(values)
    formats.check(chosen, trained.config.model)
    request = formats.Request(
        trained,
        files=_files(values, trained.config),
        include_preprocessing=values.include_preprocessing,
    )
    formats.export(request, folder, chosen, overwrite=values.overwrite)
    print(f"exported to {folder}")
    return 0


def main(argv):
    """Runs the export.

    Args:
        argv: The program's name and flags.

    Returns:
        The exit code: 0, 1 after an error, 130 after ctrl-C.
    """
    return entry_point.run(_run, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
