"""augment.png: what a recipe does to real pictures, a row for each stage."""

import io
import os

from efficientnetv2 import augment_rows, progressive
from efficientnetv2.data import picture_files, sources

NAME = "augment.png"
_CELL = 1.75  # inches, the side of the largest picture
_FEWEST = 5  # columns that a heading needs
_LINE = 0.16  # inches, a line of small text
_HEAD = 0.42  # inches, a row's heading and its margin
_FRAME = 1.6  # points
_MARGIN = 0.15  # inches
_DPI = 120
_LETTERS = 24
_LEAST = 0.005  # of a label; less is not written
_TEXT, _MUTED = "#1c232b", "#5a6472"


def _short(name):
    """A class's first name, of 'tench, Tinca tinca' the tench."""
    name = name.split(",")[0]
    if len(name) <= _LETTERS:
        return name
    return name[: _LETTERS - 1] + "…"


def _colours(count):
    """A colour for each stage, from light to dark."""
    from matplotlib import colormaps

    return [
        colormaps["plasma"](0.8 * (1 - place / max(count - 1, 1)))
        for place in range(count)
    ]


def _heading(stage, config, count):
    """(what the row is, what is done in it)."""
    size = stage.image_size
    parts = [f"{size} × {size} px"]
    augname = config.data.augname
    if augname == "randaug":
        parts.append(f"RandAugment magnitude {stage.randaug_magnitude:.3g}")
    elif augname != "none":
        parts.append(augname)
    for name, alpha in (
        ("mixup", stage.mixup_alpha),
        ("CutMix", stage.cutmix_alpha),
    ):
        parts.append(f"{name} {alpha:.2g}" if alpha else f"no {name}")
    parts.append(f"dropout {stage.dropout_rate:.3g}")
    epochs = f"epochs {stage.first_epoch + 1} to {stage.end_epoch}"
    return f"Stage {stage.index + 1} of {count}", " · ".join([epochs, *parts])


def _words(row, pictures):
    """Below each picture: its ops, and of a mixed one the label."""
    names = [_short(picture.name) for picture in pictures]
    found = []
    for column, weights in enumerate(row.weights):
        lines = [" + ".join(row.ops[column]) or "unchanged"]
        if weights[column] < 1 - _LEAST:
            lines += [
                f"{weight:.2f} {name}"
                for weight, name in zip(weights, names, strict=True)
                if weight > _LEAST
            ]
        found.append(lines)
    return found


class _Sheet:
    """A figure in inches from its upper left corner."""

    def __init__(self, columns, heights):
        from matplotlib.figure import Figure  # without pyplot: no global state

        columns = max(columns, _FEWEST)
        self.width = columns * (_CELL + _MARGIN) + _MARGIN
        self.height = sum(heights)
        self.figure = Figure(figsize=(self.width, self.height), dpi=_DPI)
        self.figure.set_facecolor("white")

    def text(self, left, top, words, **style):
        self.figure.text(
            left / self.width, 1 - top / self.height, words, va="top", **style
        )

    def picture(self, left, top, image, width, height):
        axes = self.figure.add_axes(
            (
                left / self.width,
                1 - (top + height) / self.height,
                width / self.width,
                height / self.height,
            )
        )
        axes.imshow(image, interpolation="lanczos")
        axes.set_axis_off()
        return axes


def _left(column):
    return _MARGIN + column * (_CELL + _MARGIN)


