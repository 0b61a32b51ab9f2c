"""The exported model behind the web server of docs/export.md."""

import base64
import io
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import efficientnetv2
from efficientnetv2.data import preprocess
from export import saved_model, serving

BLOCKS = "r1_k3_s1_e1_i8_o8_c1;r2_k3_s2_e4_i8_o16_se0.25"
NAMES = ["ant", "bee", "crow", "deer"]
SIZE = 32
ROOT = pathlib.Path(__file__).resolve().parent.parent
START_SECONDS = 180


def picture(colour, size, kind):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url, data=None):
    request = urllib.request.Request(
        url, data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def wait_until_healthy(url, server, log):
    for _ in range(START_SECONDS * 2):
        try:
            ask(url)
            return
        except (urllib.error.URLError, ConnectionError):
            assert server.poll() is None, log.read_text()
            time.sleep(0.5)
    raise AssertionError(f"no answer: {log.read_text()}")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(model, address) of a model served by the program in the guide."""
    pytest.importorskip("litserve", reason="the extra serve")
    folder = tmp_path_factory.mktemp("served")
    keras.utils.set_random_seed(1)
    model = efficientnetv2.get_model(BLOCKS, num_classes=4)
    path = saved_model.export(
        model,
        folder / "pictures" / "1",
        class_names=NAMES,
        image_size=SIZE,
        style="v2",
        verify=False,
    )
    guide = (ROOT / "docs" / "export.md").read_text()
    (program,) = re.findall(r"```python\n(# serve.py.*?)```", guide, re.DOTALL)
    (folder / "serve.py").write_text(program)
    port = free_port()
    log = folder / "log"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "serve.py", str(path), str(port)],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(f"{address}/health", server, log)
        yield model, address
    finally:
        # The whole group: the server's workers are its children.
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def test_files_and_a_broken_one_are_served_over_http(served):
    model, address = served
    files = [
        picture("red", (50, 40), "JPEG"),
        b"no picture",
        picture("blue", (33, 70), "PNG"),
    ]
    body = {
        "signature_name": "image_bytes",
        "instances": [{"b64": base64.b64encode(x).decode()} for x in files],
    }
    answer = ask(
        f"{address}/v1/models/pictures:predict", json.dumps(body).encode()
    )
    rows = json.loads(answer)["predictions"]
    images = [
        preprocess.preprocess_image(files[i], SIZE, style="v2") for i in (0, 2)
    ]
    expected = tf.nn.softmax(model(tf.stack(images), training=False)).numpy()
    for row, scores in zip((rows[0], rows[2]), expected, strict=True):
        np.testing.assert_allclose(row["probabilities"], scores, atol=1e-5)
        order = np.argsort(-scores)
        assert row["top_indices"] == order.tolist()
        assert row["top_classes"] == [NAMES[i] for i in order]
    assert set(rows[1]["top_classes"]) == {serving.BROKEN}
    assert set(rows[1]["probabilities"]) == {0.0}


def test_a_request_without_pictures_is_an_error_and_the_server_lives(served):
    _, address = served
    url = f"{address}/v1/models/pictures:predict"
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(url, b'{"pictures": []}')
    assert caught.value.code >= 400
    assert ask(f"{address}/health")
