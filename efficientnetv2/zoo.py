"""The public door to the models: names in, Keras models out."""

import dataclasses
import difflib

from efficientnetv2 import model as model_lib
from efficientnetv2 import variants


def list_models():
    """Lists the names that `get_model` knows.

    Returns:
        A list of strings, V2 first.
    """
    return list(variants.VARIANTS)


def _overrides(model_config):
    """Turns a dict or 'k=v,...' into typed fields of `Architecture`."""
    if not model_config:
        return {}
    if isinstance(model_config, str):
        pairs = [item.partition("=") for item in model_config.split(",")]
        model_config = {key.strip(): value for key, _, value in pairs}
    fields = {f.name: f for f in dataclasses.fields(variants.Architecture)}
    result = {}
    for key, value in model_config.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f" (nearest: {near[0]!r})" if near else ""
            raise ValueError(f"unknown key {key!r} in model_config{hint}")
        result[key] = _typed(key, value, fields[key])
    return result


def _typed(key, value, field):
    """Reads a value of a 'k=v' string by the field's default."""
    if not isinstance(value, str) or field.type in ("str", str):
        return value
    if value.lower() == "none":
        return None
    if "str" in str(field.type):
        return tuple(value.split(";")) if key == "blocks" else value
    try:
        if isinstance(field.default, bool):
            return {"true": True, "false": False}[value.lower()]
        if isinstance(field.default, int):
            return int(value)
        return float(value)
    except (KeyError, ValueError):
        raise ValueError(
            f"{key} must be {field.type}. Received: {value!r} in model_config"
        ) from None


def get_model(
    name,
    *,
    weights=None,
    include_top=True,
    num_classes=None,
    input_channels=3,
    with_endpoints=False,
    include_preprocessing=False,
    model_config=None,
):
    """Builds a model, with weights if asked.

    Args:
        name: One of `list_models()`, the path of a YAML file with `blocks`,
            or block strings joined by ';'.
        weights: None, or the path of a file that `weights.load` reads.
        include_top: False: pooled features instead of logits.
        num_classes: Classes of the head; None: 1000.
        input_channels: Channels of the input, >= 1.
        with_endpoints: Also gives the feature maps `reduction_1`, ...
        include_preprocessing: The input is RGB in 0..255; else it is
            normalised: in [-1, 1] for V2-S to XL, by ImageNet mean and
            deviation for V1 and V2-B.
        model_config: Fields of `variants.Architecture` to change, a dict or
            a 'k=v,...' string.

    Returns:
        A functional `keras.Model`, see `model.build`.

    Raises:
        ValueError: for an unknown name or key (with the nearest one) or a
            value out of range.
    """
    variant = variants.lookup(name)
    architecture = dataclasses.replace(
        variant.architecture, **_overrides(model_config)
    )
    model = model_lib.build(
        architecture,
        num_classes=1000 if num_classes is None else num_classes,
        include_top=include_top,
        input_channels=input_channels,
        with_endpoints=with_endpoints,
        preprocessing=variant.preprocessing if include_preprocessing else None,
    )
    if weights is not None:
        from efficientnetv2 import weights as weights_lib

        weights_lib.load(model, weights)
    return model
