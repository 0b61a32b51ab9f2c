"""The public door to the models: names in, Keras models out."""

import dataclasses
import os
import typing
from collections.abc import Mapping, Sequence

import keras

from efficientnetv2 import config_types, spelling, variants
from efficientnetv2 import model as model_lib


def list_models() -> list[str]:
    """Lists the names that `get_model` knows.

    Returns:
        A list of strings, V2 first.
    """
    return list(variants.VARIANTS)


def _overrides(model_config):
    """Turns a dict or 'k=v,...' into typed fields of `Architecture`."""
    if isinstance(model_config, str):
        items = [item for item in model_config.split(",") if item.strip()]
        model_config = dict(_pair(item) for item in items)
    types = typing.get_type_hints(variants.Architecture)
    result = {}
    for key, value in (model_config or {}).items():
        if key not in types:
            raise ValueError(
                f"unknown key {key!r} in model_config"
                f"{spelling.nearest(key, types)}"
            )
        result[key] = config_types.coerce(key, value, types[key])
    return result


def _pair(item):
    key, equals, value = (part.strip() for part in item.partition("="))
    if not equals:
        raise ValueError(f"model_config must be 'k=v,...'. Received: {item!r}")
    return key, value


def get_model(
    name: str | Sequence[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    include_top: bool = True,
    num_classes: int | None = None,
    input_channels: int = 3,
    with_endpoints: bool = False,
    include_preprocessing: bool = False,
    model_config: Mapping[str, object] | str | None = None,
) -> keras.Model:
    """Builds a model, with weights if asked.

    Args:
        name: One of `list_models()`, the path of a YAML file with `blocks`,
            or block strings joined by ';'.
        weights: None; 'imagenet', 'imagenet21k' or 'imagenet21k-ft1k' for
            the published weights; or a path that `weights.load` reads.
        include_top: False: pooled features instead of logits.
        num_classes: Classes of the head; None: the published weights' or
            1000. Where it is given and `weights` have another number, the
            head stays untrained and a warning says so.
        input_channels: Channels of the input, >= 1. Where it is not 3, the
            first kernel of `weights` is adapted.
        with_endpoints: Also gives the feature maps `reduction_1`, ...
        include_preprocessing: The input is RGB in 0..255; else it is
            normalised: in [-1, 1] for V2-S to XL and all 21k weights, by
            ImageNet mean and deviation for V1 and V2-B.
        model_config: Fields of `variants.Architecture` to change, a dict or
            a 'k=v,...' string ('|' separates the strings of `blocks`).

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
    style = variant.preprocessing
    classes = 1000 if num_classes is None else num_classes
    if weights is not None:
        from efficientnetv2 import weights as weights_lib

        if weights in weights_lib.KINDS:
            published = weights_lib.lookup(architecture.name, weights)
            style = published.preprocessing
            if num_classes is None:
                classes = published.num_classes
    model = model_lib.build(
        architecture,
        num_classes=classes,
        include_top=include_top,
        input_channels=input_channels,
        with_endpoints=with_endpoints,
        preprocessing=style if include_preprocessing else None,
    )
    if weights is not None:
        adapt = num_classes is not None or input_channels != 3
        weights_lib.load(model, weights, adapt=adapt)
    return model
