"""Mixup and CutMix: labels weigh what their pictures really gave."""

import numpy as np
import pytest
import tensorflow as tf

from efficientnetv2.data import examples, mixing, policies

SIZE = 16


def _seeds(count, start=0):
    rng = np.random.default_rng(start)
    seeds = rng.integers(-(2**31), 2**31, [count, 2], np.int64)
    return seeds.astype(np.int32)


def _draw(count, *, image_size=SIZE, start=0, **alphas):
    draw = tf.function(
        lambda rows: mixing.draw(rows, image_size=image_size, **alphas)
    )
    return [part.numpy() for part in draw(_seeds(count, start))]


def _batch(count, size=SIZE):
    """Row k is all k, its label class k."""
    images = np.ones([count, size, size, 3], np.float32)
    images *= np.arange(count, dtype=np.float32)[:, None, None, None]
    return images, np.eye(count, dtype=np.float32)


def _shown(mixed, count):
    """Which part of each row's pixels comes from which picture, [row, k]."""
    return np.stack(
        [np.mean(mixed[..., 0] == k, axis=(1, 2)) for k in range(count)], 1
    )


class TestDraw:
    def test_lambda_follows_beta(self):
        shares, boxes = _draw(4000, mixup_alpha=0.3)
        shares = shares[::2]
        # Beta(0.3, 0.3): mean 1/2, variance 1 / (4 (2 * 0.3 + 1)).
        assert abs(shares.mean() - 0.5) < 0.04
        assert abs(shares.var() - 1 / 6.4) < 0.012
        below = np.mean(shares < 0.1)
        assert abs(below - 0.286) < 0.05  # the regularised incomplete beta
        assert not boxes.any()

    def test_box_areas_follow_beta_and_centres_are_uniform(self):
        # Of a large picture, so that few boxes are cut at the border.
        shares, boxes = _draw(2000, cutmix_alpha=1.0, image_size=4096)
        assert np.all(shares == 1)
        top, left, bottom, right = boxes[::2].T / 4096
        whole = (top > 0) & (left > 0) & (bottom < 1) & (right < 1)
        sides = (bottom - top)[whole]
        np.testing.assert_allclose(sides, (right - left)[whole], atol=0.001)
        # Given an area s * s, both centres are inside with (1 - s) ** 2:
        # the density of s is then 2 s (1 - s) ** 2 * 6 and its mean 2 / 5.
        assert whole.mean() == pytest.approx(1 / 6, abs=0.04)
        assert sides.mean() == pytest.approx(0.4, abs=0.05)

    def test_a_tiny_alpha_gives_no_nan(self):
        shares, _ = _draw(64, mixup_alpha=1e-4)
        assert np.isfinite(shares).all()
        assert set(np.round(shares)) == {0.0, 1.0}

    def test_with_both_every_other_pair_is_cut(self):
        shares, boxes = _draw(400, mixup_alpha=0.5, cutmix_alpha=0.5)
        shares, boxes = shares.reshape(-1, 2), boxes.reshape(-1, 2, 4)
        assert np.all(shares[1::2] == 1) and not boxes[::2].any()
        assert np.mean(shares[::2, 0] < 1) > 0.95
        assert np.mean(boxes[1::2, 0].any(-1)) > 0.8
        np.testing.assert_array_equal(shares[:, 0], shares[:, 1])
        np.testing.assert_array_equal(boxes[:, 0], boxes[:, 1])

    def test_each_replica_has_both_however_few_pairs_it_has(self):
        example = examples.Example(
            source=None,
            image_size=SIZE,
            style="v2",
            min_area=None,
            policy=policies.build("none"),
            mixup_alpha=0.4,
            cutmix_alpha=1.0,
            normalize_labels=False,
            seed=0,
        )
        seeds, places = _seeds(8), np.arange(8)
        whole, *parts = (
            example.mix({"mix_seed": seeds[rows], "offset": places[rows]})
            for rows in (slice(8), *(slice(at, at + 2) for at in (0, 2, 4, 6)))
        )
        for key in ("mix_lambda", "mix_box"):
            np.testing.assert_array_equal(
                np.concatenate([part[key] for part in parts]), whole[key]
            )

    def test_a_pair_draws_alike_in_any_batch(self):
        alphas = {"mixup_alpha": 0.4, "cutmix_alpha": 1.0, "image_size": SIZE}
        seeds = _seeds(8)
        whole = mixing.draw(seeds, **alphas)
        parts = [mixing.draw(seeds[at : at + 4], **alphas) for at in (0, 4)]
        for number in range(2):
            np.testing.assert_array_equal(
                whole[number], np.concatenate([part[number] for part in parts])
            )

    def test_an_odd_batch_has_a_draw_for_each_row(self):
        shares, boxes = _draw(5, mixup_alpha=0.4, cutmix_alpha=1.0)
        assert shares.shape == (5,) and boxes.shape == (5, 4)

    @pytest.mark.parametrize("name", ["mixup_alpha", "cutmix_alpha"])
    def test_a_negative_alpha_is_refused(self, name):
        with pytest.raises(ValueError, match=f"{name} must be >= 0"):
            mixing.draw(_seeds(2), image_size=SIZE, **{name: -0.1})


