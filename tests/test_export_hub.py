"""TF-Hub modules: what others can do with them without this package."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnetv2
from efficientnetv2 import losses
from export import hub

BLOCKS = "r1_k3_s1_e1_i8_o8_c1;r2_k3_s2_e4_i8_o16_se0.25"
DECAY = 1e-3


def small_model(**model_config):
    keras.utils.set_random_seed(1)
    return efficientnetv2.get_model(
        BLOCKS,
        num_classes=5,
        model_config={"name": "small", **model_config},
    )


def images(batch=4, size=32):
    rng = np.random.default_rng(3)
    return tf.constant(rng.random((batch, size, size, 3), np.float32))


def normalized(batch):
    return (batch * 255.0 - 128.0) / 128.0


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """A model without noise and its module: training is deterministic."""
    model = small_model(survival_prob=1.0, dropout_rate=0.0)
    path = tmp_path_factory.mktemp("hub") / "classification"
    hub.export(
        model,
        path,
        kind="classification",
        style="v2",
        image_size=32,
        weight_decay=DECAY,
    )
    return model, path


def test_inference_is_the_models_at_any_batch_and_size(quiet):
    model, path = quiet
    module = tf.saved_model.load(path)
    for batch, size in ((1, 32), (3, 57)):
        x = images(batch, size)
        np.testing.assert_allclose(
            module(x), model(normalized(x), training=False), atol=1e-5
        )


@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_a_loaded_module_are_the_models_own(quiet, training):
    model, path = quiet
    module = tf.saved_model.load(path)
    x = images()
    weights = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(weights * module(x, training=training))
    found = tape.gradient(loss, module.trainable_variables)
    before = [v.numpy() for v in model.non_trainable_variables]
    with tf.GradientTape() as tape:
        y = model(normalized(x), training=training)
        loss = tf.reduce_sum(weights * y)
    expected = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for variable, value in zip(
        model.non_trainable_variables, before, strict=True
    ):
        variable.assign(value)
    assert len(found) == len(expected) > 20
    for ours, theirs in zip(found, expected, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * scale + 1e-6)


def test_the_gradient_agrees_with_finite_differences(quiet):
    module = tf.saved_model.load(quiet[1])
    variable = module.trainable_variables[0]  # the stem's kernel
    x, start = images(), module.trainable_variables[0].numpy()
    direction = np.random.default_rng(5).normal(size=start.shape)

    def loss():
        return tf.reduce_sum(tf.square(module(x, training=False))) * 100

    with tf.GradientTape() as tape:
        value = loss()
    slope = np.sum(tape.gradient(value, variable) * direction)
    values = []
    for step in (-1e-2, 1e-2):
        variable.assign(start + step * direction)
        values.append(loss().numpy())
    assert (values[1] - values[0]) / 2e-2 == pytest.approx(slope, rel=2e-2)


def test_training_moves_the_statistics_by_the_momentum_given(quiet):
    module = tf.saved_model.load(quiet[1])
    mean = next(v for v in module.variables if "moving_mean" in v.name)
    start = mean.numpy()
    module(images(), training=False)
    np.testing.assert_array_equal(mean, start)
    module(images(), training=True, batch_norm_momentum=1.0)
    np.testing.assert_array_equal(mean, start)
    module(images(), training=True, batch_norm_momentum=0.0)
    batch_mean = mean.numpy()
    mean.assign(start)
    module(images(), training=True)  # the layers' own: 0.9
    np.testing.assert_allclose(
        mean, 0.9 * start + 0.1 * batch_mean, rtol=1e-4, atol=1e-6
    )


def test_trainable_variables_are_trainable_and_the_loss_is_the_recipes(quiet):
    model, path = quiet
    module = tf.saved_model.load(path)
    assert all(v.trainable for v in module.trainable_variables)
    assert len(module.trainable_variables) == len(model.trainable_variables)
    assert len(module.variables) == len(model.weights)
    kernels = losses.decayed_variables(
        model.trainable_variables, ".*(bias|gamma|beta).*"
    )
    assert 0 < len(kernels) < len(model.trainable_variables)
    (regularization,) = module.regularization_losses
    assert regularization().numpy() == pytest.approx(
        DECAY * losses.l2(kernels).numpy(), rel=1e-5
    )


def test_a_feature_vector_has_stochastic_depth_but_no_dropout(tmp_path):
    model = small_model(survival_prob=0.1, dropout_rate=0.9, bn_type="gn")
    path = hub.export(model, tmp_path / "features", style="v2", image_size=32)
    module = tf.saved_model.load(path)
    x = images()
    draws = {module(x, training=True).numpy().tobytes() for _ in range(8)}
    assert 1 < len(draws)  # 0.45 of the second block's branches are dropped
    features = module(x, training=True)
    assert features.shape == (4, 1280)
    # Group normalisation has no batch effect, so examples whose branch stays
    # differ from inference only by 1 / survival; none has 90 % zeros.
    assert np.mean(features == 0) < 0.01


def test_feature_maps_are_those_of_the_model_with_endpoints(tmp_path):
    model = small_model()
    keras.utils.set_random_seed(1)
    full = efficientnetv2.get_model(
        BLOCKS,
        num_classes=5,
        with_endpoints=True,
        model_config={"name": "small"},
    )
    path = hub.export(
        model, tmp_path / "maps", kind="feature_maps", style="v2", image_size=32
    )
    x = images()
    maps = tf.saved_model.load(path)(x)
    expected = full(normalized(x), training=False)[1:]
    assert sorted(maps) == ["reduction_1", "reduction_2"]
    for name, value in zip(sorted(maps), expected, strict=True):
        np.testing.assert_allclose(maps[name], value, atol=1e-5)


def test_a_model_with_preprocessing_inside_gives_the_same_module(tmp_path):
    plain = efficientnetv2.get_model(BLOCKS, num_classes=5)
    inside = efficientnetv2.get_model(
        BLOCKS, num_classes=5, include_preprocessing=True
    )
    inside.set_weights(plain.get_weights())
    x = images()
    answers = []
    for name, model in (("plain", plain), ("inside", inside)):
        path = hub.export(model, tmp_path / name, style="v2", image_size=32)
        answers.append(tf.saved_model.load(path)(x))
    np.testing.assert_allclose(*answers, atol=1e-6)


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="kind must be one of feature_vector"):
        hub.export(small_model(), tmp_path / "out", kind="features")


FINE_TUNE = """
import json, sys
import numpy as np, tensorflow as tf, tf_keras
import tensorflow_hub as hub

