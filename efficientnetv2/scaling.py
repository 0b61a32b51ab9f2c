"""Scaling rules: channel and repeat rounding, and the list of single blocks.

Source: arXiv 1905.11946, section 3.3 (compound scaling).
"""

import dataclasses
import math

from efficientnetv2 import block_spec


def round_filters(
    filters, width_coefficient, *, divisor=8, min_depth=8, guard=False
):
    """Scales a channel count and rounds it to a multiple of `divisor`.

    Args:
        filters: Unscaled channels, >= 1.
        width_coefficient: Factor, > 0.
        divisor: The result is a multiple of this.
        min_depth: Smallest result.
        guard: Never round down by more than a tenth. Part of the V1 family's
            definition; the V2 family has none. Differs from the released
            code, which dropped the guard for V1 too, so that its V1 B3 fits
            no published weights.

    Returns:
        The scaled channels, an int.
    """
    scaled = filters * width_coefficient
    rounded = max(min_depth, int(scaled + divisor / 2) // divisor * divisor)
    if guard and rounded < 0.9 * scaled:
        rounded += divisor
    return int(rounded)


def round_repeats(repeats, depth_coefficient):
    """Scales a number of blocks, rounding up."""
    return int(math.ceil(depth_coefficient * repeats))


def scale_stages(architecture):
    """Applies width and depth to the stages of an architecture.

    Args:
        architecture: A `variants.Architecture`.

    Returns:
        A tuple of `BlockSpec`, one a stage, with scaled channels and repeats.

    Raises:
        ValueError: if a stage does not take the channels that the one before
            it gives.
    """
    stages = []
    before = None
    for stage in block_spec.decode(architecture.blocks):
        if before is not None and before.output_filters != stage.input_filters:
            raise ValueError(
                f"input_filters must equal the {before.output_filters} output "
                f"channels of the stage before. Received: "
                f"{stage.input_filters} in {block_spec.encode([stage])[0]!r}"
            )
        before = stage
        stages.append(
            dataclasses.replace(
                stage,
                num_repeat=round_repeats(
                    stage.num_repeat, architecture.depth_coefficient
                ),
                input_filters=scale_filters(architecture, stage.input_filters),
                output_filters=scale_filters(
                    architecture, stage.output_filters
                ),
            )
        )
    return tuple(stages)


def scale_filters(architecture, filters):
    """`round_filters` with the rules of the architecture's family."""
    return round_filters(
        filters,
        architecture.width_coefficient,
        divisor=architecture.depth_divisor,
        min_depth=architecture.min_depth,
        guard=architecture.family == "v1",
    )


def expand_stages(stages):
    """Lists the single blocks of scaled stages.

    Args:
        stages: Result of `scale_stages`.

    Returns:
        A list of `(stage_index, block_index, BlockSpec)` with `num_repeat` 1;
        the blocks after a stage's first keep size and channels.
    """
    blocks = []
    for stage_index, stage in enumerate(stages):
        first = dataclasses.replace(stage, num_repeat=1)
        rest = dataclasses.replace(
            first, strides=1, input_filters=stage.output_filters
        )
        for block_index in range(stage.num_repeat):
            block = rest if block_index else first
            blocks.append((stage_index, block_index, block))
    return blocks


def drop_rate(survival_prob, index, count):
    """Stochastic depth's drop rate of block `index` of `count`.

    Grows linearly with depth from 0 (arXiv 1603.09382, equation 4), over the
    *scaled* blocks: `(1 - survival_prob) * index / count`, index from 0.
    """
    return (1.0 - survival_prob) * index / count
