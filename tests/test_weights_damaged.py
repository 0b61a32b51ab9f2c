"""Torn and altered files: one line, and the model stays as it was."""

import tarfile

import numpy as np
import pytest
from random_weights import build, randomise, write_safetensors
from test_weights_keras import _write_older
from test_weights_state_dict import _floats, _tiny_state_dict

from efficientnetv2 import checkpoint, weights

TRIALS = 40


def _weights_h5(model, folder):
    return weights.save(model, folder / "a.weights.h5")


def _keras(model, folder):
    model.save(folder / "a.keras")
    return folder / "a.keras"


def _older_h5(model, folder):
    _write_older(model, folder / "a.h5", "layer_{}")
    return folder / "a.h5"


def _safetensors(model, folder):
    arrays = _floats(_tiny_state_dict(model))
    write_safetensors(folder / "a.safetensors", arrays)
    return folder / "a.safetensors"


def _pth(model, folder):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    arrays = _tiny_state_dict(model)
    torch.save(
        {k: torch.from_numpy(v) for k, v in arrays.items()}, folder / "a.pth"
    )
    return folder / "a.pth"


def _trainer(model, folder):
    arrays = {f"model/{v.path}": v.numpy() for v in model.weights}
    return checkpoint.save(folder, 3, arrays, {"class_names": None})


def _tar(model, folder):
    path = _weights_h5(model, folder)
    with tarfile.open(folder / "a.tar", "w") as tar:
        tar.add(path, "a/a.weights.h5")
    return folder / "a.tar"


def _damage(data, trial, rng):
    """Cuts the end off, or alters bytes of the first ones or of all."""
    if trial % 3 == 0:
        return data[: rng.integers(len(data))]
    altered = bytearray(data)
    places = rng.integers(0, 4096, 3)
    if trial % 3 == 2:
        places = rng.integers(0, len(data), 40)
    for place in places:
        altered[place] = rng.integers(256)
    return bytes(altered)


@pytest.mark.parametrize(
    "write",
    [_weights_h5, _keras, _older_h5, _safetensors, _pth, _trainer, _tar],
)
def test_a_damaged_file_is_one_line_or_loads_whole(write, tmp_path):
    first, model = build(), build()
    randomise(first)
    path = write(first, tmp_path)
    with open(path, "rb") as file:
        data = file.read()
    rng = np.random.default_rng(5)
    refused = 0
    for trial in range(TRIALS):
        with open(path, "wb") as file:
            file.write(_damage(data, trial, rng))
        before = [v.numpy() for v in model.weights]
        # Not every format has a checksum, so some damage goes unseen.
        try:
            weights.load(model, path)
        except weights.WeightsError as error:
            refused += 1
            assert "\n" not in str(error)
            after = [v.numpy() for v in model.weights]
            for old, new in zip(before, after, strict=True):
                np.testing.assert_array_equal(old, new)
    assert refused >= TRIALS // 3
