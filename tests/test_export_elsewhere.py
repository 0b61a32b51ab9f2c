"""Exports used by other programs, in processes that cannot see this code."""

import contextlib
import functools
import http.server
import io
import json
import os
import pathlib
import subprocess
import sys
import threading

import keras
import numpy as np
from PIL import Image

import efficientnetv2
from export import hub, saved_model, serving

BLOCKS = "r1_k3_s1_e1_i8_o8_c1;r2_k3_s2_e4_i8_o16_se0.25"
NAMES = ["ant", "bee", "crow", "deer"]
LOADERS = """
import json, sys
import numpy as np, tensorflow as tf, keras

folder, images = sys.argv[1], np.load(sys.argv[2])
module = tf.saved_model.load(folder)
answers = {"tf.saved_model.load": module(images).numpy()}
layer = keras.layers.TFSMLayer(folder, call_endpoint="__call__")
answers["TFSMLayer"] = layer(images).numpy()
with tf.GradientTape() as tape:
    loss = tf.reduce_sum(layer(images) ** 2)
gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
if len(sys.argv) > 3:
    import tensorflow_hub as hub
    answers["hub.load"] = hub.load(sys.argv[3])(images).numpy()
print(json.dumps({
    "answers": {name: value.tolist() for name, value in answers.items()},
    "gradients": [g is not None for g in gradients],
    "ours": [
        m for m in sys.modules
        if m.split(".")[0] in ("efficientnetv2", "export")
    ],
}))
"""


def small_model():
    keras.utils.set_random_seed(1)
    return efficientnetv2.get_model(BLOCKS, num_classes=4)


def run(command, folder):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@contextlib.contextmanager
def served(folder):
    """The folder's files over HTTP, as hubs serve them."""
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(folder)
    )
    handler.log_message = None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()


def test_a_module_loads_by_every_loader_and_from_its_archive(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    model = small_model()
    path = hub.export(
        model,
        tmp_path / "module",
        kind="classification",
        style="v2",
        verify=False,
    )
    hub.pack(path, tmp_path / "module.tar.gz")
    images = np.random.default_rng(0).random((2, 40, 32, 3), np.float32)
    np.save(tmp_path / "images.npy", images)
    command = [
        sys.executable,
        "-P",
        "-c",
        LOADERS,
        str(path),
        str(tmp_path / "images.npy"),
    ]
    with served(tmp_path) as address:
        with contextlib.suppress(ImportError):
            import tensorflow_hub  # noqa: F401

            command.append(f"{address}/module.tar.gz")
        seen = json.loads(run(command, tmp_path).splitlines()[-1])
    expected = model((images * 255 - 128) / 128, training=False)
    assert set(seen["answers"]) >= {"tf.saved_model.load", "TFSMLayer"}
    for name, answer in seen["answers"].items():
        np.testing.assert_allclose(answer, expected, atol=1e-5, err_msg=name)
    assert len(seen["gradients"]) == len(model.trainable_variables)
    assert all(seen["gradients"])
    assert seen["ours"] == []


def test_saved_model_cli_runs_the_signatures(tmp_path):
    path = saved_model.export(
        small_model(),
        tmp_path / "m",
        class_names=NAMES,
        image_size=32,
        style="v2",
        verify=False,
    )
    file = io.BytesIO()
    Image.new("RGB", (50, 40), "red").save(file, "PNG")
    np.save(tmp_path / "files.npy", np.array([file.getvalue(), b"broken"]))
    cli = str(pathlib.Path(sys.executable).with_name("saved_model_cli"))
    shown = run([cli, "show", "--dir", str(path), "--all"], tmp_path)
    for signature in ("serving_default", "image_bytes", "tf_example"):
        assert f"signature_def['{signature}']" in shown
    command = [cli, "run", "--dir", str(path), "--tag_set", "serve"]
    command += ["--signature_def", "image_bytes"]
    command += ["--inputs", "image_bytes=files.npy", "--outdir", "answers"]
    run(command, tmp_path)
    names = np.load(tmp_path / "answers" / "top_classes.npy", allow_pickle=True)
    assert sorted(names[0]) == [name.encode() for name in NAMES]
    assert set(names[1]) == {serving.BROKEN.encode()}
