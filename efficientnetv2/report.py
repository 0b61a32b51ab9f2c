"""The report of a run: curves.png, drawn from the rows of metrics.jsonl.

Figures of a row, any of which may be missing: `loss`, `accuracy` (0 to 1),
`learning_rate`, `image_size` (pixels), `stage` and `epoch` (from 0).
"""

import io
import math
import os
import sys

from efficientnetv2 import metrics_file, saved_config, storage

CURVES_NAME = "curves.png"
_MANY_ROWS = 60  # above, a mean over neighbours is drawn over the plain line
_TRAIN_COLOR = "#1f6fb4"
_EVAL_COLOR = "#d1495b"
_STAGE_COLORS = ("#f1f4f8", "#dfe6ef")


def read_rows(model_dir):
    """Reads metrics.jsonl, and eval.jsonl where it is.

    Args:
        model_dir: The run's folder.

    Returns:
        (train rows, eval rows): two lists of dicts in order of `step`.

    Raises:
        ValueError: if there is no such file or no row in it.
    """
    rows = metrics_file.read_run(model_dir)
    if not rows:
        path = os.path.join(model_dir, metrics_file.FILE)
        raise ValueError(f"nothing was trained yet: no rows in {path!r}")
    return tuple(
        [row for row in rows if row["kind"] == kind]
        for kind in ("train", "eval")
    )


def series(rows, figure):
    """The points of one figure.

    Args:
        rows: Rows of `read_rows`.
        figure: Key of the figure.

    Returns:
        (steps, values): two lists, without missing and non-finite values.
    """
    points = [
        (row["step"], row[figure])
        for row in rows
        if isinstance(row.get(figure), (int, float))
        and math.isfinite(row[figure])
    ]
    return [step for step, _ in points], [value for _, value in points]


def stage_spans(rows):
    """Where the stages lie.

    Args:
        rows: Training rows of `read_rows`.

    Returns:
        List of (first step, end step, stage, image size): stages in order,
        without gaps between them.
    """
    spans = []
    begin = 0
    for row in rows:
        stage, size = row.get("stage"), row.get("image_size")
        if stage is None:
            continue
        if not spans or spans[-1][2] != stage:
            spans.append((begin, row["step"], stage, size))
        spans[-1] = (*spans[-1][:1], row["step"], stage, size)
        begin = row["step"]
    return spans


def _mean_of_neighbours(values, reach):
    """Means over `reach` values on both sides, fewer at the ends."""
    windows = (
        values[max(0, i - reach) : i + reach + 1] for i in range(len(values))
    )
    return [sum(window) / len(window) for window in windows]


def _draw_pair(axes, train, evaluation, figure, scale=1.0):
    """Draws a figure of training and evaluation; returns the eval points."""
    steps, values = series(train, figure)
    values = [scale * value for value in values]
    if len(values) > _MANY_ROWS:
        axes.plot(steps, values, color=_TRAIN_COLOR, alpha=0.3, linewidth=0.8)
        values = _mean_of_neighbours(values, len(values) // 40)
    if steps:
        axes.plot(steps, values, color=_TRAIN_COLOR, label="training")
    steps, values = series(evaluation, figure)
    values = [scale * value for value in values]
    if steps:
        axes.plot(
            steps,
            values,
            color=_EVAL_COLOR,
            marker="o",
            markersize=4,
            clip_on=False,  # the last one lies on the edge
            label="evaluation",
        )
    return steps, values


def _shade_stages(panels, spans):
    for begin, end, stage, size in spans:
        for axes in panels:
            axes.axvspan(
                begin, end, color=_STAGE_COLORS[stage % 2], zorder=0, lw=0
            )
        label = f"stage {stage + 1}"
        panels[0].text(
            (begin + end) / 2,
            1.02,
            label if size is None else f"{label}\n{size} px",
            transform=panels[0].get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=9,
        )


def _title(model_dir):
    try:
        settings = saved_config.read(model_dir)
    except (ValueError, OSError):
        settings = None
    if settings is None:
        return os.path.basename(os.path.normpath(model_dir))
    return f"{settings.model.name} on {settings.dataset_cfg}"


def _draw(title, train, evaluation):
    from matplotlib.figure import Figure  # without pyplot: no global state

    figure = Figure(figsize=(9, 9), layout="constrained")
    panels = figure.subplots(
        4, 1, sharex=True, gridspec_kw={"height_ratios": (3, 3, 1.3, 1.3)}
    )
    loss, accuracy, rate, size = panels
    last_step = max(row["step"] for row in (*train, *evaluation))
    figure.suptitle(title, fontsize=13)

    _draw_pair(loss, train, evaluation, "loss")
    loss.set_ylabel("loss")
    steps, values = _draw_pair(accuracy, train, evaluation, "accuracy", 100)
    accuracy.set_ylabel("top-1 accuracy, %")
    if values:
        best = max(values)
        step = steps[values.index(best)]
        to_the_left = step > last_step / 2
        accuracy.annotate(
            f"best {best:.1f} %",
            (step, best),
            xytext=(-8 if to_the_left else 8, -18),
            textcoords="offset points",
            ha="right" if to_the_left else "left",
            color=_EVAL_COLOR,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )
    rate.plot(*series(train, "learning_rate"), color="#4a4a4a")
    rate.set_ylabel("learning rate")
    rate.set_ylim(bottom=0)
    size.plot(
        *series(train, "image_size"), color="#4a4a4a", drawstyle="steps-pre"
    )
    size.set_ylabel("image size, px")
    _, epochs = series(train, "epoch")
    size.set_xlabel(f"step ({max(epochs) + 1} epochs)" if epochs else "step")
    _shade_stages(panels, stage_spans(train))
    size.set_xlim(0, max(last_step, 1))
    for axes in panels:
        axes.grid(color="white", linewidth=1)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (loss, accuracy):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    return figure


def draw(model_dir):
    """Draws loss, accuracy, learning rate and image size of a run.

    Args:
        model_dir: The run's folder, with metrics.jsonl.

    Returns:
        Path of the picture, <model_dir>/curves.png.

    Raises:
        ValueError: if there are no metrics, or matplotlib is not installed.
    """
    model_dir = os.fspath(model_dir)
    train, evaluation = read_rows(model_dir)
    try:
        figure = _draw(_title(model_dir), train, evaluation)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{CURVES_NAME} needs {error.name}: "
            "pip install 'efficientnetv2[report]'"
        ) from None
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    path = storage.join(model_dir, CURVES_NAME)
    storage.write(path, lambda file: file.write(picture.getvalue()))
    print(f"curves: {path}", flush=True)
    return os.fspath(path)


def curves(model_dir):
    """Draws like `draw`; what hinders it is one line and no error.

    For the end of a training run, which a missing plotting library or a full
    disk must not turn into a failure.

    Args:
        model_dir: The run's folder, with metrics.jsonl.

    Returns:
        Path of the picture, or None.
    """
    try:
        return draw(model_dir)
    except (ValueError, OSError) as error:
        print(f"no {CURVES_NAME}: {error}", file=sys.stderr)
        return None
