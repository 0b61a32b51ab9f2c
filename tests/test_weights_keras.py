"""keras.applications' models and files against ours, both ways."""

import zipfile

import h5py
import keras
import numpy as np
import pytest
from parity import OF_KERAS, keras_distances, keras_model
from random_weights import distance, equal, pair, picture, randomise

import efficientnetv2
from efficientnetv2 import weights

QUICK = ("efficientnetv2-b0", "efficientnet-b0")


@pytest.fixture
def tiny():
    """A tiny model with random weights, and an untouched twin."""
    return pair()


@pytest.mark.parametrize("name", QUICK)
def test_keras_applications_gives_our_outputs(name, tmp_path):
    assert max(keras_distances(name, tmp_path)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in OF_KERAS if name not in QUICK]
)
def test_other_models_of_keras_give_our_outputs(name, tmp_path):
    assert max(keras_distances(name, tmp_path)) < 1e-4


@pytest.mark.parametrize("name", QUICK)
def test_a_keras_file_without_top_fits_a_model_without_top(name, tmp_path):
    image = picture()
    theirs = keras_model(name, include_top=False, pooling="avg")
    randomise(theirs)
    path = tmp_path / "notop.weights.h5"
    theirs.save_weights(path)
    ours = efficientnetv2.get_model(name, include_top=False)
    assert weights.load(ours, path).complete
    with pytest.raises(weights.WeightsError, match="no classifier.*adapt"):
        weights.load(efficientnetv2.get_model(name), path)
    whole = efficientnetv2.get_model(name)
    report = weights.load(whole, path, adapt=True)
    assert report.kept == ("predictions/kernel", "predictions/bias")
    assert distance(ours(image, training=False), _pooled(whole, image)) == 0


def _pooled(model, image):
    part = keras.Model(model.inputs[0], model.get_layer("avg_pool").output)
    return part(image, training=False)


@pytest.mark.parametrize("name", QUICK)
def test_the_older_h5_of_keras_applications_is_read(name, tmp_path):
    theirs = keras_model(name)
    randomise(theirs)
    path = tmp_path / "older.h5"
    theirs.save(path)  # of a whole model; Keras's older layout
    ours = efficientnetv2.get_model(name)
    assert weights.load(ours, path).complete
    kernels = [
        model.get_layer("block2a_project_conv").kernel.numpy()
        for model in (ours, theirs)
    ]
    np.testing.assert_array_equal(*kernels)


def test_saved_weights_come_back_bit_equal(tiny, tmp_path):
    first, second = tiny
    path = weights.save(first, tmp_path / "tiny.weights.h5")
    assert weights.load(second, path).complete
    assert equal(first, second)


def test_keras_itself_loads_what_we_save(tiny, tmp_path):
    first, second = tiny
    second.load_weights(weights.save(first, tmp_path / "tiny.weights.h5"))
    assert equal(first, second)


def test_save_leaves_the_old_file_when_it_fails(tiny, tmp_path, monkeypatch):
    path = tmp_path / "tiny.weights.h5"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("efficientnetv2.weights.keras_h5._write_layer", fail)
    with pytest.raises(OSError, match="no space"):
        weights.save(tiny[0], path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_save_rejects_another_ending(tiny, tmp_path):
    with pytest.raises(weights.WeightsError, match=r"\.weights\.h5.*model.h5"):
        weights.save(tiny[0], tmp_path / "model.h5")


def test_save_rejects_another_model(tmp_path):
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(weights.WeightsError, match="model must be"):
        weights.save(other, tmp_path / "x.weights.h5")


@pytest.mark.parametrize("suffix", ["weights.h5", "keras"])
def test_keras_own_files_of_our_models_are_read(tiny, tmp_path, suffix):
    first, second = tiny
    path = tmp_path / f"tiny.{suffix}"
    first.save(path) if suffix == "keras" else first.save_weights(path)
    assert weights.load(second, path).complete
    assert equal(first, second)


def _without_names(path):
    """Takes away the layers' names, as Keras 3.0 wrote files."""
    with h5py.File(path, "a") as root:
        for group in root["layers"].values():
            del group["vars"].attrs["name"]


def test_layers_without_names_are_found_by_their_number(tiny, tmp_path):
    first, second = tiny
    path = weights.save(first, tmp_path / "tiny.weights.h5")
    _without_names(path)
    assert weights.load(second, path).complete
    assert equal(first, second)


def test_older_files_with_other_names_are_read_in_their_order(tiny, tmp_path):
    first, second = tiny
    path = tmp_path / "tiny.h5"
    _write_older(first, path, "layer_{}")
    assert weights.load(second, path).complete
    assert equal(first, second)


def _write_older(model, path, pattern):
    """The layout of Keras 2: names of layers and variables as attributes."""
    names = []
    with h5py.File(path, "w") as root:
        for layer in model.layers:
            names.append(pattern.format(len(names)))
            group = root.create_group(names[-1])
            leaves = []
            for variable in layer.weights:
                leaf = variable.name
                if "dwconv" in layer.name:
                    leaf = f"depthwise_{leaf}"
                leaves.append(f"{names[-1]}/{leaf}:0")
                group[leaves[-1]] = variable.numpy()
            group.attrs["weight_names"] = [leaf.encode() for leaf in leaves]
        root.attrs["layer_names"] = [name.encode() for name in names]


def test_half_precision_files_are_read(tiny, tmp_path):
    first, second = tiny
    path = weights.save(first, tmp_path / "tiny.weights.h5")
    with h5py.File(path, "a") as root:
        group = root["layers/conv2d/vars"]
        value = group["0"][:]
        del group["0"]
        group["0"] = value.astype("float16")
    weights.load(second, path)
    kernel = second.get_layer("stem_conv").kernel.numpy()
    np.testing.assert_array_equal(kernel, value.astype("float16"))


def test_integer_kernels_do_not_pass_for_weights(tiny, tmp_path):
    first, second = tiny
    path = weights.save(first, tmp_path / "tiny.weights.h5")
    with h5py.File(path, "a") as root:
        group = root["layers/conv2d/vars"]
        del group["0"]
        group["0"] = np.ones((3, 3, 3, 8), "int8")
    with pytest.raises(weights.WeightsError, match="stem_conv/kernel"):
        weights.load(second, path)


def test_an_h5_file_of_something_else_is_refused(tiny, tmp_path):
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as root:
        root["pictures"] = np.zeros(4)
    with pytest.raises(weights.WeightsError, match="data.h5.*no layer"):
        weights.load(tiny[1], path)


def test_another_networks_h5_is_refused(tiny, tmp_path):
    other = keras.applications.MobileNetV2(weights=None, classes=5, alpha=0.35)
    path = tmp_path / "mobilenet.weights.h5"
    other.save_weights(path)
    with pytest.raises(weights.WeightsError, match="does not fit") as caught:
        weights.load(tiny[1], path, strict=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_truncated_files_are_refused(tiny, tmp_path, share):
    path = tmp_path / "tiny.weights.h5"
    weights.save(tiny[0], path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(weights.WeightsError, match="tiny.weights.h5.*damaged"):
        weights.load(tiny[1], path)


def test_a_truncated_keras_archive_is_refused(tiny, tmp_path):
    path = tmp_path / "tiny.keras"
    tiny[0].save(path)
    with zipfile.ZipFile(path) as archive:
        inner = archive.read("model.weights.h5")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", inner[: len(inner) // 2])
    with pytest.raises(weights.WeightsError, match="tiny.keras.*damaged"):
        weights.load(tiny[1], path)
