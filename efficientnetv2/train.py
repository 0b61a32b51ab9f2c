"""Training: stages, checkpoints, evaluation and resume."""

import contextlib
import dataclasses
import pathlib
import signal
import time
import typing

import keras
import tensorflow as tf

from efficientnetv2 import (
    checkpoint,
    distribute,
    ema,
    evaluate,
    metrics_log,
    model_dir,
    optimizers,
    progressive,
    report,
    schedules,
    weights,
)
from efficientnetv2 import config as config_lib
from efficientnetv2.data import broken, pipeline, sources
from efficientnetv2.train_step import StepSettings, TrainStep

TERMINATED = 143  # exit code after SIGTERM: 128 + 15
_ACCOUNT_STEPS = 50  # steps between looks at what was broken


@dataclasses.dataclass
class _State:
    """What changes while training; a checkpoint holds all of it."""

    model: typing.Any
    optimizer: typing.Any
    averages: typing.Any
    step: int = 0
    offset: int = 0  # raw examples consumed in the present epoch
    best_accuracy: float = 0.0

    def snapshot(self):
        return checkpoint.snapshot(self.model, self.averages, self.optimizer)


def _open(config):
    """The training source, and the config completed from it."""
    source = sources.open_source(config.data, config.train.split)
    classes = config.data.num_classes or source.num_classes
    data = dataclasses.replace(config.data, num_classes=classes)
    return source, dataclasses.replace(config, data=data)


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


def _build(config, strategy, *, steps_per_epoch, epochs, pretrained):
    """The state before the first step, under the strategy's scope."""
    keras.utils.set_random_seed(config.train.seed)
    with strategy.scope():
        network = model_dir.build_model(config)
        if pretrained:
            loaded = weights.load(
                network,
                pretrained,
                adapt=True,
                moving_average=config.train.ft_init_ema,
            )
            print(f"Starts from {pretrained}: {loaded}", flush=True)
        rate = schedules.learning_rate(
            initial_lr=config.train.lr_base * config.train.batch_size / 256,
            steps_per_epoch=steps_per_epoch,
            lr_decay_type=config.train.lr_sched,
            decay_factor=config.train.lr_decay_factor,
            decay_epochs=config.train.lr_decay_epoch,
            total_steps=steps_per_epoch * epochs,
            warmup_epochs=config.train.lr_warmup_epoch,
            minimal_lr=config.train.lr_min,
        )
        optimizer = optimizers.build(
            config.train.optimizer, rate, gclip=config.train.gclip
        )
        optimizer.build(network.trainable_variables)
        averages = None
        if config.train.ema_decay:
            averages = ema.ExponentialMovingAverage(
                network.weights, config.train.ema_decay
            )
    return _State(network, optimizer, averages)


def _restore(state, arrays, meta, path):
    """Goes back to a checkpoint."""
    checkpoint.restore(arrays, state.model, state.averages, state.optimizer)
    state.step, state.offset = meta["step"], meta["offset"]
    state.best_accuracy = meta["best_accuracy"]
    print(f"Going on from step {state.step} ({path})", flush=True)


class _Stop:
    """Turns SIGTERM into a flag that the loop looks at."""

    def __init__(self):
        self.requested = False

    def __enter__(self):
        self._before = signal.signal(signal.SIGTERM, self._request)
        return self

    def __exit__(self, *_):
        signal.signal(signal.SIGTERM, self._before)

    def _request(self, *_):
        self.requested = True


