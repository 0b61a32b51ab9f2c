"""Writes a model that was found as a YAML file for --model_name."""

import dataclasses

import yaml

from efficientnetv2 import variants
from efficientnetv2.search import shared_file

_ARCHITECTURE = {
    field.name: field.default
    for field in dataclasses.fields(variants.Architecture)
    if field.default is not dataclasses.MISSING
}


def text(architecture, *, train_size, eval_size, preprocessing, about):
    """The file's text.

    Args:
        architecture: An `Architecture`.
        train_size: Image size of training, pixels.
        eval_size: Image size of evaluation, pixels.
        preprocessing: A style of `data.preprocess`.
        about: Lines for the head of the file, without '#'.

    Returns:
        YAML that `variants.lookup` reads.
    """
    settings = {
        "name": architecture.name,
        "family": architecture.family,
        "blocks": list(architecture.blocks),
    }
    for name, default in _ARCHITECTURE.items():
        value = getattr(architecture, name)
        if value != default:
            settings[name] = value
    settings["train_size"] = train_size
    settings["eval_size"] = eval_size
    if preprocessing in ("v1", "v2"):  # others are a data set's alone
        settings["preprocessing"] = preprocessing
    head = "".join(f"# {line}\n" for line in about)
    return head + yaml.safe_dump(settings, sort_keys=False)


def write(path, architecture, **settings):
    """Writes what `text` says; the file is complete or not there.

    Args:
        path: The file.
        architecture: An `Architecture`.
        **settings: As `text` takes them.
    """
    shared_file.write(path, text(architecture, **settings))


def write_trained(path, architecture, config, *, about):
    """Writes a model with the sizes of the config it was trained with.

    Args:
        path: The file.
        architecture: An `Architecture`.
        config: A `Config`.
        about: As `text` takes it.
    """
    write(
        path,
        architecture,
        train_size=config.train.isize,
        eval_size=config.eval.isize,
        preprocessing=config.data.preprocessing,
        about=about,
    )
