"""Published weights on photographs: the whole way from file to class."""

import json
import re

import numpy as np
import pytest

import efficientnetv2
from efficientnetv2 import app, weights

FILE = "efficientnetv2b0_imagenet.weights.h5"
MODEL = "efficientnetv2-b0"
GOAL = 0.89  # top-1


@pytest.fixture(scope="module")
def path(weights_folder):
    """The weights file."""
    return weights_folder / FILE


@pytest.fixture
def mode(path, capsys):
    """Runs a mode of the app with the weights; gives what it printed."""

    def run(name, *arguments):
        code = app.main(
            [
                "main.py",
                f"--mode={name}",
                f"--model_name={MODEL}",
                f"--weights={path}",
                *map(str, arguments),
            ]
        )
        assert code == 0
        return capsys.readouterr().out

    return run


def test_eval_names_nine_in_ten_photographs(photographs_folder, mode, tmp_path):
    files = sorted(photographs_folder.glob("*.JPEG"))
    rows = [f"{file},{4 * index}\n" for index, file in enumerate(files)]
    (tmp_path / "eval.csv").write_text("".join(rows))
    classes = "".join(f"{index}\n" for index in range(1000))
    (tmp_path / "labels.txt").write_text(classes)
    printed = mode("eval", "--dataset_cfg=csv", f"--data_dir={tmp_path}")
    (top1,) = re.findall(r"top-1 ([\d.]+) %", printed)
    assert "on 250 examples" in printed
    assert float(top1) >= 100 * GOAL


def test_predict_names_nine_in_ten_photographs(
    photographs_folder, mode, monkeypatch
):
    numbers = tuple(str(index) for index in range(1000))
    monkeypatch.setattr(weights, "class_names", lambda count: numbers)
    printed = mode("predict", "--format=json", "--top_k=1", photographs_folder)
    rows = sorted(map(json.loads, printed.splitlines()), key=_path)
    hits = [
        row["classes"][0]["class"] == str(4 * index)
        for index, row in enumerate(rows)
    ]
    assert len(hits) == 250
    assert np.mean(hits) >= GOAL


def _path(row):
    return row["path"]


def test_a_saved_copy_is_bit_equal(path, tmp_path):
    model = efficientnetv2.get_model(MODEL, weights=str(path))
    copy = weights.save(model, tmp_path / "copy.weights.h5")
    again = efficientnetv2.get_model(MODEL, weights=copy)
    for first, second in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())


def test_features_for_few_classes_load_from_it(path):
    model = efficientnetv2.get_model(MODEL, num_classes=10)
    report = weights.load(model, path, adapt=True)
    assert report.kept == ("predictions/kernel", "predictions/bias")
    assert len(report.loaded) == len(model.weights) - 2
