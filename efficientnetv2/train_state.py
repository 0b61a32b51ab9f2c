"""What changes in a training run: its beginning, and what is saved of it."""

import dataclasses
import re
import typing

import keras

from efficientnetv2 import (
    checkpoint,
    ema,
    model_dir,
    optimizers,
    schedules,
    weights,
)

_SHOWN = 4  # variables that an error names
# Fields of `State` that a checkpoint holds as they are.
_COUNTS = (
    "step",
    "best_accuracy",
    "evaluated_step",
    "bad_steps",
    "skipped_steps",
)


@dataclasses.dataclass
class State:
    """What changes while training; a checkpoint holds all of it.

    Args:
        model: The Keras model.
        variables: Those of its variables that are trained.
        optimizer: Its optimizer.
        averages: An `ema.ExponentialMovingAverage`, or None.
        step: Global step, steps done.
        offset: Places of the present epoch's stream that are used up, on this
            worker.
        best_accuracy: Of the evaluations so far, in [0, 1].
        evaluated_step: Step of the last evaluation, 0 for none.
        bad_steps: Steps in a row, up to this one, that were skipped.
        skipped_steps: All steps that were skipped.
    """

    model: typing.Any
    variables: list
    optimizer: typing.Any
    averages: typing.Any
    step: int = 0
    offset: int = 0
    best_accuracy: float = 0.0
    evaluated_step: int = 0
    bad_steps: int = 0
    skipped_steps: int = 0

    def snapshot(self):
        """Copies model, averages and optimizer into memory."""
        return checkpoint.snapshot(self.model, self.averages, self.optimizer)


def _build_model(config, pretrained):
    network = model_dir.build_model(
        config, precision=config.runtime.mixed_precision
    )
    if pretrained:
        loaded = weights.load(
            network,
            pretrained,
            adapt=True,
            moving_average=config.train.ft_init_ema,
        )
        # What is not exact has its own line, a warning of `weights.load`.
        fit = f": {loaded}" if loaded.exact else ""
        print(f"Starts from {pretrained}{fit}", flush=True)
    if config.train.freeze_bn:
        for layer in network.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    return network


def _trained_variables(network, varsexp):
    """The variables whose path a regular expression fits from the start."""
    variables = network.trainable_variables
    if varsexp is None:
        return variables
    chosen = [v for v in variables if re.match(varsexp, v.path)]
    if not chosen:
        shown = ", ".join(v.path for v in variables[-_SHOWN:])
        raise ValueError(
            "train.varsexp must fit the name of a variable from its start, "
            f"such as {shown}. Received: {varsexp!r}"
        )
    return chosen


def _build_optimizer(setup, network):
    train = setup.config.train
    rate = schedules.learning_rate(
        initial_lr=train.lr_base * train.batch_size / 256,
        steps_per_epoch=setup.epoch_steps,
        lr_decay_type=train.lr_sched,
        decay_factor=train.lr_decay_factor,
        decay_epochs=train.lr_decay_epoch,
        total_steps=setup.end_step,
        warmup_epochs=train.lr_warmup_epoch,
        minimal_lr=train.lr_min,
    )
    is_decoupled = train.optimizer in optimizers.DECOUPLED
    factors = None
    if train.lr_layer_decay != 1:
        factors = optimizers.layer_factors(
            network.trainable_variables, train.lr_layer_decay
        )
    return optimizers.build(
        train.optimizer,
        rate,
        gclip=train.gclip,
        weight_decay=train.weight_decay if is_decoupled else None,
        weight_decay_exclude=train.weight_decay_exclude,
        learning_rate_factors=factors,
        dynamic_loss_scale=setup.config.runtime.mixed_precision == "float16",
    )


def build(setup, *, pretrained=None):
    """Builds the state before the first step.

    Args:
        setup: A `train_setup.Setup`.
        pretrained: Weights to start from, see `weights.load`, or None.

    Returns:
        A `State`.
    """
    train = setup.config.train
    keras.utils.set_random_seed(train.seed)
    with setup.strategy.scope():
        network = _build_model(setup.config, pretrained)
        variables = _trained_variables(network, train.varsexp)
        optimizer = _build_optimizer(setup, network)
        optimizer.build(variables)
        averages = None
        if train.ema_decay:
            averages = ema.ExponentialMovingAverage(
                network.weights, train.ema_decay
            )
    return State(network, variables, optimizer, averages)


def restore(setup, state, arrays, meta):
    """Puts a checkpoint into a state.

    Args:
        setup: A `train_setup.Setup`.
        state: A `State`.
        arrays: The checkpoint's arrays, see `checkpoint.read`.
        meta: What `meta` gave when it was saved.
    """
    checkpoint.restore(arrays, state.model, state.averages, state.optimizer)
    offsets = meta["offsets"]
    own = setup.workers.index
    # With another number of workers none has the place of one of before.
    same = len(offsets) == setup.workers.count
    state.offset = offsets[own] if same else max(offsets)
    for name in _COUNTS:
        setattr(state, name, meta[name])


def meta(setup, state, offsets):
    """What a checkpoint holds besides arrays; see `restore`.

    Args:
        setup: A `train_setup.Setup`.
        state: A `State`.
        offsets: The `offset` of every worker, a list of ints.

    Returns:
        A dict that JSON can hold.
    """
    return {
        **{name: getattr(state, name) for name in _COUNTS},
        "offsets": offsets,
        "epoch": (state.step - 1) // setup.epoch_steps,  # of the last step
        "end_step": setup.end_step,
        "class_names": list(setup.source.class_names),
    }
