"""`--mode=search --what=scale`: makes a found model larger.

Compound scaling (arXiv 1905.11946, section 3.3) as arXiv 2104.00298, section
3.3, changes it: layers are added at the end, where they cost least time, and
the image size stays below a bound.
"""

import dataclasses
import pathlib

from efficientnetv2 import block_spec, scaling
from efficientnetv2.architecture import Architecture
from efficientnetv2.search import model_file
from efficientnetv2.search import size as size_lib

# Growth of depth, width and image size for each unit of the coefficient.
_DEPTH, _WIDTH, _IMAGE = 1.2, 1.1, 1.15
# The added layers are a stage of their own after the last one, as in V2-M and
# V2-L (table 4 has none for S): its layers and channels by the last stage's,
# and the coefficient from which on it has all of its layers.
_ADDED_LAYERS, _ADDED_CHANNELS, _ADDED_WHOLE = 0.28, 5 / 3, 1.4
_LARGEST = 20.0  # coefficient, far above any use
_STEPS = 60  # of the bisection
_SUFFIX = "-scaled"


@dataclasses.dataclass(frozen=True)
class Scaled:
    """A scaled model.

    Args:
        architecture: The `Architecture`.
        image_size: For evaluation, pixels.
        size: Its `Size` at that size.
        coefficient: What it was scaled with, 0 is the base model.
    """

    architecture: Architecture
    image_size: int
    size: size_lib.Size
    coefficient: float


def _channels(architecture, count, factor):
    return scaling.round_filters(
        count,
        factor,
        divisor=architecture.depth_divisor,
        min_depth=architecture.min_depth,
        guard=architecture.family == "v1",
    )


def _grow(architecture, coefficient):
    """The stages with more layers and channels."""
    depth, width = _DEPTH**coefficient, _WIDTH**coefficient
    stages = [
        dataclasses.replace(
            stage,
            num_repeat=max(1, round(stage.num_repeat * depth)),
            input_filters=_channels(architecture, stage.input_filters, width),
            output_filters=_channels(architecture, stage.output_filters, width),
        )
        for stage in scaling.scale_stages(architecture)
    ]
    last = stages[-1]
    share = _ADDED_LAYERS * min(1, coefficient / _ADDED_WHOLE)
    layers = round(last.num_repeat * share)
    if layers:
        added = dataclasses.replace(
            last,
            num_repeat=layers,
            strides=1,
            input_filters=last.output_filters,
            output_filters=_channels(
                architecture, last.output_filters, _ADDED_CHANNELS
            ),
        )
        stages.append(added)
    return stages


def apply(architecture, coefficient, *, image_size, max_image_size, classes):
    """Scales a model by a coefficient.

    Args:
        architecture: The base `Architecture`.
        coefficient: >= 0; depth, width and size grow with its power.
        image_size: The base model's evaluation size, pixels.
        max_image_size: Bound of the scaled size, pixels.
        classes: Number of classes.

    Returns:
        A `Scaled`.
    """
    blocks = block_spec.encode(_grow(architecture, coefficient))
    scaled = dataclasses.replace(
        architecture,
        blocks=tuple(blocks),
        # All of V2's sizes have the same last convolution.
        feature_size=scaling.scale_filters(
            architecture, architecture.feature_size
        ),
        width_coefficient=1.0,
        depth_coefficient=1.0,
    )
    pixels = round(image_size * _IMAGE**coefficient)
    pixels = max(image_size, min(pixels, max_image_size))
    size = size_lib.of_architecture(
        scaled, image_size=pixels, num_classes=classes
    )
    return Scaled(scaled, pixels, size, coefficient)


def to_target(architecture, *, figure, target, **settings):
    """The scaled model that comes nearest to a target.

    Args:
        architecture: The base `Architecture`.
        figure: 'parameters' or 'multiply_adds'.
        target: What the figure is to be, not below the base model's.
        **settings: As `apply` takes them.

    Returns:
        A `Scaled`.

    Raises:
        ValueError: if the target is below the base model's figure.
    """

    def at(coefficient):
        return apply(architecture, coefficient, **settings)

    base = getattr(at(0.0).size, figure)
    if target < base:
        raise ValueError(
            f"the target must not be below the {base:,} {figure} of "
            f"{architecture.name!r}. Received: {target:,.0f}"
        )
    low, high = 0.0, _LARGEST
    for _ in range(_STEPS):  # layers and channels grow in steps
        middle = (low + high) / 2
        if getattr(at(middle).size, figure) <= target:
            low = middle
        else:
            high = middle
    return min(
        (at(low), at(high)),
        key=lambda scaled: abs(getattr(scaled.size, figure) - target),
    )


def _target(settings):
    """(figure, target) of a config's `search` section."""
    given = {
        "parameters": (settings.target_million_parameters, 1e6),
        "multiply_adds": (settings.target_billion_multiply_adds, 1e9),
    }
    found = [
        (figure, value * unit)
        for figure, (value, unit) in given.items()
        if value is not None
    ]
    if len(found) != 1:
        raise ValueError(
            "--what=scale needs one of search.target_million_parameters and "
            f"search.target_billion_multiply_adds. Received: {len(found)}"
        )
    return found[0]


def run(config, model_dir):
    """Writes the scaled model of a config and says what it is.

    Args:
        config: A `Config`; its model is the base.
        model_dir: Folder for <name>-scaled.yaml.
    """
    figure, target = _target(config.search)
    scaled = to_target(
        config.model,
        figure=figure,
        target=target,
        image_size=config.eval.isize,
        max_image_size=config.search.max_isize,
        classes=config.data.num_classes or 1000,
    )
    name = f"{config.model.name}{_SUFFIX}"
    about = (
        f"{config.model.name} scaled by {scaled.coefficient:.3f}: "
        f"{scaled.size.parameters / 1e6:.2f} M parameters, "
        f"{scaled.size.multiply_adds / 1e9:.2f} billion multiply-adds at "
        f"{scaled.image_size} px"
    )
    path = pathlib.Path(model_dir) / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    train_size = round(
        scaled.image_size * config.train.isize / config.eval.isize
    )
    model_file.write(
        path,
        dataclasses.replace(scaled.architecture, name=name),
        train_size=train_size,
        eval_size=scaled.image_size,
        preprocessing=config.data.preprocessing,
        about=[about],
    )
    print(about, *scaled.architecture.blocks, f"written to {path}", sep="\n")
