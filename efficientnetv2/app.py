"""The app: reads the flags, checks them and calls the function of a mode.

Flags, names and keys are checked before TensorFlow is imported, so that help
and a typing error answer at once.
"""

import difflib
import importlib
import os
import pathlib
import sys
from typing import NamedTuple

from absl import flags

from efficientnetv2 import __version__

_DEFAULT_MODEL = "efficientnetv2-s"
_DEFAULT_DATASET = "shapes"  # embedded: the project draws it itself

# Set before TensorFlow and Keras are imported, unless the user has set them.
_ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "2",  # errors only
    "GRPC_VERBOSITY": "ERROR",
}


class Mode(NamedTuple):
    """What `--mode=<name>` calls: `module.function(config, model_dir, ...)`.

    Args:
        module: Module of the package, imported when the mode runs.
        function: Name of its function.
        what: A line for --help.
        flags: Names of the flags passed on as keyword arguments.
        takes_inputs: Pictures are passed as the keyword argument `inputs`.
        takes_config: False calls `function(model_dir, ...)`.
    """

    module: str
    function: str
    what: str
    flags: tuple[str, ...] = ()
    takes_inputs: bool = False
    takes_config: bool = True


MODES = {
    "train": Mode(
        "train",
        "train",
        "train; the same command again goes on where the run stopped",
        flags=("allow_config_change",),
    ),
    "eval": Mode("evaluate", "evaluate_run", "evaluate a run's checkpoint"),
    "traineval": Mode(
        "train",
        "train_and_evaluate",
        "train, evaluating after every epoch",
        flags=("allow_config_change",),
    ),
    "predict": Mode(
        "predict",
        "predict_run",
        "name what is in pictures: files, folders, globs",
        flags=("format", "top_k"),
        takes_inputs=True,
    ),
    "report": Mode(
        "report", "curves", "draw a run's curves.png again", takes_config=False
    ),
}

# Heading -> rows: name, default (its type is the flag's type), how help
# writes the value, help.
_FLAGS = {
    "What to run": (
        ("mode", None, "MODE", "one of the modes above"),
        (
            "model_name",
            None,
            "NAME",
            f"a model below, a YAML file or block strings [{_DEFAULT_MODEL}]",
        ),
        (
            "dataset_cfg",
            None,
            "NAME",
            f"a data set below [{_DEFAULT_DATASET}, which needs no files]",
        ),
        ("data_dir", None, "DIR", "folder of the data set's files"),
        ("model_dir", None, "DIR", "the run's folder [runs/<model>-<data>]"),
        (
            "hparam_str",
            "",
            "K=V,...",
            "settings as train.epochs=10,data.ram=15, or a YAML file",
        ),
        (
            "allow_config_change",
            False,
            "",
            "go on with a run although its settings differ",
        ),
    ),
    "Predict": (
        ("image_path", None, "PATH", "a picture, as if named without a flag"),
        ("format", "table", "table|json", "what to print [table]"),
        ("top_k", 5, "K", "classes to print for a picture [5]"),
    ),
    "Cloud TPU": (
        ("tpu", None, "NAME", "name or grpc:// address of the TPU"),
        ("gcp_project", None, "NAME", "its Google Cloud project"),
        ("tpu_zone", None, "ZONE", "its zone"),
    ),
    "Other": (
        ("debug", False, "", "print the traceback of an error"),
        ("version", False, "", f"print the version, {__version__}"),
        ("help", False, "", "print this"),
    ),
}

# Flags of the original that say nothing any more: default, what to use.
_OLD_FLAGS = {
    "use_tpu": (False, "name the TPU with --tpu=NAME"),
    "tpu_job_name": ("", "--tpu=NAME finds the machine"),
    "archive_ckpt": (False, "checkpoints lie in <model_dir>/checkpoints"),
    "export_to_tpu": (False, "export with `python -m export`"),
    "eval_name": ("", "give each run its own --model_dir"),
    "sweeps": ("", "run the command once for each --hparam_str"),
}

_USAGE = """\
EfficientNetV2: train with progressive learning, evaluate, predict.

  python main.py --mode=train --model_name=efficientnetv2-s \\
      --dataset_cfg=imagenet --data_dir=DIR --model_dir=DIR
  python main.py --mode=predict --model_dir=DIR picture.jpg folder 'more/*.png'
"""


