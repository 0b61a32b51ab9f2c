"""What does not change in a training run: data, replicas, stages, folder."""

import dataclasses
import pathlib
import typing

from efficientnetv2 import (
    checkpoint,
    distribute,
    model_dir,
    progressive,
    saved_config,
    storage,
)
from efficientnetv2 import config as config_lib
from efficientnetv2 import workers as workers_lib
from efficientnetv2.data import sources


@dataclasses.dataclass(frozen=True)
class Setup:
    """What does not change while training.

    Args:
        config: The `Config`, complete.
        folder: The run's folder, see `storage.place`.
        source: The training data, a source of `data.sources`.
        strategy: A `tf.distribute.Strategy`.
        workers: The `workers.Workers` of the strategy.
        epoch_steps: Steps in an epoch.
        epochs: Length of the run.
        stages: The stages of `progressive`.
        jit_compile: Whether XLA compiles the step.
        has_static_sizes: Whether each stage is traced for its image size.
    """

    config: config_lib.Config
    folder: pathlib.Path | str
    source: typing.Any
    strategy: typing.Any
    workers: typing.Any
    epoch_steps: int
    epochs: int
    stages: tuple
    jit_compile: bool
    has_static_sizes: bool

    @property
    def end_step(self):
        """Steps of the whole run."""
        return self.epoch_steps * self.epochs

    @property
    def checkpoints(self):
        """Folder of the checkpoints."""
        return storage.join(self.folder, model_dir.CHECKPOINTS)


def _claim_folder(config, folder, *, allow_config_change, writes):
    """Makes `folder` this run's; another run's settings are an error."""
    checkpoints = storage.join(folder, model_dir.CHECKPOINTS)
    if checkpoint.saved(checkpoints) and not allow_config_change:
        own = saved_config.read(folder)
        changed = own and config_lib.difference(own, config)
        if changed:
            raise ValueError(
                f"model_dir holds a run with other settings: "
                f"{'; '.join(changed)}. Give another --model_dir or "
                f"--allow_config_change. Received: {str(folder)!r}"
            )
    if writes:
        saved_config.write(config, folder)


def _check_batch(config, source, strategy):
    batch_size = config.train.batch_size
    if batch_size > source.num_examples:
        raise ValueError(
            f"train.batch_size must be <= the {source.num_examples} examples "
            f"of {source.name}. Received: {batch_size}"
        )
    mixes = bool(config.data.mixup_alpha or config.data.cutmix_alpha)
    distribute.per_replica_batch(batch_size, strategy, in_pairs=mixes)


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
    strategy = distribute.strategy_of(config.runtime)  # before any operation
    workers = workers_lib.Workers(strategy)
    source = sources.open_source(config.data, config.train.split)
    classes = config.data.num_classes or source.num_classes
    data = dataclasses.replace(config.data, num_classes=classes)
    config = dataclasses.replace(config, data=data)
    _check_batch(config, source, strategy)
    epoch_steps = source.num_examples // config.train.batch_size
    epochs = progressive.run_epochs(config, steps_per_epoch=epoch_steps)
    folder = storage.place(folder)
    _claim_folder(
        config,
        folder,
        allow_config_change=allow_config_change,
        writes=workers.is_first,
    )
    jit_compile = config.runtime.jit_compile
    if jit_compile is None:
        jit_compile = distribute.wants_xla(strategy)
    return Setup(
        config=config,
        folder=folder,
        source=source,
        strategy=strategy,
        workers=workers,
        epoch_steps=epoch_steps,
        epochs=epochs,
        stages=progressive.plan(config, epochs=epochs),
        jit_compile=jit_compile,
        has_static_sizes=jit_compile or distribute.is_tpu(strategy),
    )