layer = hub.KerasLayer(sys.argv[1], trainable=True,
                       arguments={"batch_norm_momentum": 0.5})
names = [v.name for v in layer.resolved_object.variables]
model = tf_keras.Sequential([
    tf_keras.Input((32, 32, 3)), layer, tf_keras.layers.Dense(2)])
before = [v.numpy() for v in layer.resolved_object.variables]
rng = np.random.default_rng(0)
labels = np.arange(32) % 2
images = rng.random((32, 32, 32, 3)).astype("float32") * 0.5
images[labels == 1, :, :, 0] += 0.5  # the second class is redder
model.compile(tf_keras.optimizers.Adam(0.01),
              tf_keras.losses.SparseCategoricalCrossentropy(True))
losses = model.fit(images, labels, epochs=8, batch_size=16, verbose=0)
after = [v.numpy() for v in layer.resolved_object.variables]
moved = [n for n, a, b in zip(names, before, after) if (a != b).any()]
print(json.dumps({
    "all": names, "moved": moved, "trainable": len(layer.trainable_weights),
    "regularization": [float(x) for x in layer.losses],
    "history": losses.history["loss"],
    "ours": [
        m for m in sys.modules
        if m.split(".")[0] in ("efficientnetv2", "export")
    ],
}))
"""


def elsewhere(code, *arguments, folder):
    """Runs code in a process that cannot see this checkout."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_hub_keras_layer_fine_tunes_the_module(tmp_path):
    pytest.importorskip("tensorflow_hub")
    pytest.importorskip("tf_keras")
    path = hub.export(
        small_model(),
        tmp_path / "m",
        style="v2",
        image_size=32,
        weight_decay=DECAY,
    )
    seen = elsewhere(FINE_TUNE, path, folder=tmp_path)
    assert seen["ours"] == []
    assert seen["moved"] == seen["all"]  # weights and moving statistics
    assert any("moving_mean" in name for name in seen["moved"])
    assert 0 < seen["trainable"] < len(seen["all"])
    assert len(seen["regularization"]) == 1 and seen["regularization"][0] > 0
    assert seen["history"][-1] < 0.7 * seen["history"][0]
