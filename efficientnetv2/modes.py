"""What --mode and --what can be, and which function each of them calls."""

import functools
from typing import NamedTuple

from efficientnetv2.spelling import nearest


class Mode(NamedTuple):
    """What `--mode=<name>` calls: `module.function(config, model_dir, ...)`.

    The function returns its exit code, or anything else for 0.

    Args:
        module: Module of the package, imported when the mode runs.
        function: Name of its function.
        what: A line for --help.
        flags: Names of the flags passed on as keyword arguments.
        opens_run: It works on a run made before and takes its settings.
        takes_inputs: Pictures are passed as the keyword argument `inputs`.
        needs_inputs: It takes them, and one at least.
        takes_config: False calls `function(model_dir, ...)`.
        takes_models: `function(configs, ...)`, for --model_name=a,b.
        needs_data: A data set is worth a line where none was named.
        may_be_remote: --model_dir may lie behind an address such as gs://.
        model: What --model_name is where it is left out; None: the app's.
        folder: What --model_dir is; None: runs/<model>-<data>.
    """

    module: str
    function: str
    what: str
    flags: tuple[str, ...] = ()
    opens_run: bool = False
    takes_inputs: bool = False
    needs_inputs: bool = False
    takes_config: bool = True
    takes_models: bool = False
    needs_data: bool = True
    may_be_remote: bool = False
    model: str | None = None
    folder: str | None = None


_search = functools.partial(
    Mode, model="efficientnetv2-b0", folder="runs/search"
)
MODES = {
    "train": Mode(
        "train",
        "train",
        "train; the same command again goes on after a stop",
        may_be_remote=True,
        flags=("allow_config_change",),
    ),
    "eval": Mode(
        "eval_run",
        "evaluate_run",
        "evaluate a run's newest checkpoint",
        may_be_remote=True,
        flags=("weights", "follow"),
        opens_run=True,
    ),
    "traineval": Mode(
        "train",
        "train_and_evaluate",
        "train, and evaluate between the epochs",
        may_be_remote=True,
        flags=("allow_config_change",),
    ),
    "predict": Mode(
        "predict",
        "predict_run",
        "say what is in pictures: files, folders or globs",
        may_be_remote=True,
        flags=("format", "top_k", "weights"),
        opens_run=True,
        takes_inputs=True,
        needs_inputs=True,
    ),
    "search": _search("search.run", "search", "search for an architecture"),
    "report": Mode(
        "report",
        "draw",
        "draw a run's curves.png again",
        may_be_remote=True,
        opens_run=True,
        takes_config=False,
    ),
    "benchmark": Mode(
        "benchmark",
        "run",
        "measure models: --model_name=a,b; needs no data",
        flags=(
            "baseline",
            "batch_size",
            "image_size",
            "pairs",
            "first_steps",
            "format",
            "picture",
        ),
        takes_models=True,
    ),
}
# What --what=<name> makes of a mode.
SUBJECTS = {
    ("report", "augment"): Mode(
        "augment_picture",
        "run",
        "draw what a recipe does to pictures",
        takes_inputs=True,
    ),
    ("report", "search"): _search(
        "search.run",
        "report",
        "draw a search's leaderboard and pictures again",
        opens_run=True,
    ),
    ("search", "scale"): _search(
        "search.scale",
        "run",
        "make a model larger",
        needs_data=False,
    ),
    ("benchmark", "data"): Mode(
        "data_benchmark",
        "run",
        "measure the input pipeline and its stages",
        flags=("pairs",),
    ),
}


def pick(name, what):
    """The mode that --mode and --what name.

    Args:
        name: --mode, or None.
        what: --what, or None.

    Returns:
        A `Mode`.

    Raises:
        ValueError: if there is none of these names.
    """
    if name is None:
        raise ValueError(
            f"mode must be given: --mode={'|'.join(MODES)}; --help says more"
        )
    if name not in MODES:
        raise ValueError(
            f"mode must be one of {', '.join(MODES)}. "
            f"Received: {name!r}{nearest(name, MODES)}"
        )
    if what is None:
        return MODES[name]
    subjects = [subject for mode, subject in SUBJECTS if mode == name]
    if not subjects:
        raise ValueError(f"--mode={name} takes no --what. Received: {what!r}")
    if what not in subjects:
        raise ValueError(
            f"--what of --mode={name} must be {' or '.join(subjects)}. "
            f"Received: {what!r}{nearest(what, subjects)}"
        )
    return SUBJECTS[name, what]
