"""get_model: every option of the public door, and its errors."""

import keras
import numpy as np
import pytest
from random_weights import TINY, distance, randomise

import efficientnetv2
from efficientnetv2 import variants, zoo


def _picture(*shape):
    return np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")


def _outputs(model, x):
    outputs = model(x)
    if not isinstance(outputs, list):
        return keras.ops.convert_to_numpy(outputs)
    return [keras.ops.convert_to_numpy(y) for y in outputs]


def test_list_models_names_every_variant_v2_first():
    names = efficientnetv2.list_models()
    assert names == list(variants.VARIANTS)
    assert names[0] == "efficientnetv2-b0"
    assert names.index("efficientnetv2-xl") < names.index("efficientnet-b0")


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (57, 90)], ids=str)
def test_any_input_size(size):
    model = zoo.get_model(TINY, num_classes=5)
    assert model.input_shape == (None, None, None, 3)
    assert _outputs(model, _picture(2, *size, 3)).shape == (2, 5)


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_any_number_of_channels(channels):
    model = zoo.get_model(TINY, num_classes=5, input_channels=channels)
    assert _outputs(model, _picture(2, 32, 32, channels)).shape == (2, 5)


def test_head_of_imagenet21k():
    model = zoo.get_model(TINY, num_classes=21843)
    assert model.get_layer("predictions").kernel.shape == (1280, 21843)
    assert zoo.get_model(TINY).output_shape == (None, 1000)


def test_without_top_gives_pooled_features_and_draws_no_noise():
    model = zoo.get_model(
        TINY, include_top=False, model_config="dropout_rate=0.9,survival_prob=1"
    )
    assert model.output_shape == (None, 1280)
    names = [layer.name for layer in model.layers]
    assert "predictions" not in names and "top_dropout" not in names
    gn = zoo.get_model(
        TINY,
        include_top=False,
        model_config="dropout_rate=0.9,survival_prob=1,bn_type=gn",
    )
    x = _picture(2, 32, 32, 3)
    np.testing.assert_array_equal(gn(x, training=True), gn(x))


def test_endpoints_come_after_the_outputs_in_order_of_reduction():
    model = zoo.get_model("efficientnetv2-b0", with_endpoints=True)
    shapes = [tuple(t.shape) for t in model.outputs]
    assert shapes == [
        (None, 1000),
        (None, None, None, 16),
        (None, None, None, 32),
        (None, None, None, 48),
        (None, None, None, 112),
        (None, None, None, 192),
    ]
    outputs = _outputs(model, _picture(1, 64, 96, 3))
    assert isinstance(model.outputs, list)
    assert [y.shape[1:3] for y in outputs[1:]] == [
        (32, 48), (16, 24), (8, 12), (4, 6), (2, 3),
    ]  # fmt: skip


def test_endpoints_without_top_start_with_the_features():
    model = zoo.get_model(TINY, include_top=False, with_endpoints=True)
    outputs = _outputs(model, _picture(2, 32, 32, 3))
    assert [y.shape for y in outputs] == [
        (2, 1280), (2, 16, 16, 8), (2, 8, 8, 16), (2, 4, 4, 24),
    ]  # fmt: skip


@pytest.mark.parametrize("include_preprocessing", [False, True])
def test_channels_first_gives_the_same_numbers(include_preprocessing):
    settings = {
        "with_endpoints": True,
        "include_preprocessing": include_preprocessing,
        "num_classes": 5,
    }
    last = zoo.get_model(TINY, **settings)
    first = zoo.get_model(
        TINY, model_config="data_format=channels_first", **settings
    )
    assert first.input_shape == (None, 3, None, None)
    randomise(last)
    first.set_weights(last.get_weights())
    assert [v.path for v in first.weights] == [v.path for v in last.weights]
    x = _picture(2, 33, 47, 3)
    expected = _outputs(last, x)
    received = _outputs(first, x.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(received[0], expected[0])
    for ours, theirs in zip(received[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs.transpose(0, 3, 1, 2))


def test_preprocessing_of_v2_equals_normalising_by_hand():
    inside = zoo.get_model(TINY, include_preprocessing=True)
    outside = zoo.get_model(TINY)
    outside.set_weights(inside.get_weights())
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3))
    by_hand = (x.astype("float32") - 128) / 128
    np.testing.assert_array_equal(
        _outputs(inside, x.astype("uint8")), _outputs(outside, by_hand)
    )


