"""`python -m export` from a run's folder, and what it refuses."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import small_runs
import tensorflow as tf
from small_exports import BLOCKS, have, trained

from efficientnetv2 import checkpoint, config, model, model_dir
from export import __main__ as app
from export import formats, lite, pictures

NAMES = [f"shape {letter}" for letter in "abcdefghij"]
ROOT = pathlib.Path(__file__).resolve().parent.parent


def write_run(folder, *, averages=True, names=NAMES, overrides=""):
    """A finished run's folder; returns the model it should export."""
    folder.mkdir()
    overrides = ",".join(
        ["data.num_classes=10,eval.isize=32,data.preprocessing=v2", overrides]
    ).rstrip(",")
    settings = config.load(BLOCKS, "shapes", overrides)
    config.save(settings, folder / "config.yaml")
    tf.keras.utils.set_random_seed(0)
    network = trained(model.build(settings.model, num_classes=10), seed=0)
    arrays = checkpoint.snapshot(network)
    if averages:
        arrays |= {
            key.replace("model/", "ema/"): value
            for key, value in arrays.items()
        }
        for key in list(arrays):
            if key.startswith("model/"):
                arrays[key] = np.zeros_like(arrays[key])
    checkpoint.save(folder / "checkpoints", 7, arrays, {"class_names": names})
    return network


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    return folder, write_run(folder)


def call(*arguments):
    return app.main(["export", *arguments])


def test_a_run_is_exported_with_its_moving_averages_and_names(run, tmp_path):
    folder, network = run
    out = tmp_path / "deep" / "model"
    assert (
        call(
            f"--model_dir={folder}",
            "--format=saved_model",
            f"--export_dir={out}",
        )
        == 0
    )
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    served = tf.saved_model.load(out).signatures["serving_default"]
    answer = served(images=tf.constant(images))
    expected = tf.nn.softmax(network(images * 255 / 128 - 1, training=False))
    np.testing.assert_allclose(
        answer["probabilities"], expected, rtol=1e-5, atol=1e-6
    )
    best = np.argmax(expected, -1)
    assert [NAMES[i].encode() for i in best] == list(
        answer["top_classes"][:, 0].numpy()
    )


def test_without_averages_the_weights_are_taken(tmp_path):
    network = write_run(tmp_path / "run", averages=False)
    found = model_dir.load(tmp_path / "run")
    for ours, theirs in zip(found.model.weights, network.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert "weights after step 7" in found.description


def test_without_export_dir_it_goes_beside_the_run(tmp_path, capsys):
    write_run(tmp_path / "run")
    assert call(f"--model_dir={tmp_path / 'run'}", "--format=hub") == 0
    modules = tmp_path / "run" / "export" / "hub"
    assert {path.name for path in modules.iterdir()} >= {
        "feature_vector",
        "classification",
        "feature_maps",
        "README.md",
    }
    assert f"exported to {modules}" in capsys.readouterr().out


def refused(capsys, *arguments):
    capsys.readouterr()
    assert call(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_an_output_that_exists_stays_unless_overwritten(run, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("1")
    flags = [
        f"--model_dir={run[0]}",
        "--format=saved_model",
        f"--export_dir={out}",
    ]
    assert "--overwrite" in refused(capsys, *flags)
    assert (out / "precious").read_text() == "1"
    assert call(*flags, "--overwrite") == 0
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    assert not (out / "precious").exists()


def test_an_empty_folder_is_free(run, tmp_path):
    (tmp_path / "out").mkdir()
    assert (
        call(
            f"--model_dir={run[0]}",
            "--format=saved_model",
            f"--export_dir={tmp_path / 'out'}",
        )
        == 0
    )


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda run: (run / "config.yaml").unlink(), "must hold a run"),
        (
            lambda run: next(run.glob("checkpoints/*")).unlink(),
            "must hold a checkpoint",
        ),
        (
            lambda run: next(run.glob("checkpoints/*")).write_bytes(b"PK torn"),
            "must hold a whole checkpoint",
        ),
    ],
    ids=["no run", "no checkpoint", "torn checkpoint"],
)
def test_a_broken_run_is_one_line(break_it, message, tmp_path, capsys):
    write_run(tmp_path / "run")
    break_it(tmp_path / "run")
    line = refused(
        capsys,
        f"--model_dir={tmp_path / 'run'}",
        "--format=saved_model",
        f"--export_dir={tmp_path / 'out'}",
    )
    assert message in line
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_another_models_checkpoint_is_one_line(tmp_path, capsys):
    write_run(tmp_path / "run")
    settings = config.load(BLOCKS.replace("o16", "o24"), "shapes", "")
    config.save(settings, tmp_path / "run" / "config.yaml")
    line = refused(capsys, f"--model_dir={tmp_path / 'run'}", "--format=hub")
    assert "does not fit" in line


