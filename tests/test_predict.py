"""Predictions: which pictures, which classes, and what cannot be read."""

import json
import os

import keras
import numpy as np
import pytest
import small_data
import small_runs
from PIL import Image

from efficientnetv2 import app, model_dir, predict, weights
from efficientnetv2.data import picture_files, preprocess


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    settings = small_runs.settings(folder)
    network = small_runs.write_run(folder / "run", settings)
    return folder / "run", settings, network


@pytest.fixture(scope="module")
def trained(run):
    return model_dir.load(run[0])


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    small_data.write_pictures(folder, [f"{letter}.jpg" for letter in "abcde"])
    return folder


def test_classes_are_those_of_the_model_on_the_whole_picture(
    trained, run, pictures, monkeypatch
):
    """In batches of two, the last one alone."""
    monkeypatch.setattr(predict, "_BATCH", 2)
    paths = picture_files.find_pictures([str(pictures)])
    rows = list(predict.predict_files(trained, paths, top_k=3))
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    for path, row in zip(paths, rows, strict=True):
        image = preprocess.preprocess_image(path.read_bytes(), 24, style="v2")
        logits = run[2](image[None], training=False)
        expected = keras.ops.softmax(logits).numpy()[0]
        best = np.argsort(-expected)[:3]
        assert [c["class"] for c in row["classes"]] == [
            f"class {number}" for number in best
        ]
        np.testing.assert_allclose(
            [c["probability"] for c in row["classes"]],
            expected[best],
            rtol=1e-4,
        )
    assert len({str(row["classes"]) for row in rows}) > 1


def test_more_classes_than_there_are_is_all_of_them(trained, pictures):
    (row,) = predict.predict_files(trained, [pictures / "b.jpg"], top_k=9)
    assert len(row["classes"]) == 4
    total = sum(item["probability"] for item in row["classes"])
    assert total == pytest.approx(1, abs=1e-5)


def test_top_k_below_one_is_refused(trained):
    with pytest.raises(ValueError, match="top_k must be >= 1. Received: 0"):
        list(predict.predict_files(trained, [], top_k=0))


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("grey.jpg", "L", {}),
        ("cmyk.jpg", "CMYK", {}),
        ("alpha.png", "RGBA", {}),
        ("palette.png", "P", {}),
        ("still.bmp", "RGB", {}),
        ("still.webp", "RGB", {"lossless": True}),
        ("moving.gif", "P", {"save_all": True}),
    ],
)
def test_every_kind_of_picture_is_read(trained, tmp_path, name, mode, options):
    image = Image.fromarray(small_data.picture(3)).convert(mode)
    if "save_all" in options:
        options = {**options, "append_images": [image.rotate(90)]}
    image.save(tmp_path / name, **options)
    (path,) = picture_files.find_pictures([str(tmp_path)])
    (row,) = predict.predict_files(trained, [path])
    assert "error" not in row and len(row["classes"]) == 4


def _main(run, *arguments):
    return app.main(
        ["main.py", "--mode=predict", f"--model_dir={run[0]}", *arguments]
    )


def test_broken_pictures_have_rows_and_the_others_go_on(run, pictures, capsys):
    (pictures / "empty.jpg").write_bytes(b"")
    (pictures / "text.jpg").write_text("no picture")
    (pictures / "torn.jpg").write_bytes(small_data.jpeg(7)[:300])
    os.symlink(pictures / "gone", pictures / "z.png")
    assert _main(run, "--format=json", str(pictures)) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {
        os.path.basename(row["path"]): row for row in map(json.loads, lines)
    }
    wrong = {name: row["error"] for name, row in rows.items() if "error" in row}
    assert wrong == {
        "empty.jpg": "empty file",
        "text.jpg": "not a picture that can be decoded",
        "torn.jpg": "not a picture that can be decoded",
    }
    assert len(rows) == 8
    for name in rows.keys() - wrong.keys():
        assert rows[name].keys() == {"path", "classes"}
        assert rows[name]["classes"][0].keys() == {"class", "probability"}


def test_the_table_names_picture_class_and_percent(run, pictures, capsys):
    (pictures / "text.jpg").write_text("no picture")
    inputs = [str(pictures / name) for name in ("b.jpg", "text.jpg")]
    assert _main(run, "--top_k=2", *inputs) == 0
    first, *classes, second, wrong = capsys.readouterr().out.splitlines()
    assert first == inputs[0] and second == inputs[1]
    assert wrong == "    cannot be read: not a picture that can be decoded"
    assert len(classes) == 2
    for line in classes:
        number, percent, rest = line.split(maxsplit=2)
        assert 0 <= float(number) <= 100 and percent == "%"
        assert rest.lstrip("# ").startswith("class ")


def test_the_exit_code_is_1_where_no_picture_can_be_read(run, tmp_path, capsys):
    (tmp_path / "text.jpg").write_text("no picture")
    assert _main(run, str(tmp_path)) == 1
    assert "cannot be read" in capsys.readouterr().out
    assert _main(run, str(tmp_path / "*.png")) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: no picture found at")
    assert error.count("\n") == 1


def test_weights_take_the_place_of_the_run(run, pictures, tmp_path, capsys):
    _, settings, network = run
    weights.save(network, tmp_path / "mine.weights.h5")
    code = app.main(
        [
            "main.py",
            "--mode=predict",
            f"--model_name={small_runs.BLOCKS}",
            f"--dataset_cfg={settings.dataset_cfg}",
            f"--weights={tmp_path / 'mine.weights.h5'}",
            "--format=json",
            str(pictures / "b.jpg"),
        ]
    )
    own = json.loads(capsys.readouterr().out)
    assert code == 0
    assert _main(run, "--format=json", str(pictures / "b.jpg")) == 0
    found = json.loads(capsys.readouterr().out)
    for one, other in zip(own["classes"], found["classes"], strict=True):
        assert f"class {one['class']}" == other["class"]
        assert one["probability"] == pytest.approx(other["probability"], 1e-5)


def test_settings_on_the_command_line_hold(run, pictures, monkeypatch, capsys):
    sizes = []
    probabilities = model_dir.Trained.probabilities

    def measure(self, images):
        sizes.append(images.shape[1:3])
        return probabilities(self, images)

    monkeypatch.setattr(model_dir.Trained, "probabilities", measure)
    picture = str(pictures / "b.jpg")
    assert _main(run, "--hparam_str=eval.isize=40", picture) == 0
    assert _main(run, picture) == 0
    assert sizes == [(40, 40), (24, 24)]