class _Training:
    """One run, from its first or its last saved step to its end."""

    def __init__(self, config, folder, *, evaluates, allow_config_change):
        self.folder = pathlib.Path(folder)
        self.source, config = _open(config)
        self.config = config
        self.evaluates = evaluates
        self.strategy = distribute.strategy(config.runtime.strategy)
        self.replica_batch = distribute.per_replica_batch(
            config.train.batch_size, self.strategy
        )
        self.epoch_steps = self.source.num_examples // config.train.batch_size
        self.epochs = progressive.run_epochs(
            config, steps_per_epoch=self.epoch_steps
        )
        self.end_step = self.epoch_steps * self.epochs
        self.stages = progressive.plan(config, epochs=self.epochs)
        _claim_folder(
            config, self.folder, allow_config_change=allow_config_change
        )
        found = checkpoint.latest(self.checkpoints)
        self.state = _build(
            config,
            self.strategy,
            steps_per_epoch=self.epoch_steps,
            epochs=self.epochs,
            pretrained=None if found else config.train.ft_init_ckpt,
        )
        if found:
            _restore(self.state, *found)
        self.train_step = self._train_step()
        self.evaluator = self._evaluator() if evaluates else None
        self._saved = time.monotonic()
        self._unseen = []
        self.broken = broken.BrokenExamples(
            self.source,
            seed=config.train.seed,
            epoch=self.state.step // self.epoch_steps,
            offset=self.state.offset,
            max_bad_fraction=config.data.max_bad_fraction,
            host_rows=config.train.batch_size,
        )

    @property
    def checkpoints(self):
        return self.folder / model_dir.CHECKPOINTS

    def _train_step(self):
        config = self.config
        return TrainStep(
            self.state.model,
            self.state.optimizer,
            self.state.averages,
            strategy=self.strategy,
            settings=StepSettings(
                global_batch=config.train.batch_size,
                num_classes=config.data.num_classes,
                style=config.data.preprocessing,
                loss_type=config.train.loss_type,
                label_smoothing=config.train.label_smoothing,
                weight_decay=config.train.weight_decay,
                weight_decay_exclude=config.train.weight_decay_exclude,
                seed=config.train.seed,
            ),
        )

    def _evaluator(self):
        config = self.config
        return evaluate.Evaluator(
            self.state.model,
            config,
            sources.open_source(config.data, config.eval.split),
            strategy=self.strategy,
        )

    def run(self):
        """Trains to the end; returns the exit code."""
        state, config = self.state, self.config
        if state.step >= self.end_step:
            print(
                f"This run is finished ({self.end_step} steps); "
                f"all of it is in {self.folder}",
                flush=True,
            )
            return 0
        with (
            _Stop() as stop,
            checkpoint.Writer(
                self.checkpoints, keep=config.runtime.keep_checkpoint_max
            ) as self.writer,
            metrics_log.MetricsLog(
                self.folder,
                first_step=state.step,
                end_step=self.end_step,
                every=config.runtime.log_step_count_steps,
            ) as self.log,
        ):
            while state.step < self.end_step and not stop.requested:
                epoch = state.step // self.epoch_steps
                self._train_stage(
                    progressive.stage_at(self.stages, epoch), stop
                )
        if stop.requested:
            print(
                f"Stopped at step {state.step}; the same command goes on",
                flush=True,
            )
            return TERMINATED
        self._finish()
        return 0

    def _train_stage(self, stage, stop):
        """Trains from the present position to the end of a stage."""
        state = self.state
        self.log.stage(stage, stages=len(self.stages))
        stage_end = stage.end_epoch * self.epoch_steps
        batches = iter(self._batches(stage))
        while state.step < stage_end and not stop.requested:
            figures, offsets = self._next(batches, stage)
            epoch = state.step // self.epoch_steps
            state.step += 1
            ends_epoch = state.step % self.epoch_steps == 0
            self._unseen.append((epoch, offsets))
            self.log.step(
                state.step,
                figures,
                images=self.config.train.batch_size,
                epoch=epoch,
                learning_rate=self._learning_rate,
                last=ends_epoch,
            )
            if ends_epoch or len(self._unseen) >= _ACCOUNT_STEPS:
                self._account()
            improved = ends_epoch and self._evaluate(epoch)
            leaves = stop.requested or state.step == stage_end
            if improved or leaves or self._is_due():
                self._save(best=improved)

    def _next(self, batches, stage):
        try:
            return self.train_step(
                batches, self.state.step, stage.dropout_rate
            )
        except tf.errors.InvalidArgumentError as error:
            self._account()  # says which examples, if they are the reason
            raise ValueError(_reason(error)) from None

    def _account(self):
        """Brings position and count of broken examples up to date.

        Not after every step: reading the offsets waits for the device.
        """
        for epoch, offsets in self._unseen:
            self.state.offset = self.broken.observe(epoch, offsets.numpy())
        self._unseen.clear()
        if self.state.step % self.epoch_steps == 0:
            self.state.offset = 0

    def _batches(self, stage):
        """The stage's batches from the present position, distributed."""
        config, state = self.config, self.state
        batches = pipeline.train_batches(
            self.source,
            batch_size=self.replica_batch,
            image_size=stage.image_size,
            style=config.data.preprocessing,
            min_area=config.data.min_area,
            augname=config.data.augname,
            magnitude=stage.randaug_magnitude,
            mixup_alpha=stage.mixup_alpha,
            cutmix_alpha=stage.cutmix_alpha,
            seed=config.train.seed,
            first_epoch=state.step // self.epoch_steps,
            end_epoch=stage.end_epoch,
            first_offset=state.offset,
            steps_per_epoch=self.epoch_steps * self._replicas,
            first_step=state.step % self.epoch_steps * self._replicas,
            max_bad_fraction=config.data.max_bad_fraction,
            normalize_labels=config.train.loss_type == "softmax",
            host_rows=config.train.batch_size,
        )
        batches = batches.map(_loosen)  # one trace serves every image size
        if self._replicas == 1:
            return batches
        return self.strategy.distribute_datasets_from_function(
            lambda _: batches
        )

    @property
    def _replicas(self):
        return self.strategy.num_replicas_in_sync

    def _learning_rate(self):
        # Of the step just done: the optimizer has counted on.
        schedule = self.state.optimizer._learning_rate
        return schedule(self.state.step - 1)

    def _is_due(self):
        runtime = self.config.runtime
        steps = runtime.save_checkpoints_steps
        if steps and self.state.step % steps == 0:
            return True
        return time.monotonic() - self._saved >= runtime.save_checkpoints_secs

    def _save(self, *, best=False):
        self._account()
        state = self.state
        meta = {
            "offset": state.offset,
            "class_names": list(self.source.class_names),
            "best_accuracy": state.best_accuracy,
        }
        self.writer.submit(state.step, state.snapshot(), meta, best=best)
        self._saved = time.monotonic()

    def _evaluate(self, epoch):
        """Evaluates after an epoch if it is time; True for a new best."""
        every = self.config.eval.every_epochs
        if self.evaluator is None or (
            (epoch + 1) % every and epoch + 1 != self.epochs
        ):
            return False
        averages = self.state.averages
        with averages.swapped() if averages else contextlib.nullcontext():
            figures = self.evaluator.run()
        self.log.evaluation(self.state.step, epoch, figures)
        self.log.say(f"epoch {epoch}: {evaluate.describe(figures)}")
        improved = figures["accuracy"] > self.state.best_accuracy
        if improved:
            self.state.best_accuracy = figures["accuracy"]
        return improved

    def _finish(self):
        """Draws the curves and says where everything is."""
        try:
            report.curves(self.folder)
        except ImportError as error:
            print(error, flush=True)
        left_out = self.broken.total
        note = f", {left_out} broken examples left out" if left_out else ""
        print(
            f"Trained {self.epochs} epochs{note}; all in {self.folder}",
            flush=True,
        )


