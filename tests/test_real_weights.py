"""Published weights on photographs: the whole way from file to class."""

import numpy as np
import pytest
import tensorflow as tf

import efficientnetv2
from efficientnetv2 import weights
from efficientnetv2.data import preprocess

FILE = "efficientnetv2b0_imagenet.weights.h5"
MODEL = "efficientnetv2-b0"
IMAGE_SIZE = 224  # pixels
BATCH = 50


@pytest.fixture(scope="module")
def photographs(photographs_folder):
    """float32 [250, 224, 224, 3] and the classes, int [250]."""
    files = sorted(photographs_folder.glob("*.JPEG"))
    images = [
        preprocess.preprocess_image(
            tf.io.read_file(str(file)), IMAGE_SIZE, style="v1"
        )
        for file in files
    ]
    return tf.stack(images), 4 * np.arange(len(files))


@pytest.fixture(scope="module")
def path(weights_folder):
    """The weights file."""
    return weights_folder / FILE


def _accuracy(model, images, labels):
    classes = np.concatenate([
        np.argmax(model(images[i : i + BATCH], training=False), -1)
        for i in range(0, len(labels), BATCH)
    ])
    return np.mean(classes == labels)


def test_published_weights_name_nine_in_ten_photographs(photographs, path):
    images, labels = photographs
    assert len(labels) == 250
    model = efficientnetv2.get_model(MODEL, weights=str(path))
    assert _accuracy(model, images, labels) >= 0.89


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
