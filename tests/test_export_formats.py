"""All formats at once: files, verification, model card, and what is refused."""

import importlib.util
import json
import pathlib
import tarfile

import keras
import numpy as np
import pytest
from small_exports import BLOCKS, FILES, NAMES, have, small_trained

import efficientnetv2
from efficientnetv2 import config
from export import check, formats, keras_format, lite, onnx, stock


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Every format that this environment can write."""
    chosen = ["saved_model", "hub", "keras"]
    chosen += ["tflite"] if have("ai_edge_litert") else []
    chosen += ["onnx"] if have("onnx", "onnxruntime", "tf2onnx") else []
    path = tmp_path_factory.mktemp("formats") / "out"
    said = []
    source = small_trained()
    rows = formats.export(
        formats.Request(source, files=FILES), path, chosen, say=said.append
    )
    return source, path, chosen, rows, said


def test_every_format_gives_what_the_trained_model_gives(exported):
    _, path, chosen, rows, _ = exported
    assert {p.name for p in path.iterdir()} == {
        *chosen,
        "README.md",
        "labels.txt",
    }
    by_name = {row.name: row for row in rows}
    exact = [
        row
        for row in rows
        if "float16" not in row.name
        and "int8" not in row.name
        and "dynamic" not in row.name
    ]
    assert len(exact) >= 6
    for row in exact:
        assert row.difference < 1e-4, row
        assert row.agreement in (None, 1.0)
        assert all(0 < ms < 60_000 for ms in row.milliseconds)
        assert 0 < row.megabytes < 5
    if "tflite float16" in by_name:
        assert by_name["tflite float16"].difference < 1e-2
        assert by_name["tflite int8"].agreement >= 0.9
        sizes = [by_name[f"tflite {p}"].megabytes for p in lite.PRECISIONS]
        assert sizes[0] > sizes[1] > sizes[2]


def test_the_card_says_how_to_load_and_holds_the_table(exported):
    _, path, chosen, rows, said = exported
    card = (path / "README.md").read_text()
    for row in rows:
        assert f"| {row.name}" in card
    for name in chosen:
        assert f"### {name}" in card
        assert f"writing {name} ..." in said
    for fact in ("a test", "32 x 32", "5 classes", "Apache-2.0", "12 given"):
        assert fact in card
    assert (path / "labels.txt").read_text().split() == list(NAMES)


def test_the_archive_of_a_module_holds_the_module(exported):
    folder = exported[1] / "hub"
    with tarfile.open(folder / "classification.tar.gz") as archive:
        members = {pathlib.PurePath(name).name for name in archive.getnames()}
    assert {"saved_model.pb", "variables.index"} <= members


def test_the_keras_file_trains_with_keras_layers_only(exported):
    source, path, *_ = exported
    loaded = keras.models.load_model(path / "keras" / "model.keras")
    kinds = {type(layer).__module__.split(".")[0] for layer in loaded.layers}
    assert kinds == {"keras"}
    ours = {layer.name for layer in source.model.layers}
    assert {layer.name for layer in loaded.layers} == ours | {"preprocessing"}
    before = loaded.get_layer("stem_conv").kernel.numpy()
    loaded.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3))
    loaded.fit(images, np.arange(4), epochs=1, verbose=0)
    assert np.any(before != loaded.get_layer("stem_conv").kernel.numpy())


def test_stock_layers_drop_branches_of_whole_examples():
    network = efficientnetv2.get_model(
        BLOCKS, num_classes=5, model_config={"survival_prob": 0.5}
    )
    copy = stock.stock(network)
    drops = [layer for layer in copy.layers if layer.name.endswith("_drop")]
    assert drops and all(type(x) is keras.layers.Dropout for x in drops)
    masked = drops[-1](np.ones((64, 4, 4, 8)), training=True).numpy()
    per_example = masked.reshape(64, -1)
    assert np.all(per_example == per_example[:, :1])
    assert 0 < np.mean(per_example == 0) < 1


@pytest.mark.skipif(
    not have("onnx", "onnxruntime", "tf2onnx"), reason="the extra onnx"
)
def test_the_onnx_file_names_its_ends_and_classes(exported):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        exported[1] / "onnx" / "model.onnx",
        providers=["CPUExecutionProvider"],
    )
    assert [x.name for x in session.get_inputs()] == ["image"]
    assert [x.name for x in session.get_outputs()] == ["logits"]
    assert session.get_inputs()[0].shape == ["batch", "height", "width", 3]
    names = session.get_modelmeta().custom_metadata_map["class_names"]
    assert tuple(json.loads(names)) == NAMES


@pytest.mark.skipif(not have("ai_edge_litert"), reason="the extra tflite")
def test_tflite_without_preprocessing_takes_normalised_images(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    source = small_trained()
    path = lite.export(
        source.model,
        tmp_path / "m.tflite",
        style="v1",
        image_size=32,
        include_preprocessing=False,
        verify=False,
    )
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (inputs,), (outputs,) = (
        interpreter.get_input_details(),
        interpreter.get_output_details(),
    )
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3))
    images = images.astype(np.float32)
    interpreter.set_tensor(inputs["index"], images)
    interpreter.invoke()
    np.testing.assert_allclose(
        interpreter.get_tensor(outputs["index"]),
        source.model(images, training=False),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("name", ["keras", "onnx"])
def test_without_preprocessing_they_take_normalised_images(name, tmp_path):
    if name == "onnx" and not have("onnx", "onnxruntime", "tf2onnx"):
        pytest.skip("the extra onnx")
    writer = {"keras": keras_format, "onnx": onnx}[name]
    source, path = small_trained(), str(tmp_path / f"m.{name}")
    (written,) = writer.write(
        source.model, path, style="v1", include_preprocessing=False
    )
    assert written.feed == "normalized"
    images = np.random.default_rng(0).normal(size=(2, 40, 32, 3))
    images = images.astype(np.float32)
    (logits,) = check.RUNNERS[written.runner](path, None).run(images)
    np.testing.assert_allclose(
        logits, source.model(images, training=False), rtol=1e-4, atol=1e-4
    )


@pytest.mark.skipif(not have("ai_edge_litert"), reason="the extra tflite")
def test_int8_takes_bytes_and_needs_pictures(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    source = small_trained()
    settings = {"style": "v1", "image_size": 32, "precision": "int8"}
    path = tmp_path / "m.tflite"
    with pytest.raises(ValueError, match="int8 needs pictures.*--pictures"):
        lite.export(source.model, path, **settings)
    lite.export(source.model, path, files=FILES, verify=False, **settings)
    (inputs,) = Interpreter(str(path)).get_input_details()
    assert inputs["dtype"] is np.uint8
    # The bytes are the pixels.
    assert inputs["quantization"] == (1.0, 0)


def test_without_pictures_nothing_is_written_before_tflite_says_so(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(lite, "check_installed", lambda: None)
    request, said = formats.Request(small_trained()), []
    with pytest.raises(ValueError, match="int8 needs pictures"):
        formats.export(
            request, tmp_path / "m", ["hub", "tflite"], say=said.append
        )
    assert said == []


@pytest.mark.parametrize("name", ["saved_model", "hub", "tflite", "onnx"])
def test_channels_first_is_refused_where_it_cannot_be_done(name):
    architecture = small_trained().config.model
    formats.check(["keras"], architecture)
    first = config.load(
        BLOCKS, "shapes", "model.data_format=channels_first"
    ).model
    with pytest.raises(ValueError, match=f"as {name}; it can as keras"):
        formats.check([name], first)
    formats.check(["keras"], first)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    architecture = small_trained().config.model
    with pytest.raises(ValueError, match=r"needs tf2onnx.*\[onnx\]"):
        formats.check(["onnx"], architecture)
    with pytest.raises(ValueError, match=r"needs ai-edge-litert.*\[tflite\]"):
        formats.check(["tflite"], architecture)
    assert onnx.check_installed.__module__ == "export.onnx"
