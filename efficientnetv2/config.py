"""Config: the settings of a run, loaded from recipes, saved and read again.

Later ones win: defaults < model recipe < dataset recipe < overrides. The
keys, their units and defaults are in `config_schema`.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import yaml

from efficientnetv2 import (
    config_layers,
    config_schema,
    spelling,
    variants,
)
from efficientnetv2.config_schema import Config

DEFAULT_DATASET = "shapes"
_PACKAGE = pathlib.Path(__file__).resolve().parent
_HEADER = "# The settings of this run, complete; read again on resume.\n"
# What a resumed run may change freely: it does not touch the weights.
_FREE_SECTIONS = ("eval.", "runtime.", "search.")
_FREE_KEYS = ("data.cache",)
_BINDING_KEYS = ("runtime.mixed_precision",)


def recipes_folder() -> pathlib.Path:
    """The folder of the recipes: inside a wheel, beside it in a checkout.

    Returns:
        A `pathlib.Path` with the folders `models` and `datasets`.
    """
    inside = _PACKAGE / "hparams"
    return inside if inside.is_dir() else _PACKAGE.parent / "hparams"


def list_datasets() -> list[str]:
    """Names of the recipes in hparams/datasets, sorted; a list."""
    folder = recipes_folder() / "datasets"
    return sorted((p.stem for p in folder.glob("*.yaml")), key=str.casefold)


def _find_dataset(name):
    """Returns (canonical name, path) of a dataset recipe."""
    if str(name).endswith((".yaml", ".yml")):
        return str(name), pathlib.Path(name)
    by_fold = {known.casefold(): known for known in list_datasets()}
    known = by_fold.get(str(name).casefold())
    if known is None:
        raise ValueError(
            f"dataset_cfg must be one of {', '.join(by_fold.values())} or a "
            f"YAML file. Received: {name!r}"
            f"{spelling.nearest(name, by_fold.values())}"
        )
    return known, recipes_folder() / "datasets" / f"{known}.yaml"


def _variant_settings(variant):
    """The layer below the recipes: what the variant itself decides."""
    settings = {
        f"model.{field.name}": getattr(variant.architecture, field.name)
        for field in dataclasses.fields(variant.architecture)
    }
    settings["train.isize"] = variant.train_size
    settings["eval.isize"] = variant.eval_size
    settings["data.preprocessing"] = variant.preprocessing
    return settings


def _section(section, settings):
    prefix = f"{section}."
    fields = {
        key.removeprefix(prefix): value
        for key, value in settings.items()
        if key.startswith(prefix)
    }
    try:
        return config_schema.SECTIONS[section](**fields)
    except ValueError as error:  # an architecture checks itself
        raise ValueError(f"{prefix}{error}") from None


def _build(model_name, dataset_cfg, settings):
    sections = {
        section: _section(section, settings)
        for section in config_schema.SECTIONS
    }
    return Config(model_name=model_name, dataset_cfg=dataset_cfg, **sections)


def to_dict(config: Config) -> dict[str, Any]:
    """Turns a config into plain dicts, lists, numbers and text.

    Args:
        config: A `Config`.

    Returns:
        A nested dict; `from_dict` is its inverse.
    """
    data: dict[str, Any] = {
        name: getattr(config, name) for name in config_schema.NAMES
    }
    for key, value in config_schema.flatten(config).items():
        section, field = key.split(".")
        value = list(value) if isinstance(value, tuple) else value
        data.setdefault(section, {})[field] = value
    return data


def from_dict(data: Mapping[str, Any], *, origin: str = "the config") -> Config:
    """The inverse of `to_dict`; keys left out take their defaults.

    Args:
        data: A nested dict with the keys model_name and dataset_cfg.
        origin: What the dict was read from, for messages.

    Returns:
        A `Config`.

    Raises:
        ValueError: for an unknown or missing key or a wrong value.
    """
    model_name, dataset_cfg = data.get("model_name"), data.get("dataset_cfg")
    if not (isinstance(model_name, str) and isinstance(dataset_cfg, str)):
        raise ValueError(f"{origin} must hold model_name and dataset_cfg")
    sections = {k: v for k, v in data.items() if k not in config_schema.NAMES}
    settings = config_layers.settings(sections, origin)
    for key in config_schema.REQUIRED:
        if key not in settings:
            raise ValueError(f"missing key {key!r} in {origin}")
    return _build(model_name, dataset_cfg, settings)


def to_text(config: Config) -> str:
    """The text of a config's file, YAML; see `save`."""
    return _HEADER + yaml.safe_dump(to_dict(config), sort_keys=False)