def nearest(name, names):
    """Returns " (nearest: 'x')" for the name most like `name`, or ""."""
    found = difflib.get_close_matches(name, names, n=1)
    return f" (nearest: {found[0]!r})" if found else ""


def _help():
    lines = [_USAGE, "Modes"]
    lines += [f"  --mode={name:<18}{row.what}" for name, row in MODES.items()]
    for heading, rows in _FLAGS.items():
        lines += ["", heading]
        for name, _, value, what in rows:
            flag = f"--{name}={value}" if value else f"--{name}"
            lines.append(f"  {flag:<25}{what}")
    return "\n".join(lines)


def _parse(argv):
    """Returns the flags' values, by attribute, and the other arguments."""
    values = flags.FlagValues()
    kinds = {bool: flags.DEFINE_boolean, int: flags.DEFINE_integer}
    rows = [row[:2] for group in _FLAGS.values() for row in group]
    rows += [(name, default) for name, (default, _) in _OLD_FLAGS.items()]
    for name, default in rows:
        define = kinds.get(type(default), flags.DEFINE_string)
        define(name, default, "", flag_values=values)
    values.set_gnu_getopt(True)  # flags may follow pictures
    try:
        others = values(argv)[1:]
    except flags.UnrecognizedFlagError as error:
        raise ValueError(
            f"unknown flag --{error.flagname}"
            f"{nearest(error.flagname, [name for name, _ in rows])}; "
            "--help lists the flags"
        ) from None
    except flags.Error as error:
        raise ValueError(str(error)) from None
    for name, (_, instead) in _OLD_FLAGS.items():
        if not values[name].using_default_value:
            print(f"--{name} does nothing now: {instead}", file=sys.stderr)
    return values, others


def _check(values, inputs):
    """Raises ValueError for flags that do not go together."""
    if values.mode is None:
        raise ValueError(
            f"say what to do with --mode={'|'.join(MODES)}; --help says more"
        )
    if values.mode not in MODES:
        raise ValueError(
            f"mode must be one of {', '.join(MODES)}. "
            f"Received: {values.mode!r}{nearest(values.mode, MODES)}"
        )
    takes_inputs = MODES[values.mode].takes_inputs
    if inputs and not takes_inputs:
        raise ValueError(
            f"--mode={values.mode} takes no arguments besides flags. "
            f"Received: {inputs[0]!r}"
        )
    if takes_inputs and not inputs:
        raise ValueError(
            f"--mode={values.mode} needs pictures: files, folders or globs"
        )
    if values.format not in ("table", "json"):
        raise ValueError(
            f"format must be 'table' or 'json'. Received: {values.format!r}"
        )
    if values.top_k < 1:
        raise ValueError(f"top_k must be >= 1. Received: {values.top_k}")


def _resolve(values):
    """Returns (config, model_dir)."""
    from efficientnetv2 import config

    model = values.model_name or _DEFAULT_MODEL
    dataset = values.dataset_cfg
    if dataset is None:
        if values.data_dir is not None:
            raise ValueError("data_dir needs --dataset_cfg")
        dataset = _DEFAULT_DATASET
        print(f"No data set named: {model} runs on {dataset}", flush=True)
    settings = config.load(
        model, dataset, values.hparam_str, data_dir=values.data_dir
    )
    stem = pathlib.PurePath(model).stem
    return settings, values.model_dir or os.path.join(
        "runs", f"{stem}-{dataset}"
    )


def _run(argv):
    values, inputs = _parse(argv)
    if values.help:
        print(_help())
        return
    if values.version:
        print(__version__)
        return
    if values.image_path is not None:
        inputs = [*inputs, values.image_path]
    _check(values, inputs)
    mode = MODES[values.mode]
    config, model_dir = _resolve(values)
    arguments = {name: values[name].value for name in mode.flags}
    if mode.takes_inputs:
        arguments["inputs"] = inputs
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    module = importlib.import_module(f"efficientnetv2.{mode.module}")
    function = getattr(module, mode.function)
    if mode.takes_config:
        function(config, model_dir, **arguments)
    else:
        function(model_dir, **arguments)


def main(argv):
    """Runs the app.

    Args:
        argv: The program's name, flags and pictures.

    Returns:
        The exit code: 0, 1 after an error, 130 after ctrl-C.
    """
    try:
        _run(argv)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        if "--debug" in argv:
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0