def test_labels_that_do_not_fit_are_one_line(run, tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    line = refused(
        capsys,
        f"--model_dir={run[0]}",
        "--format=hub",
        f"--labels={tmp_path / 'labels.txt'}",
        f"--export_dir={tmp_path / 'o'}",
    )
    assert "must be 10" in line and "2 labels" in line


def test_unknown_formats_and_flags_name_the_nearest(run, capsys):
    folder = f"--model_dir={run[0]}"
    assert "'hub'" in refused(capsys, folder, "--format=hbu")
    assert "'format'" in refused(capsys, folder, "--fromat=hub")
    assert "which format" in refused(capsys, folder)
    assert "what to export" in refused(capsys, "--format=hub")


@pytest.mark.parametrize(
    ("flag", "way"),
    [
        ("--hparam_str=eval.isize=40", "--model_dir=x"),
        ("--dataset_cfg=imagenet", "--model_dir=x"),
        ("--model_name=efficientnetv2-s", "--model_dir=x"),
        ("--best", "--weights=imagenet"),
    ],
)
def test_a_flag_without_effect_is_refused(flag, way, capsys):
    needed = ["--model_name=efficientnetv2-b0"] * way.startswith("--weights")
    line = refused(capsys, flag, way, "--format=hub", *needed)
    name, way = flag.partition("=")[0], way.partition("=")[0]
    assert line.startswith(f"error: {name} has no effect with {way}. Received:")


@pytest.mark.parametrize("format", formats.FORMATS)
def test_a_full_disk_leaves_nothing_behind(format, run, tmp_path, capsys):
    try:
        formats.check([format], config.load(BLOCKS, "shapes").model)
    except ValueError as error:
        pytest.skip(str(error))
    out = tmp_path / "out"
    with small_runs.full_disk(20_000):
        line = refused(
            capsys,
            f"--model_dir={run[0]}",
            f"--format={format}",
            f"--export_dir={out}",
        )
    assert f"cannot write {str(out)!r}: " in line
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not have("ai_edge_litert"), reason="the extra tflite")
def test_int8_takes_its_ranges_from_the_recipes_evaluation_pictures(
    run, tmp_path, monkeypatch
):
    seen = []
    convert = lite.convert

    def spy(folder, precision, *, calibration=None, **settings):
        if precision == "int8":
            seen.append(calibration)
        return convert(folder, precision, calibration=calibration, **settings)

    monkeypatch.setattr(lite, "convert", spy)
    settings = model_dir.read_config(run[0])
    wanted = pictures.from_recipe(settings, limit=6)
    assert len(set(wanted)) == 6
    formats.FORMATS["tflite"].write(
        formats.Request(model_dir.load(run[0]), files=wanted), str(tmp_path)
    )
    assert (tmp_path / "model_int8.tflite").stat().st_size > 1000
    raw, _ = pictures.decode(wanted, 32, "v2")
    assert seen[0].shape == (6, 32, 32, 3)
    # Rounded, with a black and a white pixel in the corner.
    np.testing.assert_allclose(seen[0][:, 1:], raw[:, 1:], atol=0.51)


def test_several_formats_get_a_folder_each(run, tmp_path):
    formats.export(
        formats.Request(model_dir.load(run[0])),
        tmp_path / "out",
        ["saved_model", "hub"],
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "saved_model",
        "hub",
    }


def test_help_exits_0_without_importing_tensorflow():
    code = (
        "import sys; from export.__main__ import main;"
        "code = main(['export', '--help']);"
        "sys.exit(code or 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "saved_model" in done.stdout
