"""Config: settings from recipes and overrides, checked, saved and read.

Later ones win: defaults < model recipe < dataset recipe < overrides.
"""

import os
import pathlib
import re
import tempfile

import yaml

from efficientnetv2 import config_rules, config_schema, variants
from efficientnetv2.config_schema import Config

DEFAULT_DATASET = "shapes"
_PACKAGE = pathlib.Path(__file__).resolve().parent
# Names of the released code for what has another name here.
_RENAMED = {
    "model.blocks_args": "model.blocks",
    "model.num_classes": "data.num_classes",
}
_VALUES = {
    ("runtime.strategy", "gpu"): "mirrored",
    ("runtime.strategy", "gpus"): "mirrored",
    ("runtime.mixed_precision", True): "bfloat16",
    ("runtime.mixed_precision", "true"): "bfloat16",
    ("runtime.mixed_precision", False): None,
    ("runtime.mixed_precision", "false"): None,
    ("train.gclip", 0): None,
    ("train.gclip", "0"): None,
}
# A comma starts the next item only before a key, so values may hold commas.
_ITEM = re.compile(r",(?=\s*[A-Za-z_]\w*(?:\.\w+)+\s*=)")


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"doubled key {key!r}"
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def recipes_folder():
    """The folder of the recipes: inside a wheel, beside it in a checkout.

    Returns:
        A `pathlib.Path` with the folders `models` and `datasets`.
    """
    inside = _PACKAGE / "hparams"
    return inside if inside.is_dir() else _PACKAGE.parent / "hparams"


def list_datasets():
    """Names of the recipes in hparams/datasets, sorted."""
    folder = recipes_folder() / "datasets"
    return sorted((p.stem for p in folder.glob("*.yaml")), key=str.casefold)


def _parse_yaml(text, origin):
    try:
        data = yaml.load(text, _Loader)  # noqa: S506, a SafeLoader
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise ValueError(f"{origin} is not YAML: {problem}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ValueError(f"{origin} must hold a mapping of settings")
    return data


def _read_yaml(path):
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"file not found: {str(path)!r}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{str(path)!r} is not text") from None
    return _parse_yaml(text, repr(str(path)))


def _dotted(data, prefix=""):
    """{'train': {'epochs': 1}} to {'train.epochs': 1}."""
    flat = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _dotted(value, f"{name}.")
        elif name in config_schema.SECTIONS and value is None:
            continue  # a section without a key
        else:
            flat[name] = value
    return flat


def _unknown(key, origin):
    keys = list(config_schema.TYPES)
    leaf = str(key).rsplit(".", maxsplit=1)[-1]
    same_leaf = [k for k in keys if k.split(".")[1] == leaf]
    hint = f" (nearest: {same_leaf[0]!r})" if same_leaf else ""
    hint = hint or config_rules.nearest(key, keys)
    if not hint:
        by_leaf = {k.split(".")[1]: k for k in reversed(keys)}
        for name, full in by_leaf.items():
            if config_rules.nearest(leaf, [name]):
                hint = f" (nearest: {full!r})"
    return ValueError(f"unknown key {str(key)!r} in {origin}{hint}")


def _settings(data, origin):
    """Checks names and types of one layer; returns {dotted key: value}."""
    settings = {}
    for name, value in _dotted(data).items():
        key = _RENAMED.get(name, name)
        if key not in config_schema.TYPES:
            raise _unknown(name, origin)
        if isinstance(value, (str, bool, int)):
            value = _VALUES.get((key, value), value)
        try:
            value = config_rules.coerce(key, value, config_schema.TYPES[key])
        except ValueError as error:
            raise ValueError(f"{error} in {origin}") from None
        settings[key] = value
    return settings


