"""Verification of exports, and the pictures that it looks at."""

import ast
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from small_exports import FILES, NAMES, small_trained

from efficientnetv2.data import preprocess
from export import check, keras_format, pictures, saved_model, stock, verify


def test_a_wrong_export_is_found_and_the_good_one_kept(tmp_path, monkeypatch):
    source = small_trained()
    out = tmp_path / "model.keras"
    out.write_text("the good one")
    write = keras_format.write

    def write_wrong(network, path, **settings):
        wrong = stock.stock(network)
        wrong.get_layer("predictions").kernel.assign_add(
            0.01
            * np.ones(wrong.get_layer("predictions").kernel.shape)
            * np.arange(5)
        )
        return write(wrong, path, **settings)

    monkeypatch.setattr(keras_format, "write", write_wrong)
    with pytest.raises(verify.VerificationError, match="keras: its outputs"):
        keras_format.export(
            source.model, out, style="v1", image_size=32, overwrite=True
        )
    assert out.read_text() == "the good one"
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_what_cannot_be_run_is_one_line(tmp_path):
    source = small_trained()
    (tmp_path / "model.keras").write_text("not a model")
    expected = verify.expect(source.model, image_size=32, style="v1")
    artefacts = keras_format.write(
        source.model, tmp_path / "m.keras", style="v1"
    )
    (tmp_path / "m.keras").write_bytes(b"torn")
    with pytest.raises(verify.VerificationError) as caught:
        verify.verify(artefacts, expected)
    assert "keras cannot be run: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_check_imports_nothing_of_this_project():
    tree = ast.parse(pathlib.Path(check.__file__).read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            found.add(node.module.split(".")[0])
    assert not found & {"efficientnetv2", "export"}


def test_python_calls_verify_by_default(tmp_path):
    source = small_trained()
    path = saved_model.export(
        source.model,
        tmp_path / "m",
        class_names=NAMES,
        image_size=32,
        style="v1",
    )
    assert tf.saved_model.contains_saved_model(path)


def test_pictures_come_from_files_folders_and_globs(tmp_path):
    (tmp_path / "deep").mkdir()
    for index, data in enumerate(FILES[:4]):
        (tmp_path / "deep" / f"{index}.jpg").write_bytes(data)
    folder = str(tmp_path)
    assert pictures.from_paths(folder, limit=9) == FILES[:4]
    assert pictures.from_paths(f"{folder}/deep/[02].jpg", limit=9) == [
        FILES[0],
        FILES[2],
    ]
    assert pictures.from_paths([folder], limit=2) == [FILES[0], FILES[2]]
    with pytest.raises(ValueError, match="no picture found"):
        pictures.from_paths(tmp_path / "none", limit=9)


def test_a_broken_picture_is_named_and_left_out(tmp_path, capsys):
    (tmp_path / "a.jpg").write_bytes(FILES[0][:40])
    with pytest.raises(ValueError, match="no picture can be decoded.*a.jpg"):
        pictures.from_paths(tmp_path, limit=9)
    (tmp_path / "b.jpg").write_bytes(FILES[1])
    assert pictures.from_paths(tmp_path, limit=9) == [FILES[1]]
    assert "left out, " in capsys.readouterr().err


def test_drawn_pictures_are_drawn_the_same_again():
    assert pictures.drawn(2, size=16) == pictures.drawn(2, size=16)
    assert len(set(pictures.drawn(4, size=16))) == 4


def test_raw_pixels_are_what_normalisation_was_applied_to():
    for style in ("v1", "v2", "ft"):
        raw, normalized = pictures.decode(FILES[:2], 24, style)
        np.testing.assert_allclose(
            preprocess.normalize(raw, style), normalized, atol=1e-5
        )
