"""The sixteen image ops against the original's figures, Pillow and numpy.

Each is run eagerly, in a tf.data graph and compiled by XLA; all three must give
the same bits.
"""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from efficientnetv2.data import image_ops, operations

GOLDEN = pathlib.Path(__file__).parent / "golden" / "augment.npz"
WAYS = ("eager", "dataset", "compiled")
# Levels at which the original leaves an op's range: no reference.
WRAPPED = {"Posterize|0", "Solarize|10", "Solarize|20"}


def _run(way, op, *inputs):
    inputs = [tf.constant(value) for value in inputs]
    if way == "eager":
        return op(*inputs).numpy()
    if way == "compiled":
        return tf.function(op, jit_compile=True)(*inputs).numpy()
    data = tf.data.Dataset.from_tensors(tuple(inputs))
    (result,) = data.map(op).as_numpy_iterator()
    return result


def _figures(path):
    """(key, crop, the original's result) of each op that a file holds."""
    with np.load(path) as file:
        figures = dict(file)
    crop = figures.pop("crop")
    return crop, {
        key: value for key, value in figures.items() if "eval" not in key
    }


def _assert_like_the_original(figures, crop, way):
    for key, expected in figures.items():
        name, level, sign = key.split("|")
        if f"{name}|{level}" in WRAPPED:
            continue
        op = operations.build(name, float(level))
        bits = tf.constant([int(sign), 0])
        result = _run(
            way, lambda image, op=op, bits=bits: op(image, bits), crop
        )
        off = np.abs(result.astype(int) - expected.astype(int))
        # The figures' own tolerance.
        assert off.max() <= 1 and np.mean(off > 0) <= 0.01, key


@pytest.fixture(scope="module")
def asymmetric():
    """uint8 [37, 50, 3]: each border, corner and channel differs."""
    y, x, channel = np.mgrid[:37, :50, :3]
    image = (3 * y + 2 * x + 40 * channel + (y * x) % 17) % 256
    image[:3], image[-2:], image[:, :4], image[:, -1:] = 5, 90, 170, 250
    return image.astype(np.uint8)


class TestOriginal:
    # Compiled they are in all tests of the policies.
    @pytest.mark.parametrize("way", ["eager", "dataset"])
    def test_ops_at_two_levels(self, way):
        crop, figures = _figures(GOLDEN)
        assert len(figures) == 40
        _assert_like_the_original(figures, crop, way)

    def test_ops_at_all_levels_and_signs(self, reference_folder):
        crop, figures = _figures(reference_folder / "augment_tench.npz")
        assert len(figures) == 120
        _assert_like_the_original(figures, crop, "eager")


@pytest.mark.parametrize("name", operations.NAMES)
def test_graph_and_compiled_give_the_bits_that_eager_gives(name, asymmetric):
    for level in (0.0, 10.0, 17.0):
        op = operations.build(name, level)
        bits = [-3 if level < 10 else 3, 20]
        eager, dataset, compiled = (
            _run(way, op, asymmetric, bits) for way in WAYS
        )
        assert eager.dtype == np.uint8 and eager.shape == asymmetric.shape
        np.testing.assert_array_equal(dataset, eager)
        np.testing.assert_array_equal(compiled, eager)


