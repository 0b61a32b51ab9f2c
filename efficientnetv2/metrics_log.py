"""What a person sees of a run: progress, metrics.jsonl and TensorBoard."""

import sys
import time

import numpy as np
import tqdm

from efficientnetv2 import event_file, metrics_file, storage

TENSORBOARD = "tensorboard"


class MetricsLog:
    """Collects a run's figures and shows them.

    A progress bar on a terminal, else a plain line every `every` steps.

    Args:
        folder: The run's folder, or None: nothing is written or shown, as on
            all workers but the first.
        first_step: Steps done already; later rows of the file are dropped.
        end_step: Steps of the whole run.
        every: Steps from one row to the next.
        terminal: Whether to draw a bar; None: if stdout is a terminal.
    """

    def __init__(self, folder, *, first_step, end_step, every, terminal=None):
        self.end_step = end_step
        self.every = every
        self._silent = folder is None
        self._terminal = not self._silent and (
            sys.stdout.isatty() if terminal is None else terminal
        )
        self._file: metrics_file.RowFile | None = None
        self._board: event_file.EventFile | None = None
        if folder is not None:
            storage.make_folder(folder)
            path = storage.join(folder, metrics_file.FILE)
            metrics_file.drop_after(path, first_step)
            self._file = metrics_file.RowFile(path)
            self._board = event_file.EventFile(
                storage.join(folder, TENSORBOARD), first_step=first_step
            )
        self._bar = tqdm.tqdm(
            initial=first_step,
            total=end_step,
            unit="step",
            file=sys.stdout,
            dynamic_ncols=True,
            disable=not self._terminal,
        )
        self._pending = []
        self._stage = {}
        self._images = 0
        self._since = time.perf_counter()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()
        if self._file and self._board:
            self._file.close()
            self._board.close()

    @property
    def wants_images(self):
        """Whether `images` shows them to anybody."""
        return not self._silent

    def say(self, line):
        """Prints a line, above the bar if there is one."""
        if self._terminal:
            self._bar.write(line, file=sys.stdout)
        elif not self._silent:
            print(line, flush=True)

    def settings(self, values, step):
        """Shows the settings of a run in TensorBoard, as a table.

        Args:
            values: Dict from key to value.
            step: Global step.
        """
        if self._board:
            rows = [f"| {key} | {value} |" for key, value in values.items()]
            table = "\n".join(["| key | value |", "|---|---|", *rows])
            self._board.text("settings", table, step)

    def images(self, name, images, step):
        """Shows pictures in TensorBoard.

        Args:
            name: What they are.
            images: uint8 [count, height, width, 3].
            step: Global step.
        """
        if self._board:
            self._board.images(name, images, step)

    def stage(self, stage, *, stages):
        """Announces a stage of `progressive`, one of `stages`."""
        self._stage = {"stage": stage.index, "image_size": stage.image_size}
        self.say(
            f"stage {stage.index + 1}/{stages}: epochs {stage.first_epoch} to "
            f"{stage.end_epoch - 1}, {stage.image_size} px, "
            f"RandAugment {stage.randaug_magnitude:g}, "
            f"mixup {stage.mixup_alpha:g}, CutMix {stage.cutmix_alpha:g}, "
            f"dropout {stage.dropout_rate:g}"
        )
        self.restart_clock()

    def restart_clock(self):
        """Leaves what was done since the last row out of its speed."""
        self._images = 0
        self._since = time.perf_counter()

    def step(
        self,
        step,
        figures,
        *,
        images,
        epoch,
        learning_rate,
        steps=1,
        last=False,
    ):
        """Takes the figures of one step, or of some that were one call.

        Args:
            step: Global step after it.
            figures: Dict of tensors, scalars or [steps]; read only when a row
                is due, so that an asynchronous device need not be waited for.
                `bad` is 1 for a step that was skipped.
            images: Examples in all of them.
            epoch: Epoch of the step.
            learning_rate: Function without arguments that gives it.
            steps: How many; no border of `every` lies between them.
            last: Whether a row is due now.
        """
        self._pending.append(figures)
        self._images += images
        self._bar.update(steps)
        if step % self.every and not last and step != self.end_step:
            return
        means, skipped = _summary(self._pending)  # waits for the device
        seconds = max(time.perf_counter() - self._since, 1e-9)
        row = {
            "kind": "train",
            "step": step,
            "epoch": epoch,
            **means,
            "learning_rate": float(learning_rate()),
            "images_per_second": self._images / seconds,
            "seconds": seconds,
            **self._stage,
        }
        if skipped:
            row["skipped_steps"] = skipped
        self._pending.clear()
        self.restart_clock()
        self._write(row)
        if self._terminal:
            self._bar.set_postfix_str(_line(row))
        else:
            self.say(f"step {step}/{self.end_step} {_line(row)}")

    def evaluation(self, step, epoch, figures):
        """Takes the figures of an evaluation; see `evaluate.Evaluator`."""
        self._write({"kind": "eval", "step": step, "epoch": epoch, **figures})
        self.restart_clock()

    def _write(self, row):
        if not (self._file and self._board):
            return
        self._file.write(row)
        numbers = {
            f"{row['kind']}/{key}": value
            for key, value in row.items()
            if isinstance(value, (int, float)) and key != "step"
        }
        self._board.scalars(numbers, row["step"])


def _summary(rows):
    """(means of the figures of several steps, number of skipped steps)."""
    columns = {
        key: np.concatenate([np.ravel(np.asarray(row[key])) for row in rows])
        for key in rows[0]
    }
    skipped = int(np.sum(columns.pop("bad", 0)))
    return {key: float(np.mean(c)) for key, c in columns.items()}, skipped


def _line(row):
    parts = [
        f"loss {row['loss']:.3f}",
        f"accuracy {100 * row['accuracy']:.1f} %",
    ]
    parts.append(f"lr {row['learning_rate']:.2g}")
    parts.append(f"{row['images_per_second']:.0f} images/s")
    if "skipped_steps" in row:
        parts.append(f"({row['skipped_steps']} not finite, skipped)")
    if "stage" in row:
        parts.append(f"stage {row['stage'] + 1} at {row['image_size']} px")
    return " ".join(parts)
