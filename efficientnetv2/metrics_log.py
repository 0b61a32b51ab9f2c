"""What a person sees of a run: progress, metrics.jsonl and TensorBoard."""

import json
import os
import pathlib
import sys
import time

import tqdm

FILE = "metrics.jsonl"


def read(path):
    """Reads the rows of a metrics.jsonl; a torn last line is left out.

    Args:
        path: The file.

    Returns:
        A list of dicts.
    """
    rows = []
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _keep_until(path, step):
    """Drops rows after `step`: a resumed run writes them again."""
    if not path.exists():
        return
    rows = [row for row in read(path) if row["step"] <= step]
    temporary = path.with_suffix(".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    os.replace(temporary, path)


class _TensorBoard:
    """Scalars as TensorBoard reads them, without the tensorboard package.

    `tf.summary.scalar` imports that package, which TensorFlow no longer
    brings; the record itself is a tensor with the name of the plug-in.
    """

    def __init__(self, folder):
        import tensorflow as tf

        self._tf = tf
        self._writer = tf.summary.create_file_writer(str(folder))
        self._metadata = tf.compat.v1.SummaryMetadata()
        self._metadata.plugin_data.plugin_name = "scalars"
        self._metadata.data_class = 1  # DATA_CLASS_SCALAR

    def write(self, figures, step):
        with self._writer.as_default():
            for tag, value in figures.items():
                self._tf.summary.write(
                    tag,
                    self._tf.constant(value, self._tf.float32),
                    step=step,
                    metadata=self._metadata,
                )

    def close(self):
        self._writer.close()


class MetricsLog:
    """Collects a run's figures and shows them.

    A progress bar on a terminal, else a plain line every `every` steps.

    Args:
        folder: The run's folder.
        first_step: Steps done already; later rows of the file are dropped.
        end_step: Steps of the whole run.
        every: Steps from one row to the next.
        terminal: Whether to draw a bar; None: if stdout is a terminal.
    """

    def __init__(
        self, folder, *, first_step, end_step, every, terminal=None
    ):
        folder = pathlib.Path(folder)
        self.end_step = end_step
        self.every = every
        _keep_until(folder / FILE, first_step)
        self._file = open(folder / FILE, "a", encoding="utf-8")
        self._board = _TensorBoard(folder / "tensorboard")
        self._terminal = sys.stdout.isatty() if terminal is None else terminal
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
        self._file.close()
        self._board.close()

    def say(self, line):
        """Prints a line above the bar."""
        self._bar.write(line) if self._terminal else print(line, flush=True)

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
        self._restart_clock()

    def _restart_clock(self):
        self._images = 0
        self._since = time.perf_counter()

    def step(self, step, figures, *, images, epoch, learning_rate, last=False):
        """Takes the figures of one step.

        Args:
            step: Global step after it.
            figures: Dict of scalar tensors; read only when a row is due, so
                that an asynchronous device need not be waited for.
            images: Examples in the step.
            epoch: Epoch of the step.
            learning_rate: Function without arguments that gives it.
            last: Whether a row is due now.
        """
        self._pending.append(figures)
        self._images += images
        self._bar.update(1)
        if step % self.every and not last and step != self.end_step:
            return
        count = len(self._pending)
        means = {
            key: sum(float(row[key]) for row in self._pending) / count
            for key in figures
        }
        seconds = max(time.perf_counter() - self._since, 1e-9)
        row = {
            "kind": "train",
            "step": step,
            "epoch": epoch,
            **means,
            "learning_rate": float(learning_rate()),
            "images_per_second": self._images / seconds,
            **self._stage,
        }
        self._pending.clear()
        self._restart_clock()
        self._write(row)
        text = _line(row)
        if self._terminal:
            self._bar.set_postfix_str(text)
        else:
            print(f"step {step}/{self.end_step} {text}", flush=True)

    def evaluation(self, step, epoch, figures):
        """Takes the figures of an evaluation; see `evaluate.Evaluator`."""
        self._write({"kind": "eval", "step": step, "epoch": epoch, **figures})
        self._restart_clock()

    def _write(self, row):
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        numbers = {
            f"{row['kind']}/{key}": value
            for key, value in row.items()
            if isinstance(value, (int, float)) and key != "step"
        }
        self._board.write(numbers, row["step"])


def _line(row):
    return (
        f"loss {row['loss']:.3f} accuracy {100 * row['accuracy']:.1f} % "
        f"lr {row['learning_rate']:.2g} "
        f"{row['images_per_second']:.0f} images/s "
        f"stage {row['stage'] + 1} at {row['image_size']} px"
    )
