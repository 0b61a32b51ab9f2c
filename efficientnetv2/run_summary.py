"""What a finished run tells: time, speed, best accuracy, where things are."""

import datetime

from efficientnetv2 import checkpoint, metrics_file, storage

_COLUMNS = "  stage     size     epochs      time   images/s"


def _clock(seconds):
    """0:01:05 for 65 seconds."""
    return str(datetime.timedelta(seconds=round(seconds)))


def _stage_lines(rows, stages):
    """A line a stage: its time and speed, without evaluations."""
    yield _COLUMNS
    for stage in stages:
        own = [
            row
            for row in rows
            if row["kind"] == "train" and row.get("stage") == stage.index
        ]
        seconds = sum(row["seconds"] for row in own)
        images = sum(row["seconds"] * row["images_per_second"] for row in own)
        if seconds:
            epochs = f"{stage.first_epoch}-{stage.end_epoch - 1}"
            yield (
                f"{stage.index + 1:7d} {stage.image_size:5d} px {epochs:>10} "
                f"{_clock(seconds):>9} {images / seconds:10.0f}"
            )


def _accuracy_line(rows):
    found = [row for row in rows if row["kind"] == "eval"]
    if not found:
        return "not evaluated yet: --mode=eval does"
    best = max(found, key=lambda row: row["accuracy"])
    return (
        f"best top-1 {100 * best['accuracy']:.2f} % after epoch "
        f"{best['epoch']}, at the end {100 * found[-1]['accuracy']:.2f} %"
    )


def describe(folder, stages, *, broken=0, skipped=0):
    """Sums up a run from its metrics.jsonl.

    Args:
        folder: The run's folder.
        stages: The stages of `progressive`.
        broken: Examples left out since this process began.
        skipped: Steps skipped in the whole run.

    Returns:
        Text of several lines.
    """
    rows = metrics_file.read_run(folder)
    epochs = stages[-1].end_epoch
    seconds = sum(metrics_file.seconds_by_stage(rows).values())
    lines = [
        f"Trained {epochs} epoch{'s' * (epochs != 1)} in {_clock(seconds)}"
    ]
    if broken:
        lines[0] += f", {broken} broken examples left out"
    if skipped:
        lines[0] += f", {skipped} steps with a loss that is not finite skipped"
    lines += [*_stage_lines(rows, stages), _accuracy_line(rows)]
    names = storage.names(storage.join(folder, "checkpoints"))
    best = f" (the best: {checkpoint.BEST})" if checkpoint.BEST in names else ""
    lines += [
        f"all in {folder}: checkpoints/{best}, metrics.jsonl, curves.png, "
        "tensorboard/",
    ]
    return "\n".join(lines)