def _draw_originals(sheet, top, pictures, rows, colours):
    """Whole pictures, and which part of them each stage takes."""
    from matplotlib.patches import Rectangle

    for column, picture in enumerate(pictures):
        height, width = picture.pixels.shape[:2]
        scale = _CELL / max(height, width)
        left = _left(column) + (_CELL - width * scale) / 2
        below = top + _CELL - height * scale
        axes = sheet.picture(
            left, below, picture.pixels, width * scale, height * scale
        )
        for row, colour in zip(rows, colours, strict=True):
            y, x, rows_taken, columns_taken = row.windows[column]
            axes.add_patch(
                Rectangle(
                    (x, y),
                    columns_taken,
                    rows_taken,
                    fill=False,
                    edgecolor=colour,
                    linewidth=_FRAME,
                )
            )
        sheet.text(
            _left(column) + _CELL / 2,
            top + _CELL + 0.05,
            _short(picture.name),
            ha="center",
            fontsize=8,
            color=_TEXT,
        )


def _draw_row(sheet, top, row, words, *, cell, colour):
    """A stage's pictures in their relative size, and words below them."""
    for column, image in enumerate(row.images):
        axes = sheet.picture(_left(column), top, image, cell, cell)
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=colour, linewidth=_FRAME)
        sheet.text(
            _left(column),
            top + cell + 0.05,
            "\n".join(words[column]),
            fontsize=7,
            linespacing=1.25,
            color=_MUTED,
        )


def _draw(config, rows, pictures):
    """All of it, a matplotlib figure."""
    largest = max(row.stage.image_size for row in rows)
    cells = [_CELL * row.stage.image_size / largest for row in rows]
    words = [_words(row, pictures) for row in rows]
    heights = [2 * _HEAD + _CELL + 2 * _LINE + _MARGIN]
    heights += [
        _HEAD + cell + max(map(len, lines)) * _LINE + 2 * _MARGIN
        for cell, lines in zip(cells, words, strict=True)
    ]
    sheet = _Sheet(len(pictures), heights)
    colours = _colours(len(rows))
    title = f"{config.model.name} on {config.dataset_cfg}"
    sheet.text(
        _MARGIN,
        _MARGIN,
        f"{title}: what training makes of pictures",
        fontsize=14,
        color=_TEXT,
    )
    sheet.text(
        _MARGIN,
        _HEAD + _MARGIN / 2,
        "Above as they are stored, with the part that each stage's first "
        "epoch takes; below what it makes of them.",
        fontsize=9,
        color=_MUTED,
    )
    _draw_originals(sheet, 2 * _HEAD, pictures, rows, colours)
    top = heights[0]
    for row, lines, cell, height, colour in zip(
        rows, words, cells, heights[1:], colours, strict=True
    ):
        name, about = _heading(row.stage, config, len(rows))
        sheet.text(
            _MARGIN,
            top + 0.08,
            name,
            fontsize=11,
            color=colour,
            fontweight="bold",
        )
        sheet.text(_MARGIN + 1.2, top + 0.1, about, fontsize=9.5, color=_TEXT)
        _draw_row(sheet, top + _HEAD, row, lines, cell=cell, colour=colour)
        top += height
    return sheet.figure


def run(config, model_dir, *, inputs=()):
    """`--mode=report --what=augment`: draws augment.png.

    Args:
        config: A `config.Config`.
        model_dir: Folder for the picture, made if it is not there.
        inputs: Picture files, folders or globs; empty: the pictures that
            training begins with.

    Raises:
        ValueError: if there are no pictures, or matplotlib is not installed.
    """
    seed = config.train.seed
    if inputs:
        paths = picture_files.find_pictures(inputs)
        pictures = augment_rows.of_files(paths, seed=seed)
    else:
        source = sources.open_source(config.data, config.train.split)
        pictures = augment_rows.of_source(source, seed=seed)
    rows = [
        augment_rows.row(config, stage, pictures)
        for stage in progressive.plan(config)
    ]
    try:
        figure = _draw(config, rows, pictures)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{NAME} needs {error.name}: pip install 'efficientnetv2[report]'"
        ) from None
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    os.makedirs(model_dir, exist_ok=True)
    path = os.path.join(model_dir, NAME)
    with open(path, "wb") as file:
        file.write(picture.getvalue())
    print(f"augmentation: {path}", flush=True)
