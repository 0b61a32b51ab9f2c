"""`python -m efficientnetv2.experiments.published`: the models at a glance.

Parameters and multiply-adds are counted from the architectures, training sizes
come from the recipes, and the accuracies are those that `variants` names the
sources of.
"""

import math
import sys

import numpy as np

from efficientnetv2 import config, entry_point, startup, variants
from efficientnetv2.search import size

_HEADS = (
    "model",
    "parameters, M",
    "multiply-adds, B",
    "training, px",
    "evaluation, px",
    "top-1, %",
    "after 21k, %",
    "weights",
)
# Label, colour, marker, line and accuracy of each curve.
_CURVES = (
    ("EfficientNet", "v1", "imagenet_top1", "#9aa7b5", "s", "-"),
    ("EfficientNetV2", "v2", "imagenet_top1", "#1f6fb4", "o", "-"),
    (
        "EfficientNetV2, after 21k",
        "v2",
        "imagenet21k_top1",
        "#d1495b",
        "D",
        "--",
    ),
)


def count(name):
    """How large a published variant is.

    Args:
        name: Its name.

    Returns:
        A `search.size.Size`: trainable parameters, and multiply-adds at the
        evaluation size.
    """
    variant = variants.VARIANTS[name]
    return size.of_architecture(
        variant.architecture, image_size=variant.eval_size
    )


def _training_size(name):
    settings = config.load(name, "imagenet")
    last = settings.train.isize
    if settings.train.stages <= 1:
        return str(last)
    return f"{settings.data.ibase} to {last}"


def _kinds(name):
    """What `weights` of `get_model` can be, without the word before it."""
    with startup.quiet():
        from efficientnetv2 import weights
    found = [k for k in weights.KINDS if (name, k) in weights.PUBLISHED]
    words = [k.removeprefix("imagenet") or "1k" for k in found]
    return ", ".join(words) or "-"


def _row(name):
    variant = variants.VARIANTS[name]
    found = count(name)
    return (
        name,
        f"{found.parameters / 1e6:.1f}",
        f"{found.multiply_adds / 1e9:.3g}",
        _training_size(name),
        str(variant.eval_size),
        str(variant.imagenet_top1 or "-"),
        str(variant.imagenet21k_top1 or "-"),
        _kinds(name),
    )


def table():
    """The models in Markdown, a line each.

    Returns:
        Text of several lines.
    """
    rows = [_HEADS, ["---"] * len(_HEADS), *map(_row, variants.VARIANTS)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _points(family, accuracy, measure):
    """(x, top-1, name) of the variants with a published accuracy."""
    return [
        (measure(count(name)), getattr(variant, accuracy), name)
        for name, variant in variants.VARIANTS.items()
        if variant.architecture.family == family
        and getattr(variant, accuracy) is not None
    ]


def _is_above(x, y, others):
    """Whether a point lies above a curve, whose ends go on level."""
    positions = [math.log(point[0]) for point in others]
    return y > np.interp(math.log(x), positions, [p[1] for p in others])


def _draw_panel(axes, label, measure):
    curves = {
        name: _points(family, accuracy, measure)
        for name, family, accuracy, *_ in _CURVES
    }
    first, second, _ = curves
    beside = {first: curves[second], second: curves[first]}
    for name, _, _, color, marker, line in _CURVES:
        axes.plot(
            [x for x, _, _ in curves[name]],
            [y for _, y, _ in curves[name]],
            color=color,
            marker=marker,
            linestyle=line,
            label=name,
        )
        for x, y, model in curves[name]:
            above = name not in beside or _is_above(x, y, beside[name])
            axes.annotate(
                model.rpartition("-")[2].upper(),
                (x, y),
                (-3, 6) if above else (4, -12),
                textcoords="offset points",
                ha="right" if above else "left",
                fontsize=8,
                color=color,
            )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(0.06, 0.08)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eef1f5")


def draw(path):
    """Draws published accuracy against what a model costs.

    Args:
        path: File to write; its ending decides the format.
    """
    from matplotlib.figure import Figure  # without pyplot: no global state

    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_panel(
        left, "multiply-adds, billions", lambda s: s.multiply_adds / 1e9
    )
    _draw_panel(right, "parameters, millions", lambda s: s.parameters / 1e6)
    left.set_ylabel("ImageNet top-1, %, as published")
    right.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=100)


def _parser():
    parser = entry_point.FlagParser(
        usage="python -m efficientnetv2.experiments.published [flags]",
        description="Prints the table of the models.",
    )
    add = parser.add_argument
    add("--picture", metavar="FILE", help="draw it too: .png, .svg, .pdf")
    add("--debug", action="store_true", help="print the traceback of an error")
    return parser


def _run(argv):
    values = _parser().parse_args(argv[1:])
    print(table())
    if values.picture:
        draw(values.picture)
    return 0


if __name__ == "__main__":
    sys.exit(entry_point.run(_run, sys.argv))
