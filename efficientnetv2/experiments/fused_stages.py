"""`python -m efficientnetv2.experiments.fused_stages`: table 3 of the paper.

EfficientNet-B4 with Fused-MBConv in its first stages (arXiv 2104.00298,
section 3.2): parameters, multiply-adds and the time of a training step.
"""

import dataclasses
import sys
from typing import NamedTuple

import numpy as np

from efficientnetv2 import block_spec, entry_point, startup, variants
from efficientnetv2 import config as config_lib
from efficientnetv2.search import size

_MODULE = "efficientnetv2.experiments.fused_stages"
BASE = "efficientnet-b4"
IMAGE_SIZE = 380
# The smallest kernel, and the stages that one reading leaves as they are.
_SMALL_KERNEL = 3
_EARLY = 2


class Printed(NamedTuple):
    """A line of table 3.

    Args:
        last: Last stage with Fused-MBConv; 0 for none.
        million_parameters: As printed.
        billion_multiply_adds: As printed.
        tpu: Training throughput, images a second on a core of a TPUv3.
        gpu: Throughput, images a second on a V100.
    """

    last: int
    million_parameters: float
    billion_multiply_adds: float
    tpu: int
    gpu: int


PRINTED = (
    Printed(0, 19.3, 4.5, 262, 155),
    Printed(3, 20.0, 7.5, 362, 216),
    Printed(5, 43.4, 21.3, 327, 223),
    Printed(7, 132.0, 34.4, 254, 206),
)


def _fuse(spec, *, kernel_size=None):
    return dataclasses.replace(
        spec,
        fused=True,
        se_ratio=None,
        kernel_size=kernel_size or spec.kernel_size,
    )


def as_it_is(specs, last):
    """Each block keeps kernel and expansion; squeeze-excite goes.

    Args:
        specs: `BlockSpec`s of the base model.
        last: Last stage to replace, from 1; 0 for none.

    Returns:
        A list of `BlockSpec`.
    """
    return [
        _fuse(spec) if number <= last else spec
        for number, spec in enumerate(specs, 1)
    ]


def nearest(specs, last):
    """What comes nearest to the printed figures.

    In the line of stages 1 to 3 all kernels are 3 x 3; in the lines below it
    kernels stay, and the first two stages keep MBConv.

    Args:
        specs: `BlockSpec`s of the base model.
        last: Last stage to replace, from 1; 0 for none.

    Returns:
        A list of `BlockSpec`.
    """
    if last <= 3:
        return [
            _fuse(spec, kernel_size=_SMALL_KERNEL) if number <= last else spec
            for number, spec in enumerate(specs, 1)
        ]
    return [
        _fuse(spec) if _EARLY < number <= last else spec
        for number, spec in enumerate(specs, 1)
    ]


READINGS = {"as_it_is": as_it_is, "nearest": nearest}


def blocks(reading, last):
    """Block strings of a line of the table, before B4's width and depth.

    Args:
        reading: A key of `READINGS`.
        last: Last stage with Fused-MBConv; 0 for none.

    Returns:
        A list of strings.
    """
    specs = block_spec.decode(variants.VARIANTS[BASE].architecture.blocks)
    return block_spec.encode(READINGS[reading](specs, last))


def count(reading, last):
    """`Size` of a line of the table, at 380 px."""
    architecture = dataclasses.replace(
        variants.VARIANTS[BASE].architecture,
        blocks=tuple(blocks(reading, last)),
    )
    return size.of_architecture(architecture, image_size=IMAGE_SIZE)


def describe(last):
    """'1-3', or 'none'."""
    return f"1-{last}" if last else "none"


def _size_lines():
    heads = ["stages", "paper"]
    heads += [name.replace("_", " ") for name in READINGS]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in PRINTED:
        cells = [
            describe(row.last),
            f"{row.million_parameters} M, {row.billion_multiply_adds} B",
        ]
        for reading in READINGS:
            found = count(reading, row.last)
            parameters = found.parameters / 1e6
            multiply_adds = found.multiply_adds / 1e9
            cells.append(
                f"{parameters:.2f} M "
                f"({parameters / row.million_parameters - 1:+.1%}), "
                f"{multiply_adds:.2f} B "
                f"({multiply_adds / row.billion_multiply_adds - 1:+.1%})"
            )
        yield f"| {' | '.join(cells)} |"


def measure(reading, *, batch_size, image_size, pairs):
    """Times training steps of the four models in turn.

    Args:
        reading: A key of `READINGS`.
        batch_size: Pictures a step.
        image_size: Their side, pixels.
        pairs: Rounds.

    Returns:
        A float array [4, pairs], seconds.
    """
    with startup.quiet():
        from efficientnetv2 import benchmark_sides, turns
    sides = []
    for row in PRINTED:
        settings = config_lib.load(
            BASE,
            "imagenet",
            {
                "model.blocks": blocks(reading, row.last),
                "train.batch_size": batch_size,
                "train.isize": image_size,
                "data.ibase": image_size,
                "runtime.strategy": "one",
            },
        )
        sides.append(benchmark_sides.Ours(settings))
    steps = [side.train for side in sides]
    return np.array(turns.seconds(steps, pairs))


def _time_lines(seconds, batch_size):
    yield (
        "| stages | images/s | by none's, median (quartiles) | paper's TPU, by "
        "none's | paper's V100, by none's |"
    )
    yield "|---|---|---|---|---|"
    base = PRINTED[0]
    for row, own in zip(PRINTED, seconds, strict=True):
        low, middle, high = np.percentile(seconds[0] / own, (25, 50, 75))
        yield (
            f"| {describe(row.last)} | {batch_size / np.median(own):.2f} | "
            f"{middle:.2f} ({low:.2f} to {high:.2f}) | "
            f"{row.tpu / base.tpu:.2f} | {row.gpu / base.gpu:.2f} |"
        )


def _parser():
    parser = entry_point.FlagParser(
        usage=f"python -m {_MODULE} [flags]",
        description=__doc__.partition("\n\n")[2],
    )
    add = parser.add_argument
    add("--reading", default="nearest", help="as_it_is or nearest [nearest]")
    add("--batch_size", type=int, default=4, help="examples a step [4]")
    add("--image_size", type=int, default=128, help="side, pixels [128]")
    add("--pairs", type=int, default=15, help="rounds; 0: sizes only [15]")
    add("--debug", action="store_true", help="print the traceback of an error")
    return parser


def _run(argv):
    values = _parser().parse_args(argv[1:])
    if values.reading not in READINGS:
        raise ValueError(
            f"reading must be one of {', '.join(READINGS)}. "
            f"Received: {values.reading!r}"
        )
    for flag, least in (("batch_size", 1), ("image_size", 1), ("pairs", 0)):
        if getattr(values, flag) < least:
            raise ValueError(
                f"{flag} must be >= {least}. Received: {getattr(values, flag)}"
            )
    print(*_size_lines(), sep="\n", flush=True)
    if values.pairs:
        seconds = measure(
            values.reading,
            batch_size=values.batch_size,
            image_size=values.image_size,
            pairs=values.pairs,
        )
        print("", *_time_lines(seconds, values.batch_size), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(entry_point.run(_run, sys.argv))