@pytest.mark.parametrize("way", WAYS)
class TestByHand:
    def test_equalize_is_pillows(self, way, asymmetric):
        expected = ImageOps.equalize(Image.fromarray(asymmetric))
        result = _run(way, image_ops.equalize, asymmetric)
        np.testing.assert_array_equal(result, np.asarray(expected))

    def test_equalize_leaves_a_channel_of_one_value(self, way):
        image = np.full([9, 7, 3], (3, 200, 255), np.uint8)
        np.testing.assert_array_equal(
            _run(way, image_ops.equalize, image), image
        )

    def test_autocontrast_is_pillows_but_for_roundings(self, way, asymmetric):
        low = (asymmetric // 2 + 30).astype(np.uint8)
        expected = np.asarray(ImageOps.autocontrast(Image.fromarray(low)))
        result = _run(way, image_ops.autocontrast, low)
        assert result.min() == 0 and result.max() == 255
        off = np.abs(result.astype(int) - expected.astype(int))
        assert off.max() <= 1

    def test_autocontrast_leaves_a_channel_of_one_value(self, way):
        image = np.full([4, 5, 3], (7, 9, 0), np.uint8)
        np.testing.assert_array_equal(
            _run(way, image_ops.autocontrast, image), image
        )

    def test_posterize_keeps_the_highest_bits(self, way, asymmetric):
        for bits in range(1, 9):
            result = _run(
                way, lambda x, b=bits: image_ops.posterize(x, b), asymmetric
            )
            mask = 256 - 2 ** (8 - bits)
            np.testing.assert_array_equal(result, asymmetric & mask)

    def test_posterize_outside_its_range_keeps_all_bits(self, way, asymmetric):
        for bits in (-3, 0, 9, 12):
            result = _run(
                way, lambda x, b=bits: image_ops.posterize(x, b), asymmetric
            )
            np.testing.assert_array_equal(result, asymmetric)

    def test_solarize_inverts_from_the_threshold_on(self, way, asymmetric):
        expected = np.where(asymmetric < 90, asymmetric, 255 - asymmetric)
        result = _run(way, lambda x: image_ops.solarize(x, 90), asymmetric)
        np.testing.assert_array_equal(result, expected)
        for threshold in (256, 400, 512):
            result = _run(
                way,
                lambda x, t=threshold: image_ops.solarize(x, t),
                asymmetric,
            )
            np.testing.assert_array_equal(result, asymmetric)

    def test_solarize_add_is_clipped_and_spares_bright_values(
        self, way, asymmetric
    ):
        values = asymmetric.astype(int)
        for addition in (-60, 50, 300):
            expected = np.where(
                values < 128, np.clip(values + addition, 0, 255), values
            )
            result = _run(
                way,
                lambda x, a=addition: image_ops.solarize_add(x, a),
                asymmetric,
            )
            np.testing.assert_array_equal(result, expected)

    def test_factor_one_leaves_the_image_and_zero_leaves_nothing(
        self, way, asymmetric
    ):
        for op in (
            image_ops.color,
            image_ops.contrast,
            image_ops.brightness,
            image_ops.sharpness,
        ):
            result = _run(way, lambda x, op=op: op(x, 1.0), asymmetric)
            np.testing.assert_array_equal(result, asymmetric)
        gray = _run(way, lambda x: image_ops.color(x, 0.0), asymmetric)
        assert np.ptp(gray, axis=-1).max() == 0
        black = _run(way, lambda x: image_ops.brightness(x, 0.0), asymmetric)
        assert black.max() == 0

    def test_sharpness_leaves_the_border(self, way, asymmetric):
        result = _run(way, lambda x: image_ops.sharpness(x, 0.0), asymmetric)
        inside = np.zeros(asymmetric.shape[:2], bool)
        inside[1:-1, 1:-1] = True
        np.testing.assert_array_equal(result[~inside], asymmetric[~inside])
        window = asymmetric[10:13, 20:23].astype(float)
        weights = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
        expected = np.einsum("ij,ijc->c", weights, window)
        np.testing.assert_allclose(result[11, 21], expected, atol=1)

    def test_translations_show_the_source_at_an_offset(self, way, asymmetric):
        left = _run(way, lambda x: image_ops.translate_x(x, 6), asymmetric)
        np.testing.assert_array_equal(left[:, :-6], asymmetric[:, 6:])
        assert np.all(left[:, -6:] == 128)
        down = _run(way, lambda x: image_ops.translate_y(x, -5), asymmetric)
        np.testing.assert_array_equal(down[5:], asymmetric[:-5])
        assert np.all(down[:5] == 128)
        gone = _run(way, lambda x: image_ops.translate_x(x, 99), asymmetric)
        assert np.all(gone == 128)

    def test_shears_move_a_row_by_its_number(self, way, asymmetric):
        sheared = _run(way, lambda x: image_ops.shear_x(x, 0.5), asymmetric)
        np.testing.assert_array_equal(sheared[0], asymmetric[0])
        np.testing.assert_array_equal(sheared[20, :40], asymmetric[20, 10:])
        assert np.all(sheared[20, 40:] == 128)
        sheared = _run(way, lambda x: image_ops.shear_y(x, 0.5), asymmetric)
        np.testing.assert_array_equal(sheared[:, 0], asymmetric[:, 0])
        np.testing.assert_array_equal(sheared[:27, 20], asymmetric[10:, 20])

    def test_rotation_by_quarters_is_exact(self, way):
        square = np.arange(11 * 11 * 3).reshape(11, 11, 3).astype(np.uint8)
        for quarters in (1, 2, 3, -1):
            result = _run(
                way,
                lambda x, q=quarters: image_ops.rotate(x, 90.0 * q),
                square,
            )
            np.testing.assert_array_equal(result, np.rot90(square, quarters))

    def test_cutout_fills_a_square_cut_at_the_border(self, way, asymmetric):
        result = _run(
            way,
            lambda x: image_ops.cutout_at(x, 5, row=2, column=48),
            asymmetric,
        )
        expected = asymmetric.copy()
        expected[:7, 43:] = 128
        np.testing.assert_array_equal(result, expected)


def test_cutout_takes_every_place_as_often():
    image = tf.zeros([8, 6, 3], tf.uint8)
    cuts = tf.data.Dataset.range(3000).map(
        lambda n: image_ops.cutout(image, 1, seed=tf.stack([n, n + 1]))
    )
    # A square of two by two leaves the last row and column half covered.
    hits = sum(cut[..., 0] == 128 for cut in cuts.as_numpy_iterator())
    inside = hits[:-1, :-1] / 3000
    np.testing.assert_allclose(inside, 4 / 48, atol=0.022)  # 4.4 deviations


@pytest.mark.parametrize(
    "name, level, message",
    [
        ("Rotate", -1.0, "level must be >= 0. Received: -1.0"),
        ("Rotat", 3.0, "nearest: 'Rotate'"),
    ],
)
def test_unknown_ops_and_negative_levels_are_refused(name, level, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        operations.build(name, level)
