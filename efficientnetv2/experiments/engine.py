"""`python -m efficientnetv2.experiments.engine`: what the training loop costs.

Beyond its compiled step: the loop's own work, a change of stage, a checkpoint,
and the memory that many stages leave behind.
"""

import sys

import numpy as np

from efficientnetv2 import entry_point, startup

_COPIES = 5
_ABOUT = """\
What the training loop costs beyond its compiled step, on drawn pictures.

  loop      steps of the loop beside bare ones, in turn
  changes   a run whose stages grow from half the size: the first step of a
            stage beyond its later ones, and a step that begins with a
            checkpoint beyond others
  memory    of the process, over as many stages of one size

Medians, in brackets the quartiles."""


def _quartiles(values, unit="ms", *, factor=1000.0, digits=0):
    """'12 ms (11 to 14)': the median and the quartiles."""
    low, middle, high = factor * np.percentile(values, (25, 50, 75))
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f})"


def _model(values):
    """What all measurements are told."""
    names = ("model_name", "batch_size", "image_size")
    return {name: getattr(values, name) for name in names}


def _loop_rows(values):
    from efficientnetv2.experiments import engine_costs

    found = engine_costs.measure_loop(**_model(values), pairs=values.pairs)
    loop, bare = found.T
    beyond = _quartiles(loop / bare - 1, "%", factor=100, digits=1)
    return [("a bare step", _quartiles(bare)), ("the loop, beyond it", beyond)]


def _change_rows(values):
    from efficientnetv2.experiments import engine_costs

    found = engine_costs.measure_changes(
        **_model(values), changes=values.changes, copies=_COPIES
    )
    rest = found.change - found.input_start
    return [
        (f"traces of the step, {values.changes} changes", str(found.traces)),
        ("a step", _quartiles(found.step)),
        ("first step of a stage, beyond a later one", _quartiles(found.change)),
        ("of it, start of the input pipeline", _quartiles(found.input_start)),
        ("of it, the rest", _quartiles(rest)),
        ("step with a checkpoint, beyond a plain one", _quartiles(found.save)),
        ("the step after it, beyond a plain one", _quartiles(found.writing)),
        ("a copy in memory of the checkpoint", _quartiles(found.copy)),
    ]


def _memory_rows(values):
    from efficientnetv2.experiments import engine_costs

    found = engine_costs.measure_memory(
        **_model(values), changes=values.changes
    )
    half = values.changes // 2
    growth = (found[-1] - found[half]) / (values.changes - half)
    return [
        *(
            (f"memory where stage {number + 1} begins", f"{mib:.0f} MiB")
            for number, mib in enumerate(found)
            if number in (1, half, values.changes)
        ),
        ("growth a stage in the second half", f"{growth:.2f} MiB"),
    ]


_MEASURES = {
    "loop": _loop_rows,
    "changes": _change_rows,
    "memory": _memory_rows,
}


def _parser():
    parser = entry_point.FlagParser(
        usage="python -m efficientnetv2.experiments.engine [flags]",
        description=_ABOUT,
    )
    add = parser.add_argument
    add(
        "--model_name",
        metavar="NAME",
        default="efficientnetv2-b0",
        help="the model [efficientnetv2-b0]",
    )
    names = ",".join(_MEASURES)
    add("--measures", default=names, help=f"which of them [{names}]")
    add("--batch_size", type=int, default=16, help="examples a step [16]")
    add("--image_size", type=int, default=64, help="side, pixels [64]")
    add("--pairs", type=int, default=15, help="rounds of the loop [15]")
    add("--changes", type=int, default=20, help="changes of stage [20]")
    add("--debug", action="store_true", help="print the traceback of an error")
    return parser


def _check(values):
    names = values.measures.split(",")
    if not set(names) <= set(_MEASURES):
        raise ValueError(
            f"measures must be some of {','.join(_MEASURES)}. "
            f"Received: {values.measures!r}"
        )
    for flag, least in (
        ("batch_size", 1),
        ("image_size", 2),
        ("pairs", 1),
        ("changes", 2),
    ):
        value = getattr(values, flag)
        if value < least:
            raise ValueError(f"{flag} must be >= {least}. Received: {value}")
    return names


def _run(argv):
    values = _parser().parse_args(argv[1:])
    names = _check(values)
    with startup.quiet():
        import tensorflow  # noqa: F401, its chatter comes here
    print(
        f"{values.model_name}, batches of {values.batch_size} at "
        f"{values.image_size} px\n\n| what | median (quartiles) |\n|---|---|",
        flush=True,
    )
    for name in names:
        for what, figure in _MEASURES[name](values):
            print(f"| {what} | {figure} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(entry_point.run(_run, sys.argv))
