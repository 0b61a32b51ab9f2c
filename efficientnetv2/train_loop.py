"""The steps of a run, stage by stage, with checkpoints and evaluations."""

import contextlib
import functools
import time

import tensorflow as tf

from efficientnetv2 import (
    evaluate,
    optimizers,
    progressive,
    train_data,
    train_state,
)
from efficientnetv2.train_step import StepSettings, TrainStep
from efficientnetv2.workers import reason

_ACCOUNT_CALLS = 50  # calls between looks at what was broken or skipped


def build_step(setup, state):
    """Makes the `TrainStep` of a run from its settings and state."""
    config = setup.config
    in_optimizer = config.train.optimizer in optimizers.DECOUPLED
    return TrainStep(
        state.model,
        state.optimizer,
        state.averages,
        strategy=setup.strategy,
        variables=state.variables,
        settings=StepSettings(
            global_batch=config.train.batch_size,
            num_classes=config.data.num_classes,
            style=config.data.preprocessing,
            loss_type=config.train.loss_type,
            label_smoothing=config.train.label_smoothing,
            weight_decay=0.0 if in_optimizer else config.train.weight_decay,
            weight_decay_exclude=config.train.weight_decay_exclude,
            seed=config.train.seed,
            several=config.runtime.iterations_per_loop > 1,
            jit_compile=setup.jit_compile,
        ),
    )


