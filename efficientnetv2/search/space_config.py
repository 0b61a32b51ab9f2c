"""Makes the search space that a config describes; checks its lists."""

import dataclasses
import math

from efficientnetv2.search.space import FUSED, MBCONV, Options, Space
from efficientnetv2.spelling import nearest

_MILLION, _BILLION = 1e6, 1e9


def _numbers(key, text):
    try:
        found = tuple(int(part) for part in text.split("|"))
    except ValueError:
        found = (0,)
    if min(found) < 1:
        raise ValueError(
            f"search.{key} must be whole numbers >= 1 joined by '|'. "
            f"Received: {text!r}"
        )
    return found


def _options(settings):
    """Gene -> the values it may have, in order."""
    ops = tuple(settings.ops.split("|"))
    for op in ops:
        if op not in (MBCONV, FUSED):
            raise ValueError(
                f"search.ops must be some of {MBCONV}|{FUSED}. "
                f"Received: {op!r}{nearest(op, (MBCONV, FUSED))}"
            )
    kernels = _numbers("kernels", settings.kernels)
    if any(kernel % 2 == 0 for kernel in kernels):
        raise ValueError(
            f"search.kernels must be odd. Received: {settings.kernels!r}"
        )
    options = Options(
        ops,
        kernels,
        _numbers("expansions", settings.expansions),
        _numbers("layers", settings.layers),
    )
    for gene, values in options._asdict().items():
        if len(set(values)) < len(values):
            raise ValueError(
                f"{gene} of the search space must hold each value once. "
                f"Received: {'|'.join(map(str, values))!r}"
            )
    return options


def _nothing_fits(space, settings):
    """The line about bounds that no model is within."""
    free = dataclasses.replace(
        space, max_parameters=math.inf, max_multiply_adds=math.inf
    )
    least = free.smallest[1]
    given = [
        f"search.{name}={getattr(settings, name):g}"
        for name in ("max_million_parameters", "max_billion_multiply_adds")
        if getattr(settings, name) is not None
    ]
    return (
        f"no model of the search space is within {' and '.join(given)}; the "
        f"one with fewest parameters has {least.parameters / _MILLION:.3g} M "
        f"and {least.multiply_adds / _BILLION:.3g} billion multiply-adds"
    )


def build(config, *, num_classes):
    """Makes the space of a config.

    Args:
        config: A `Config`; its model is the backbone.
        num_classes: Classes of the data.

    Returns:
        A `Space`.

    Raises:
        ValueError: if a list is empty or wrong, or no model is within the
            bounds.
    """
    settings = config.search
    parameters = settings.max_million_parameters
    multiply_adds = settings.max_billion_multiply_adds
    space = Space(
        backbone=config.model,
        options=_options(settings),
        image_size=config.eval.isize,
        num_classes=num_classes,
        max_parameters=(
            math.inf if parameters is None else parameters * _MILLION
        ),
        max_multiply_adds=(
            math.inf if multiply_adds is None else multiply_adds * _BILLION
        ),
    )
    if space.smallest is None:
        raise ValueError(_nothing_fits(space, settings))
    return space
