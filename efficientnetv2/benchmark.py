"""`--mode=benchmark`: speed, size and memory of models, beside Keras's own.

Every measurement runs in a process of its own (`benchmark_timing`); what the
two sides do is said in `benchmark_sides`.
"""

import concurrent.futures
import concurrent.futures.process
import dataclasses
import json
import multiprocessing
import os
import pathlib
import sys

from efficientnetv2 import benchmark_table, benchmark_timing
from efficientnetv2 import config as config_lib
from efficientnetv2.benchmark_table import Row, Side


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a benchmark is done.

    Args:
        batch_size: Pictures a step and a forward pass, >= 1.
        image_size: Their side, pixels, >= 1.
        pairs: Timed steps and forward passes a side, in turn, >= 1.
        first_steps: Processes a side, in turn, that measure the time to the
            first step and the memory, >= 1.
        baseline: Whether keras.applications is measured too.
    """

    batch_size: int = 16
    image_size: int = 128
    pairs: int = 15
    first_steps: int = 3
    baseline: bool = False

    def __post_init__(self):
        for name in ("batch_size", "image_size", "pairs", "first_steps"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} must be >= 1. Received: {value}")


def _in_own_process(function, *args, **kwargs):
    """Calls a function in a fresh process and returns what it returns."""
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        return pool.submit(function, *args, **kwargs).result()


def _settle(config, settings):
    """The config with the benchmark's pictures, on one device."""
    return config_lib.override(
        config,
        {
            "train.batch_size": settings.batch_size,
            "train.isize": settings.image_size,
            "data.ibase": settings.image_size,  # never above isize
            "runtime.strategy": "one",
        },
    )


def measure(config, settings):
    """Measures a model.

    Args:
        config: A `Config`.
        settings: A `Settings`.

    Returns:
        A `benchmark_table.Row`.

    Raises:
        ValueError: if a process that measures ends too early.
    """
    settled = _settle(config, settings)
    try:
        found = _in_own_process(
            benchmark_timing.speeds,
            settled,
            baseline=settings.baseline,
            pairs=settings.pairs,
        )
        sides = ("Ours", "Theirs")[: len(found)]
        starts = [
            [
                _in_own_process(benchmark_timing.first_step, settled, side)
                for side in sides
            ]
            for _ in range(settings.first_steps)
        ]
    except concurrent.futures.process.BrokenProcessPool:
        raise ValueError(
            f"the process that measures {config.model_name!r} was ended, as "
            "happens when the memory is full; a smaller --batch_size or "
            "--image_size may help"
        ) from None
    made = [
        Side(
            batch_size=settings.batch_size,
            **times,
            first_step_seconds=[
                start[index]["first_step_seconds"] for start in starts
            ],
            peak_memory_mib=[
                start[index]["peak_memory_mib"] for start in starts
            ],
        )
        for index, times in enumerate(found)
    ]
    return Row(
        model=config.model_name,
        evaluation_size=config.eval.isize,
        ours=made[0],
        keras=made[1] if len(made) > 1 else None,
    )


def _check_picture(path):
    """What would fail after minutes fails at once."""
    import matplotlib  # noqa: F401

    path = pathlib.Path(path)
    if path.suffix not in benchmark_table.PICTURE_SUFFIXES:
        raise ValueError(
            "picture must end in one of "
            f"{', '.join(benchmark_table.PICTURE_SUFFIXES)}. "
            f"Received: {str(path)!r}"
        )
    if not os.access(path.absolute().parent, os.W_OK):
        raise ValueError(
            "picture must lie in a folder that can be written. "
            f"Received: {str(path)!r}"
        )


def run(configs, *, format="table", picture=None, **settings):
    """Measures models and prints what was found.

    Args:
        configs: A `Config` for each model; recipe and precision are its.
        format: 'table' or 'json'.
        picture: Path of a picture to draw too, or None.
        **settings: Of `Settings`.

    Raises:
        ValueError: for settings that make no sense.
    """
    settings = Settings(**settings)
    if picture is not None:
        _check_picture(picture)
    rows = []
    try:
        for config in configs:
            print(f"measuring {config.model_name} ...", file=sys.stderr)
            rows.append(measure(config, settings))
    finally:  # an error or ctrl-C loses only the model that it falls on
        if rows:
            _show(rows, settings, format=format, picture=picture)


def _show(rows, settings, *, format, picture):
    if format == "json":
        found = {
            "settings": dataclasses.asdict(settings),
            "models": [row.to_dict() for row in rows],
        }
        print(json.dumps(found, indent=2), flush=True)
    else:
        print(benchmark_table.text(rows, settings), flush=True)
    if picture is not None:
        benchmark_table.draw(rows, settings, picture)
