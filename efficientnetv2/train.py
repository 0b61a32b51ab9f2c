"""Training: the loop over stages, with checkpoints, evaluation and resume."""

import contextlib
import signal
import time

import tensorflow as tf

from efficientnetv2 import (
    checkpoint,
    evaluate,
    metrics_log,
    progressive,
    report,
    train_data,
    train_setup,
)
from efficientnetv2.data import sources
from efficientnetv2.train_step import StepSettings, TrainStep

TERMINATED = 143  # exit code after SIGTERM: 128 + 15
_ACCOUNT_STEPS = 50  # steps between looks at what was broken


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


def _step(setup, state):
    config = setup.config
    return TrainStep(
        state.model,
        state.optimizer,
        state.averages,
        strategy=setup.strategy,
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


def _evaluator(setup, state):
    config = setup.config
    return evaluate.Evaluator(
        state.model,
        config,
        sources.open_source(config.data, config.eval.split),
        strategy=setup.strategy,
    )


def _reason(error):
    """The sentence in a TensorFlow error that says what happened."""
    lines = [line for line in error.message.splitlines() if line.strip()]
    return lines[0] if lines else str(error)


class _Loop:
    """The steps of a run, from its state's position to its end."""

    def __init__(self, setup, state, *, evaluates, writer, log, stop):
        self.setup = setup
        self.state = state
        self.writer = writer
        self.log = log
        self.stop = stop
        self.step = _step(setup, state)
        self.evaluator = _evaluator(setup, state) if evaluates else None
        self.broken = train_data.watch(setup, state)
        self._unseen = []  # (epoch, offsets) not accounted for yet
        self._saved = time.monotonic()
        self._saved_step = state.step

    def run(self):
        """Trains until the end or until a stop is requested."""
        setup, state = self.setup, self.state
        while state.step < setup.end_step and not self.stop.requested:
            epoch = state.step // setup.epoch_steps
            self._train_stage(progressive.stage_at(setup.stages, epoch))
        if state.step != self._saved_step:
            self._save()

    def _train_stage(self, stage):
        """Trains from the present position to the end of a stage."""
        setup, state = self.setup, self.state
        self.log.stage(stage, stages=len(setup.stages))
        stage_end = stage.end_epoch * setup.epoch_steps
        batches = iter(train_data.batches(setup, state, stage))
        while state.step < stage_end and not self.stop.requested:
            figures, offsets = self._next(batches, stage)
            epoch = state.step // setup.epoch_steps
            state.step += 1
            ends_epoch = state.step % setup.epoch_steps == 0
            self._unseen.append((epoch, offsets))
            self.log.step(
                state.step,
                figures,
                images=setup.config.train.batch_size,
                epoch=epoch,
                learning_rate=self._learning_rate,
                last=ends_epoch,
            )
            if ends_epoch or len(self._unseen) >= _ACCOUNT_STEPS:
                self._account()
            improved = ends_epoch and self._evaluate(epoch)
            if improved or state.step == stage_end or self._is_due():
                self._save(best=improved)

    def _next(self, batches, stage):
        try:
            return self.step(batches, self.state.step, stage.dropout_rate)
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
        if self.state.step % self.setup.epoch_steps == 0:
            self.state.offset = 0

    def _learning_rate(self):
        # Of the step just done: the optimizer has counted on.
        return self.state.optimizer._learning_rate(self.state.step - 1)

    def _is_due(self):
        runtime = self.setup.config.runtime
        steps = runtime.save_checkpoints_steps
        if steps and self.state.step % steps == 0:
            return True
        return time.monotonic() - self._saved >= runtime.save_checkpoints_secs

    def _save(self, *, best=False):
        self._account()
        self.writer.submit(
            self.state.step,
            self.state.snapshot(),
            train_setup.meta(self.setup, self.state),
            best=best,
        )
        self._saved = time.monotonic()
        self._saved_step = self.state.step

    def _evaluate(self, epoch):
        """Evaluates after an epoch if it is time; True for a new best."""
        every = self.setup.config.eval.every_epochs
        last = epoch + 1 == self.setup.epochs
        if self.evaluator is None or ((epoch + 1) % every and not last):
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


def _finish(setup, left_out):
    """Draws the curves and says where everything is."""
    try:
        report.curves(setup.folder)
    except ImportError as error:
        print(error, flush=True)
    note = f", {left_out} broken examples left out" if left_out else ""
    print(
        f"Trained {setup.epochs} epochs{note}; all in {setup.folder}",
        flush=True,
    )


def _train(config, model_dir, *, evaluates, allow_config_change):
    setup = train_setup.prepare(
        config, model_dir, allow_config_change=allow_config_change
    )
    found = checkpoint.latest(setup.checkpoints)
    if found and found[1]["step"] >= setup.end_step:
        print(
            f"This run is finished ({setup.epochs} epochs, {setup.end_step} "
            f"steps); all of it is in {setup.folder}",
            flush=True,
        )
        return 0
    config = setup.config
    state = train_setup.build_state(
        setup, pretrained=None if found else config.train.ft_init_ckpt
    )
    if found:
        arrays, meta, path = found
        train_setup.restore(state, arrays, meta)
        print(f"Going on from step {state.step} ({path})", flush=True)
    with (
        _Stop() as stop,
        checkpoint.Writer(
            setup.checkpoints, keep=config.runtime.keep_checkpoint_max
        ) as writer,
        metrics_log.MetricsLog(
            setup.folder,
            first_step=state.step,
            end_step=setup.end_step,
            every=config.runtime.log_step_count_steps,
        ) as log,
    ):
        loop = _Loop(
            setup, state, evaluates=evaluates, writer=writer, log=log, stop=stop
        )
        loop.run()
    if state.step < setup.end_step:
        print(
            f"Stopped at step {state.step}; the same command goes on",
            flush=True,
        )
        return TERMINATED
    _finish(setup, loop.broken.total)
    return 0


def train(config, model_dir, *, allow_config_change=False):
    """`--mode=train`: trains to the end, from where an earlier run stopped.

    Args:
        config: A `Config`.
        model_dir: Folder of the run.
        allow_config_change: Go on although the settings have changed.

    Returns:
        The exit code: 0, or 143 after SIGTERM (the state is saved).
    """
    return _train(
        config,
        model_dir,
        evaluates=False,
        allow_config_change=allow_config_change,
    )


def train_and_evaluate(config, model_dir, *, allow_config_change=False):
    """`--mode=traineval`: `train`, with evaluations between epochs."""
    return _train(
        config,
        model_dir,
        evaluates=True,
        allow_config_change=allow_config_change,
    )
