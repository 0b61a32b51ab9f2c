"""Progressive learning: image size and regularisation, stage by stage.

Source: arXiv 2104.00298, algorithm 1 and table 6.
"""

import dataclasses
from collections.abc import Sequence

from efficientnetv2 import config_rules, config_schema


@dataclasses.dataclass(frozen=True)
class Stage:
    """A span of epochs with one image size and one set of rates.

    Args:
        index: Number of the stage, from 0.
        first_epoch: Its first epoch.
        end_epoch: The epoch after its last.
        image_size: Side of the training images, pixels.
        randaug_magnitude: RandAugment magnitude; 0 without RandAugment.
        mixup_alpha: Parameter of mixup's Beta distribution; 0: no mixup.
        cutmix_alpha: Parameter of CutMix's Beta distribution; 0: no CutMix.
        dropout_rate: Dropout rate before the classifier.
    """

    index: int
    first_epoch: int
    end_epoch: int
    image_size: int
    randaug_magnitude: float
    mixup_alpha: float
    cutmix_alpha: float
    dropout_rate: float


def _between(start, end, index, count):
    """Algorithm 1, line 5: start + (end - start) index / (count - 1)."""
    if index == count - 1:
        return float(end)  # exactly, and the only stage has the last values
    return start + (end - start) * index / (count - 1)


def _paper_size(start, end, index, count):
    if count == 1:
        return end
    # Nearest pixel in whole numbers: 128, 185, 243, 300.
    steps = count - 1
    return (2 * (start * steps + (end - start) * index) + steps) // (2 * steps)


def _released_size(start, end, index, count):
    """The released code's law: no stage at the smallest size (171 .. 300)."""
    return start + (end - start) * (index + 1) // count


def run_epochs(config: config_schema.Config, *, steps_per_epoch: int) -> int:
    """Length of the run: train.epochs, or more for train.min_steps.

    Args:
        config: A `config.Config`.
        steps_per_epoch: Steps in an epoch, >= 1.

    Returns:
        Whole epochs.

    Raises:
        ValueError: if steps_per_epoch is too small, or the stages or the
            warm-up do not fit into the run.
    """
    if steps_per_epoch < 1:
        raise ValueError(
            f"steps_per_epoch must be >= 1. Received: {steps_per_epoch}"
        )
    needed = -(-config.train.min_steps // steps_per_epoch)
    epochs = max(config.train.epochs, needed)
    config_rules.check_length(config_schema.flatten(config), epochs)
    return epochs


def plan(
    config: config_schema.Config, *, epochs: int | None = None
) -> tuple[Stage, ...]:
    """Divides a run into stages.

    The law of the paper: size, RandAugment, mixup, CutMix and dropout grow
    linearly from the first stage's value to the last one's. With
    `train.schedule=released` size has that code's law and dropout is fixed.

    Args:
        config: A `config.Config`.
        epochs: Length of the run where `run_epochs` made it longer than
            train.epochs.

    Returns:
        A tuple of `Stage` that covers the run without gap or overlap.

    Raises:
        ValueError: if there are fewer epochs than stages.
    """
    train, data = config.train, config.data
    epochs = train.epochs if epochs is None else epochs
    count = max(1, train.stages)
    if epochs < count:
        raise ValueError(
            f"epochs must be >= train.stages ({count}). Received: {epochs}"
        )
    released = train.schedule == "released"
    size = _released_size if released else _paper_size
    last_dropout = config.model.dropout_rate
    first_dropout = train.dropout_rate_start
    if released or first_dropout is None:
        first_dropout = last_dropout
    randaug = data.augname == "randaug"

    def make(i):
        return Stage(
            index=i,
            first_epoch=i * epochs // count,
            end_epoch=(i + 1) * epochs // count,
            image_size=size(data.ibase, train.isize, i, count),
            randaug_magnitude=(
                _between(data.ram_start, data.ram, i, count) if randaug else 0.0
            ),
            mixup_alpha=_between(
                data.mixup_alpha_start, data.mixup_alpha, i, count
            ),
            cutmix_alpha=_between(
                data.cutmix_alpha_start, data.cutmix_alpha, i, count
            ),
            dropout_rate=_between(first_dropout, last_dropout, i, count),
        )

    return tuple(make(i) for i in range(count))


def stage_at(stages: Sequence[Stage], epoch: int) -> Stage:
    """The stage of an epoch; how a resumed run finds its place.

    Args:
        stages: What `plan` returned.
        epoch: Epoch from 0, inside the run.

    Returns:
        The `Stage` with first_epoch <= epoch < end_epoch.

    Raises:
        ValueError: if the epoch is not inside the run.
    """
    for stage in stages:
        if stage.first_epoch <= epoch < stage.end_epoch:
            return stage
    raise ValueError(
        f"epoch must be >= 0 and < {stages[-1].end_epoch}. Received: {epoch}"
    )
