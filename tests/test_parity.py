"""Outputs equal the original's figures, numpy by hand, and other backends."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from parity import (
    ENDPOINTS,
    OF_ORIGINAL,
    original_case,
    original_distances,
)
from random_weights import distance, randomise

from efficientnetv2 import block_spec, zoo
from efficientnetv2.weights import names

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", params=OF_ORIGINAL)
def distances(request, reference_folder):
    """Distances from the figures that the original computed, by name."""
    return original_distances(*original_case(request.param, reference_folder))


def test_outputs_equal_the_originals(distances):
    assert set(distances) == {
        "logits", *ENDPOINTS, "features", "pooled", "logits_odd57",
    }  # fmt: skip
    assert max(distances.values()) < 1e-4, distances


def _outputs(model, x):
    outputs = model(x.astype("float32"), training=False)
    return [keras.ops.convert_to_numpy(y) for y in outputs]


# By hand, in numpy: every kind of block, with weights by layer name.


def _pad_same(x, kernel, stride):
    """TensorFlow's 'same': the odd pixel of padding goes to the far side."""
    pads = [(0, 0)]
    for size in x.shape[1:3]:
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads.append((total // 2, total - total // 2))
    return np.pad(x, [*pads, (0, 0)])


def _windows(x, kernel, stride):
    x = _pad_same(x, kernel, stride)
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (1, 2))
    return view[:, ::stride, ::stride]  # [batch, h, w, channels, k, k]


class _ByHand:
    def __init__(self, model):
        self.values = {
            path: variable.numpy().astype(np.float64)
            for path, variable in names.variables(model).items()
        }

    def conv(self, x, name, stride=1):
        kernel = self.values[f"{name}/kernel"]
        windows = _windows(x, len(kernel), stride)
        y = np.einsum("bhwcij,ijco->bhwo", windows, kernel)
        return y + self.values.get(f"{name}/bias", 0)

    def depthwise(self, x, name, stride):
        kernel = self.values[f"{name}/kernel"]
        windows = _windows(x, len(kernel), stride)
        return np.einsum("bhwcij,ijc->bhwc", windows, kernel[..., 0])

    def norm(self, x, name):
        gamma, beta, mean, variance = (
            self.values[f"{name}/{leaf}"]
            for leaf in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    def squeeze_excite(self, x, name):
        mean = x.mean((1, 2), keepdims=True)
        gate = _silu(self.conv(mean, f"{name}_se_reduce"))
        return x * _sigmoid(self.conv(gate, f"{name}_se_expand"))

    def block(self, x, spec, name, stride):
        inputs = x
        if spec.fused and spec.expand_ratio > 1:
            x = self.conv(x, f"{name}_expand_conv", stride)
            x = _silu(self.norm(x, f"{name}_expand_bn"))
        elif not spec.fused:
            if spec.expand_ratio > 1:
                x = self.conv(x, f"{name}_expand_conv")
                x = _silu(self.norm(x, f"{name}_expand_bn"))
            x = self.depthwise(x, f"{name}_dwconv2", stride)
            x = _silu(self.norm(x, f"{name}_bn"))
        if spec.se_ratio:
            x = self.squeeze_excite(x, name)
        whole = spec.fused and spec.expand_ratio == 1
        x = self.conv(x, f"{name}_project_conv", stride if whole else 1)
        x = self.norm(x, f"{name}_project_bn")
        if whole:
            x = _silu(x)
        same = stride == 1 and x.shape == inputs.shape
        return x + inputs if same and spec.id_skip else x


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _silu(x):
    return x * _sigmoid(x)


@pytest.mark.parametrize("size", [(16, 24), (13, 7), (1, 1)], ids=str)
@pytest.mark.parametrize(
    "string",
    [
        "r2_k3_s1_e1_i8_o8_c1",
        "r2_k3_s2_e1_i8_o16_c1",
        "r2_k3_s2_e4_i8_o16_c1",
        "r1_k5_s2_e3_i8_o8_se0.5_c1",
        "r2_k3_s1_e1_i8_o8_se0.25",
        "r2_k3_s2_e6_i8_o16_se0.25",
        "r2_k5_s2_e4_i8_o16",
        "r2_k3_s1_e2_i8_o8_se0.25_noskip",
    ],
)
def test_block_equals_numpy_by_hand(string, size):
    model = zoo.get_model(
        [string], model_config={"feature_size": 16}, with_endpoints=True
    )
    randomise(model)
    (spec,) = block_spec.decode([string])
    hand = _ByHand(model)
    picture = np.random.default_rng(1).uniform(-1, 1, (2, *size, 3))
    x = _silu(hand.norm(hand.conv(picture, "stem_conv", 2), "stem_bn"))
    for index in range(spec.num_repeat):
        stride = 1 if index else spec.strides
        x = hand.block(x, spec, f"block1{'ab'[index]}", stride)
    pooled = _silu(hand.norm(hand.conv(x, "top_conv"), "top_bn")).mean((1, 2))
    logits = pooled @ hand.values["predictions/kernel"]
    logits += hand.values["predictions/bias"]
    ours = _outputs(model, picture)
    assert distance(ours[-1], x) < 1e-5
    assert distance(ours[0], logits) < 1e-5


_OTHER_BACKEND = """
    import importlib.machinery
    import sys

    finder = importlib.machinery.PathFinder
    find = finder.find_spec

    def without_tensorflow(name, path=None, target=None):
        hidden = name.split(".")[0] in ("tensorflow", "tf_keras")
        return None if hidden else find(name, path, target)

    finder.find_spec = without_tensorflow
    import json

    import keras
    import numpy as np
    import efficientnetv2
    from random_weights import randomise

    out, models = sys.argv[1], json.loads(sys.argv[2])
    x = np.load(f"{out}/x.npy")
    results = {}
    for index, settings in enumerate(models):
        model = efficientnetv2.get_model(**settings)
        randomise(model)
        first = "first" in str(settings)
        inputs = x.transpose(0, 3, 1, 2) if first else x
        values = model.predict(inputs, verbose=0)
        for place, value in enumerate(values):
            results[f"{index}:{place}"] = value
    model.save(f"{out}/model.keras")
    again = keras.models.load_model(f"{out}/model.keras")
    for a, b in zip(values, again.predict(inputs, verbose=0), strict=True):
        np.testing.assert_array_equal(a, b)
    tiny = efficientnetv2.get_model(**models[0] | {
        "with_endpoints": False,
        "model_config": "survival_prob=0.9,bn_momentum=0.5",
    })
    tiny.compile(
        keras.optimizers.Adam(1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    labels = np.arange(len(x)) % 2
    history = tiny.fit(x, labels, epochs=12, batch_size=len(x), verbose=0)
    results["losses"] = history.history["loss"]
    results["moving"] = tiny.get_layer("stem_bn").moving_mean.numpy()
    if "tensorflow" in sys.modules:
        raise SystemExit("TensorFlow was imported")
    np.savez(f"{out}/results.npz", **results)
"""
_TINY = "r1_k3_s2_e4_i8_o8_c1;r2_k5_s2_e6_i8_o16_se0.25"
_SETTINGS = [
    {"name": _TINY, "num_classes": 7, "with_endpoints": True},
    {
        "name": _TINY,
        "with_endpoints": True,
        "include_preprocessing": True,
        "include_top": False,
        "model_config": "data_format=channels_first,bn_type=gn,act_fn=hswish",
    },
]


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backend_gives_the_same_without_tensorflow(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    x = np.random.default_rng(3).uniform(-1, 1, (4, 33, 47, 3))
    np.save(tmp_path / "x.npy", x.astype("float32"))
    code = textwrap.dedent(_OTHER_BACKEND)
    path = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), json.dumps(_SETTINGS)],
        capture_output=True,
        text=True,
        timeout=600,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join(path),
        },
    )
    assert result.returncode == 0, result.stderr[-3000:]
    theirs = np.load(tmp_path / "results.npz")
    for index, settings in enumerate(_SETTINGS):
        model = zoo.get_model(**settings)
        randomise(model)
        inputs = x.transpose(0, 3, 1, 2) if index else x
        ours = _outputs(model, inputs)
        for place, value in enumerate(ours):
            assert distance(theirs[f"{index}:{place}"], value) < 1e-5
    assert theirs["losses"][-1] < 0.5 * theirs["losses"][0]
    assert np.abs(theirs["moving"]).max() > 0
