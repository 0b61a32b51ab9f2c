"""Small models and runs for tests: settings, folders, commands and ends."""

import contextlib
import os
import pathlib
import resource
import signal
import subprocess
import sys

import numpy as np
import small_data
import yaml

from efficientnetv2 import checkpoint, config, model_dir

ROOT = pathlib.Path(__file__).resolve().parent.parent
BLOCKS = "r1_k3_s1_e1_i8_o8_c1;r2_k3_s2_e4_i8_o16_c1;r2_k3_s2_e4_i16_o24_se0.25"
# Six steps an epoch of 48 examples, stages of two epochs. All noise is on.
_RECIPE = {
    "model": {
        "feature_size": 32,
        "dropout_rate": 0.5,
        "survival_prob": 0.5,
        "bn_momentum": 0.9,
    },
    "train": {
        "stages": 2,
        "epochs": 4,
        "batch_size": 8,
        "isize": 24,
        "dropout_rate_start": 0.2,
        "lr_base": 0.3,
        "lr_warmup_epoch": 1,
        "ema_decay": 0.9,
        "weight_decay": 1.0e-4,
        "split": "train",
        "seed": 3,
    },
    "eval": {"isize": 24, "batch_size": 10, "split": "validation"},
    "data": {
        "ds_name": "mine",
        "num_classes": 4,
        "preprocessing": "v2",
        "augname": "none",
        "ibase": 16,
        "ram_start": 5,
        "ram": 10,
        "mixup_alpha_start": 0.2,
        "mixup_alpha": 0.4,
        "max_bad_fraction": 0.1,
    },
    "runtime": {"log_step_count_steps": 1},
}


@contextlib.contextmanager
def full_disk(largest):
    """Within it, files above `largest` bytes fail as on a full disk.

    The limit is the process's own, its standard output included: hold only
    the call under test inside it.
    """
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def write_recipe(path, data_dir, settings=None):
    """Writes a data set's recipe.

    Args:
        path: The YAML file.
        data_dir: Folder of the data.
        settings: Dict from dotted key to value, in place of `_RECIPE`'s.

    Returns:
        The path as a string, as --dataset_cfg takes it.
    """
    recipe = {section: dict(values) for section, values in _RECIPE.items()}
    recipe["data"]["data_dir"] = str(data_dir)
    for key, value in (settings or {}).items():
        section, field = key.split(".")
        recipe[section][field] = value
    path.write_text(yaml.safe_dump(recipe))
    return str(path)


def settings(folder, changes=None, **data):
    """The `Config` of a small run on data that are written here.

    Args:
        folder: Folder for data and recipe.
        changes: As `write_recipe` takes them.
        **data: As `small_data.write_data_set` takes them.
    """
    small_data.write_data_set(folder / "data", **{"count": 48, **data})
    recipe = write_recipe(folder / "mine.yaml", folder / "data", changes)
    return config.load(BLOCKS, recipe)


def write_run(folder, settings, *, step=7, averages=True, names=True, seed=1):
    """A run's folder as training leaves it, with random weights.

    Returns:
        The model whose weights are the averages.
    """
    folder.mkdir(exist_ok=True)
    config.save(settings, folder / model_dir.CONFIG)
    network = model_dir.build_model(settings)
    rng = np.random.default_rng(seed)
    arrays = {}
    for variable in network.weights:
        # Around 1, so that moving variances are positive.
        value = rng.uniform(0.5, 1.5, variable.shape).astype("float32")
        if variable.path.endswith("kernel"):
            value = (value - 1) / np.sqrt(np.prod(variable.shape[:-1]) / 12)
        variable.assign(value)
        section = "ema" if averages else "model"
        arrays[f"{section}/{variable.path}"] = value
        if averages:
            arrays[f"model/{variable.path}"] = np.zeros_like(value)
    meta = {"offset": 0, "best_accuracy": 0.0}
    if names:
        count = settings.data.num_classes
        meta["class_names"] = [f"class {i}" for i in range(count)]
    checkpoint.save(folder / model_dir.CHECKPOINTS, step, arrays, meta)
    return network


def flags(recipe, folder, mode="train"):
    """The command's flags."""
    return [
        f"--mode={mode}",
        f"--model_name={BLOCKS}",
        f"--dataset_cfg={recipe}",
        f"--model_dir={folder}",
    ]


def start(*arguments, script=ROOT / "main.py"):
    """Starts a process; its output comes as text by `communicate`."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "",
    }
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # as a user starts it
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def end(folder):
    """Arrays and meta of a run's newest whole checkpoint."""
    arrays, meta, _ = checkpoint.latest(folder / model_dir.CHECKPOINTS)
    return arrays, meta


def assert_same_end(one, other):
    """Model, averages, optimizer and position are equal to the last bit."""
    (arrays, meta), (others, other_meta) = end(one), end(other)
    assert meta == other_meta
    assert arrays.keys() == others.keys()
    sections = {key.partition("/")[0] for key in arrays}
    assert sections == {"model", "ema", "optimizer"}
    different = [
        key
        for key, value in arrays.items()
        if value.tobytes() != others[key].tobytes()
    ]
    assert not different
