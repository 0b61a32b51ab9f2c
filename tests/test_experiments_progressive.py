"""The experiment with progressive learning: arms, order, table, whole runs."""

import json
import re
import signal
import subprocess
import sys

import pytest
import small_data
import small_runs

from efficientnetv2 import config, entry_point, metrics_file, progressive
from efficientnetv2.experiments import comparison
from efficientnetv2.experiments import progressive as experiment

EPOCHS = 2
SETTINGS = {
    "train.epochs": EPOCHS,
    "train.lr_warmup_epoch": 0,
    "data.mixup_alpha_start": 0.0,
    "data.mixup_alpha": 0.2,
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    small_data.write_data_set(folder, count=16)
    small_data.write_data_set(folder, split="validation", count=10)
    return small_runs.write_recipe(folder / "mine.yaml", folder, SETTINGS)


@pytest.fixture(scope="module")
def settings(recipe):
    """Magnitude 2 to 8, dropout 0.2 to 0.5, mixup 0 to 0.2, 16 to 24 px."""
    return config.load(
        small_runs.BLOCKS,
        recipe,
        "data.augname=randaug,data.ram_start=2,data.ram=8",
    )


def _stages(settings, arm):
    changed = config.override(settings, experiment.arm_settings(settings, arm))
    return progressive.plan(changed, epochs=EPOCHS)


def _column(stages, name):
    return [getattr(stage, name) for stage in stages]


REGULARISATION = ("randaug_magnitude", "mixup_alpha", "dropout_rate")


def test_the_constant_arm_has_one_stage_of_the_last_values(settings):
    (stage,) = _stages(settings, "a")
    assert stage.image_size == 24
    assert [getattr(stage, name) for name in REGULARISATION] == [8, 0.2, 0.5]
    assert (stage.first_epoch, stage.end_epoch) == (0, EPOCHS)


def test_the_second_arm_grows_in_size_alone(settings):
    stages = _stages(settings, "b")
    assert _column(stages, "image_size") == [16, 24]
    for name, last in zip(REGULARISATION, (8, 0.2, 0.5), strict=True):
        assert _column(stages, name) == [last, last], name


def test_the_third_arm_is_the_recipe(settings):
    stages = _stages(settings, "c")
    assert stages == progressive.plan(settings, epochs=EPOCHS)
    assert _column(stages, "randaug_magnitude") == [2, 8]
    assert _column(stages, "dropout_rate") == [0.2, 0.5]


def test_every_other_seed_takes_the_arms_backwards(settings):
    runs = experiment.plan(settings, arms=["a", "b", "c"], seeds=[5, 6, 7])
    assert [name for name, _, _ in runs] == [
        *("a-seed5", "b-seed5", "c-seed5"),
        *("c-seed6", "b-seed6", "a-seed6"),
        *("a-seed7", "b-seed7", "c-seed7"),
    ]
    assert [changes["train.seed"] for *_, changes in runs] == (
        [5] * 3 + [6] * 3 + [7] * 3
    )


def _write_rows(folder, seconds, accuracies):
    """A run of so many seconds an epoch, evaluated after each."""
    folder.mkdir()
    rows = []
    for epoch, accuracy in enumerate(accuracies):
        place = {"step": 4 * (epoch + 1), "epoch": epoch}
        rows += [
            {"kind": "train", **place, "seconds": seconds / 2},
            {"kind": "train", **place, "seconds": seconds / 2},
            {"kind": "eval", **place, "accuracy": accuracy, "seconds": 99},
        ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / metrics_file.FILE).write_text(text)
    return folder


def test_time_is_that_of_training_and_accuracy_that_of_the_end(tmp_path):
    run = comparison.read_run(_write_rows(tmp_path / "a", 60, [0.5, 0.75, 0.7]))
    assert run.minutes == 3
    assert run.accuracy == 0.7
    assert run.points == ((1, 0.5), (2, 0.75), (3, 0.7))


def test_a_run_without_evaluations_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="no evaluation in .*a'"):
        comparison.read_run(_write_rows(tmp_path / "a", 60, []))