def save(config: Config, path: str | os.PathLike[str]) -> None:
    """Writes a config as YAML; the file is complete or not there at all.

    Args:
        config: A `Config`.
        path: Path of the file, on a local disk; its folder exists.

    Raises:
        OSError: if it cannot be written; what was there stays.
    """
    path = pathlib.Path(path)
    text = to_text(config)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read(path: str | os.PathLike[str]) -> Config:
    """Reads what `save` wrote.

    Args:
        path: Path of the file.

    Returns:
        A `Config` equal to the saved one.

    Raises:
        ValueError: if it is not such a file.
    """
    return from_dict(config_layers.read_yaml(path), origin=repr(str(path)))


def _is_free(key):
    if key in _BINDING_KEYS:
        return False
    return key in _FREE_KEYS or key.startswith(_FREE_SECTIONS)


def difference(old: Config, new: Config) -> list[str]:
    """What changed between two configs that decides the weights.

    Args:
        old: The `Config` a run was started with.
        new: The `Config` it is to go on with.

    Returns:
        A list of lines, of a key, its old value and its new one,
        'train.epochs: 350 -> 10'. Evaluation, how often something is written,
        and the like may change and are left out; of another model its name
        says all.
    """
    before, after = (
        {name: getattr(config, name) for name in config_schema.NAMES}
        | config_schema.flatten(config)
        for config in (old, new)
    )
    changed = [
        key for key in before if before[key] != after[key] and not _is_free(key)
    ]
    if "model_name" in changed:
        changed = [key for key in changed if not key.startswith("model.")]
    return [f"{key}: {before[key]} -> {after[key]}" for key in changed]


def _last_word(overrides, data_dir):
    """The topmost layers: what was given by hand."""
    mapping, origin = config_layers.parse_overrides(overrides)
    settings = config_layers.settings(mapping, origin)
    if data_dir is not None:
        settings["data.data_dir"] = str(data_dir)
    return settings


def load(
    model_name: str,
    dataset_cfg: str | None = None,
    overrides: str | Mapping[str, Any] = "",
    *,
    data_dir: str | os.PathLike[str] | None = None,
) -> Config:
    """Makes the settings of a run.

    Args:
        model_name: A published variant, the path of a YAML file with the key
            `blocks`, or block strings joined by ';'.
        dataset_cfg: Name of a dataset recipe, in upper or lower case, or the
            path of one's own. None: the embedded data set, `shapes`.
        overrides: 'a.b=1,c.d=x|y' ('|' separates a list), the path of a YAML
            file, or a dict.
        data_dir: Folder of the data; the same as `data.data_dir`.

    Returns:
        A `Config`.

    Raises:
        ValueError: for an unknown name or key (with the nearest one), a wrong
            type or an impossible value; always one line.
    """
    if dataset_cfg is None and data_dir is not None:
        readers = [n for n in list_datasets() if n != DEFAULT_DATASET]
        raise ValueError(
            "data_dir needs dataset_cfg; these read it: "
            f"{', '.join(readers)}. Received: data_dir={str(data_dir)!r}"
        )
    if str(model_name).lower() in variants.VARIANTS:
        model_name = str(model_name).lower()
    settings = _variant_settings(variants.lookup(model_name))
    dataset_cfg, dataset_path = _find_dataset(dataset_cfg or DEFAULT_DATASET)
    paths = [dataset_path]
    if model_name in variants.VARIANTS:
        paths.insert(0, recipes_folder() / "models" / f"{model_name}.yaml")
    for path in paths:
        recipe = config_layers.read_yaml(path)
        settings |= config_layers.settings(recipe, repr(str(path)))
    settings |= _last_word(overrides, data_dir)
    return _build(str(model_name), dataset_cfg, settings)


def override(
    config: Config,
    overrides: str | Mapping[str, Any] = "",
    *,
    data_dir: str | os.PathLike[str] | None = None,
) -> Config:
    """Replaces some settings, as those of a run that was saved.

    Args:
        config: A `Config`.
        overrides: As for `load`.
        data_dir: As for `load`.

    Returns:
        A new `Config`.

    Raises:
        ValueError: as `load` does.
    """
    settings = config_schema.flatten(config)
    settings |= _last_word(overrides, data_dir)
    return _build(config.model_name, config.dataset_cfg, settings)
