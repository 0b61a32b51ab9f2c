"""Three styles: evaluation to the original's figures, training to its law."""

import numpy as np
import pytest
import tensorflow as tf

from efficientnetv2.data import preprocess

STYLES = ("v2", "v1", "ft")
DRAWS = 3000
# Of two samples of this size the distance of the distributions stays below
# this with probability 0.9999 (Kolmogorov and Smirnov).
DISTANCE = 2.23 * np.sqrt(2 / DRAWS)
# What the released code gives to `sample_distorted_bounding_box`.
RELEASED = {
    "v2": {
        "bounding_boxes": tf.zeros([0, 0, 4]),
        "min_object_covered": 0.0,
        "area_range": (0.05, 1.0),
        "use_image_if_no_bounding_boxes": True,
    },
    "v1": {
        "bounding_boxes": tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        "min_object_covered": 0.1,
        "aspect_ratio_range": (3 / 4, 4 / 3),
        "area_range": (0.08, 1.0),
        "max_attempts": 10,
        "use_image_if_no_bounding_boxes": True,
    },
}


def _seeds(count=DRAWS):
    rng = np.random.default_rng(1)
    seeds = rng.integers(-(2**31), 2**31, [count, 2], np.int64)
    return seeds.astype(np.int32)


def _windows(shape, style="v2", **settings):
    """int32 [draws, 4]: our windows of pictures of a shape."""
    data = tf.data.Dataset.from_tensor_slices(_seeds()).map(
        lambda seed: preprocess.random_window(
            tf.constant(shape), 96, seed=seed, style=style, **settings
        )
    )
    return np.array(list(data.batch(DRAWS).as_numpy_iterator())[0])


def _released_windows(shape, style):
    """The same by the op and the settings of the released code."""

    def draw(_):
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.constant(shape), seed=3, **RELEASED[style]
        )
        return tf.concat([begin[:2], size[:2]], 0)

    data = tf.data.Dataset.range(DRAWS).map(draw)
    return np.array(list(data.batch(DRAWS).as_numpy_iterator())[0])


def _distance(left, right):
    """Largest distance of two samples' distribution functions."""
    points = np.concatenate([left, right])
    shares = [
        np.searchsorted(np.sort(sample), points, side="right") / len(sample)
        for sample in (left, right)
    ]
    return np.abs(shares[0] - shares[1]).max()


def _area(windows, shape):
    return windows[:, 2] * windows[:, 3] / (shape[0] * shape[1])