def _parse_overrides(overrides):
    """Turns text 'a.b=1,c.d=x|y', a YAML path or a dict into a dict."""
    if isinstance(overrides, dict):
        return overrides
    text = str(overrides or "").strip()
    if text.endswith((".yaml", ".yml")) and "=" not in text:
        return _read_yaml(text)
    items = {}
    for item in _ITEM.split(text) if text else ():
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(
                "overrides must be 'section.key=value,...' or a YAML file. "
                f"Received: {item!r}"
            )
        if key.strip() in items:
            raise ValueError(f"doubled key {key.strip()!r} in the overrides")
        items[key.strip()] = value.strip()
    return items


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
            f"{config_rules.nearest(name, by_fold.values())}"
        )
    return known, recipes_folder() / "datasets" / f"{known}.yaml"


def _variant_settings(variant):
    """The layer below the recipes: what the variant itself decides."""
    settings = {
        f"model.{field}": value
        for field, value in vars(variant.architecture).items()
    }
    settings["train.isize"] = variant.train_size
    settings["eval.isize"] = variant.eval_size
    settings["data.preprocessing"] = variant.preprocessing
    return settings


def _build(model_name, dataset_cfg, settings):
    sections = {}
    for section, cls in config_schema.SECTIONS.items():
        prefix = f"{section}."
        sections[section] = cls(
            **{
                key.removeprefix(prefix): value
                for key, value in settings.items()
                if key.startswith(prefix)
            }
        )
    return Config(model_name=model_name, dataset_cfg=dataset_cfg, **sections)


def to_dict(config):
    """Turns a config into plain dicts, lists, numbers and text.

    Args:
        config: A `Config`.

    Returns:
        A nested dict; `from_dict` is its inverse.
    """
    data = {"model_name": config.model_name, "dataset_cfg": config.dataset_cfg}
    for key, value in config_schema.flatten(config).items():
        section, field = key.split(".")
        value = list(value) if isinstance(value, tuple) else value
        data.setdefault(section, {})[field] = value
    return data


def from_dict(data, *, origin="the config"):
    """The inverse of `to_dict`; keys left out take their defaults.

    Args:
        data: A nested dict with the keys model_name and dataset_cfg.
        origin: What the dict was read from, for messages.

    Returns:
        A `Config`.

    Raises:
        ValueError: for an unknown or missing key or a wrong value.
    """
    data = dict(data)
    names = [data.pop(key, None) for key in ("model_name", "dataset_cfg")]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"{origin} must hold model_name and dataset_cfg")
    settings = _settings(data, origin)
    for key in ("model.name", "model.family", "model.blocks"):
        if key not in settings:
            raise ValueError(f"missing key {key!r} in {origin}")
    return _build(*names, settings)


def save(config, path):
    """Writes a config as YAML; the file is complete or not there at all.

    Args:
        config: A `Config`.
        path: Path of the file, on a local disk; its folder exists.
    """
    path = pathlib.Path(path)
    text = yaml.safe_dump(to_dict(config), sort_keys=False, width=72)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read(path):
    """Reads what `save` wrote.

    Args:
        path: Path of the file.

    Returns:
        A `Config` equal to the saved one.

    Raises:
        ValueError: if it is not such a file.
    """
    return from_dict(_read_yaml(path), origin=repr(str(path)))


def load(model_name, dataset_cfg=None, overrides="", *, data_dir=None):
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
            "dataset_cfg must be given with data_dir. These read it: "
            f"{', '.join(readers)}. Received: data_dir={str(data_dir)!r}"
        )
    if str(model_name).lower() in variants.VARIANTS:
        model_name = str(model_name).lower()
    variant = variants.lookup(model_name)
    dataset_cfg, dataset_path = _find_dataset(dataset_cfg or DEFAULT_DATASET)
    settings = _variant_settings(variant)
    model_path = recipes_folder() / "models" / f"{model_name}.yaml"
    if model_name in variants.VARIANTS:
        settings |= _settings(_read_yaml(model_path), repr(str(model_path)))
    settings |= _settings(_read_yaml(dataset_path), repr(str(dataset_path)))
    settings |= _settings(_parse_overrides(overrides), "the overrides")
    if data_dir is not None:
        settings["data.data_dir"] = str(data_dir)
    return _build(str(model_name), dataset_cfg, settings)