@pytest.mark.parametrize("jit_compile", [False, True])
class TestApply:
    def _apply(self, jit_compile, images, labels, shares, boxes):
        run = tf.function(mixing.apply, jit_compile=jit_compile)
        found = run(
            images,
            labels,
            mix_lambda=np.float32(shares),
            mix_box=np.int32(boxes),
        )
        return [part.numpy() for part in found]

    def test_mixup_weighs_pictures_and_labels_alike(self, jit_compile):
        images, labels = _batch(4)
        mixed, weights = self._apply(
            jit_compile, images, labels, [0.75, 0.75, 1, 1], np.zeros([4, 4])
        )
        np.testing.assert_allclose(mixed[:, 0, 0, 0], [0.25, 0.75, 2, 3])
        np.testing.assert_allclose(
            weights,
            [
                [0.75, 0.25, 0, 0],
                [0.25, 0.75, 0, 0],
                [0, 0, 1, 0],
                [0, 0, 0, 1],
            ],
        )

    def test_cutmix_takes_the_box_from_the_partner(self, jit_compile):
        images, labels = _batch(2)
        box = [2, 5, 10, 9]  # 8 x 4 pixels
        mixed, weights = self._apply(
            jit_compile, images, labels, [1, 1], [box, box]
        )
        inside = np.zeros([SIZE, SIZE], bool)
        inside[2:10, 5:9] = True
        np.testing.assert_array_equal(mixed[0, ..., 0], inside)
        np.testing.assert_array_equal(mixed[1, ..., 0], ~inside)
        share = 32 / SIZE**2
        np.testing.assert_allclose(
            weights, [[1 - share, share], [share, 1 - share]]
        )

    def test_a_labels_weight_is_the_part_of_the_pixels_shown(self, jit_compile):
        count = 64
        images, labels = _batch(count)
        shares, boxes = _draw(count, cutmix_alpha=1.0, start=3)
        mixed, weights = self._apply(jit_compile, images, labels, shares, boxes)
        np.testing.assert_allclose(_shown(mixed, count), weights, atol=1e-6)
        assert len(np.unique(weights.diagonal())) > 10  # each pair its own

    def test_weights_sum_to_one_and_rows_are_shown_as_much_as_labelled(
        self, jit_compile
    ):
        count = 32
        images, labels = _batch(count)
        shares, boxes = _draw(count, mixup_alpha=0.4, cutmix_alpha=1.0)
        mixed, weights = self._apply(jit_compile, images, labels, shares, boxes)
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
        np.testing.assert_allclose(
            mixed.mean((1, 2, 3)), weights @ np.arange(count), rtol=1e-4
        )

    def test_the_last_row_of_an_odd_batch_stays_itself(self, jit_compile):
        images, labels = _batch(3)
        shares, boxes = [0.5] * 3, np.zeros([3, 4])
        mixed, weights = self._apply(jit_compile, images, labels, shares, boxes)
        np.testing.assert_array_equal(mixed[2], images[2])
        np.testing.assert_array_equal(weights[2], labels[2])
