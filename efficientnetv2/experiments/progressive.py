"""`python -m efficientnetv2.experiments.progressive`: sizes against one size.

Trains a model three ways for the same number of epochs (arXiv 2104.00298,
section 4 and table 5): at a constant size, with growing sizes, and with
growing sizes and regularisation.
"""

import os
import pathlib
import shlex
import signal
import subprocess
import sys

from efficientnetv2 import config, config_layers, entry_point
from efficientnetv2.experiments import comparison

_MODULE = "efficientnetv2.experiments.progressive"
ARMS = {
    "a": "constant size",
    "b": "progressive size, constant regularisation",
    "c": "progressive size and regularisation",
}
_STAGED = (
    ("data.ram_start", "data.ram"),
    ("data.mixup_alpha_start", "data.mixup_alpha"),
    ("data.cutmix_alpha_start", "data.cutmix_alpha"),
    ("train.dropout_rate_start", "model.dropout_rate"),
)
# Some regularisation to adapt: short recipes have next to none.
_REGULARISED = (
    "data.augname=randaug,data.ram_start=2,data.ram=8,"
    "train.dropout_rate_start=0,model.dropout_rate=0.2"
)
_ABOUT = """\
Progressive learning against one size, the same number of epochs: wall time and
accuracy of three ways to train.

  a  constant size
  b  progressive size, constant regularisation
  c  progressive size and regularisation

  python -m efficientnetv2.experiments.progressive --data_dir=$DATA_DIR

Each run has a folder below --output_dir; the same command goes on after a stop
and draws the table (progressive.md) and the curves (progressive.png) again."""


def _value(settings, key):
    section, field = key.split(".")
    return getattr(getattr(settings, section), field)


def arm_settings(settings, arm):
    """What an arm changes of a progressive recipe.

    Args:
        settings: The recipe's `Config`, with several stages.
        arm: A key of `ARMS`.

    Returns:
        Dict from key to value. All arms end with the same last stage.
    """
    if arm == "a":
        return {"train.stages": 1}
    if arm == "b":
        return {start: _value(settings, end) for start, end in _STAGED}
    return {}


def plan(settings, *, arms, seeds):
    """The runs of the experiment, in the order they are made.

    Every other seed takes the arms backwards, so that a machine that slows
    down or warms up is no arm's advantage.

    Args:
        settings: The recipe's `Config`.
        arms: Keys of `ARMS`.
        seeds: Ints.

    Returns:
        A list of (name, arm, changes).
    """
    runs = []
    for turn, seed in enumerate(seeds):
        for arm in arms if turn % 2 == 0 else reversed(arms):
            changes = arm_settings(settings, arm) | {"train.seed": seed}
            runs.append((f"{arm}-seed{seed}", arm, changes))
    return runs


def _text(changes):
    """Changes as --hparam_str takes them."""
    return ",".join(
        f"{key}={'|'.join(value) if isinstance(value, tuple) else value}"
        for key, value in changes.items()
    )


def _parser():
    parser = entry_point.FlagParser(
        usage=f"python -m {_MODULE} [flags]",
        description=_ABOUT,
    )
    add = parser.add_argument
    add("--data_dir", metavar="DIR", help="folder of the data set's files")
    add(
        "--model_name",
        metavar="NAME",
        default="efficientnetv2-b0",
        help="the model [efficientnetv2-b0]",
    )
    add(
        "--dataset_cfg",
        metavar="NAME",
        default="cifar10",
        help="the data set [cifar10]",
    )
    add(
        "--hparam_str",
        metavar="K=V,...",
        default=_REGULARISED,
        help=f"settings of all runs [{_REGULARISED.replace(',', ', ')}]",
    )
    add(
        "--output_dir",
        metavar="DIR",
        default=os.path.join("runs", "progressive"),
        help="where the runs go [runs/progressive]",
    )
    add("--arms", default="a,b,c", help="which of them [a,b,c]")
    add("--seeds", default="0,1,2", help="a run of each arm a seed [0,1,2]")
    add("--debug", action="store_true", help="print the traceback of an error")
    return parser


def _arms(text):
    arms = text.split(",")
    unknown = [arm for arm in arms if arm not in ARMS]
    if unknown or len(set(arms)) < len(arms):
        raise ValueError(
            f"arms must be some of {','.join(ARMS)}. Received: {text!r}"
        )
    return arms


def _seeds(text):
    try:
        seeds = [int(seed) for seed in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(
            f"seeds must be different whole numbers >= 0. Received: {text!r}"
        )
    return seeds


def _wait(process):
    """Waits for a run's end; returns its exit code.

    A run that is told to stop saves its state first. A terminal tells it of
    ctrl-C by itself; of SIGTERM only this process knows.
    """
    handlers = {
        signal.SIGINT: lambda *_: None,
        signal.SIGTERM: lambda *_: process.terminate(),
    }
    before = {n: signal.signal(n, take) for n, take in handlers.items()}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _train(values, folder, overrides):
    """Trains a run in a process of its own; returns its exit code."""
    command = [
        *(sys.executable, "-m", "efficientnetv2", "--mode=traineval"),
        f"--model_name={values.model_name}",
        f"--dataset_cfg={values.dataset_cfg}",
        f"--model_dir={folder}",
        f"--hparam_str={overrides}",
    ]
    if values.data_dir is not None:
        command.append(f"--data_dir={values.data_dir}")
    print(shlex.join(command[1:]), flush=True)
    root = str(pathlib.Path(__file__).resolve().parents[2])
    paths = [root, os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    return _wait(subprocess.Popen(command, env=environment))


def _run(argv):
    values = _parser().parse_args(argv[1:])
    arms, seeds = _arms(values.arms), _seeds(values.seeds)
    settings = config.load(
        values.model_name,
        values.dataset_cfg,
        values.hparam_str,
        data_dir=values.data_dir,
    )
    if settings.train.stages < 2:
        raise ValueError(
            "train.stages must be >= 2 to compare with one. "
            f"Received: {settings.train.stages}"
        )
    common = config_layers.settings(
        *config_layers.parse_overrides(values.hparam_str)
    )
    output = pathlib.Path(values.output_dir)
    folders = {arm: [] for arm in arms}
    runs = plan(settings, arms=arms, seeds=seeds)
    for number, (name, arm, changes) in enumerate(runs, 1):
        print(f"run {number} of {len(runs)}, {ARMS[arm]}:", flush=True)
        code = _train(values, output / name, _text(common | changes))
        if code:
            return code
        folders[arm].append(output / name)
    command = ["python", "-m", _MODULE, *argv[1:]]
    comparison.write(
        output,
        {ARMS[arm]: folders[arm] for arm in arms},
        command=shlex.join(command),
    )
    return 0


if __name__ == "__main__":
    sys.exit(entry_point.run(_run, sys.argv))