class Loop:
    """The steps of a run, from its state's position to its end.

    Args:
        setup: A `train_setup.Setup`.
        state: A `train_state.State`; it moves on.
        evaluator: An `evaluate.Evaluator` for between the epochs, or None.
        writer: A `checkpoint.Writer`; None on all workers but the first.
        log: A `metrics_log.MetricsLog`.
        stop: A `stop_signals.StopSignals`.
    """

    def __init__(self, setup, state, *, evaluator, writer, log, stop):
        self.setup = setup
        self.state = state
        self.writer = writer
        self.log = log
        self.stop = stop
        self.step = build_step(setup, state)
        self.evaluator = evaluator
        self.broken = train_data.watch(setup, state)
        self._unseen = []  # (epoch, bad, offsets) not accounted for yet
        self._requests = None  # the last call's, where there are workers
        self._stops = self._is_late = False
        self._saved = time.monotonic()
        self._saved_step = state.step

    def run(self):
        """Trains until the end or until a stop is requested.

        Returns:
            Whether all is done.

        Raises:
            ValueError: for data or losses that make no sense to go on with.
        """
        setup, state = self.setup, self.state
        evaluated_step = state.evaluated_step
        improved = self._evaluate()  # what an earlier stop has cut short
        if state.evaluated_step != evaluated_step:
            self._save(best=improved)
        while state.step < setup.end_step and not self._stops:
            epoch = state.step // setup.epoch_steps
            self._train_stage(progressive.stage_at(setup.stages, epoch))
        if state.step != self._saved_step:
            self._save()
        return state.step == setup.end_step and not self._must_evaluate()

    def _train_stage(self, stage):
        """Trains from the present position to the end of a stage."""
        setup, state = self.setup, self.state
        stage_end = stage.end_epoch * setup.epoch_steps
        self.log.stage(stage, stages=len(setup.stages))
        batches = iter(
            train_data.batches(
                setup, state, stage, self.broken, show=self._show(stage)
            )
        )
        while state.step < stage_end and not self._stops:
            self.take(batches, stage)
            improved = self._evaluate()
            if improved or state.step == stage_end or self._is_due():
                self._save(best=improved)

    def _show(self, stage):
        """What shows pictures of a stage; None where nobody looks."""
        if not self.log.wants_images:
            return None
        return functools.partial(
            self.log.images, f"stage {stage.index + 1}", step=self.state.step
        )

    def take(self, batches, stage):
        """Takes the steps of one call and notes what they say.

        Args:
            batches: Iterator of `train_data.batches`.
            stage: The `progressive.Stage` they are of.
        """
        setup, state = self.setup, self.state
        epoch = state.step // setup.epoch_steps
        count = self._count()
        figures, offsets = self._call(batches, stage, count)
        state.step += count
        ends_epoch = state.step % setup.epoch_steps == 0
        self._unseen.append((epoch, figures["bad"], offsets))
        requests = figures.pop("requests")
        self.log.step(
            state.step,
            figures,
            steps=count,
            images=count * setup.config.train.batch_size,
            epoch=epoch,
            learning_rate=self._learning_rate,
            last=ends_epoch,
        )
        if ends_epoch or len(self._unseen) >= _ACCOUNT_CALLS:
            self._account()
        self._agree(requests)  # last, so that a late signal still counts

    def _count(self):
        """Steps of the next call: up to where something is to be done."""
        runtime, step = self.setup.config.runtime, self.state.step
        borders = [self.setup.epoch_steps, runtime.log_step_count_steps]
        if runtime.save_checkpoints_steps:
            borders.append(runtime.save_checkpoints_steps)
        ways = [border - step % border for border in borders]
        return min(runtime.iterations_per_loop, *ways)

    def _call(self, batches, stage, count):
        try:
            return self.step(
                batches,
                self.state.step,
                stage.dropout_rate,
                count=count,
                requests=self._wishes(),
            )
        except tf.errors.InvalidArgumentError as error:
            self._account()  # says which examples, if they are the reason
            text = reason(error)
            if "max_bad_fraction" in text:
                text += self.broken.first()
            raise ValueError(text) from None
        except tf.errors.ResourceExhaustedError as error:
            replicas = self.setup.strategy.num_replicas_in_sync
            batch_size = self.setup.config.train.batch_size
            raise ValueError(
                f"out of memory in stage {stage.index + 1} with "
                f"{batch_size // replicas} images of {stage.image_size} px a "
                f"device: lower train.batch_size ({batch_size}) or train.isize "
                f"({self.setup.config.train.isize}), set "
                "runtime.mixed_precision=bfloat16, or take more devices. "
                f"TensorFlow says: {reason(error)}"
            ) from None

    def _wishes(self):
        """(stop, save): what this worker would like to do after a step."""
        runtime = self.setup.config.runtime
        waited = time.monotonic() - self._saved
        is_late = waited >= runtime.save_checkpoints_secs
        return (
            float(self.stop.received is not None),
            float(is_late and self.setup.workers.is_first),
        )

    def _agree(self, requests):
        """Decides on stopping and saving, alike on all workers."""
        if self.setup.workers.count == 1:
            stop, save = self._wishes()
        else:
            # The call's before: this one's need not be waited for.
            before, self._requests = self._requests, requests
            if before is None:
                return
            stop, save = before.numpy()[-1]
        self._stops, self._is_late = stop > 0, save > 0

    def _account(self):
        """Brings position, broken examples and skipped steps up to date.

        Not after every step: reading them waits for the device.
        """
        state = self.state
        for epoch, *columns in self._unseen:
            rows = (column.numpy() for column in columns)
            for is_bad, offsets in zip(*rows, strict=True):
                state.offset = self.broken.observe(epoch, offsets)
                self._count_bad(bool(is_bad))
        self._unseen.clear()
        if state.step % self.setup.epoch_steps == 0:
            state.offset = 0

    def _count_bad(self, is_bad):
        state = self.state
        state.bad_steps = state.bad_steps + 1 if is_bad else 0
        state.skipped_steps += is_bad
        limit = self.setup.config.train.max_bad_steps
        if state.bad_steps >= limit:
            kept = "nothing was saved yet"
            if self._saved_step:
                kept = f"the checkpoint of step {self._saved_step} is kept"
            raise ValueError(
                f"the loss was not finite in {limit} steps in a row "
                f"(train.max_bad_steps), before step {state.step}; {kept}. A "
                "lower train.lr_base, a longer train.lr_warmup_epoch or "
                "train.gclip may help"
            )

    def _learning_rate(self):
        # Of the step just done: the optimizer has counted on.
        return self.state.optimizer._learning_rate(self.state.step - 1)

    def _is_due(self):
        steps = self.setup.config.runtime.save_checkpoints_steps
        return self._is_late or bool(steps and self.state.step % steps == 0)

    def _save(self, *, best=False):
        setup, state = self.setup, self.state
        self._account()
        offsets = setup.workers.share(state.offset)[:, 0].tolist()
        if self.writer is not None:
            self.writer.submit(
                state.step,
                state.snapshot(),
                train_state.meta(setup, state, offsets),
                best=best,
            )
        self._saved = time.monotonic()
        self._saved_step = state.step
        self._is_late = False
        self._requests = None  # they were made before this

    def _must_evaluate(self):
        """Whether an epoch is over whose evaluation is due."""
        step, epoch_steps = self.state.step, self.setup.epoch_steps
        epochs, rest = divmod(step, epoch_steps)
        if self.evaluator is None or not epochs or rest:
            return False
        due = epochs % self.setup.config.eval.every_epochs == 0
        return self.state.evaluated_step != step and (
            due or epochs == self.setup.epochs
        )

    def _evaluate(self):
        """Evaluates if it is time; True for a new best."""
        state = self.state
        if not self._must_evaluate():
            return False
        averages = state.averages
        with averages.swapped() if averages else contextlib.nullcontext():
            figures = self.evaluator.run(stop=self._stops_now)
        if figures is None:
            return False
        state.evaluated_step = state.step
        epoch = state.step // self.setup.epoch_steps - 1
        self.log.evaluation(state.step, epoch, figures)
        self.log.say(f"epoch {epoch}: {evaluate.describe(figures)}")
        improved = figures["accuracy"] > state.best_accuracy
        if improved:
            state.best_accuracy = figures["accuracy"]
        return improved

    def _stops_now(self):
        """Whether to break off an evaluation: several workers cannot."""
        if self.setup.workers.count == 1 and self.stop.received is not None:
            self._stops = True
        return self._stops
