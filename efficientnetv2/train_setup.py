"""What a training run is made of, and the state that a checkpoint holds."""

import dataclasses
import pathlib
import typing

import keras

from efficientnetv2 import (
    checkpoint,
    distribute,
    ema,
    model_dir,
    optimizers,
    progressive,
    schedules,
    weights,
)
from efficientnetv2 import config as config_lib
from efficientnetv2.data import sources


@dataclasses.dataclass(frozen=True)
class Setup:
    """What does not change while training.

    Args:
        config: The `Config`, complete.
        folder: The run's folder.
        source: The training data, a source of `data.sources`.
        strategy: A `tf.distribute.Strategy`.
        epoch_steps: Steps in an epoch.
        epochs: Length of the run.
        stages: The stages of `progressive`.
    """

    config: typing.Any
    folder: pathlib.Path
    source: typing.Any
    strategy: typing.Any
    epoch_steps: int
    epochs: int
    stages: tuple

    @property
    def end_step(self):
        """Steps of the whole run."""
        return self.epoch_steps * self.epochs

    @property
    def checkpoints(self):
        """Folder of the checkpoints."""
        return self.folder / model_dir.CHECKPOINTS


@dataclasses.dataclass
class State:
    """What changes while training; a checkpoint holds all of it.

    Args:
        model: The Keras model.
        optimizer: Its optimizer.
        averages: An `ema.ExponentialMovingAverage`, or None.
        step: Global step, steps done.
        offset: Places of the present epoch's stream that are used up.
        best_accuracy: Of the evaluations so far, in [0, 1].
    """

    model: typing.Any
    optimizer: typing.Any
    averages: typing.Any
    step: int = 0
    offset: int = 0
    best_accuracy: float = 0.0

    def snapshot(self):
        """Copies model, averages and optimizer into memory."""
        return checkpoint.snapshot(self.model, self.averages, self.optimizer)


def _claim_folder(config, folder, *, allow_config_change):
    """Makes `folder` this run's; another run's settings are an error."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / model_dir.CONFIG
    if path.exists() and not allow_config_change:
        changed = config_lib.difference(config_lib.read(path), config)
        if changed:
            raise ValueError(
                f"model_dir holds a run with other settings: "
                f"{'; '.join(changed)}. Give another --model_dir or "
                f"--allow_config_change. Received: {str(folder)!r}"
            )
    config_lib.save(config, path)


def prepare(config, folder, *, allow_config_change=False):
    """Opens the data, plans the stages and claims the run's folder.

    Args:
        config: A `Config`.
        folder: The run's folder, made if it is not there.
        allow_config_change: Whether the folder may hold a run with other
            settings.

    Returns:
        A `Setup`.

    Raises:
        ValueError: if the data, the replicas or the folder do not fit.
    """
    source = sources.open_source(config.data, config.train.split)
    classes = config.data.num_classes or source.num_classes
    data = dataclasses.replace(config.data, num_classes=classes)
    config = dataclasses.replace(config, data=data)
    batch_size = config.train.batch_size
    if batch_size > source.num_examples:
        raise ValueError(
            f"train.batch_size must be <= the {source.num_examples} examples "
            f"of {source.name}. Received: {batch_size}"
        )
    strategy = distribute.strategy(config.runtime.strategy)
    distribute.per_replica_batch(batch_size, strategy)  # raises if uneven
    epoch_steps = source.num_examples // batch_size
    epochs = progressive.run_epochs(config, steps_per_epoch=epoch_steps)
    folder = pathlib.Path(folder)
    _claim_folder(config, folder, allow_config_change=allow_config_change)
    return Setup(
        config=config,
        folder=folder,
        source=source,
        strategy=strategy,
        epoch_steps=epoch_steps,
        epochs=epochs,
        stages=progressive.plan(config, epochs=epochs),
    )


def _build_model(config, pretrained):
    network = model_dir.build_model(config)
    if pretrained:
        loaded = weights.load(
            network,
            pretrained,
            adapt=True,
            moving_average=config.train.ft_init_ema,
        )
        print(f"Starts from {pretrained}: {loaded}", flush=True)
    return network


def build_state(setup, *, pretrained=None):
    """Builds the state before the first step.

    Args:
        setup: A `Setup`.
        pretrained: Weights to start from, see `weights.load`, or None.

    Returns:
        A `State`.
    """
    train = setup.config.train
    keras.utils.set_random_seed(train.seed)
    with setup.strategy.scope():
        network = _build_model(setup.config, pretrained)
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
        optimizer = optimizers.build(
            train.optimizer, rate, gclip=train.gclip
        )
        optimizer.build(network.trainable_variables)
        averages = None
        if train.ema_decay:
            averages = ema.ExponentialMovingAverage(
                network.weights, train.ema_decay
            )
    return State(network, optimizer, averages)


def restore(state, arrays, meta):
    """Puts a checkpoint into a state.

    Args:
        state: A `State`.
        arrays: The checkpoint's arrays, see `checkpoint.read`.
        meta: What `meta` gave when it was saved.
    """
    checkpoint.restore(arrays, state.model, state.averages, state.optimizer)
    state.step, state.offset = meta["step"], meta["offset"]
    state.best_accuracy = meta["best_accuracy"]


def meta(setup, state):
    """What a checkpoint holds besides arrays and step; see `restore`."""
    return {
        "offset": state.offset,
        "class_names": list(setup.source.class_names),
        "best_accuracy": state.best_accuracy,
    }
