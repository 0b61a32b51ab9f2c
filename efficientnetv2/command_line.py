"""The app's command line: its flags, their help, and reading them."""

import os
import sys
from collections.abc import Callable

from absl import flags

from efficientnetv2 import __version__, config, variants
from efficientnetv2.spelling import nearest

DEFAULT_MODEL = "efficientnetv2-s"

# Heading -> rows: name, default (its type is the flag's type), how help
# writes the value, help.
_FLAGS = {
    "What to run": (
        ("mode", None, "MODE", "one of the modes above"),
        ("what", None, "NAME", "what a mode is about, see above"),
        (
            "model_name",
            None,
            "NAME",
            f"a model below or a YAML file [{DEFAULT_MODEL}]",
        ),
        (
            "dataset_cfg",
            None,
            "NAME",
            f"a data set below [{config.DEFAULT_DATASET}: needs no files]",
        ),
        ("data_dir", None, "DIR", "folder of the data set's files"),
        (
            "data_service",
            None,
            "ADDRESS",
            "grpc://host:port of a service that makes pictures",
        ),
        ("model_dir", None, "DIR", "the run's folder [runs/<model>-<data>]"),
        (
            "hparam_str",
            "",
            "K=V,...",
            "settings: train.epochs=9,data.ram=15 or a YAML file",
        ),
        (
            "allow_config_change",
            False,
            "",
            "go on with a run although its settings have changed",
        ),
    ),
    "Evaluate and predict": (
        ("weights", None, "PATH", "weights to take instead of the run's"),
        (
            "follow",
            0.0,
            "SECONDS",
            "evaluate each new checkpoint, wait so long for it",
        ),
        ("image_path", None, "PATH", "a picture, as if named without a flag"),
        ("format", "table", "table|json", "what to print [table]"),
        ("top_k", 5, "K", "classes to print for a picture [5]"),
    ),
    "Benchmark": (
        ("baseline", False, "", "beside keras.applications, with ratios"),
        ("batch_size", 16, "N", "pictures a step and a forward pass [16]"),
        ("image_size", 128, "PX", "side of the pictures [128]"),
        ("pairs", 15, "N", "timed calls, of both sides in turn [15]"),
        ("first_steps", 3, "N", "processes for first step and memory [3]"),
        ("picture", None, "FILE", "draw the figures too: .png, .svg, .pdf"),
    ),
    "Cloud TPU": (
        ("tpu", None, "NAME", "name or grpc:// address of the TPU"),
        ("gcp_project", None, "NAME", "its Google Cloud project"),
        ("tpu_zone", None, "ZONE", "its zone"),
    ),
    "Other": (
        ("debug", False, "", "print the traceback of an error"),
        ("version", False, "", "print the version"),
        ("help", False, "", "print this"),
    ),
}

# Flags of the original that say nothing any more: default, what to use.
_OLD_FLAGS = {
    "use_tpu": (False, "name the TPU with --tpu=NAME"),
    "tpu_job_name": ("", "--tpu=NAME finds the machine"),
    "archive_ckpt": (False, "checkpoints lie in <model_dir>/checkpoints"),
    "export_to_tpu": (False, "`python -m export` writes models"),
    "eval_name": ("", "give each run its own --model_dir"),
    "sweeps": ("", "--mode=search tries out settings"),
}

_HELP_FLAGS = {"-h", "-help", "--help", "--helpshort", "--helpfull"}


def wants_help(argv):
    """Whether help is asked for; it wins over any other flag."""
    return not _HELP_FLAGS.isdisjoint(argv[1:])


def _wrap(names, indent="  ", width=79):
    lines = [indent.rstrip("\n")]
    for name in names:
        if len(lines[-1]) + len(name) + 2 > width:
            lines.append(indent)
        lines[-1] += name + "  "
    return [line.rstrip() for line in lines]


def help_text(program, modes):
    """What --help prints.

    Args:
        program: argv[0].
        modes: Mapping from mode to a line about it.

    Returns:
        Text of several lines.
    """
    is_module = os.path.basename(program) == "__main__.py"
    command = "python -m efficientnetv2" if is_module else f"python {program}"
    lines = [
        "EfficientNetV2: train with progressive learning, evaluate, predict.",
        "",
        f"  {command} --mode=train --model_name=efficientnetv2-s \\",
        "      --dataset_cfg=imagenet --data_dir=DIR --model_dir=DIR",
        f"  {command} --mode=predict --model_dir=DIR picture.jpg folder",
        f"  {command} --mode=benchmark --model_name=NAME,NAME --baseline",
        "",
        "Modes",
        *(f"  --mode={name:<17} {what}" for name, what in modes.items()),
    ]
    for heading, rows in _FLAGS.items():
        lines += ["", heading]
        for name, _, value, what in rows:
            flag = f"--{name}={value}" if value else f"--{name}"
            lines.append(f"  {flag:<24} {what}")
    lines += ["", "Models", *_wrap(variants.VARIANTS)]
    lines += ["", "Data sets", *_wrap(config.list_datasets())]
    return "\n".join(lines)


def parse(argv):
    """Reads the flags; a flag of the original's that is gone is a line.

    Args:
        argv: The program's name, flags and other arguments, in any order.

    Returns:
        (values, others): the flags' values by attribute, and a list of the
        arguments that are no flags.

    Raises:
        ValueError: for an unknown flag or a value of the wrong type.
    """
    values = flags.FlagValues()
    kinds: dict[type, Callable[..., object]] = {
        bool: flags.DEFINE_boolean,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
    }
    rows: list[tuple[str, object]] = [
        row[:2] for group in _FLAGS.values() for row in group
    ]
    rows += [(name, default) for name, (default, _) in _OLD_FLAGS.items()]
    for name, default in rows:
        define = kinds.get(type(default), flags.DEFINE_string)
        define(name, default, "", flag_values=values)
    values.set_gnu_getopt(True)  # flags may follow other arguments
    try:
        others = values(argv)[1:]
    except flags.UnrecognizedFlagError as error:
        raise ValueError(
            f"unknown flag --{error.flagname}"
            f"{nearest(error.flagname, [name for name, _ in rows])}; "
            "--help lists the flags"
        ) from None
    except flags.IllegalFlagValueError as error:
        flag = str(error).partition(":")[0]  # "flag --top_k=many"
        raise ValueError(f"{flag} is no value it can take") from None
    except flags.Error as error:
        raise ValueError(str(error).removeprefix("ERROR:: ")) from None
    for name, (_, instead) in _OLD_FLAGS.items():
        if not values[name].using_default_value:
            print(f"--{name} does nothing now: {instead}", file=sys.stderr)
    return values, others


def version():
    """What --version prints."""
    return f"efficientnetv2 {__version__}"