@pytest.fixture
def tiny_v1(tmp_path):
    """A model file whose input has ImageNet mean and deviation."""
    path = tmp_path / "tiny.yaml"
    blocks = TINY.replace(";", ", ")
    path.write_text(f"blocks: [{blocks}]\npreprocessing: v1\n")
    return path


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_preprocessing_of_v1_equals_normalising_by_hand(data_format, tiny_v1):
    config = {"data_format": data_format}
    inside = zoo.get_model(
        tiny_v1, include_preprocessing=True, model_config=config
    )
    outside = zoo.get_model(tiny_v1, model_config=config)
    randomise(inside)
    outside.set_weights(inside.get_weights())
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3))
    by_hand = (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    if data_format == "channels_first":
        x, by_hand = x.transpose(0, 3, 1, 2), by_hand.transpose(0, 3, 1, 2)
    ours = _outputs(inside, x.astype("uint8"))
    theirs = _outputs(outside, by_hand.astype("float32"))
    assert distance(ours, theirs) < 1e-5


def test_keras_global_data_format_changes_nothing(tiny_v1):
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3))
    before = keras.config.image_data_format()
    outputs = []
    try:
        for data_format in ("channels_last", "channels_first"):
            keras.config.set_image_data_format(data_format)
            model = zoo.get_model(tiny_v1, include_preprocessing=True)
            randomise(model)
            outputs.append(_outputs(model, x.astype("float32")))
    finally:
        keras.config.set_image_data_format(before)
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("act_fn", ["relu6", "hswish", "mish", "gelu"])
def test_act_fn_is_used_everywhere(act_fn):
    model = zoo.get_model(TINY, model_config={"act_fn": act_fn})
    kinds = {
        layer.activation
        for layer in model.layers
        if layer.name.endswith("_activation")
    }
    assert kinds == {act_fn}
    randomise(model)
    silu = zoo.get_model(TINY)
    randomise(silu)
    x = _picture(2, 32, 32, 3)
    assert distance(_outputs(model, x), _outputs(silu, x)) > 1e-3


