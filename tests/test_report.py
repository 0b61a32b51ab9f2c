"""report: reading metrics.jsonl and drawing curves.png."""

import builtins
import json
import math
import pathlib
import subprocess
import sys

import pytest

from efficientnetv2 import report

ROOT = pathlib.Path(__file__).resolve().parent.parent
PNG = b"\x89PNG\r\n\x1a\n"


def _row(step, kind="train", **figures):
    return {"step": step, "kind": kind, **figures}


def _write(folder, rows, tail=""):
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "metrics.jsonl").write_text("".join(lines) + tail)


def _run_of_four_stages(folder):
    rows = []
    for step in range(10, 401, 10):
        stage = (step - 1) // 100
        rows.append(
            _row(
                step,
                loss=2.3 * math.exp(-step / 200),
                accuracy=1 - math.exp(-step / 200),
                learning_rate=0.01 * min(step / 50, 1),
                epoch=(step - 1) // 25,
                stage=stage,
                image_size=(128, 149, 171, 192)[stage],
            )
        )
        if step % 100 == 0:
            rows.append(_row(step, "eval", loss=0.5, accuracy=step / 500))
    _write(folder, rows)


def test_rows_are_split_by_kind_and_sorted_by_step(tmp_path):
    _write(tmp_path, [_row(20), _row(5, "eval"), _row(10)])
    train, evaluation = report.read_rows(tmp_path)
    assert [row["step"] for row in train] == [10, 20]
    assert [row["step"] for row in evaluation] == [5]


def test_a_torn_line_is_left_out(tmp_path):
    _write(tmp_path, [_row(10)], tail='{"step": 20, "kind": "tr')
    assert [row["step"] for row in report.read_rows(tmp_path)[0]] == [10]


def test_series_leaves_out_missing_null_and_non_finite_values():
    rows = [
        _row(1, loss=1.5),
        _row(2),
        _row(3, loss=None),
        _row(4, loss=math.nan),
        _row(5, loss=0.5),
    ]
    assert report.series(rows, "loss") == ([1, 5], [1.5, 0.5])


def test_stage_spans_leave_no_gap_and_name_the_size(tmp_path):
    _run_of_four_stages(tmp_path)
    train, _ = report.read_rows(tmp_path)
    assert report.stage_spans(train) == [
        (0, 100, 0, 128),
        (100, 200, 1, 149),
        (200, 300, 2, 171),
        (300, 400, 3, 192),
    ]


@pytest.mark.parametrize("content", [None, "", "not json\n"])
def test_a_folder_without_metrics_is_one_clear_line(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(ValueError, match="metrics.jsonl") as caught:
        report.draw(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_drawing_shades_every_stage_and_names_the_best_accuracy(tmp_path):
    pytest.importorskip("matplotlib")
    _run_of_four_stages(tmp_path)
    figure = report._draw("title", *report.read_rows(tmp_path))
    loss, accuracy, rate, size = figure.axes
    labels = [text.get_text() for text in loss.texts]
    assert labels == [
        "stage 1\n128 px",
        "stage 2\n149 px",
        "stage 3\n171 px",
        "stage 4\n192 px",
    ]
    for axes in figure.axes:
        assert len(axes.patches) == 4
    assert [text.get_text() for text in accuracy.texts] == ["best 80.0 %"]
    assert list(accuracy.lines[-1].get_ydata()) == [20.0, 40.0, 60.0, 80.0]
    assert max(rate.lines[0].get_ydata()) == 0.01
    assert set(size.lines[0].get_ydata()) == {128, 149, 171, 192}
    assert size.get_xlabel() == "step (16 epochs)"


@pytest.mark.parametrize(
    "rows",
    [
        [_row(1, loss=1.0)],
        [_row(7, "eval", accuracy=0.5)],
        [_row(n, loss=math.nan, stage=0, image_size=64) for n in range(9)],
    ],
    ids=["one training row", "only evaluation", "no finite loss"],
)
def test_a_picture_comes_out_of_few_or_bad_rows(tmp_path, rows):
    pytest.importorskip("matplotlib")
    _write(tmp_path, rows)
    path = report.draw(tmp_path)
    with open(path, "rb") as file:
        assert file.read(8) == PNG


def test_without_matplotlib_training_goes_on_with_a_line_how_to_install(
    tmp_path, monkeypatch, capsys
):
    _run_of_four_stages(tmp_path)
    plain_import = builtins.__import__

    def without_matplotlib(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name, name="matplotlib")
        return plain_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    assert report.curves(tmp_path) is None
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "pip install 'efficientnetv2[report]'" in printed.err


def test_drawing_needs_no_tensorflow(tmp_path):
    pytest.importorskip("matplotlib")
    _run_of_four_stages(tmp_path)
    code = (
        "import sys; from efficientnetv2 import report; "
        f"report.draw({str(tmp_path)!r}); "
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
