"""The app: flags, what they lead to, errors of one line and exit codes."""

import os
import pathlib
import subprocess
import sys
import types

import pytest

from efficientnetv2 import app, config, modes

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAIN = ROOT / "main.py"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    """Every test starts in a folder without runs."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def calls(monkeypatch):
    """Records what the modes are called with; nothing is trained."""
    recorded = []

    def record(*args, **kwargs):
        recorded.append((args, kwargs))
        return recorder.result

    recorder = types.SimpleNamespace(record=record, result=None)
    monkeypatch.setitem(sys.modules, "efficientnetv2.recorder", recorder)
    for name, mode in app.MODES.items():
        row = mode._replace(module="recorder", function="record")
        monkeypatch.setitem(app.MODES, name, row)
    recorder.recorded = recorded
    return recorder


def _main(*arguments):
    return app.main(["main.py", *arguments])


def _save_run(folder, model="efficientnetv2-b0", dataset=None, overrides=""):
    pathlib.Path(folder).mkdir(parents=True)
    settings = config.load(model, dataset, overrides)
    config.save(settings, pathlib.Path(folder) / "config.yaml")
    return settings


def _child(*arguments, cwd, **options):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


# Help and wrong flags.


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull"])
def test_help_lists_flags_modes_models_and_data_sets(flag, capsys):
    assert _main("--mode=train", flag, "--nonsense") == 0
    text = capsys.readouterr().out
    for word in ("--model_name=", "--hparam_str=", "efficientnetv2-xl"):
        assert word in text
    for word in (*app.MODES, *config.list_datasets()):
        assert word in text
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize("argument, code", [("--help", 0), ("--mdoe=train", 1)])
def test_help_and_a_wrong_flag_take_under_300_ms(argument, code, tmp_path):
    seconds = []
    for _ in range(3):
        child = _child(MAIN, argument, cwd=tmp_path)
        child.communicate()
        before = os.times()
        again = _child(MAIN, argument, cwd=tmp_path)
        again.communicate()
        after = os.times()
        assert child.returncode == again.returncode == code
        # CPU time, so that a busy machine does not decide the test.
        seconds.append(
            after.children_user
            - before.children_user
            + after.children_system
            - before.children_system
        )
    assert min(seconds) < 0.3


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], ["--mode=train|eval|"]),
        (["--mode=trian"], ["'trian'", "nearest: 'train'"]),
        (["--mdoe=train"], ["--mdoe", "nearest: 'mode'"]),
        (["--mode=report", "--what=augmnt"], ["nearest: 'augment'"]),
        (["--mode=train", "--what=data"], ["--mode=train takes no --what"]),
        (
            ["--mode=train", "--model_name=efficientnetv2-bs"],
            ["'efficientnetv2-bs'", "nearest: 'efficientnetv2-s'"],
        ),
        (
            ["--mode=train", "--dataset_cfg=imagnet"],
            ["'imagnet'", "nearest: 'imagenet'"],
        ),
        (
            ["--mode=train", "--hparam_str=train.epohcs=3"],
            ["'train.epohcs'", "nearest: 'train.epochs'"],
        ),
        (["--mode=train", "--hparam_str=train.epochs=many"], ["'many'"]),
        (["--mode=train", "--data_dir=pictures"], ["imagenet", "folder"]),
        (["--mode=train", "picture.jpg"], ["'picture.jpg'"]),
        (["--mode=predict"], ["pictures"]),
        (["--mode=predict", "--format=xml", "a.jpg"], ["'xml'", "json"]),
        (["--mode=predict", "--top_k=0", "a.jpg"], ["top_k", ">= 1", "0"]),
        (["--mode=predict", "--top_k=many", "a.jpg"], ["--top_k=many"]),
        (["--mode=predict", "--model_dir=no", "a.jpg"], ["no run in 'no'"]),
        (["--mode=eval", "--follow=-1"], ["follow", ">= 0", "-1"]),
        (["--mode=eval", "--follow=soon"], ["--follow=soon"]),
        (["--mode=eval", "--follow=9", "--weights=a.h5"], ["--weights"]),
        (["--mode=eval"], ["runs/efficientnetv2-s-shapes"]),
        (["--mode=search", "--model_dir=gs://b/s"], ["local", "'gs://b/s'"]),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_1(
    arguments, words, calls, capsys
):
    assert _main(*arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    for word in words:
        assert word in printed.err
    assert not calls.recorded


def test_a_mistake_is_found_without_importing_tensorflow(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r});"
        "from efficientnetv2 import app;"
        "code = app.main(['main.py', '--mode=train', '--dataset_cfg=imagnet']);"
        "sys.exit(10 * code + bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    child = _child("-c", code, cwd=tmp_path)
    child.communicate()
    assert child.returncode == 10


@pytest.mark.parametrize(
    "flag, word",
    [
        ("--use_tpu", "--tpu"),
        ("--nouse_tpu", "--tpu"),
        ("--tpu_job_name=x", "--tpu"),
        ("--archive_ckpt", "checkpoints"),
        ("--export_to_tpu", "export"),
        ("--eval_name=x", "--model_dir"),
        ("--sweeps=x", "--mode=search"),
    ],
)
def test_an_old_flag_is_accepted_with_a_line_what_to_use(
    flag, word, calls, capsys
):
    assert _main("--mode=train", flag) == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and word in err
    assert len(calls.recorded) == 1


# What a command leads to.


@pytest.mark.parametrize(
    "dataset, known, classes, epochs, fine",
    [
        ("imagenet", "imagenet", 1000, 350, False),
        ("imagenet21k", "imagenet21k", 21843, 60, False),
        ("imagenetFt", "imagenetFt", 1000, 15, True),
        ("cifar10Ft", "cifar10Ft", 10, None, True),
        ("cifar10ft", "cifar10Ft", 10, None, True),
    ],
)
def test_commands_of_the_original_work_unchanged(
    dataset, known, classes, epochs, fine, calls, tmp_path
):
    flags = ["--model_name=efficientnetv2-s", f"--dataset_cfg={dataset}"]
    if fine:
        flags.append("--hparam_str=train.ft_init_ckpt=/ckpt/21k")
    folder = str(tmp_path / "run")
    assert _main("--mode=train", *flags, f"--model_dir={folder}") == 0
    (settings, model_dir), _ = calls.recorded[0]
    assert (settings.dataset_cfg, model_dir) == (known, folder)
    assert settings.data.num_classes == classes
    assert settings.train.ft_init_ckpt == ("/ckpt/21k" if fine else None)
    if epochs:
        assert settings.train.epochs == epochs
    else:
        assert settings.train.min_steps == 10_000


def test_training_without_a_data_set_says_shapes_in_the_first_line(
    calls, capsys
):
    assert _main("--mode=train", "--model_name=efficientnetv2-s") == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert "shapes" in line and "runs/efficientnetv2-s-shapes" in line
    [((settings, folder), flags)] = calls.recorded
    assert settings == config.load("efficientnetv2-s", "shapes")
    assert folder == os.path.join("runs", "efficientnetv2-s-shapes")
    assert flags == {"allow_config_change": False}


def test_flags_reach_the_config_and_the_mode(calls, capsys):
    code = _main(
        "--mode=traineval",
        "--model_name=efficientnetv2-b1",
        "--dataset_cfg=cifar10",
        "--data_dir=here",
        "--model_dir=there",
        "--hparam_str=train.epochs=7,data.ram=3",
        "--allow_config_change",
    )
    assert code == 0
    assert capsys.readouterr().out == ""
    [((settings, folder), flags)] = calls.recorded
    assert settings.model_name == "efficientnetv2-b1"
    assert (settings.train.epochs, settings.data.ram) == (7, 3.0)
    assert settings.data.data_dir == "here"
    assert folder == "there"
    assert flags == {"allow_config_change": True}


def test_a_tpu_and_its_place_reach_the_config(calls):
    flags = ["--tpu=pod", "--tpu_zone=z", "--gcp_project=p"]
    assert _main("--mode=train", *flags) == 0
    runtime = calls.recorded[0][0][0].runtime
    assert runtime.strategy == "tpu"
    assert (runtime.tpu, runtime.tpu_zone, runtime.gcp_project) == (
        "pod",
        "z",
        "p",
    )


def test_a_run_of_own_blocks_gets_a_folder_with_a_plain_name(calls, tmp_path):
    blocks = "r1_k3_s1_e1_i24_o24_c1;r1_k3_s2_e4_i24_o48_c1"
    assert _main("--mode=train", f"--model_name={blocks}") == 0
    folder = calls.recorded[0][0][1]
    assert folder == os.path.join("runs", "custom-shapes")


def test_predict_takes_pictures_as_arguments_and_by_flag(calls):
    _save_run("run")
    code = _main(
        "--mode=predict",
        "a.jpg",
        "--model_dir=run",
        "b/*.png",
        "--image_path=c.jpg",
        "--format=json",
        "--top_k=2",
    )
    assert code == 0
    assert calls.recorded[0][1] == {
        "inputs": ["a.jpg", "b/*.png", "c.jpg"],
        "format": "json",
        "top_k": 2,
        "weights": None,
    }


def test_a_run_brings_its_settings_and_flags_change_them(calls, capsys):
    saved = _save_run("run", overrides="train.epochs=9,train.batch_size=16")
    assert _main("--mode=eval", "--model_dir=run") == 0
    assert _main("--mode=train", "--model_dir=run") == 0
    code = _main(
        "--mode=eval",
        "--model_dir=run",
        "--hparam_str=eval.isize=96",
        "--data_dir=elsewhere",
    )
    assert code == 0
    first, second, third = [args[0] for args, _ in calls.recorded]
    assert first == second == saved
    assert third.eval.isize == 96 and third.train.epochs == 9
    assert third.data.data_dir == "elsewhere"
    assert capsys.readouterr().out == ""


def test_the_default_folder_of_a_run_is_found_again(calls):
    folder = os.path.join("runs", "efficientnetv2-b0-shapes")
    saved = _save_run(folder, overrides="train.epochs=9")
    assert _main("--mode=eval", "--model_name=efficientnetv2-b0") == 0
    assert calls.recorded[0][0] == (saved, folder)


def test_another_model_than_the_runs_is_an_error(calls, capsys):
    _save_run("run")
    flags = ["--model_dir=run", "--model_name=efficientnetv2-s"]
    assert _main("--mode=eval", *flags) == 1
    assert "'efficientnetv2-b0'" in capsys.readouterr().err


def test_training_a_run_with_names_takes_the_recipes_not_the_run(calls):
    """So that the trainer sees a changed setting and refuses it."""
    _save_run("run", overrides="train.epochs=9")
    flags = ["--model_dir=run", "--model_name=efficientnetv2-b0"]
    assert _main("--mode=train", *flags) == 0
    settings = calls.recorded[0][0][0]
    assert settings == config.load("efficientnetv2-b0")


def test_weights_replace_a_run(calls):
    flags = ["--weights=w.h5", "--model_name=efficientnetv2-b0"]
    assert _main("--mode=predict", "a.jpg", *flags) == 0
    (settings, _), keywords = calls.recorded[0]
    assert settings.model_name == "efficientnetv2-b0"
    assert keywords["weights"] == "w.h5"


@pytest.mark.parametrize(
    "weights, dataset, classes, size",
    [
        ("w.h5", "imagenet", 1000, 224),
        ("imagenet21k", "imagenet21k", 21843, 224),
    ],
)
def test_weights_without_a_data_set_are_imagenets(
    weights, dataset, classes, size, calls
):
    flags = [f"--weights={weights}", "--model_name=efficientnetv2-b0"]
    assert _main("--mode=predict", "a.jpg", *flags) == 0
    settings = calls.recorded[0][0][0]
    assert settings.dataset_cfg == dataset
    assert settings.data.num_classes == classes
    assert (settings.eval.isize, settings.data.preprocessing) == (size, "v1")


def test_report_needs_only_the_folder(calls):
    assert _main("--mode=report", "--model_dir=old") == 0
    assert calls.recorded == [(("old",), {})]


def test_every_mode_names_a_function_that_exists():
    for name, mode in (*modes.MODES.items(), *modes.SUBJECTS.items()):
        module = mode.module.replace(".", "/")
        path = ROOT / "efficientnetv2" / f"{module}.py"
        assert f"\ndef {mode.function}(" in path.read_text(), name
