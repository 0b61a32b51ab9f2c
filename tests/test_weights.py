"""Loading weights: what fits, what is adapted, what is refused."""

import dataclasses

import keras
import numpy as np
import pytest
from random_weights import (
    TINY,
    build,
    distance,
    equal,
    pair,
    picture,
    randomise,
)

import efficientnetv2
from efficientnetv2 import checkpoint, variants, weights
from efficientnetv2 import model as model_lib
from export import hub


@pytest.fixture(scope="module")
def first():
    """A tiny model with random weights."""
    return pair()[0]


@pytest.fixture
def file(first, tmp_path):
    """Its weights in a file."""
    return weights.save(first, tmp_path / "tiny.weights.h5")


def values(model):
    """Copies of all variables."""
    return [np.array(v.numpy()) for v in model.weights]


def refused(model, path, match, **settings):
    """Loads, expects one line that fits `match`, and nothing changed."""
    before = values(model)
    with pytest.raises(weights.WeightsError, match=match) as caught:
        weights.load(model, path, **settings)
    assert "\n" not in str(caught.value)
    assert all(map(np.array_equal, before, values(model)))
    return caught.value


def test_a_report_names_what_was_loaded(first, file):
    report = weights.load(build(), file)
    assert report.complete
    assert set(report.loaded) == {v.path for v in first.weights}
    assert str(report) == f"{len(first.weights)} of 75 variables fit"


def test_other_classes_are_refused_unless_asked(first, file):
    refused(
        build(num_classes=7),
        file,
        r"5 classes, the model 7 \(predictions/kernel, predictions/bias\)",
    )
    model = build(num_classes=7)
    head = model.get_layer("predictions").kernel.numpy()
    report = weights.load(model, file, adapt=True)
    assert report.kept == ("predictions/kernel", "predictions/bias")
    np.testing.assert_array_equal(
        model.get_layer("predictions").kernel.numpy(), head
    )
    np.testing.assert_array_equal(
        model.get_layer("top_conv").kernel.numpy(),
        first.get_layer("top_conv").kernel.numpy(),
    )


def test_a_model_without_top_takes_weights_with_top(first, file):
    model = build(include_top=False)
    assert weights.load(model, file).complete
    assert all("predictions" not in v.path for v in model.weights)


@pytest.mark.parametrize("channels", [1, 2, 6, 7])
def test_other_input_channels_are_refused_unless_asked(file, channels):
    refused(
        build(input_channels=channels),
        file,
        f"input has 3 channels, the model's {channels}; adapt=True",
    )
    report = weights.load(build(input_channels=channels), file, adapt=True)
    assert report.adapted == ("stem_conv/kernel",)


def test_a_grey_picture_gives_what_it_gave_as_rgb(first, file):
    model = build(input_channels=1)
    weights.load(model, file, adapt=True)
    grey = picture()[..., :1]
    expected = first(np.repeat(grey, 3, -1), training=False)
    assert distance(model(grey, training=False), expected) < 1e-5


def test_doubled_channels_give_what_rgb_gave(first, file):
    model = build(input_channels=6)
    weights.load(model, file, adapt=True)
    image = picture()
    doubled = np.concatenate([image, image], -1)
    assert (
        distance(model(doubled, training=False), first(image, training=False))
        < 1e-5
    )


LONGER = TINY.replace("r2_k3_s2_e4", "r3_k3_s2_e4")


@pytest.mark.parametrize("adapt", [False, True])
def test_a_deeper_models_missing_variables_are_named(file, adapt):
    error = refused(
        build(LONGER), file, "not in the file: block2c_expand", adapt=adapt
    )
    assert set(error.report.missing) == {
        f"block2c_{layer}"
        for layer in (
            "expand_conv/kernel",
            "project_conv/kernel",
            *(
                f"{part}_bn/{leaf}"
                for part in ("expand", "project")
                for leaf in ("gamma", "beta", "moving_mean", "moving_variance")
            ),
        )
    }


@pytest.mark.parametrize("adapt", [False, True])
def test_a_shallower_model_does_not_take_part_of_a_file(tmp_path, adapt):
    path = weights.save(build(LONGER), tmp_path / "longer.weights.h5")
    refused(build(), path, "not in the model: block2c_expand", adapt=adapt)


def test_most_of_a_file_loads_when_not_strict(first, file):
    model = build(LONGER)
    report = weights.load(model, file, strict=False)
    assert len(report.missing) == 10
    np.testing.assert_array_equal(
        model.get_layer("block2b_project_conv").kernel.numpy(),
        first.get_layer("block2b_project_conv").kernel.numpy(),
    )


