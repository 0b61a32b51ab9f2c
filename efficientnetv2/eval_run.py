"""`--mode=eval`: once, or each new checkpoint until the training has ended."""

import contextlib
import dataclasses
import math
import time

from efficientnetv2 import (
    checkpoint,
    distribute,
    event_file,
    metrics_file,
    metrics_log,
    storage,
)
from efficientnetv2 import model_dir as model_dir_lib
from efficientnetv2.data import sources
from efficientnetv2.evaluate import Evaluator, describe
from efficientnetv2.workers import Workers

_PAUSE = 5.0  # seconds between looks for a new checkpoint, at most


def _complete(config, source):
    """The config with its number of classes."""
    classes = config.data.num_classes or source.num_classes
    data = dataclasses.replace(config.data, num_classes=classes)
    return dataclasses.replace(config, data=data)


class _Records:
    """Where a follower's figures go: eval.jsonl, TensorBoard, the best one."""

    def __init__(self, folder):
        self._folder = folder
        path = storage.join(folder, metrics_file.EVALUATIONS)
        # What a stop has torn must not spoil the row behind it.
        metrics_file.drop_after(path, math.inf)
        rows = metrics_file.read(path)
        self.last = rows[-1] if rows else {"step": -1}
        self._best = max((row["accuracy"] for row in rows), default=0.0)
        self._rows = metrics_file.RowFile(path)
        self._board = event_file.EventFile(
            storage.join(folder, f"{metrics_log.TENSORBOARD}/eval"),
            first_step=self.step,
        )

    def close(self):
        self._rows.close()
        self._board.close()

    @property
    def step(self):
        """Step of the last one; -1 for none."""
        return self.last["step"]

    def add(self, figures, arrays, meta):
        place = {key: meta[key] for key in ("step", "epoch")}
        self.last = {"kind": "eval", **place, **figures}
        self._rows.write(self.last)
        self._board.scalars(
            {f"eval/{key}": value for key, value in figures.items()}, self.step
        )
        if figures["accuracy"] > self._best:
            self._best = figures["accuracy"]
            checkpoints = storage.join(self._folder, model_dir_lib.CHECKPOINTS)
            checkpoint.save_best(checkpoints, arrays, meta)


def _newer(folder, step, timeout):
    """Waits for a checkpoint behind `step`; (arrays, meta) of the newest.

    Raises:
        TimeoutError: if none comes in `timeout` seconds.
    """
    end = time.monotonic() + timeout
    while True:
        steps = [s for s, _ in checkpoint.saved(folder)]
        if steps and steps[-1] > step:
            found = checkpoint.latest(folder)
            if found and found[1]["step"] > step:
                return found[:2]
        if time.monotonic() >= end:
            raise TimeoutError(
                f"no new checkpoint in {str(folder)!r} for {timeout:g} "
                f"seconds; the newest is of step {steps[-1] if steps else 0}"
            )
        time.sleep(min(_PAUSE, timeout / 10))


def _follow(evaluator, folder, timeout):
    """Evaluates each new checkpoint; returns the last one's figures."""
    checkpoints = storage.join(folder, model_dir_lib.CHECKPOINTS)
    _, meta = _newer(checkpoints, -1, timeout)
    with contextlib.closing(_Records(folder)) as records:
        if records.step == meta["end_step"]:
            print(f"evaluated already: {describe(records.last)}", flush=True)
        while records.step != meta["end_step"]:
            arrays, meta = _newer(checkpoints, records.step, timeout)
            checkpoint.restore_for_inference(arrays, evaluator.model)
            figures = evaluator.run()
            records.add(figures, arrays, meta)
            print(
                f"step {meta['step']} of {meta['end_step']}: "
                f"{describe(figures)}",
                flush=True,
            )
        return records.last


def evaluate_run(config, model_dir, *, weights=None, follow=0.0):
    """`--mode=eval`: evaluates a run's newest checkpoint, or weights.

    Args:
        config: The `Config` of the command: the run's own, with what the
            flags change of it.
        model_dir: Folder of a run.
        weights: A weights file or a published name instead of the run's.
        follow: Seconds to wait for a new checkpoint: each is evaluated, until
            the training has come to its end. 0: the newest one alone.

    Returns:
        The figures, see `Evaluator.run`; they are printed too.

    Raises:
        TimeoutError: if no new checkpoint has come in time.
    """
    strategy = distribute.strategy_of(config.runtime)  # before any operation
    source = sources.open_source(config.data, config.eval.split)
    config = _complete(config, source)
    folder = storage.place(model_dir)
    if follow:
        checkpoints = storage.join(folder, model_dir_lib.CHECKPOINTS)
        _newer(checkpoints, -1, follow)
    with strategy.scope():
        if weights:
            trained = model_dir_lib.from_weights(
                config, weights, class_names=source.class_names
            )
        else:
            trained = model_dir_lib.load(folder, config=config)
    what = f"the run {folder}" if follow else trained.description
    print(
        f"{what}, on {source.name}: {source.num_examples} examples of "
        f"{config.eval.isize} px",
        flush=True,
    )
    evaluator = Evaluator(
        trained.model,
        config,
        source,
        strategy=strategy,
        workers=Workers(strategy),
        style=trained.style,
    )
    if follow:
        return _follow(evaluator, folder, follow)
    figures = evaluator.run()
    print(describe(figures), flush=True)
    return figures
