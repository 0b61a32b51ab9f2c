"""Learning-rate schedules: linear warm-up, then decay counted from step 0."""

import math

import keras

from efficientnetv2 import spelling

DECAYS = ("exponential", "cosine", "linear", "constant")
_WITH_AN_END = ("cosine", "linear")


@keras.saving.register_keras_serializable("efficientnetv2")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """See `learning_rate`, which makes and checks one."""

    def __init__(
        self,
        initial_lr,
        steps_per_epoch,
        lr_decay_type="exponential",
        decay_factor=0.97,
        decay_epochs=2.4,
        total_steps=None,
        warmup_epochs=5,
        minimal_lr=0.0,
    ):
        self.initial_lr = initial_lr
        self.steps_per_epoch = steps_per_epoch
        self.lr_decay_type = lr_decay_type
        self.decay_factor = decay_factor
        self.decay_epochs = decay_epochs
        self.total_steps = total_steps
        self.warmup_epochs = warmup_epochs
        self.minimal_lr = minimal_lr

    def __call__(self, step):
        ops = keras.ops
        step = ops.cast(step, "float32")
        rate = ops.maximum(self._decayed(step), self.minimal_lr)
        warmup_steps = int(self.warmup_epochs * self.steps_per_epoch)
        if not warmup_steps:
            return rate
        warming = self.initial_lr * step / warmup_steps
        return ops.where(step < warmup_steps, warming, rate)

    def _decayed(self, step):
        ops = keras.ops
        if self.lr_decay_type == "exponential":
            decay_steps = self.steps_per_epoch * self.decay_epochs
            decays = ops.floor(step / decay_steps)
            return self.initial_lr * ops.power(self.decay_factor, decays)
        if self.lr_decay_type == "constant":
            return self.initial_lr + 0.0 * step
        done = ops.minimum(step / self.total_steps, 1.0)
        if self.lr_decay_type == "linear":
            return self.initial_lr * (1.0 - done)
        return 0.5 * self.initial_lr * (1.0 + ops.cos(math.pi * done))

    def get_config(self):
        return dict(vars(self))


def _check_type(lr_decay_type, total_steps):
    if lr_decay_type not in DECAYS:
        raise ValueError(
            f"lr_decay_type must be one of {', '.join(DECAYS)}. "
            f"Received: {lr_decay_type!r}"
            f"{spelling.nearest(lr_decay_type, DECAYS)}"
        )
    if lr_decay_type in _WITH_AN_END and not (total_steps or 0) >= 1:
        raise ValueError(
            f"total_steps must be >= 1 for {lr_decay_type!r}. "
            f"Received: {total_steps}"
        )


def _check_at_least(bound, **values):
    for name, value in values.items():
        if not value >= bound:  # so that NaN is refused too
            raise ValueError(f"{name} must be >= {bound}. Received: {value}")


def _check_above_0(**values):
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be > 0. Received: {value}")


def learning_rate(
    initial_lr: float,
    steps_per_epoch: int,
    *,
    lr_decay_type: str = "exponential",
    decay_factor: float = 0.97,
    decay_epochs: float = 2.4,
    total_steps: int | None = None,
    warmup_epochs: float = 5,
    minimal_lr: float = 0.0,
) -> WarmupDecay:
    """Makes the learning-rate schedule of a run.

    The decay is counted from step 0, not from the end of the warm-up; the
    exponential one goes down in steps (arXiv 2104.00298, section 5.1).

    Args:
        initial_lr: Peak learning rate, > 0.
        steps_per_epoch: Steps in an epoch, >= 1.
        lr_decay_type: 'exponential', 'cosine', 'linear' or 'constant'.
        decay_factor: Exponential: factor at each decay, > 0.
        decay_epochs: Exponential: epochs between decays, > 0.
        total_steps: Cosine and linear: steps until 0.
        warmup_epochs: Linear warm-up from 0, epochs, >= 0.
        minimal_lr: Lower bound after the warm-up, >= 0.

    Returns:
        A Keras `LearningRateSchedule` from step to float32 scalar.

    Raises:
        ValueError: for a value out of range.
    """
    _check_type(lr_decay_type, total_steps)
    _check_at_least(1, steps_per_epoch=steps_per_epoch)
    _check_at_least(0, warmup_epochs=warmup_epochs, minimal_lr=minimal_lr)
    _check_above_0(
        initial_lr=initial_lr,
        decay_factor=decay_factor,
        decay_epochs=decay_epochs,
    )
    return WarmupDecay(
        initial_lr,
        steps_per_epoch,
        lr_decay_type,
        decay_factor,
        decay_epochs,
        total_steps,
        warmup_epochs,
        minimal_lr,
    )
