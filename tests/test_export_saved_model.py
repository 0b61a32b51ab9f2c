"""The SavedModel for serving: its signatures and its rule for broken files."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_exports import BLOCKS, picture, trained

import efficientnetv2
from efficientnetv2.data import preprocess
from export import fold, saved_model, serving

NAMES = ["ant", "bee", "crow", "deer"]
SIZE = 32


def trained_model(*, act_fn="silu", **settings):
    """Random weights with moving statistics that are not 0 and 1."""
    keras.utils.set_random_seed(1)
    model = efficientnetv2.get_model(
        BLOCKS, num_classes=4, model_config={"act_fn": act_fn}, **settings
    )
    return trained(model)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    model = trained_model()
    path = tmp_path_factory.mktemp("served") / "model"
    saved_model.export(
        model, path, class_names=NAMES, image_size=SIZE, style="v2", top_k=3
    )
    loaded = tf.saved_model.load(path)
    return model, loaded.signatures, loaded


FILES = [
    picture(1, (40, 50)),
    picture(2, (97, 33), "PNG"),
    picture(3, (32, 32), "WEBP"),
]


def expected(model, files):
    batch = [preprocess.preprocess_image(f, SIZE, style="v2") for f in files]
    return tf.nn.softmax(model(tf.stack(batch), training=False)).numpy()


def test_files_of_any_size_and_kind_go_in_one_batch(served):
    model, signatures, _ = served
    answer = signatures["image_bytes"](image_bytes=tf.constant(FILES))
    scores = expected(model, FILES)
    np.testing.assert_allclose(answer["probabilities"], scores, atol=1e-5)
    order = np.argsort(-scores, -1)[:, :3]
    np.testing.assert_array_equal(answer["top_indices"], order)
    np.testing.assert_array_equal(
        answer["top_classes"], np.array(NAMES, object)[order].astype("S4")
    )
    np.testing.assert_allclose(
        answer["top_probabilities"],
        np.take_along_axis(scores, order, -1),
        atol=1e-5,
    )


@pytest.mark.parametrize("broken", [b"", b"no picture", FILES[0][:60]])
def test_a_broken_file_has_its_row_and_the_others_are_right(served, broken):
    model, signatures, _ = served
    files = [FILES[0], broken, FILES[1]]
    answer = signatures["image_bytes"](image_bytes=tf.constant(files))
    scores = expected(model, [FILES[0], FILES[1]])
    np.testing.assert_allclose(answer["probabilities"][::2], scores, atol=1e-5)
    assert not np.any(answer["probabilities"][1])
    assert not np.any(answer["top_probabilities"][1])
    assert set(answer["top_indices"][1].numpy()) == {-1}
    broken_class = serving.BROKEN.encode()
    assert set(answer["top_classes"][1].numpy()) == {broken_class}
    assert (answer["top_indices"].numpy()[::2] >= 0).all()


def test_a_batch_of_broken_files_and_an_empty_batch_answer(served):
    answer = served[1]["image_bytes"](image_bytes=tf.constant([b"a", b"b"]))
    assert not np.any(answer["probabilities"])
    none = tf.zeros([0], tf.string)
    answer = served[1]["image_bytes"](image_bytes=none)
    assert answer["probabilities"].shape == (0, 4)
    answer = served[1]["grad_cam"](image_bytes=none)
    assert answer["heat_maps"].shape[0] == answer["pictures"].shape[0] == 0


def test_examples_answer_as_their_bytes(served):
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    "image/encoded": tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[data])
                    ),
                }
            )
        ).SerializeToString()
        for data in FILES
    ]
    examples.append(tf.train.Example().SerializeToString())  # no picture in it
    found = served[1]["tf_example"](examples=tf.constant(examples))
    direct = served[1]["image_bytes"](image_bytes=tf.constant([*FILES, b""]))
    for name, value in direct.items():
        np.testing.assert_array_equal(found[name], value)


def grad_cam(model, file, index):
    """Grad-CAM as its paper has it, by differentiation."""
    images = preprocess.preprocess_image(file, SIZE, style="v2")[None]
    last = model.get_layer("avg_pool").input
    both = keras.Model(model.inputs, [model.outputs[0], last])
    with tf.GradientTape() as tape:
        logits, maps = both(images, training=False)
        tape.watch(maps)
        pooled = tf.reduce_mean(maps, [1, 2])
        logit = model.get_layer("predictions")(pooled)[0, index]
    weights = tf.reduce_mean(tape.gradient(logit, maps), [1, 2])
    np.testing.assert_allclose(logit, logits[0, index], rtol=1e-4)
    heat = tf.nn.relu(tf.einsum("bhwc,bc->bhw", maps, weights))[0].numpy()
    return heat / heat.max() if heat.max() > 0 else heat


def test_heat_maps_are_those_of_differentiation(served):
    model, signatures, _ = served
    files = [FILES[0], b"broken", FILES[1]]
    answer = signatures["grad_cam"](image_bytes=tf.constant(files))
    assert answer["heat_maps"].shape[:2] == (3, 3)
    for row in (0, 2):
        for place in range(3):
            expected = grad_cam(
                model, files[row], answer["top_indices"][row, place]
            )
            np.testing.assert_allclose(
                answer["heat_maps"][row, place], expected, atol=1e-4
            )
    assert np.max(answer["heat_maps"]) == 1
    assert not np.any(answer["heat_maps"][1])
    plain = signatures["image_bytes"](image_bytes=tf.constant(files))
    for name, value in plain.items():
        np.testing.assert_array_equal(answer[name], value)


def test_the_pictures_under_heat_maps_are_what_the_model_saw(served):
    answer = served[1]["grad_cam"](image_bytes=tf.constant([*FILES, b"x"]))
    for row, file in enumerate(FILES):
        seen = preprocess.preprocess_image(file, SIZE, style="v2") * 128 + 128
        np.testing.assert_allclose(answer["pictures"][row], seen, atol=0.51)
    assert not np.any(answer["pictures"][3])


def test_float_images_are_rgb_from_0_to_1_of_any_size(served):
    model, signatures, _ = served
    images = np.random.default_rng(0).random((2, 48, 41, 3), np.float32)
    answer = signatures["serving_default"](images=tf.constant(images))
    logits = model((images * 255 - 128) / 128, training=False)
    np.testing.assert_allclose(
        answer["probabilities"], tf.nn.softmax(logits), atol=1e-5
    )


def test_several_labels_get_independent_probabilities(tmp_path):
    model = trained_model()
    path = saved_model.export(
        model, tmp_path / "m", image_size=SIZE, style="v2", loss_type="sigmoid"
    )
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    loaded = tf.saved_model.load(path)
    answer = loaded.signatures["serving_default"](images=tf.constant(images))
    logits = model((images * 255 - 128) / 128, training=False)
    np.testing.assert_allclose(
        answer["probabilities"], tf.sigmoid(logits), atol=1e-5
    )
    assert answer["top_classes"][0, 0] in (b"0", b"1", b"2", b"3")


def test_names_must_fit_the_classes(tmp_path):
    with pytest.raises(ValueError, match="must hold 4 names.*Received: 2"):
        saved_model.export(
            trained_model(),
            tmp_path / "m",
            class_names=["a", "b"],
            image_size=SIZE,
            style="v2",
        )
    assert not list(tmp_path.iterdir())


def test_a_model_of_ones_own_must_say_its_size_and_style(tmp_path):
    with pytest.raises(ValueError, match="image_size must be given"):
        saved_model.export(trained_model(), tmp_path / "m", style="v2")


@pytest.mark.parametrize("act_fn", ["silu", "relu", "hswish", "identity"])
def test_folding_changes_nothing_but_the_layers(act_fn):
    model = trained_model(act_fn=act_fn)
    before = model.get_weights()
    folded = fold.fold(model)
    kinds = {type(layer).__name__ for layer in folded.layers}
    assert not kinds & {"BatchNormalization", "Dropout", "StochasticDepth"}
    images = np.random.default_rng(0).normal(size=(2, 57, 32, 3))
    expected = model(images, training=False).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(folded(images), expected, atol=1e-5 * scale)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_group_normalisation_stays_where_it_is():
    model = efficientnetv2.get_model(
        BLOCKS, num_classes=4, model_config={"bn_type": "gn", "gn_groups": 4}
    )
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    np.testing.assert_allclose(
        fold.fold(model)(images), model(images, training=False), atol=1e-5
    )
