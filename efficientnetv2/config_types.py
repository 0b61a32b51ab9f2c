"""Brings a setting from YAML or a command line to the type of its field."""

import math
import types
import typing

from efficientnetv2 import spelling

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_WORDS = {int: "a whole number", float: "a number"}


def _to_number(key, value, kind):
    rule = ValueError(f"{key} must be {_WORDS[kind]}. Received: {value!r}")
    wrong = isinstance(value, bool) or not isinstance(value, (int, float, str))
    if wrong or (kind is int and isinstance(value, float)):
        raise rule
    try:
        number = kind(value)  # text too: to YAML 1e-5, without a dot, is text
        finite = math.isfinite(number)
    except (ValueError, OverflowError):
        raise rule from None
    if not finite:
        raise rule
    return number


def _to_choice(key, value, choices):
    if value in choices:
        return value
    listed = ", ".join(str(choice) for choice in choices)
    raise ValueError(
        f"{key} must be one of {listed}. Received: {value!r}"
        f"{spelling.nearest(value, choices)}"
    )


def _to_bool(key, value):
    if isinstance(value, bool):
        return value
    if str(value).lower() in _BOOLEANS:
        return _BOOLEANS[str(value).lower()]
    raise ValueError(f"{key} must be true or false. Received: {value!r}")


def _to_strings(key, value):
    items = value.split("|") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(
        isinstance(item, str) for item in items
    ):
        raise ValueError(f"{key} must be a list of texts. Received: {value!r}")
    return tuple(items)


def coerce(key, value, kind):
    """Brings a value from YAML or from a command line to its field's type.

    Args:
        key: Dotted name, for the message.
        value: What YAML gave, or text.
        kind: The field's annotation: bool, int, float, str, tuple[str, ...],
            a Literal, or one of them `| None`. In text, `none` and `null`
            stand for None and `|` separates a list.

    Returns:
        The value in that type.

    Raises:
        ValueError: if the value has another type; one line with the key.
    """
    if isinstance(kind, types.UnionType) or (
        typing.get_origin(kind) is typing.Union
    ):
        inner = [k for k in typing.get_args(kind) if k is not types.NoneType]
        if value is None or str(value).lower() in ("none", "null"):
            return None
        kind = inner[0]
    if typing.get_origin(kind) is typing.Literal:
        return _to_choice(key, value, typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return _to_strings(key, value)
    if kind is bool:
        return _to_bool(key, value)
    if kind in (int, float):
        return _to_number(key, value, kind)
    if not isinstance(value, str) or not value:
        # Empty: most likely a shell variable that was never set.
        raise ValueError(f"{key} must be text. Received: {value!r}")
    return value