def test_group_normalisation_has_no_moving_statistics():
    model = zoo.get_model(TINY, model_config="bn_type=gn,gn_groups=4")
    layer = model.get_layer("stem_bn")
    assert isinstance(layer, keras.layers.GroupNormalization)
    assert (layer.groups, layer.epsilon) == (4, 1e-3)
    paths = [v.path for v in model.weights]
    assert not [path for path in paths if "moving" in path]
    x = _picture(3, 32, 32, 3)
    single = np.concatenate([_outputs(model, x[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(_outputs(model, x), single, atol=1e-6)


def test_conv_dropout_sits_in_expanding_blocks_only():
    model = zoo.get_model(TINY, model_config="conv_dropout=0.25")
    rates = {
        layer.name: (layer.rate, layer.staged)
        for layer in model.layers
        if layer.name.endswith("dropout") and layer.name != "top_dropout"
    }
    assert rates == {
        name: (0.25, False)
        for name in (
            "block2a_dropout", "block2b_dropout",
            "block3a_dropout", "block3b_dropout",
        )
    }  # fmt: skip


def test_headbias_starts_the_classifier():
    model = zoo.get_model(TINY, model_config="headbias=-4.6")
    bias = model.get_layer("predictions").bias.numpy()
    np.testing.assert_allclose(bias, -4.6, rtol=1e-6)


def test_survival_prob_sets_the_drop_rates_over_scaled_blocks():
    model = zoo.get_model(
        TINY, model_config="survival_prob=0.5,depth_coefficient=2"
    )
    rates = {
        layer.name: layer.rate
        for layer in model.layers
        if layer.name.endswith("_drop")
    }
    # 2 + 4 + 4 blocks; those that stride or change channels have no residual.
    assert rates == {
        f"block{stage}{letter}_drop": pytest.approx(0.5 * index / 10)
        for index, (stage, letter) in enumerate(
            [(1, "a"), (1, "b")]
            + [(stage, letter) for stage in (2, 3) for letter in "abcd"]
        )
        if index and letter != "a"
    }
    none = zoo.get_model(TINY, model_config={"survival_prob": 1.0})
    assert not [x for x in none.layers if x.name.endswith("_drop")]


def test_local_pooling_is_the_global_mean():
    plain = zoo.get_model(TINY)
    local = zoo.get_model(TINY, model_config="local_pooling=true")
    local.set_weights(plain.get_weights())
    x = _picture(2, 32, 32, 3)
    np.testing.assert_array_equal(_outputs(local, x), _outputs(plain, x))


def test_bn_settings_reach_every_layer():
    model = zoo.get_model(
        TINY, model_config="bn_momentum=0.99,bn_epsilon=1e-4,bn_type=local"
    )
    layers = [x for x in model.layers if x.name.endswith("_bn")]
    assert {x.momentum for x in layers} == {0.99}
    assert {x.epsilon for x in layers} == {1e-4}
    assert {x.synchronized for x in layers} == {False}
    assert zoo.get_model(TINY).get_layer("stem_bn").synchronized


def test_config_string_and_dict_are_the_same():
    text = zoo.get_model(
        TINY,
        model_config="width_coefficient=2, feature_size=32,dropout_rate=1e-1,"
        "conv_dropout=none,blocks=r1_k3_s1_e1_i8_o8_c1|r1_k3_s2_e2_i8_o16",
    )
    mapping = zoo.get_model(
        TINY,
        model_config={
            "width_coefficient": 2.0,
            "feature_size": 32,
            "dropout_rate": 0.1,
            "conv_dropout": None,
            "blocks": ["r1_k3_s1_e1_i8_o8_c1", "r1_k3_s2_e2_i8_o16"],
        },
    )
    assert text.get_config() == mapping.get_config()
    assert text.get_layer("avg_pool").output.shape[-1] == 64
    assert text.get_layer("top_dropout").rate == 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "efficientnetv2-q"}, "model_name must be one of"),
        ({"name": "efficientnetv2s"}, "nearest: 'efficientnetv2-s'"),
        ({"name": 7}, "model_name must be one of"),
        ({"num_classes": 0}, "num_classes must be a whole number >= 1"),
        ({"num_classes": 2.0}, "num_classes must be a whole number >= 1"),
        ({"input_channels": -1}, "input_channels must be a whole number"),
        ({"model_config": "act_fn=swich"}, "nearest: 'swish'"),
        ({"model_config": "actfn=relu"}, "nearest: 'act_fn'"),
        ({"model_config": "act_fn"}, "model_config must be 'k=v,...'"),
        ({"model_config": "dropout_rate=a"}, "dropout_rate must be a number"),
        ({"model_config": "dropout_rate=1"}, "dropout_rate must be >= 0 and"),
        ({"model_config": {"dropout_rate": [1]}}, "dropout_rate must be a nu"),
        ({"model_config": "local_pooling=3"}, "local_pooling must be true or"),
        ({"model_config": "bn_type=xx"}, "bn_type must be one of none, local"),
        ({"model_config": "data_format=NCHW"}, "data_format must be one of"),
        ({"model_config": "blocks=r1_k3"}, "missing key 's' in 'r1_k3'"),
        (
            {"name": "efficientnet-b0", "input_channels": 1}
            | {"include_preprocessing": True},
            "needs input_channels 3. Received: input_channels=1",
        ),
    ],
    ids=str,
)
def test_bad_settings_are_one_line(settings, message):
    with pytest.raises(ValueError) as error:
        zoo.get_model(**{"name": TINY} | settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 32, 32, 4), "axis -1 of input shape to have value 3.*32, 32, 4"),
        ((32, 32, 3), "expected ndim=4, found ndim=3"),
    ],
)
def test_wrong_input_is_one_line_that_names_the_model(shape, message):
    model = zoo.get_model(TINY, model_config="name=my_model")
    for call in (model, lambda x: model.predict(x, verbose=0)):
        with pytest.raises(ValueError, match=message) as error:
            call(_picture(*shape))
        assert "'my_model'" in str(error.value)
        assert "\n" not in str(error.value)
