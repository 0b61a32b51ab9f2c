"""What a benchmark found, as figures, as a table and as a picture."""

import dataclasses

import numpy as np

PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
_OURS_COLOR = "#1f6fb4"
_KERAS_COLOR = "#b8c4d0"
# Key -> heading of the table, of the picture, digits after the point.
_FIGURES = {
    "inference": ("inference", "inference, images/s", 1),
    "training": ("training", "training, images/s", 1),
    "step": ("trainer's step", "trainer's whole step, images/s", 1),
    "first_step": ("first step", "time to the first step, s", 1),
    "memory": ("memory", "peak memory of training, MiB", 0),
}
_WIDTHS = (20, *(17,) * 5)


def quartiles(values):
    """First quartile, median and third quartile; a list of floats."""
    return np.percentile(values, (25, 50, 75)).tolist()


@dataclasses.dataclass(frozen=True)
class Side:
    """One implementation of a model.

    Args:
        batch_size: Pictures a call.
        parameters: Their number, moving statistics too.
        multiply_adds: Of a picture of the evaluation size.
        inference_seconds: Of each forward pass, a list.
        training_seconds: Of each training step, a list.
        step_seconds: Of each whole step of the trainer, with L2 and moving
            averages, a list; of keras.applications its training step's.
        first_step_seconds: From the start of building the model to the end
            of the first step, of each process, a list.
        peak_memory_mib: Of training, above the libraries', a list.
    """

    batch_size: int
    parameters: int
    multiply_adds: int
    inference_seconds: list
    training_seconds: list
    step_seconds: list
    first_step_seconds: list
    peak_memory_mib: list

    def values(self):
        """Each figure's values, in the order that they were measured."""
        batch = self.batch_size
        return {
            "inference": [batch / s for s in self.inference_seconds],
            "training": [batch / s for s in self.training_seconds],
            "step": [batch / s for s in self.step_seconds],
            "first_step": self.first_step_seconds,
            "memory": self.peak_memory_mib,
        }


@dataclasses.dataclass(frozen=True)
class Row:
    """A model.

    Args:
        model: Its name.
        evaluation_size: Pixels, of the multiply-adds.
        ours: A `Side`.
        keras: The twin's `Side`, or None.
    """

    model: str
    evaluation_size: int
    ours: Side
    keras: Side | None = None

    def ratios(self):
        """Quartiles of ours by theirs, pair by pair; {} without a twin."""
        if self.keras is None:
            return {}
        ours, theirs = self.ours.values(), self.keras.values()
        return {
            key: quartiles(np.divide(ours[key], theirs[key]))
            for key in _FIGURES
        }

    def to_dict(self):
        """All figures, as JSON holds them."""

        def figures(side):
            return None if side is None else side.values()

        return {
            "model": self.model,
            "parameters": self.ours.parameters,
            "multiply_adds": self.ours.multiply_adds,
            "evaluation_size": self.evaluation_size,
            "ours": figures(self.ours),
            "keras_applications": figures(self.keras),
            "ratio_quartiles": self.ratios(),
        }


def _line(*cells):
    widths = _WIDTHS[: len(cells)]
    first = f"{cells[0]:<{widths[0]}}"
    rest = (f"{c:>{w}}" for c, w in zip(cells[1:], widths[1:], strict=True))
    return " ".join([first, *rest]).rstrip()


def _side_line(name, side):
    cells = [
        f"{quartiles(values)[1]:.{_FIGURES[key][2]}f}"
        for key, values in side.values().items()
    ]
    return _line(f"  {name}", *cells)


def _ratio_line(ratios):
    cells = [
        f"{middle:.2f} ({low:.2f}-{high:.2f})"
        for low, middle, high in ratios.values()
    ]
    return _line("  ratio", *cells)