def test_ratios_are_formed_seed_by_seed(tmp_path):
    """A machine twice as slow for one seed changes no ratio."""
    found = {
        name: [
            comparison.read_run(_write_rows(tmp_path / f"{name}{turn}", *row))
            for turn, row in enumerate(rows)
        ]
        for name, rows in {
            "slow": [(60, [0.8]), (120, [0.9])],
            "fast": [(30, [0.7]), (60, [0.8])],
        }.items()
    }
    head, _, slow, fast = comparison.table(found)
    assert head.split("|")[1].strip() == "way to train"
    assert slow == (
        "| slow | 2 | 1.5 (1.0 to 2.0) | 1.00 (1.00 to 1.00) "
        "| 85.0 (80.0 to 90.0) |"
    )
    assert fast == (
        "| fast | 2 | 0.8 (0.5 to 1.0) | 0.50 (0.50 to 0.50) "
        "| 75.0 (70.0 to 80.0) |"
    )


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--arms=a,d"], ["arms must be some of a,b,c", "'a,d'"]),
        (["--arms=a,a"], ["arms", "'a,a'"]),
        (["--seeds=1,x"], ["seeds must be different whole numbers", "'1,x'"]),
        (["--seeds=1,1"], ["seeds", "'1,1'"]),
        (["--seeds=-1"], ["seeds", "'-1'"]),
        (["--sedes=1"], ["unknown flag --sedes", "'--seeds'"]),
        (["--hparam_str=train.stages=1"], ["train.stages must be >= 2"]),
        (["--hparam_str=train.epohcs=1"], ["'train.epochs'"]),
        (["--dataset_cfg=cifra10"], ["'cifar10'"]),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_trained(
    flags, words, tmp_path, capsys
):
    argv = ["progressive", f"--output_dir={tmp_path / 'out'}", *flags]
    assert entry_point.run(experiment._run, argv) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


def test_a_run_that_a_signal_ends_has_a_code_above_128():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    process = subprocess.Popen([sys.executable, "-c", code])
    assert experiment._wait(process) == 128 + signal.SIGKILL


def test_sigterm_is_handed_on_to_the_run():
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "time.sleep(60)\n"
    )
    before = signal.getsignal(signal.SIGTERM)
    process = subprocess.Popen([sys.executable, "-c", code])
    assert experiment._wait(process) == 143
    assert signal.getsignal(signal.SIGTERM) is before


def _command(recipe, folder):
    return [
        *(sys.executable, "-m", experiment._MODULE, "--seeds=0"),
        *("--arms=a,c", f"--model_name={small_runs.BLOCKS}"),
        *(f"--dataset_cfg={recipe}", f"--output_dir={folder}"),
        "--hparam_str=data.augname=none,train.ema_decay=0.8",
    ]


def test_the_command_trains_draws_and_trains_nothing_twice(recipe, tmp_path):
    command = _command(recipe, tmp_path)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "run 2 of 2, progressive size and regularisation" in done.stdout
    rows = {
        name: metrics_file.read(tmp_path / name / metrics_file.FILE)
        for name in ("a-seed0", "c-seed0")
    }
    sizes = {
        name: sorted({row["image_size"] for row in found if "stage" in row})
        for name, found in rows.items()
    }
    assert sizes == {"a-seed0": [24], "c-seed0": [16, 24]}
    text = (tmp_path / comparison.TABLE).read_text()
    assert text.rstrip() in done.stdout
    first, second = re.findall(r"^\| (?!way).*size.*$", text, re.MULTILINE)
    accuracy = next(r for r in reversed(rows["a-seed0"]) if r["kind"] == "eval")
    assert first.endswith(f"| 1.00 | {100 * accuracy['accuracy']:.1f} |")
    assert second.startswith("| progressive size and regularisation | 1 |")
    assert "--arms=a,c" in text
    picture = (tmp_path / comparison.CURVES).read_bytes()
    assert picture.startswith(b"\x89PNG")
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("This run is finished") == 2
    assert (tmp_path / comparison.TABLE).read_text() == text
