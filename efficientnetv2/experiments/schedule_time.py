"""`python -m efficientnetv2.experiments.schedule_time`: time that stages save.

The wall time of a model's own schedule of growing sizes as a share of that of
the same epochs at the last size, from steps of every stage taken in turn.
"""

import sys
import tempfile
import time

import numpy as np

from efficientnetv2 import config, entry_point, startup

_REFILL = 0.3  # seconds, in which the input of the step before fills up
_ABOUT = """\
Wall time of progressive learning over that at a constant size, as the model's
ImageNet recipe has it: whole training steps at the size of each stage, with
their input pipeline, weighted by the stage's epochs. Steps of all stages are
taken in turn, round after round, on drawn pictures."""


def _settings(values):
    """The model's ImageNet recipe on drawn pictures in small batches."""
    return config.load(
        values.model_name,
        "imagenet",
        {
            "train.batch_size": values.batch_size,
            "data.ds_name": "shapes",
            "data.tfds_name": None,
            "data.num_classes": None,  # those of the drawn pictures
            "runtime.strategy": "one",
        },
    )


def _measure(settings, rounds):
    """Times a step at each stage in turn.

    Args:
        settings: A `Config`.
        rounds: Number of rounds.

    Returns:
        (stages, seconds): the stages of `progressive` and float64
        [rounds, stages].
    """
    from efficientnetv2 import (
        train_data,
        train_loop,
        train_setup,
        train_state,
    )

    with tempfile.TemporaryDirectory() as folder:
        setup = train_setup.prepare(settings, folder)
    state = train_state.build(setup)
    step = train_loop.build_step(setup, state)
    watch = train_data.watch(setup, state)
    inputs = [
        iter(train_data.batches(setup, state, stage, watch))
        for stage in setup.stages
    ]

    def take(index):
        figures, _ = step(
            inputs[index], state.step, setup.stages[index].dropout_rate
        )
        figures["loss"].numpy()  # waits for the device
        state.step += 1

    def timed(index):
        time.sleep(_REFILL)
        start = time.perf_counter()
        take(index)
        return time.perf_counter() - start

    order = range(len(setup.stages))
    for index in order:
        timed(index)
    seconds = np.empty((rounds, len(order)))
    for number in range(rounds):
        for index in order if number % 2 == 0 else reversed(order):
            seconds[number, index] = timed(index)
    return setup.stages, seconds


def ratios(epochs, costs):
    """What a schedule costs over what it costs at its last stage throughout.

    Args:
        epochs: Length of each stage, [stages].
        costs: Cost of a step at each stage, [..., stages].

    Returns:
        float64 array [...].
    """
    epochs, costs = np.asarray(epochs), np.asarray(costs, float)
    return costs @ epochs / (costs[..., -1] * epochs.sum())


def _parser():
    parser = entry_point.FlagParser(
        usage="python -m efficientnetv2.experiments.schedule_time [flags]",
        description=_ABOUT,
    )
    add = parser.add_argument
    add(
        "--model_name",
        metavar="NAME",
        default="efficientnetv2-s",
        help="the model [efficientnetv2-s]",
    )
    add("--batch_size", type=int, default=8, help="examples a step [8]")
    add("--rounds", type=int, default=15, help="steps of each stage [15]")
    add("--debug", action="store_true", help="print the traceback of an error")
    return parser


def _run(argv):
    values = _parser().parse_args(argv[1:])
    if values.rounds < 1:
        raise ValueError(f"rounds must be >= 1. Received: {values.rounds}")
    settings = _settings(values)
    if settings.train.stages < 2:
        raise ValueError(
            f"{values.model_name} has one stage: no sizes to compare"
        )
    with startup.quiet():
        import tensorflow  # noqa: F401, its chatter comes here
    stages, seconds = _measure(settings, values.rounds)
    epochs = [stage.end_epoch - stage.first_epoch for stage in stages]
    print(
        f"{values.model_name}, batches of {values.batch_size}, "
        f"{values.rounds} rounds\n\n"
        "| stage | size | epochs | step, s | by the last stage's |\n"
        "|---|---|---|---|---|"
    )
    shares = np.median(seconds / seconds[:, -1:], axis=0)
    for stage, length, step, share in zip(
        stages, epochs, np.median(seconds, axis=0), shares, strict=True
    ):
        print(
            f"| {stage.index + 1} | {stage.image_size} px | {length} "
            f"| {step:.2f} | {share:.2f} |"
        )
    low, middle, high = np.percentile(ratios(epochs, seconds), (25, 50, 75))
    work = ratios(epochs, [stage.image_size**2 for stage in stages])
    print(
        f"\nprogressive over constant wall time: {middle:.3f} "
        f"(quartiles {low:.3f} to {high:.3f}); pixels alone: {work:.3f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(entry_point.run(_run, sys.argv))
