"""HubLayer: TF-Hub modules in Keras 3 models, without the model's code."""

import functools
import gzip
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import threading

import keras
import numpy as np
import pytest

import efficientnetv2
from efficientnetv2 import hub_layer, registration
from export import hub

BLOCKS = "r1_k3_s1_e1_i8_o8_c1;r2_k3_s2_e4_i8_o16_se0.25"
ROOT = pathlib.Path(__file__).resolve().parent.parent
FINE_TUNE = """
import json, sys
import keras, numpy as np
from efficientnetv2 import HubLayer

layer = HubLayer(sys.argv[1], batch_norm_momentum=0.5)
model = keras.Sequential([keras.Input((32, 32, 3)), layer,
                          keras.layers.Dense(2)])
names = [v.name for v in layer.weights]
before = [v.numpy() for v in layer.weights]
rng = np.random.default_rng(0)
labels = np.arange(32) % 2
images = rng.random((32, 32, 32, 3)).astype("float32") * 0.5
images[labels == 1, :, :, 0] += 0.5  # the second class is redder
model.compile(keras.optimizers.Adam(0.01),
              keras.losses.SparseCategoricalCrossentropy(True))
history = model.fit(images, labels, epochs=8, batch_size=16, verbose=0).history
moved = [n for n, b, v in zip(names, before, layer.weights)
         if (b != v.numpy()).any()]
layer(images)
print(json.dumps({
    "all": names, "moved": moved,
    "trainable": len(model.trainable_variables),
    "regularization": [float(x) for x in layer.losses],
    "history": history["loss"],
    "ours": sorted(
        m for m in sys.modules if m.split(".")[0] == "efficientnetv2"
    ),
}))
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    keras.utils.set_random_seed(1)
    model = efficientnetv2.get_model(BLOCKS, num_classes=5)
    path = tmp_path_factory.mktemp("hub") / "module"
    return hub.export(model, path, style="v2", image_size=32, weight_decay=1e-3)


def images():
    return np.random.default_rng(3).random((4, 32, 32, 3), np.float32)


def test_fine_tuning_moves_all_weights_without_the_models_code(
    module, tmp_path
):
    done = subprocess.run(
        [sys.executable, "-c", FINE_TUNE, str(module)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    modules = {name.partition(".")[2] for name in seen["ours"]}
    registered = {"", "registration", *registration.MODULES}
    assert modules == {
        *registered,
        "noise",
        "replica_updates",
        "spelling",
    }
    assert seen["moved"] == seen["all"]
    assert 2 < seen["trainable"] < len(seen["all"])
    assert len(seen["regularization"]) == 1 and seen["regularization"][0] > 0
    assert seen["history"][-1] < 0.7 * seen["history"][0]


def test_a_frozen_layer_runs_in_inference_and_adds_no_loss(module):
    layer = efficientnetv2.HubLayer(module, trainable=False)
    before = [v.numpy() for v in layer.weights]
    np.testing.assert_array_equal(
        layer(images(), training=True), layer(images(), training=False)
    )
    assert not layer.losses and not layer.trainable_weights
    for old, variable in zip(before, layer.weights, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_it_can_be_frozen_later(module):
    layer = efficientnetv2.HubLayer(module)
    assert layer.trainable_weights
    layer.trainable = False
    assert not layer.trainable_weights
    np.testing.assert_array_equal(
        layer(images(), training=True), layer(images(), training=False)
    )


def test_an_archive_gives_what_its_folder_gives(module, tmp_path):
    archive = tmp_path / "module.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(module, arcname=".")
    np.testing.assert_array_equal(
        efficientnetv2.HubLayer(archive)(images()),
        efficientnetv2.HubLayer(module)(images()),
    )


@pytest.fixture
def address(tmp_path, monkeypatch):
    """The address of a web server of `tmp_path / "served"`, and a new cache."""
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(folder)
    )
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_addresses_are_fetched_once_and_not_mixed_up(tmp_path, address):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").write_text(name)
        folder = tmp_path / "served" / name
        folder.mkdir()
        with tarfile.open(folder / "module.tar.gz", "w:gz") as file:
            file.add(tmp_path / name, arcname=".")
    for _ in range(2):
        for name in ("one", "two"):
            found = hub_layer.resolve(f"{address}/{name}/module.tar.gz")
            assert (pathlib.Path(found) / "saved_model.pb").read_text() == name
        shutil.rmtree(tmp_path / "served", ignore_errors=True)


def test_an_address_that_gives_nothing_is_one_line(address):
    with pytest.raises(ValueError, match="cannot fetch 'http.*404") as caught:
        efficientnetv2.HubLayer(f"{address}/none.tar.gz")
    assert "\n" not in str(caught.value)


def test_a_saved_model_with_the_layer_loads_with_its_fine_tuned_weights(
    module, tmp_path
):
    inputs = keras.Input((None, None, 3))
    layer = efficientnetv2.HubLayer(module, batch_norm_momentum=0.5)
    model = keras.Model(inputs, layer(inputs))
    model(images(), training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=False)
    np.testing.assert_array_equal(loaded(images()), model(images()))
    assert loaded.layers[-1].batch_norm_momentum == 0.5


def test_feature_maps_come_as_a_dict(tmp_path):
    model = efficientnetv2.get_model(BLOCKS)
    path = hub.export(
        model, tmp_path / "m", kind="feature_maps", style="v2", image_size=32
    )
    maps = efficientnetv2.HubLayer(path)(images())
    assert {name: tuple(x.shape) for name, x in maps.items()} == {
        "reduction_1": (4, 16, 16, 8),
        "reduction_2": (4, 8, 8, 16),
    }


@pytest.mark.parametrize(
    "content",
    [None, b"not an archive", gzip.compress(bytes(range(256)) * 99)[:300]],
)
def test_what_is_no_module_is_one_line(content, tmp_path):
    path = tmp_path / "module"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="handle must .*Received"):
        efficientnetv2.HubLayer(path)


def test_momentum_must_lie_between_0_and_1(module):
    with pytest.raises(ValueError, match=r"in \[0, 1\]. Received: 1.5"):
        efficientnetv2.HubLayer(module, batch_norm_momentum=1.5)
