"""Exported models timed in turn: what is measured and what is refused."""

import importlib.util

import keras
import numpy as np
import pytest

import efficientnetv2
from efficientnetv2 import entry_point
from export import keras_format, lite, saved_model, speed

BLOCKS = "r1_k3_s1_e1_i8_o8_c1;r1_k3_s2_e4_i8_o16_se0.25"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A small model as SavedModel, Keras's own export, .keras and TFLite."""
    folder = tmp_path_factory.mktemp("speed")
    model = efficientnetv2.get_model(BLOCKS, num_classes=4)
    settings = {"style": "v2", "verify": False}
    paths = [
        saved_model.export(model, folder / "ours", image_size=32, **settings),
        keras_format.export(model, folder / "m.keras", **settings),
    ]
    keras.models.load_model(paths[1]).export(folder / "theirs", verbose=False)
    paths.append(folder / "theirs")
    if importlib.util.find_spec("ai_edge_litert"):
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
        file = keras.utils.array_to_img(noise)
        file.save(folder / "noise.png")
        for precision in ("float32", "int8"):
            path = lite.export(
                model,
                folder / f"{precision}.tflite",
                precision=precision,
                image_size=32,
                files=[(folder / "noise.png").read_bytes()],
                **settings,
            )
            paths.append(path)
    return [str(path) for path in paths]


def test_every_kind_of_export_is_timed_in_every_round(models):
    seconds = speed.measure(models, image_size=32, batch_size=2, pairs=4)
    assert seconds.shape == (len(models), 4)
    assert np.all(seconds > 0)


def test_the_table_names_each_model_and_compares_with_the_first(models, capsys):
    code = entry_point.run(
        speed._run, ["speed", *models, "--image_size=32", "--pairs=3"]
    )
    lines = capsys.readouterr().out.splitlines()
    assert code == 0 and len(lines) == 1 + len(models)
    assert "1.00 (1.00 to 1.00)" in lines[1]
    for line, path in zip(lines[1:], models, strict=True):
        assert line.endswith(path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "MODEL"),
        (["{model}"], "at least two"),
        (["{model}", "none.tflite"], "Received: 'none.tflite'"),
        (["{model}", "README.md"], "a model must be a .tflite"),
        (["{model}", "{model}", "--pairs=0"], "pairs must be >= 1"),
        (["{model}", "{model}", "--pair=1"], "--pairs"),
    ],
)
def test_what_cannot_be_timed_is_one_line(models, flags, message, capsys):
    flags = [flag.format(model=models[0]) for flag in flags]
    assert entry_point.run(speed._run, ["speed", *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error