def _reason(error):
    """The sentence in a TensorFlow error that says what happened."""
    lines = [line for line in error.message.splitlines() if line.strip()]
    return lines[0] if lines else str(error)


def _loosen(batch):
    """Hides the image size from the trace, see `train_step`."""
    image = batch["image"]
    shape = tf.shape(image)
    sizes = tf.raw_ops.PlaceholderWithDefault(input=shape[1:3], shape=[2])
    shape = tf.concat([shape[:1], sizes, shape[3:]], 0)
    loose = tf.reshape(image, shape)
    return {**batch, "image": loose}


def train(config, model_dir, *, allow_config_change=False):
    """`--mode=train`: trains to the end, from where an earlier run stopped.

    Args:
        config: A `Config`.
        model_dir: Folder of the run.
        allow_config_change: Go on although the settings have changed.

    Returns:
        The exit code: 0, or 143 after SIGTERM (the state is saved).
    """
    return _Training(
        config,
        model_dir,
        evaluates=False,
        allow_config_change=allow_config_change,
    ).run()


def train_and_evaluate(config, model_dir, *, allow_config_change=False):
    """`--mode=traineval`: `train`, with evaluations between epochs."""
    return _Training(
        config,
        model_dir,
        evaluates=True,
        allow_config_change=allow_config_change,
    ).run()
