"""The speed of the input pipeline as a share of its limit, and where time goes.

The limit is what no pipeline of TensorFlow's own kernels can pass: the same
windows of the same pictures decoded, resized and flipped, and nothing else.
Bytes lie in memory, windows and flips are drawn beforehand, nothing is rounded,
augmented or gathered into batches.

Each stage is the pipeline cut off behind it. All of them and the limit are run
in turn, round after round on the same examples, so that a machine that is now
faster and now slower changes all alike; shares are medians over the rounds.
What is measured is the processor's time, of all threads, to which other
programs on the machine add little: pictures a second of a core of its own.
"""

import dataclasses
import os
import time

import numpy as np

from efficientnetv2 import progressive, treatment
from efficientnetv2.data import (
    pipeline,
    policies,
    prefixes,
    reading,
    sources,
)
from efficientnetv2.data.examples import Example

# A process that uses less than this part of a core is idle.
_IDLE = 0.05
_PAUSE = 0.05  # seconds
_ENDLESS = 1 << 40  # steps
_BAR = 40  # characters that stand for all the time


@dataclasses.dataclass(frozen=True)
class Speeds:
    """What was measured.

    Args:
        names: Of what was run: 'limit', the stages in their order, 'whole'.
        seconds: Of one core, an example, float64 [rounds, names].
    """

    names: tuple[str, ...]
    seconds: np.ndarray

    def column(self, name):
        """An example's seconds by round, [rounds]."""
        return self.seconds[:, self.names.index(name)]

    def share_of_limit(self, name):
        """Quartiles of the speed as a share of the limit's, [3]."""
        shares = self.column("limit") / self.column(name)
        return np.percentile(shares, (25, 50, 75))

    def shares_of_stages(self):
        """Each stage's part of a picture's time: dict from name, sum 1."""
        stages = self.names[1:-1]
        ends = np.median([self.column(name) for name in stages], axis=1)
        times = np.diff(np.maximum.accumulate(ends), prepend=0.0)
        return dict(zip(stages, times / times.sum(), strict=True))


def _settle():
    """Waits until no dataset works ahead any more."""
    before = -1.0
    while time.process_time() - before > _IDLE * _PAUSE:
        before = time.process_time()
        time.sleep(_PAUSE)


def _measure(datasets, *, examples, rounds):
    """Runs datasets in turn.

    Args:
        datasets: Dict from name to an endless dataset of batches.
        examples: Number of examples a round, whole batches.
        rounds: How often.

    Returns:
        `Speeds`.
    """
    options = reading.options(None)
    iterators = [iter(data.with_options(options)) for data in datasets.values()]
    seconds = np.zeros([rounds, len(iterators)])
    for number in range(-1, rounds):  # the first one traces and compiles
        places = range(len(iterators))
        for place in places if number % 2 else reversed(places):
            # What is ready and waits is as much before as behind: a round
            # makes as many examples as it takes.
            _settle()
            start = time.process_time()
            for _ in range(examples // prefixes.BATCH):
                next(iterators[place])
            _settle()
            if number >= 0:
                seconds[number, place] = time.process_time() - start
    return Speeds(tuple(datasets), seconds / examples)


def measure(source, config, stage, *, rounds):
    """Measures the limit, each stage and the whole of the input pipeline.

    Args:
        source: A `sources.Source` of training examples.
        config: A `config.Config`.
        stage: The `progressive.Stage` whose pictures are made.
        rounds: How often each is run.

    Returns:
        `Speeds`.

    Raises:
        ValueError: if no picture can be decoded.
    """
    settings = treatment.of_stage(config, stage)
    augname, magnitude = settings.pop("augname"), settings.pop("magnitude")
    example = Example(
        source=source,
        policy=policies.build(augname, magnitude=magnitude),
        **settings,
    )
    numbers, encoded, windows, flips = prefixes.draw(source, example)
    whole = pipeline.train_batches(
        source,
        batch_size=prefixes.BATCH,
        steps_per_epoch=_ENDLESS,  # the first epoch's examples, again and again
        augname=augname,
        magnitude=magnitude,
        **settings,
    )
    datasets = {
        "limit": prefixes.limit(
            encoded,
            windows,
            flips,
            image_size=example.image_size,
            style=example.style,
        ),
        **prefixes.stages(source, example, np.array(numbers)),
        "whole": whole,
    }
    return _measure(datasets, examples=len(numbers), rounds=rounds)


def _table(speeds):
    """Lines that say what was measured."""
    lines = [f"{'':10} images/s a core   of the limit (quartiles)"]
    for name in ("limit", "whole"):
        speed = 1.0 / np.median(speeds.column(name))
        low, middle, high = speeds.share_of_limit(name)
        lines.append(
            f"{name:10} {speed:15,.0f}   {middle:.2f}  "
            f"({low:.2f} to {high:.2f})"
        )
    lines += ["", f"{'stage':10} share of a picture's time"]
    for name, share in speeds.shares_of_stages().items():
        bar = "#" * round(share * _BAR)
        lines.append(f"{name:10} {share:5.1%}  {bar}".rstrip())
    return lines


def run(config, model_dir, *, pairs):
    """`--mode=benchmark --what=data`: of the first and the last stage.

    Args:
        config: A `config.Config`.
        model_dir: Not used; nothing is written.
        pairs: How often each part is run in turn with the limit.

    Raises:
        ValueError: if there are no pictures, or `pairs` is below 1.
    """
    del model_dir
    if pairs < 1:
        raise ValueError(f"pairs must be >= 1. Received: {pairs}")
    source = sources.open_source(config.data, config.train.split)
    stages = progressive.plan(config)
    cores = len(os.sched_getaffinity(0))
    print(
        f"{source.num_examples:,} pictures of {source.name}, {cores} cores, "
        f"{pairs} rounds",
        flush=True,
    )
    for stage in dict.fromkeys((stages[0], stages[-1])):
        print(
            f"\n{stage.image_size} px, {config.data.augname}"
            + (
                f" {stage.randaug_magnitude:g}"
                if config.data.augname == "randaug"
                else ""
            ),
            flush=True,
        )
        speeds = measure(source, config, stage, rounds=pairs)
        print("\n".join(_table(speeds)), flush=True)
