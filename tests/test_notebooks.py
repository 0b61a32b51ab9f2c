"""The notebooks, executed from top to bottom on small settings."""

import json
import pathlib

import pytest

from efficientnetv2 import zoo
from efficientnetv2.data import shapes
from efficientnetv2.weights import save

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
SECONDS = 600  # that a cell may take on a busy machine


def _read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    for cell in _read(path)["cells"]:
        assert not cell.get("outputs") and not cell.get("execution_count")


def _execute(name, folder, parameters):
    """Runs a notebook with other settings; returns its cells."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(ROOT / "colab" / f"{name}.ipynb", 4)
    (settings,) = (
        cell
        for cell in notebook.cells
        if "parameters" in cell.metadata.get("tags", ())
    )
    lines = [f"{key} = {value!r}" for key, value in parameters.items()]
    known = {line.split(" =")[0] for line in settings.source.splitlines()}
    assert set(parameters) <= known
    settings.source += "\n" + "\n".join(lines)
    nbclient.NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    return notebook.cells


@pytest.fixture(autouse=True)
def _plots_in_the_notebook(monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)


def _text(cells):
    return "".join(
        output.get("text", "")
        for cell in cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


def _plots(cells):
    return sum(
        "image/png" in output.get("data", {})
        for cell in cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


def test_the_tutorial_runs_from_top_to_bottom(tmp_path):
    name = "efficientnetv2-b0"
    weights = tmp_path / "random.weights.h5"
    save(zoo.get_model(name), weights)
    picture = shapes.write_pictures(tmp_path / "pictures")[0]
    cells = _execute(
        "tutorial",
        tmp_path,
        {
            "WEIGHTS": str(weights),
            "PICTURE": str(picture),
            "SETTINGS": "train.epochs=4,train.split=train[:320],"
            "eval.split=validation[:100],eval.every_epochs=2,"
            "train.isize=48,eval.isize=48,data.ibase=32",
        },
    )
    text = _text(cells)
    assert "efficientnetv2-b0: 7,200,312 parameters" in text
    assert "(1, 7, 7, 192)" in text  # reduction_5
    assert "epochs 3 to 3: 48 px" in text
    assert "step 40/40" in text
    assert _plots(cells) == 4
    assert (tmp_path / "runs/tutorial/metrics.jsonl").is_file()


def test_the_tour_of_tfhub_runs_from_top_to_bottom(tmp_path):
    for module in ("tensorflow_hub", "tf_keras"):
        pytest.importorskip(module)
    cells = _execute(
        "tfhub", tmp_path, {"WEIGHTS": None, "SIZE": 32, "EPOCHS": 1}
    )
    text = _text(cells)
    assert "features: (2, 1280)" in text
    assert "a linear classifier on the features" in text
    assert "Epoch 2/2" in text
    assert _plots(cells) == 2
    assert (tmp_path / "runs/modules/feature_vector.tar.gz").is_file()
