"""What every test file shares: quiet libraries and where reference data lie."""

import os
import pathlib

import pytest

# Before anything imports TensorFlow or Keras.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "Agg")

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def _folder(name):
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"reference data are not beside the checkout: {path}")
    return path


@pytest.fixture(scope="session")
def reference_folder():
    """Figures that the original implementation computed."""
    return _folder("reference")


@pytest.fixture(scope="session")
def photographs_folder():
    """ImageNet photographs: file k of the sorted list has class 4k."""
    return _folder("data/imagenet_sample")


@pytest.fixture(scope="session")
def cifar10_folder():
    """CIFAR-10 as TFRecords."""
    return _folder("data/cifar10")


@pytest.fixture(scope="session")
def weights_folder():
    """Published weights."""
    return _folder("weights")


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """A cache folder of this test's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EFFICIENTNETV2_CACHE", str(folder))
    return folder


@pytest.fixture
def records(tmp_path):
    """TFRecords of a small data set: train, 40 examples, and test, 7."""
    import small_data

    folder = small_data.write_data_set(tmp_path / "data")
    return small_data.write_data_set(folder, split="test", count=7, shards=1)
