"""Writes a model that was found as a YAML file for --model_name."""

import dataclasses

import yaml

from efficientnetv2 import storage, variants

_ARCHITECTURE = {
    field.name: field.default
    for field in dataclasses.fields(variants.Architecture)
    if field.default is not dataclasses.MISSING
}


def text(architecture, config, *, about):
    """The file's text.

    Args:
        architecture: An `Architecture`.
        config: The `Config` it was trained with; gives sizes and
            preprocessing.
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
    settings["train_size"] = config.train.isize
    settings["eval_size"] = config.eval.isize
    if config.data.preprocessing in ("v1", "v2"):  # what a model can have
        settings["preprocessing"] = config.data.preprocessing
    head = "".join(f"# {line}\n" for line in about)
    return head + yaml.safe_dump(settings, sort_keys=False)


def write(path, *args, **kwargs):
    """Writes what `text` says; the file is complete or not there.

    Args:
        path: The file.
        *args: As `text` takes them.
        **kwargs: The same.
    """
    content = text(*args, **kwargs).encode()
    storage.write(path, lambda file: file.write(content))