class TestEvaluation:
    @pytest.mark.parametrize("size", [224, 300, 384])
    @pytest.mark.parametrize("style", STYLES)
    def test_a_photograph_gives_the_originals_figures(
        self, style, size, reference_folder, photographs_folder
    ):
        data = (photographs_folder / "n01440764_tench.JPEG").read_bytes()
        with np.load(reference_folder / "augment_tench.npz") as figures:
            shape, mean, sub = (
                figures[f"eval|{style}|{size}|{name}"]
                for name in ("shape", "mean", "sub")
            )
        (image,) = (
            tf.data.Dataset.from_tensors(data)
            .map(lambda d: preprocess.preprocess_image(d, size, style=style))
            .as_numpy_iterator()
        )
        assert image.shape == tuple(shape) and image.dtype == np.float32
        step = size // 48
        np.testing.assert_allclose(image[::step, ::step], sub, atol=1e-6)
        np.testing.assert_allclose(image.mean((0, 1)), mean, atol=1e-5)

    @pytest.mark.parametrize(
        "style, size, shown",
        [
            ("v2", 96, slice(16, -16)),  # 96 of 128 pixels
            ("v1", 96, slice(16, -16)),
            ("ft", 128, slice(None)),
            ("v2", 320, slice(None)),
        ],
    )
    def test_the_centre_square_or_the_whole_is_shown(self, style, size, shown):
        y, x = np.mgrid[:128, :128]
        image = np.stack([y, x, y // 2 + x // 2], -1).astype(np.uint8)
        expected = image[shown, shown]
        result = preprocess.preprocess_image(image, size, style=style)
        if size == 320:
            expected = tf.image.resize(expected, [size, size]).numpy()
        np.testing.assert_allclose(
            result, preprocess.normalize(expected, style), atol=1e-5
        )

    def test_a_file_and_its_pixels_give_the_same(self):
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (50, 70, 3)).astype(np.uint8)
        data = tf.io.encode_png(pixels)
        for style in STYLES:
            np.testing.assert_array_equal(
                preprocess.preprocess_image(data, 32, style=style),
                preprocess.preprocess_image(pixels, 32, style=style),
            )


class TestNormalize:
    @pytest.mark.parametrize(
        "style, low, high",
        [
            ("v2", -1, 127 / 128),
            ("ft", -1, 1),
            ("v1", -0.485 / 0.229, (1 - 0.485) / 0.229),
        ],
    )
    def test_black_and_white_of_each_style(self, style, low, high):
        image = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
        result = preprocess.normalize(image, style).numpy()
        np.testing.assert_allclose(result[0, :, 0], [low, high], rtol=1e-6)


class TestTrainingLaw:
    @pytest.mark.parametrize("shape", [(300, 400, 3), (90, 60, 3)])
    @pytest.mark.parametrize("style", RELEASED)
    def test_windows_have_the_released_codes_distribution(self, style, shape):
        ours, theirs = _windows(shape, style), _released_windows(shape, style)
        for figure in (
            lambda w: _area(w, shape),
            lambda w: w[:, 3] / w[:, 2],
            lambda w: w[:, 0],
            lambda w: w[:, 1],
        ):
            assert _distance(figure(ours), figure(theirs)) < DISTANCE
        assert np.all(ours[:, :2] >= 0)
        assert np.all(ours[:, :2] + ours[:, 2:] <= shape[:2])

    def test_areas_and_aspects_stay_in_their_ranges(self):
        shape = (300, 400, 3)
        for style, area, aspects in (
            ("v2", 0.05, (0.75, 1.33)),
            ("v1", 0.10, (3 / 4, 4 / 3)),
        ):
            windows = _windows(shape, style)
            areas = _area(windows, shape)
            assert area - 0.002 < areas.min() < area + 0.02
            assert areas.max() > 0.9
            found = windows[:, 3] / windows[:, 2]
            low, high = aspects
            assert low - 0.02 < found.min() < low + 0.03
            assert high - 0.03 < found.max() < high + 0.02

    def test_a_smallest_area_may_be_set(self):
        shape = (300, 400, 3)
        for style in STYLES:
            areas = _area(_windows(shape, style, min_area=0.35), shape)
            assert 0.345 < areas.min() < 0.37 and areas.max() > 0.9

    def test_fine_tuning_takes_the_whole_picture(self):
        whole = [0, 0, 30, 50]
        windows = _windows((30, 50, 3), "ft")
        assert np.unique(windows, axis=0).tolist() == [whole]
        windows = _windows((30, 50, 3), "v2", min_area=1.0)
        assert np.unique(windows, axis=0).tolist() == [whole]

    def test_v1_falls_back_to_the_centre_where_it_finds_no_window(self):
        # So narrow that no window within the ratios covers a tenth of it.
        windows = _windows((20, 400, 3), "v1")
        side = int(96 / (96 + 32) * 20)
        centre = [(20 - side + 1) // 2, (400 - side + 1) // 2, side, side]
        assert np.unique(windows, axis=0).tolist() == [centre]

    def test_half_are_flipped_whatever_the_window(self):
        # Brighter to the right, so that the order of columns tells a flip.
        ramp = np.tile(np.arange(60)[:, None], [40, 1, 3]).astype(np.uint8)
        seeds = _seeds()
        images = tf.data.Dataset.from_tensor_slices(seeds).map(
            lambda seed: preprocess.preprocess_image(
                ramp, 8, is_training=True, seed=seed
            )
        )
        images = next(images.batch(DRAWS).as_numpy_iterator())
        flipped = images[:, 0, 0, 0] > images[:, 0, -1, 0]
        assert abs(flipped.mean() - 0.5) < 0.041  # 4.5 deviations
        windows = _windows(ramp.shape)
        for figure in (*windows.T, windows[:, 3] / windows[:, 2]):
            assert _distance(figure[flipped], figure[~flipped]) < 2 * DISTANCE


class TestTrainingPictures:
    def test_they_are_the_window_stretched_rounded_and_flipped(self):
        rng = np.random.default_rng(5)
        image = rng.integers(0, 256, (60, 80, 3)).astype(np.uint8)
        for style, flip in (("v2", True), ("v1", False), ("ft", True)):
            top, left, height, width = preprocess.random_window(
                tf.constant(image.shape), 24, seed=[1, 2], style=style
            ).numpy()
            window = image[top : top + height, left : left + width]
            result = preprocess.stretch_for_training(
                window, 24, flip=flip, style=style
            ).numpy()
            expected = preprocess.resize(window, 24, style).numpy()
            expected = np.clip(expected, 0, 255)
            if flip:
                expected = expected[:, ::-1]
            assert result.dtype == np.uint8
            assert np.abs(result - expected).max() <= 0.5

    def test_the_seed_decides_and_the_result_is_normalised(self):
        image = np.random.default_rng(6).integers(0, 256, (60, 80, 3), np.uint8)
        for style in STYLES:
            first, again, other = (
                preprocess.preprocess_image(
                    image, 24, is_training=True, style=style, seed=seed
                ).numpy()
                for seed in ([1, 2], [1, 2], [7, 9])
            )
            np.testing.assert_array_equal(first, again)
            assert np.any(first != other)
            assert first.min() < -0.9 and first.dtype == np.float32


class TestWrongArguments:
    def test_they_are_named(self):
        image = np.zeros([4, 4, 3], np.uint8)
        for settings, message in (
            ({"style": "V2"}, "style must be one of 'v2', .* Received: 'V2'"),
            ({"image_size": 0}, "image_size must be >= 1 pixel. Received: 0"),
            ({"is_training": True}, "seed must be given with is_training"),
        ):
            arguments = {"image_size": 8, **settings}
            with pytest.raises(ValueError, match=message):
                preprocess.preprocess_image(image, **arguments)
        with pytest.raises(ValueError, match="uint8. Received: float32"):
            preprocess.preprocess_image(np.zeros([4, 4, 3], np.float32), 8)
