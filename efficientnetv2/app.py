"""The app: checks the flags, makes the config and calls a mode's function.

All that can be checked without TensorFlow is checked before it is imported,
so that help and a typing error answer at once.
"""

import importlib
import os
import pathlib
import re

from efficientnetv2 import (
    command_line,
    config,
    config_layers,
    entry_point,
    saved_config,
    startup,
    storage,
)
from efficientnetv2.modes import MODES, SUBJECTS, Mode, pick

__all__ = ["MODES", "Mode", "main"]


def _check(values, mode, inputs):
    """Raises ValueError for flags that are wrong or do not go together."""
    if inputs and not mode.takes_inputs:
        raise ValueError(
            f"--mode={values.mode} takes nothing but flags. "
            f"Received: {inputs[0]!r}"
        )
    if mode.needs_inputs and not inputs:
        raise ValueError(
            f"--mode={values.mode} needs pictures: files, folders or globs"
        )
    if values.format not in ("table", "json"):
        raise ValueError(
            f"format must be 'table' or 'json'. Received: {values.format!r}"
        )
    if values.top_k < 1:
        raise ValueError(f"top_k must be >= 1. Received: {values.top_k}")
    if values.follow < 0:
        raise ValueError(f"follow must be >= 0. Received: {values.follow:g}")
    if values.follow and values.weights is not None:
        raise ValueError("--follow waits for checkpoints: leave out --weights")


def _default_folder(settings):
    """runs/<model>-<data>, below the present folder."""
    dataset = pathlib.PurePath(settings.dataset_cfg).stem
    name = re.sub(r"[^\w.-]+", "-", f"{settings.model.name}-{dataset}")
    return os.path.join("runs", name)


def _saved(model_dir):
    if not storage.is_remote(model_dir):
        return saved_config.read(model_dir)
    with startup.quiet():  # TensorFlow reads it
        return saved_config.read(model_dir)


def _check_same_run(values, saved, model_dir):
    """Names that contradict the run's own are an error."""
    for flag in ("model_name", "dataset_cfg"):
        given, own = values[flag].value, getattr(saved, flag)
        if given is not None and given.casefold() != own.casefold():
            raise ValueError(
                f"{flag} must be {own!r}, as in the run {model_dir!r}. "
                f"Received: {given!r}"
            )


def _name(values):
    """The mode as the flags name it."""
    what = "" if values.what is None else f" --what={values.what}"
    return f"--mode={values.mode}{what}"


def _resolve(values, mode):
    """Returns (config, model_dir); settings of a run are taken from it."""
    folder = values.model_dir or mode.folder
    if folder and storage.is_remote(folder) and not mode.may_be_remote:
        raise ValueError(
            f"model_dir must be a local folder for {_name(values)}. "
            f"Received: {folder!r}"
        )
    names_nothing = values.model_name is None and values.dataset_cfg is None
    if folder is not None and (mode.opens_run or names_nothing):
        saved = _saved(folder)
        if saved is not None:
            _check_same_run(values, saved, folder)
            return _override(saved, values), folder
    dataset = values.dataset_cfg
    if dataset is None and mode.opens_run and values.weights is not None:
        # Its classes, and the model's own size and normalisation.
        is_21k = values.weights == "imagenet21k"
        dataset = "imagenet21k" if is_21k else "imagenet"
    overrides = values.hparam_str
    if dataset is None and not mode.needs_data:
        # The model's own sizes; how they grow in training is no matter here.
        dataset = "imagenet"
        given, _ = config_layers.parse_overrides(overrides)
        overrides = {"train.stages": 1, **given}
    settings = config.load(
        values.model_name or mode.model or command_line.DEFAULT_MODEL,
        dataset,
        overrides,
        data_dir=values.data_dir,
    )
    settings = _with_runtime(settings, values)
    folder = folder or _default_folder(settings)
    if mode.opens_run and values.weights is None:
        saved = _saved(folder)
        if saved is not None:
            return _override(saved, values), folder
        if mode.takes_config:
            raise ValueError(
                f"no run in {folder!r}: train first, or name another folder "
                "with --model_dir"
            )
    if values.dataset_cfg is None and mode.needs_data and not mode.opens_run:
        print(
            f"No data set named: {settings.model.name} is trained on "
            f"{settings.dataset_cfg}, the embedded data set; the run's folder "
            f"is {folder}",
            flush=True,
        )
    return settings, folder


def _configs(values):
    """A config for each model of --model_name=a,b, with its own recipe."""
    for key, flag in (
        ("train.batch_size", "batch_size"),
        ("train.isize", "image_size"),
    ):
        if key in values.hparam_str:
            raise ValueError(
                f"--mode=benchmark takes --{flag}. Received: {key} in "
                f"--hparam_str={values.hparam_str}"
            )
    names = (values.model_name or command_line.DEFAULT_MODEL).split(",")
    return [
        config.load(name.strip(), "imagenet", values.hparam_str)
        for name in names
    ]


def _override(saved, values):
    settings = config.override(
        saved, values.hparam_str, data_dir=values.data_dir
    )
    return _with_runtime(settings, values)


def _with_runtime(settings, values):
    names = ("tpu", "tpu_zone", "gcp_project", "data_service")
    given = {f"runtime.{name}": values[name].value for name in names}
    if values.tpu is not None:
        given["runtime.strategy"] = "tpu"
    return config.override(
        settings, {key: v for key, v in given.items() if v is not None}
    )


def _check_backend(mode_name):
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise ValueError(
            f"KERAS_BACKEND must be 'tensorflow' for --mode={mode_name}; other "
            f"backends run the model alone. Received: {backend!r}"
        )


def _run(argv):
    """Does what the arguments say; returns the exit code."""
    if command_line.wants_help(argv):
        about = {name: mode.what for name, mode in MODES.items()}
        for names, mode in SUBJECTS.items():
            about[" --what=".join(names)] = mode.what
        print(command_line.help_text(argv[0], about))
        return 0
    values, inputs = command_line.parse(argv)
    if values.version:
        print(command_line.version())
        return 0
    if values.image_path is not None:
        inputs = [*inputs, values.image_path]
    mode = pick(values.mode, values.what)
    _check(values, mode, inputs)
    if mode.takes_config:
        _check_backend(values.mode)
    if mode.takes_models:
        positional = (_configs(values),)
    else:
        settings, model_dir = _resolve(values, mode)
        positional = (model_dir,)
        if mode.takes_config:
            positional = (settings, model_dir)
    arguments = {name: values[name].value for name in mode.flags}
    if mode.takes_inputs:
        arguments["inputs"] = inputs
    with startup.quiet():
        module = importlib.import_module(f"efficientnetv2.{mode.module}")
    result = getattr(module, mode.function)(*positional, **arguments)
    return result if isinstance(result, int) else 0


def main(argv: list[str]) -> int:
    """Runs the app.

    Args:
        argv: The program's name, flags and pictures.

    Returns:
        The exit code, 0; 1 after an error; 130 after ctrl-C; or the mode's.
    """
    return entry_point.run(_run, argv)
