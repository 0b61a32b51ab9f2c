"""Models keep Keras's habits: saving, cloning, freezing, precision, fit."""

import pathlib
import re

import keras
import numpy as np
import pytest
from random_weights import TINY, distance, randomise

from efficientnetv2 import noise, zoo

tf = pytest.importorskip("tensorflow")

ROOT = pathlib.Path(__file__).resolve().parent.parent
PICTURES = np.random.default_rng(0).uniform(0, 255, (4, 33, 40, 3))
PICTURES = PICTURES.astype("float32")


@pytest.fixture(scope="module")
def model():
    """A tiny model with all kinds of layers and weights unlike any start."""
    made = zoo.get_model(
        TINY,
        num_classes=6,
        include_preprocessing=True,
        with_endpoints=True,
        model_config="conv_dropout=0.1",
    )
    randomise(made)
    return made


@pytest.fixture
def policy():
    """Sets Keras's precision for one test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def _assert_same_outputs(a, b):
    for ours, theirs in zip(a(PICTURES), b(PICTURES), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def _classifier(**settings):
    made = zoo.get_model(TINY, num_classes=3, **settings)
    randomise(made)
    return made


def test_keras_file_gives_bit_equal_outputs(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    _assert_same_outputs(loaded, model)
    assert loaded.count_params() == model.count_params()
    assert loaded.to_json() == model.to_json()


def test_weights_file_gives_bit_equal_outputs(model, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    other = keras.models.clone_model(model)
    other.load_weights(tmp_path / "model.weights.h5")
    _assert_same_outputs(other, model)


def test_config_and_clone_give_the_same_model(model):
    copies = [
        keras.Model.from_config(model.get_config()),
        keras.models.clone_model(model),
    ]
    for copy in copies:
        assert copy.to_json() == model.to_json()
        copy.set_weights(model.get_weights())
        _assert_same_outputs(copy, model)


def test_models_deeper_than_pythons_recursion_limit_build_and_load(tmp_path):
    made = zoo.get_model("r100_k3_s1_e2_i8_o8", model_config="feature_size=8")
    assert len(made.layers) > 1000  # nearly all in a row
    assert made.get_layer("block1aa_dwconv2")  # the 27th block
    assert len({v.path for v in made.weights}) == len(made.weights)
    copy = keras.Model.from_config(made.get_config())
    assert copy.count_params() == made.count_params()


def test_summary_states_every_parameter(model):
    lines = []
    model.summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert f"{model.count_params():,}" in text
    assert "stem_conv" in text and "predictions" in text


def test_not_trainable_keeps_moving_statistics_still():
    made = _classifier()
    made.trainable = False
    before = made.get_weights()
    made.compile("sgd", "mse")
    made.fit(PICTURES, np.zeros((4, 3)), verbose=0)
    for old, new in zip(before, made.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_frozen_layers_stay_while_others_train():
    made = _classifier()
    for layer in made.layers:
        layer.trainable = layer.name.startswith(("top_", "predictions"))
    before = {v.path: v.numpy() for v in made.weights}
    made.compile("sgd", "mse")
    made.fit(PICTURES, np.ones((4, 3)), verbose=0)
    for variable in made.weights:
        same = np.array_equal(before[variable.path], variable.numpy())
        head = variable.path.startswith(("top_", "predictions"))
        assert same != head, variable.path


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_gives_float32_logits(precision, policy):
    single = zoo.get_model(TINY, num_classes=6, include_preprocessing=True)
    randomise(single)
    policy(f"mixed_{precision}")
    half = zoo.get_model(TINY, num_classes=6, include_preprocessing=True)
    half.set_weights(single.get_weights())
    assert half.get_layer("preprocessing").compute_dtype == "float32"
    assert half.get_layer("stem_conv").compute_dtype == precision
    assert half.get_layer("stem_conv").kernel.dtype == "float32"
    assert half.get_layer("avg_pool").output.dtype == precision
    logits = half(PICTURES)
    assert logits.dtype == tf.float32
    assert distance(logits, single(PICTURES)) < 0.05
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(half(PICTURES, training=True) ** 2)
    for gradient in tape.gradient(loss, half.trainable_variables):
        assert gradient.dtype == tf.float32
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_pure_half_precision_gives_float32_logits(precision, policy):
    policy(precision)
    half = zoo.get_model(TINY, num_classes=6)
    assert half.get_layer("stem_conv").kernel.dtype == precision
    for training in (False, True):
        logits = half(PICTURES / 255, training=training)
        assert logits.dtype == tf.float32
        assert np.isfinite(logits).all()


def test_mixed_precision_survives_the_keras_file(policy, tmp_path):
    policy("mixed_bfloat16")
    made = _classifier()
    made.save(tmp_path / "model.keras")
    policy("float32")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("stem_conv").compute_dtype == "bfloat16"
    np.testing.assert_array_equal(loaded(PICTURES), made(PICTURES))


def test_fit_learns_with_dropout_on():
    made = _classifier(model_config="bn_momentum=0.5,survival_prob=0.9")
    labels = np.array([0, 1, 2, 0])
    made.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    x = PICTURES / 128 - 1
    history = made.fit(x, labels, epochs=15, verbose=0).history
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert made.evaluate(x, labels, verbose=0)[1] == 1.0
    assert distance(made(x, training=True), made(x, training=True)) > 1e-3
    np.testing.assert_array_equal(made(x), made(x))


def test_multi_label_training_separates_every_class():
    made = _classifier(model_config="bn_momentum=0.5,survival_prob=1")
    made.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    labels = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    x = PICTURES / 128 - 1
    made.fit(x, labels, epochs=25, verbose=0)
    np.testing.assert_array_equal(made(x) > 0, labels)


def test_noise_of_a_training_step_belongs_to_examples():
    made = _classifier(model_config="bn_type=gn,survival_prob=0.5")
    ids = tf.constant([4, 9, 2, 7], tf.int64)
    order = [2, 0, 3, 1]

    def step(x, ids, number):
        with noise.training_noise(noise.fold(1, tf.constant(number)), ids):
            return made(x, training=True).numpy()

    x = PICTURES / 128 - 1
    first = step(x, ids, 5)
    np.testing.assert_allclose(
        step(x[order], tf.gather(ids, order), 5), first[order], atol=1e-5
    )
    assert distance(step(x, ids, 6), first) > 1e-3


# The recipes of the documentation, run as they are printed.

GUIDE = ROOT / "docs" / "models.md"


def _recipe(title):
    section = GUIDE.read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 64, 96, 3))
    names = {"pictures": pictures.astype("float32")}
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(compile(block, str(GUIDE), "exec"), names)
    return names


def test_grad_cam_recipe_equals_the_class_activation_map():
    names = _recipe("Grad-CAM")
    heat = names["grad_cam"](names["model"], names["pictures"], 7)
    features = keras.Model(
        names["model"].input, names["model"].get_layer("top_activation").output
    )(names["pictures"])
    kernel = names["model"].get_layer("predictions").kernel[:, 7]
    # Only a mean and one matrix follow: the gradient is the kernel's column.
    expected = np.maximum(np.einsum("bhwc,c->bhw", features, kernel), 0)
    expected /= expected.max((1, 2), keepdims=True) + 1e-12
    assert expected.max() > 0.99
    assert heat.shape == (2, 2, 3)
    np.testing.assert_allclose(heat, expected, atol=1e-5)


def test_feature_pyramid_recipe_gives_levels_that_train():
    names = _recipe("Feature pyramid")
    pyramid = names["pyramid"]
    with tf.GradientTape() as tape:
        levels = pyramid(names["pictures"], training=True)
        loss = sum(tf.reduce_mean(level**2) for level in levels)
    assert [level.shape for level in levels] == [
        (2, 64 // 2**index, 96 // 2**index, 64) for index in (2, 3, 4, 5)
    ]
    stem = pyramid.get_layer("stem_conv").kernel
    assert np.abs(tape.gradient(loss, stem.value)).max() > 0
