"""One layer of settings: YAML, command line or dict to {key: typed value}."""

import pathlib
import re

import yaml

from efficientnetv2 import config_schema, config_types, spelling

# Names of the released code for what has another name here.
_RENAMED = {
    "model.blocks_args": "model.blocks",
    "model.num_classes": "data.num_classes",
}
# Its values, as text in lower case, for what is said differently here.
_REPLACED = {
    ("runtime.strategy", "gpu"): "mirrored",
    ("runtime.strategy", "gpus"): "mirrored",
    ("runtime.mixed_precision", "true"): "bfloat16",
    ("runtime.mixed_precision", "false"): None,
    ("train.gclip", "0"): None,
}
# A comma starts the next item only before `name=`: values may hold commas.
_ITEM = re.compile(r",(?=\s*[A-Za-z_][\w.]*\s*=)")


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused below
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"doubled key {key.value!r}",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text, origin):
    """Parses YAML text that holds a mapping.

    Args:
        text: The text; an empty one is an empty mapping.
        origin: Where it comes from, for messages.

    Returns:
        A dict.

    Raises:
        ValueError: if it is not YAML, not a mapping, or doubles a key.
    """
    try:
        data = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise ValueError(f"{origin} is not YAML: {problem}{line}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ValueError(f"{origin} must hold a mapping of settings")
    return data


def read_yaml(path):
    """Reads a YAML file that holds a mapping.

    Args:
        path: Its path.

    Returns:
        A dict.

    Raises:
        ValueError: if there is no such file, or see `parse_yaml`.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"file not found: {str(path)!r}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{str(path)!r} is not YAML: no text") from None
    return parse_yaml(text, repr(str(path)))


def _is_yaml_path(text):
    if not text.endswith((".yaml", ".yml")):
        return False
    return "=" not in text or pathlib.Path(text).is_file()


def parse_overrides(overrides):
    """Turns what was given over the recipes into a mapping.

    Args:
        overrides: 'a.b=1,c.d=x|y', the path of a YAML file, a dict or None.
            A comma ends a value only where `name=` follows.

    Returns:
        (mapping, origin): the values, text where they came as text, and
        where they come from, for messages.

    Raises:
        ValueError: if an item has no '=' or a key comes twice.
    """
    origin = "the overrides"
    if isinstance(overrides, dict):
        return overrides, origin
    text = str(overrides or "").strip()
    if _is_yaml_path(text):
        return read_yaml(text), repr(text)
    items = {}
    for item in _ITEM.split(text) if text else ():
        key, equals, value = item.partition("=")
        key = key.strip()
        if not equals:
            raise ValueError(
                "overrides must be 'section.key=value,...' or a YAML file. "
                f"Received: {item!r}"
            )
        if key in items:
            raise ValueError(f"doubled key {key!r} in {origin}")
        items[key] = value.strip()
    return items, origin


def _dotted(data, origin, prefix=""):
    """Pairs: {'train': {'epochs': 1}} gives ('train.epochs', 1)."""
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _dotted(value, origin, f"{name}.")
        elif name not in config_schema.SECTIONS:
            yield name, value
        elif value is not None:  # None: a section without a key
            raise ValueError(
                f"{name} must be a mapping of settings. "
                f"Received: {value!r} in {origin}"
            )


def _hint(key):
    """Names the nearest key, at the end of a message."""
    section, _, name = key.casefold().rpartition(".")
    keys = list(config_schema.TYPES)
    anywhere = {known.split(".")[1]: known for known in reversed(keys)}
    here = {k.split(".")[1]: k for k in keys if k.startswith(f"{section}.")}
    same = {n: k for n, k in (anywhere | here).items() if n == name}
    for names in (same, here, anywhere):
        near = spelling.closest(name, names)
        if near:
            return f" (nearest: {names[near]!r})"
    return spelling.nearest(key, keys)


def settings(data, origin):
    """Checks the names and types of one layer.

    Args:
        data: A mapping, nested by section or with dotted keys.
        origin: Where it comes from, for messages.

    Returns:
        A dict from dotted key to value in the field's type.

    Raises:
        ValueError: for an unknown (with the nearest) or doubled key, or a
            value of another type.
    """
    found = {}
    for name, value in _dotted(data, origin):
        key = _RENAMED.get(name, name)
        if key not in config_schema.TYPES:
            raise ValueError(f"unknown key {name!r} in {origin}{_hint(name)}")
        if key in found:
            raise ValueError(f"doubled key {key!r} in {origin}")
        value = _REPLACED.get((key, str(value).lower()), value)
        try:
            found[key] = config_types.coerce(
                key, value, config_schema.TYPES[key]
            )
        except ValueError as error:
            raise ValueError(f"{error} in {origin}") from None
    return found
