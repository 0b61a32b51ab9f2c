"""Parameters and multiply-adds of an architecture, without building it.

A search looks at thousands of models and scaling at hundreds of large ones;
built by Keras each would take seconds. The tests hold these figures against
those of the built models.
"""

import math
from typing import NamedTuple

from efficientnetv2 import scaling

_STEM_KERNEL = 3
_STEM_STRIDE = 2


class Size(NamedTuple):
    """How large a model, or a part of one, is.

    Args:
        parameters: Trainable numbers, as published tables count: without
            moving statistics.
        multiply_adds: Of one picture's forward pass, see `multiply_adds`.
    """

    parameters: int
    multiply_adds: int

    def __add__(self, other):
        return Size(*(a + b for a, b in zip(self, other, strict=True)))


def _conv(inputs, outputs, kernel_size, image_size):
    """A convolution without bias and its normalisation."""
    weights = kernel_size**2 * inputs * outputs
    return Size(weights + 2 * outputs, weights * image_size**2)


def _depthwise(channels, kernel_size, image_size):
    weights = kernel_size**2 * channels
    return Size(weights + 2 * channels, weights * image_size**2)


def _squeeze_excite(channels, reduced):
    weights = 2 * channels * reduced
    return Size(weights + reduced + channels, weights)  # on one pixel


def after_stride(image_size, strides):
    """Side of a feature map after a convolution, pixels."""
    return math.ceil(image_size / strides)


def of_block(spec, image_size):
    """A single block.

    Args:
        spec: A `BlockSpec` with `num_repeat` 1.
        image_size: Side of its input, pixels, >= 1.

    Returns:
        A `Size`.
    """
    after = after_stride(image_size, spec.strides)
    inner = spec.input_filters * spec.expand_ratio
    parts = []
    if spec.fused and spec.expand_ratio != 1:
        parts.append(_conv(spec.input_filters, inner, spec.kernel_size, after))
    elif not spec.fused:
        if spec.expand_ratio != 1:
            parts.append(_conv(spec.input_filters, inner, 1, image_size))
        parts.append(_depthwise(inner, spec.kernel_size, after))
    if spec.se_ratio is not None:
        reduced = max(1, int(spec.input_filters * spec.se_ratio))
        parts.append(_squeeze_excite(inner, reduced))
    whole = spec.fused and spec.expand_ratio == 1
    kernel_size = spec.kernel_size if whole else 1
    parts.append(_conv(inner, spec.output_filters, kernel_size, after))
    return sum(parts, Size(0, 0))


def of_stage(spec, image_size):
    """A stage of blocks.

    Args:
        spec: A `BlockSpec` with its scaled channels and repeats.
        image_size: Side of its input, pixels, >= 1.

    Returns:
        A `Size`.
    """
    total = Size(0, 0)
    for _, _, block in scaling.expand_stages([spec]):
        total += of_block(block, image_size)
        image_size = after_stride(image_size, block.strides)
    return total


def of_ends(architecture, image_size, num_classes):
    """What is not blocks: the stem, the last convolution, the classifier.

    Args:
        architecture: An `Architecture`.
        image_size: Side of a picture, pixels, >= 1.
        num_classes: Classes of the head, >= 1.

    Returns:
        A `Size`.
    """
    stages = scaling.scale_stages(architecture)
    features = scaling.scale_filters(architecture, architecture.feature_size)
    first = after_stride(image_size, _STEM_STRIDE)
    last = first
    for stage in stages:
        last = after_stride(last, stage.strides)
    weights = features * num_classes
    return (
        _conv(3, stages[0].input_filters, _STEM_KERNEL, first)
        + _conv(stages[-1].output_filters, features, 1, last)
        + Size(weights + num_classes, weights)
    )


def stage_sizes(architecture, image_size):
    """Side of each stage's input; a list of pixels."""
    sizes = []
    image_size = after_stride(image_size, _STEM_STRIDE)
    for stage in scaling.scale_stages(architecture):
        sizes.append(image_size)
        image_size = after_stride(image_size, stage.strides)
    return sizes


def of_architecture(architecture, *, image_size, num_classes=1000):
    """A whole model.

    Args:
        architecture: An `Architecture`.
        image_size: Side of a square picture with three channels, pixels.
        num_classes: Classes of the head, >= 1.

    Returns:
        A `Size`.
    """
    stages = scaling.scale_stages(architecture)
    sizes = stage_sizes(architecture, image_size)
    return sum(
        map(of_stage, stages, sizes),
        of_ends(architecture, image_size, num_classes),
    )
