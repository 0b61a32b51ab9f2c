"""Table and curves of several ways to train, from the runs' figures."""

import dataclasses
import io
import pathlib
import statistics

from efficientnetv2 import config, metrics_file, storage

TABLE, CURVES = "progressive.md", "progressive.png"
_COLORS = ("#d1495b", "#e0a030", "#1f6fb4")


@dataclasses.dataclass(frozen=True)
class Run:
    """The figures of a finished run.

    Args:
        minutes: Training time, without evaluations, minutes.
        points: ((minutes, accuracy), ...) of its evaluations, in [0, 1].
    """

    minutes: float
    points: tuple[tuple[float, float], ...]

    @property
    def accuracy(self):
        """Of the last evaluation, in [0, 1]."""
        return self.points[-1][1]


def read_run(folder):
    """Reads a run's figures.

    Args:
        folder: The run's folder.

    Returns:
        A `Run`.

    Raises:
        ValueError: if there is no evaluation.
    """
    seconds, points = 0.0, []
    for row in metrics_file.read_run(folder):
        if row["kind"] == "train":
            seconds += row["seconds"]
        else:
            points.append((seconds / 60, row["accuracy"]))
    if not points:
        raise ValueError(f"no evaluation in {str(folder)!r}")
    return Run(seconds / 60, tuple(points))


def _spread(values, digits):
    """'81.2' of one value, '81.2 (80.9 to 81.4)' of several."""
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _ratios(runs, reference):
    """Time of each run by that of the reference's run with its seed."""
    return [
        run.minutes / other.minutes
        for run, other in zip(runs, reference, strict=True)
    ]


def table(found):
    """The comparison in Markdown.

    Args:
        found: Dict from the name of a way to train to its `Run`s, one a seed,
            in the same order; the first way is the reference.

    Returns:
        Lines of text.
    """
    reference = next(iter(found.values()))
    lines = [
        "| way to train | runs | minutes | time by the first | top-1, % |",
        "|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        cells = (
            name,
            str(len(runs)),
            _spread([run.minutes for run in runs], 1),
            _spread(_ratios(runs, reference), 2),
            _spread([100 * run.accuracy for run in runs], 1),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def draw(found):
    """Accuracy over training time, a line a run.

    Args:
        found: As for `table`.

    Returns:
        A PNG, bytes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for number, (name, runs) in enumerate(found.items()):
        for turn, run in enumerate(runs):
            minutes, accuracies = zip(*run.points, strict=True)
            axes.plot(
                minutes,
                [100 * accuracy for accuracy in accuracies],
                color=_COLORS[number % len(_COLORS)],
                marker="o",
                markersize=3,
                label=name if turn == 0 else None,
            )
    axes.set_xlabel("training time, minutes")
    axes.set_ylabel("top-1 accuracy, %")
    axes.grid(color="#e4e8ee")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def write(output, folders, *, command):
    """Writes table and curves.

    Args:
        output: Folder for both.
        folders: Dict from the name of a way to train to the folders of its
            runs, one a seed, in the same order.
        command: What repeats the experiment.
    """
    found = {
        name: [read_run(folder) for folder in group]
        for name, group in folders.items()
    }
    settings = config.read(next(iter(folders.values()))[0] / "config.yaml")
    lines = [
        f"{settings.model.name} on {settings.dataset_cfg}, "
        f"{settings.train.epochs} epochs, {settings.train.isize} px in the "
        "end; training time without evaluations, accuracy at the end.",
        "",
        *table(found),
        "",
        f"![accuracy over training time]({CURVES})",
        "",
        f"    {command}",
        "",
    ]
    output = pathlib.Path(output)
    text = "\n".join(lines)
    storage.write(output / TABLE, lambda file: file.write(text.encode()))
    print(text)
    try:
        picture = draw(found)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{CURVES} needs {error.name}: pip install 'efficientnetv2[report]'"
        ) from None
    storage.write(output / CURVES, lambda file: file.write(picture))
    print(f"all in {output}: {TABLE}, {CURVES} and the runs")
