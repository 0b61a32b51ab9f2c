"""Measures the training loop: its own work, stages, checkpoints, memory."""

import contextlib
import dataclasses
import gc
import tempfile
import time

import numpy as np

from efficientnetv2 import (
    checkpoint,
    config,
    metrics_log,
    train_data,
    train_setup,
    train_state,
)
from efficientnetv2.benchmark_timing import memory as process_memory
from efficientnetv2.stop_signals import StopSignals
from efficientnetv2.train_loop import Loop

STEPS = 16  # of a stage, and of a timed window
_SAVE_EVERY = 4  # steps; the writing of one is over before the next
_LONG = 1000  # epochs, more than any measurement takes


class _Log(metrics_log.MetricsLog):
    """Writes all that a run writes, says nothing and looks at the clock.

    Attributes:
        ends: When each step had ended, s.
        memory: Of the process where each stage begins, MiB.
    """

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.ends, self.memory = [], []

    def say(self, line):
        pass

    def stage(self, stage, *, stages):
        self.memory.append(process_memory("VmRSS"))
        super().stage(stage, stages=stages)

    def step(self, *args, **settings):
        super().step(*args, **settings)
        self.ends.append(time.perf_counter())


def _recipe(model_name, batch_size, changes):
    """A run on drawn pictures with a row of figures every `STEPS` steps."""
    return config.load(
        model_name,
        "shapes",
        {
            "train.batch_size": batch_size,
            "runtime.log_step_count_steps": STEPS,
            "runtime.strategy": "one",
            **changes,
        },
    )


def _staged_recipe(model_name, batch_size, *, stages, sizes):
    """The recipe of a run whose stages have `STEPS` steps each."""
    changes = {
        "train.split": f"train[:{STEPS * batch_size}]",
        "train.stages": stages,
        "train.epochs": stages,
        "data.ibase": sizes[0],
        "train.isize": sizes[1],
        "runtime.save_checkpoints_steps": _SAVE_EVERY,
    }
    return _recipe(model_name, batch_size, changes)


@contextlib.contextmanager
def _loop(settings):
    """A `Loop` at its start, in a folder that does not stay."""
    with tempfile.TemporaryDirectory() as folder:
        setup = train_setup.prepare(settings, folder)
        state = train_state.build(setup)
        with (
            StopSignals() as stop,
            checkpoint.Writer(setup.checkpoints, keep=1) as writer,
            _Log(
                setup.folder,
                first_step=0,
                end_step=setup.end_step,
                every=settings.runtime.log_step_count_steps,
                terminal=False,
            ) as log,
        ):
            yield Loop(
                setup, state, evaluator=None, writer=writer, log=log, stop=stop
            )


def _input_starts(loop):
    """Seconds to the first batch of each stage but the first, [changes]."""
    seconds = []
    for stage in loop.setup.stages[1:]:
        position = dataclasses.replace(
            loop.state, step=stage.first_epoch * STEPS, offset=0
        )
        start = time.perf_counter()
        next(iter(train_data.batches(loop.setup, position, stage, loop.broken)))
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)


def _copies(state, *, times):
    """Seconds of plain copies of all that a checkpoint holds, [times]."""
    arrays, seconds, kept = state.snapshot(), [], []
    for _ in range(times):
        start = time.perf_counter()
        copies = [np.array(array) for array in arrays.values()]
        seconds.append(time.perf_counter() - start)
        kept.append(copies)  # so that each copy goes to fresh memory
    return np.array(seconds)


@dataclasses.dataclass(frozen=True)
class Changes:
    """What changes of stage and checkpoints cost.

    All but `traces` are float64 arrays of seconds, an element a change of
    stage; `copy` has one a repetition.

    Args:
        traces: How often the step was traced in the whole run.
        step: A step of the new stage.
        change: The stage's first step beyond that, with all that lies between.
        input_start: To the first batch of the stage.
        save: The step that begins with a checkpoint, beyond a plain one.
        writing: The step after that, while the file is written.
        copy: A plain copy in memory of what a checkpoint holds.
    """

    traces: int
    step: np.ndarray
    change: np.ndarray
    input_start: np.ndarray
    save: np.ndarray
    writing: np.ndarray
    copy: np.ndarray


def measure_changes(model_name, *, batch_size, image_size, changes, copies):
    """Trains stages that grow from half the size.

    Args:
        model_name: A model's name.
        batch_size: Examples a step.
        image_size: Of the last stage, pixels.
        changes: Number of changes of stage.
        copies: Repetitions of the plain copy.

    Returns:
        A `Changes`.
    """
    settings = _staged_recipe(
        model_name,
        batch_size,
        stages=changes + 1,
        sizes=(image_size // 2, image_size),
    )
    with _loop(settings) as loop:
        loop.run()
        ends = np.reshape(loop.log.ends, (-1, STEPS))
        traces = loop.step.traces
        input_start = _input_starts(loop)
        copy = _copies(loop.state, times=copies)
    steps = np.diff(ends, axis=1)[1:]  # [changes, STEPS - 1]
    place = np.arange(1, STEPS) % _SAVE_EVERY
    plain = np.median(steps[:, place > 1], axis=1)
    return Changes(
        traces=traces,
        step=plain,
        change=ends[1:, 0] - ends[:-1, -1] - plain,
        input_start=input_start,
        save=np.median(steps[:, place == 0], axis=1) - plain,
        writing=np.median(steps[:, place == 1], axis=1) - plain,
        copy=copy,
    )


def measure_memory(model_name, *, batch_size, image_size, changes):
    """Trains stages of one size.

    Args:
        model_name: A model's name.
        batch_size: Examples a step.
        image_size: Pixels.
        changes: Number of changes of stage.

    Returns:
        The process's memory where each stage begins, MiB, a list.
    """
    settings = _staged_recipe(
        model_name,
        batch_size,
        stages=changes + 1,
        sizes=(image_size, image_size),
    )
    with _loop(settings) as loop:
        loop.run()
        return loop.log.memory


def _pair(ways):
    """Seconds a step of two ways, whose steps are taken in turn.

    So close together that what else the machine does slows both; as A B B A,
    since a step's pictures are replaced while the next one runs.
    """
    seconds = dict.fromkeys(ways, 0.0)
    for number in range(STEPS):
        for name in ways if number % 2 == 0 else reversed(ways):
            start = time.perf_counter()
            ways[name]()
            seconds[name] += time.perf_counter() - start
    return [total / STEPS for total in seconds.values()]


def measure_loop(model_name, *, batch_size, image_size, pairs):
    """Times steps of the loop and bare ones in turn.

    Args:
        model_name: A model's name.
        batch_size: Examples a step.
        image_size: Pixels.
        pairs: Number of pairs, each of `STEPS` steps of both.

    Returns:
        float64 [pairs, 2], seconds of a step of the loop, and of the compiled
        step alone on an input pipeline of the same kind.
    """
    changes = {
        "train.stages": 1,
        "train.epochs": _LONG,
        "train.isize": image_size,
    }
    with _loop(_recipe(model_name, batch_size, changes)) as loop:
        (stage,) = loop.setup.stages
        ours, others = (
            iter(train_data.batches(loop.setup, loop.state, stage, loop.broken))
            for _ in range(2)
        )

        def bare():
            figures, _ = loop.step(others, 0, stage.dropout_rate)
            figures["loss"].numpy()  # waits for the device

        ways = {"loop": lambda: loop.take(ours, stage), "bare": bare}
        _pair(ways)  # traces
        gc.collect()
        gc.disable()  # else it falls on one of them
        found = [_pair(ways) for _ in range(pairs)]
        gc.enable()
    return np.array(found)