def _explanation(rows, settings):
    lines = [
        f"Batches of {settings.batch_size} pictures of "
        f"{settings.image_size} px; medians of {settings.pairs} calls, of "
        f"first step and memory of {settings.first_steps} processes.",
        "Inference and training in images/s; trainer's step is training with "
        "the recipe's L2 and moving averages of all weights;",
        "first step in s, from the start of building the model to the end of "
        "its first step; memory in MiB, the peak above the libraries' own.",
    ]
    if any(row.keras for row in rows):
        lines += [
            "Ratio: ours by keras.applications', median of the pairs and "
            "quartiles. Training: both with loss, gradient and optimizer, ours",
            "also with accuracy and a look for numbers that are not finite; "
            "trainer's step: ours whole by theirs, which stays Model.fit's.",
        ]
    if settings.baseline:
        alone = [row.model for row in rows if row.keras is None]
        if alone:
            lines.append(
                f"keras.applications does not have {', '.join(alone)}."
            )
    return lines


def text(rows, settings):
    """A table for a person.

    Args:
        rows: A list of `Row`.
        settings: A `benchmark.Settings`.

    Returns:
        Text of several lines.
    """
    headings = [heading for heading, _, _ in _FIGURES.values()]
    lines = [_line("model", *headings)]
    for row in rows:
        lines.append(
            f"{row.model}: {row.ours.parameters / 1e6:.2f} M parameters, "
            f"{row.ours.multiply_adds / 1e9:.2f} billion multiply-adds at "
            f"{row.evaluation_size} px"
        )
        lines.append(_side_line("efficientnetv2", row.ours))
        if row.keras is not None:
            lines.append(_side_line("keras.applications", row.keras))
            lines.append(_ratio_line(row.ratios()))
    return "\n".join([*lines, "", *_explanation(rows, settings)])


def _draw_panel(axes, rows, key):
    _, title, digits = _FIGURES[key]
    places = np.arange(len(rows), dtype=float)
    has_twin = any(row.keras for row in rows)
    height = 0.38 if has_twin else 0.6
    for row, place in zip(rows, places, strict=True):
        sides = [(row.ours, _OURS_COLOR), (row.keras, _KERAS_COLOR)]
        for number, (side, color) in enumerate(sides):
            if side is None:
                continue
            low, middle, high = quartiles(side.values()[key])
            y = place + (number - 0.5) * height * (row.keras is not None)
            axes.barh(
                y,
                middle,
                height,
                color=color,
                xerr=[[middle - low], [high - middle]],
                error_kw={"elinewidth": 1, "ecolor": "#333333"},
            )
            label = f"{middle:.{digits}f}"
            if side is row.ours and row.keras is not None:
                label += f"  ({row.ratios()[key][1]:.2f} x)"
            axes.annotate(
                label, (high, y), (4, 0), textcoords="offset points",
                va="center", fontsize=8,
            )  # fmt: skip
    axes.set_yticks(places, [row.model for row in rows])
    axes.invert_yaxis()
    axes.set_title(title, fontsize=10, loc="left")
    axes.locator_params(axis="x", nbins=5)
    axes.margins(x=0.25)
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)


def draw(rows, settings, path):
    """Draws the figures as bars, with quartiles and ratios.

    Args:
        rows: A list of `Row`.
        settings: A `benchmark.Settings`.
        path: The picture to write.
    """
    from matplotlib.figure import Figure  # without pyplot: no global state
    from matplotlib.patches import Patch

    figure = Figure(figsize=(13, 3 + 1.2 * len(rows)), layout="constrained")
    figure.suptitle(
        f"Batch {settings.batch_size}, {settings.image_size} px", fontsize=12
    )
    *panels, rest = figure.subplots(2, 3).flat
    for axes, key in zip(panels, _FIGURES, strict=True):
        _draw_panel(axes, rows, key)
    rest.set_axis_off()
    if any(row.keras for row in rows):
        figure.legend(
            handles=[
                Patch(color=_OURS_COLOR, label="efficientnetv2"),
                Patch(color=_KERAS_COLOR, label="keras.applications"),
            ],
            loc="outside lower center",
            ncols=2,
            frameon=False,
        )
    figure.savefig(path, dpi=110)