def test_a_file_of_which_most_does_not_fit_is_always_refused(file):
    wide = TINY.replace("o8", "o40").replace("i8", "i40")
    wide = wide.replace("o16", "o48").replace("i16", "i48")
    refused(build(wide), file, "of another shape", strict=False, adapt=True)


def test_group_normalisation_round_trip_is_bit_equal(tmp_path):
    architecture = dataclasses.replace(
        variants.lookup(TINY).architecture, bn_type="gn"
    )
    first, second = (model_lib.build(architecture) for _ in range(2))
    randomise(first)
    path = weights.save(first, tmp_path / "gn.weights.h5")
    weights.load(second, path)
    assert equal(first, second)


def test_channels_first_models_take_the_same_weights(file):
    architecture = dataclasses.replace(
        variants.lookup(TINY).architecture, data_format="channels_first"
    )
    model = model_lib.build(architecture, num_classes=5)
    assert weights.load(model, file).complete


def test_a_nested_model_takes_weights(first, file):
    inner = build()
    outer = keras.Sequential([keras.Input((None, None, 3)), inner])
    weights.load(outer, file)
    assert equal(first, inner)


def test_get_model_adapts_when_numbers_are_given(file):
    model = efficientnetv2.get_model(
        TINY, weights=file, num_classes=9, input_channels=4
    )
    assert model.output_shape == (None, 9)
    with pytest.raises(weights.WeightsError, match="5 classes, the model 1000"):
        efficientnetv2.get_model(TINY, weights=file)


def test_one_line_for_what_is_no_weights_file(tmp_path):
    path = tmp_path / "page.h5"
    path.write_text("<!DOCTYPE html>\nnot found")
    refused(build(), path, r"page.h5.*begins with b'<!DOCTYPE")


def test_one_line_for_an_empty_file(tmp_path):
    path = tmp_path / "empty.h5"
    path.touch()
    refused(build(), path, "empty.h5")


def test_one_line_for_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="not found: .*nothing.h5"):
        weights.load(build(), tmp_path / "nothing.h5")


def test_one_line_for_an_empty_folder(tmp_path):
    refused(build(), tmp_path, "holds no weights")


def test_one_line_for_two_files_in_a_folder(first, tmp_path):
    weights.save(first, tmp_path / "a.weights.h5")
    weights.save(first, tmp_path / "b.weights.h5")
    refused(build(), tmp_path, "2 weights.*: a.weights.h5, b.weights.h5")


def test_a_folder_with_one_file_is_read(first, file, tmp_path):
    model = build()
    weights.load(model, tmp_path)
    assert equal(first, model)


def write_checkpoint(folder, model, step):
    """A checkpoint of the trainer whose averages are the model's values."""
    arrays = {f"ema/{v.path}": v.numpy() for v in model.weights}
    arrays |= {f"model/{v.path}": 0 * v.numpy() for v in model.weights}
    arrays["optimizer/0000"] = np.ones(3)
    meta = {"class_names": list("abcde"), "offset": 0}
    return checkpoint.save(folder, step, arrays, meta)


def test_the_trainers_checkpoints_are_read_averages_first(first, tmp_path):
    model = build()
    report = weights.load(model, write_checkpoint(tmp_path, first, 3))
    assert report.class_names == tuple("abcde")
    assert equal(first, model)
    weights.load(model, tmp_path, moving_average=False)
    assert not any(v.numpy().any() for v in model.weights)


def test_a_runs_newest_whole_checkpoint_is_read(first, tmp_path):
    folder = tmp_path / "checkpoints"
    path = write_checkpoint(folder, first, 1)
    checkpoint.mark_best(folder, path)
    torn = write_checkpoint(folder, build(), 2)
    torn.write_bytes(torn.read_bytes()[:1000])
    model = build()
    weights.load(model, tmp_path)
    assert equal(first, model)
    refused(build(), torn, "ckpt-0000000002.npz")
    path.unlink()
    refused(build(), tmp_path, "no whole checkpoint")


def test_an_npz_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "data.npz", pictures=np.zeros(3))
    refused(build(), tmp_path / "data.npz", "zip file without weights.*picture")


@pytest.mark.parametrize("kind", ["classification", "feature_vector"])
def test_our_hub_modules_are_read(first, tmp_path, kind):
    path = str(tmp_path / "module")
    hub.export(first, path, kind=kind, style="v2", image_size=32, verify=False)
    model = build(include_top=kind == "classification")
    assert weights.load(model, path).complete
    np.testing.assert_array_equal(
        model.get_layer("top_conv").kernel.numpy(),
        first.get_layer("top_conv").kernel.numpy(),
    )


def test_a_foreign_saved_model_is_refused(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module.matrix = tf.Variable([1.0], name="matrix")
    tf.saved_model.save(module, str(tmp_path / "module"))
    refused(build(), tmp_path / "module", "none of this project")
