"""RandAugment, AutoAugment and cutout: what is chosen, and how often."""

import typing

import numpy as np
import pytest
import tensorflow as tf

from efficientnetv2 import config_schema
from efficientnetv2.data import image_ops, operations, policies

SIDE = 24


@pytest.fixture(scope="module")
def image():
    """uint8 [24, 24, 3] without any symmetry."""
    y, x, channel = np.mgrid[:SIDE, :SIDE, :3]
    return ((5 * y + 3 * x + 50 * channel + y * x % 13) % 256).astype(np.uint8)


def _draws(policy, count, seed=0):
    rng = np.random.default_rng(seed)
    shape = [count, policy.num_draws]
    return rng.integers(-(2**31), 2**31, shape, np.int64).astype(np.int32)


def _augment(policy, image, draws):
    """The policy on the same image for each row of draws, in a dataset."""
    image = tf.constant(image)
    data = tf.data.Dataset.from_tensor_slices(draws)
    return np.array(
        list(data.map(lambda row: policy(image, row)).as_numpy_iterator())
    )


@pytest.fixture
def chosen(monkeypatch):
    """Ops that write their number and level instead of changing a picture."""

    def build(name, level, **sizes):
        del sizes
        number = operations.NAMES.index(name)

        def op(image, bits):
            del bits
            mark = tf.constant([[[number + 1, int(level)]]], tf.uint8)
            return tf.concat([mark, image[:1, :-1]], 1)

        return op

    monkeypatch.setattr(operations, "build", build)


def _choices(policy, count):
    """[count, layers, 2]: numbers of ops from 1, and levels; 0 for none."""
    empty = tf.zeros([1, 2, 2], tf.uint8)
    found = _augment(policy, empty, _draws(policy, count))
    return found[:, 0, ::-1].astype(int)  # the last op's mark comes first


class TestRandAugment:
    def test_each_layer_takes_each_op_as_often(self, chosen):
        policy = policies.build("randaug", magnitude=7, jit_compile=False)
        marks = _choices(policy, 3200)
        for layer in range(2):
            counts = np.bincount(marks[:, layer, 0], minlength=17)
            assert counts[0] == 0
            assert np.abs(counts[1:] - 200).max() < 62  # 4.5 deviations
        assert set(marks[..., 1].ravel()) == {7}

    def test_layers_choose_independently(self, chosen):
        policy = policies.build("randaug", magnitude=7, jit_compile=False)
        first, second = _choices(policy, 3200)[..., 0].T
        assert 140 < np.sum(first == second) < 260  # 1 in 16

    def test_compiled_and_plain_give_the_same_pictures(self, image):
        plain, compiled = (
            policies.build("randaug", magnitude=15, jit_compile=jit)
            for jit in (False, True)
        )
        draws = _draws(plain, 200)
        results = _augment(plain, image, draws)
        np.testing.assert_array_equal(_augment(compiled, image, draws), results)
        # A small picture: some ops shift or cover all of it.
        assert len(np.unique(results, axis=0)) > 60

    def test_eager_gives_what_a_dataset_gives(self, image):
        policy = policies.build("randaug", magnitude=9)
        draws = _draws(policy, 12)
        np.testing.assert_array_equal(
            _augment(policy, image, draws),
            [policy(image, row) for row in draws],
        )

    @pytest.mark.parametrize("magnitude", [10.5, 15, 20, 30])
    def test_magnitudes_above_ten_never_wrap(self, image, magnitude):
        # Where 8 bits wrapped round, dark would turn bright.
        dark = (image // 8).astype(np.uint8)
        for name, brightest in (
            ("Posterize", 31),
            ("Solarize", 31),
            ("Brightness", 31 * (magnitude * 0.18 + 0.1)),
            ("SolarizeAdd", 31 + int(magnitude * 11)),
        ):
            op = operations.build(name, magnitude)
            result = op(tf.constant(dark), [1, 1]).numpy()
            assert result.max() <= min(brightest, 255), name
        if magnitude >= 20:
            for name in ("Posterize", "Solarize"):
                op = operations.build(name, magnitude)
                np.testing.assert_array_equal(op(dark, [1, 1]), dark)

    def test_more_layers_change_more(self, image):
        for layers in (1, 3):
            policy = policies.build(
                "randaug", num_layers=layers, jit_compile=False
            )
            assert policy.num_draws == 4 * layers
            assert _augment(policy, image, _draws(policy, 2)).shape[0] == 2


class TestAutoAugment:
    def test_each_pair_comes_as_often_and_each_op_by_its_probability(
        self, chosen
    ):
        policy = policies.build("autoaug", jit_compile=False)
        draws = _draws(policy, 5000)
        empty = tf.zeros([1, 2, 2], tf.uint8)
        marks = _augment(policy, empty, draws)[:, 0]
        pairs = (draws[:, 0] & 0x7FFFFFFF) % len(policies.AUTOAUGMENT_V0)
        assert np.abs(np.bincount(pairs) - 200).max() < 62
        for number, pair in enumerate(policies.AUTOAUGMENT_V0):
            rows = marks[pairs == number].tolist()
            for name, probability, level in pair:
                mark = [operations.NAMES.index(name) + 1, level]
                share = np.mean([mark in row for row in rows])
                if pair[0][::2] == pair[1][::2]:  # the same op twice
                    probability = 1 - (1 - probability) ** 2
                assert abs(share - probability) < 0.16, (number, name)

    def test_compiled_and_plain_give_the_same_pictures(self, image):
        plain, compiled = (
            policies.build("autoaug", jit_compile=jit) for jit in (False, True)
        )
        draws = _draws(plain, 100)
        np.testing.assert_array_equal(
            _augment(compiled, image, draws), _augment(plain, image, draws)
        )

    def test_a_pair_is_both_of_its_ops_in_order(self, image):
        policy = policies.build("autoaug", jit_compile=False)
        pair = 8  # Color 0.6 at level 1, then Equalize always
        draws = np.zeros([1, policy.num_draws], np.int32)
        draws[0, 0] = pair
        expected = image_ops.equalize(image_ops.color(image, 0.1 * 1.8 + 0.1))
        (result,) = _augment(policy, image, draws)
        np.testing.assert_array_equal(result, expected)
        draws[0, 1] = 0xF00000  # above 0.6 of 2**24
        (result,) = _augment(policy, image, draws)
        np.testing.assert_array_equal(result, image_ops.equalize(image))


class TestOps:
    @pytest.mark.parametrize("name", ["randaug", "autoaug"])
    def test_names_are_those_of_the_ops_applied(self, chosen, name):
        policy = policies.build(name, magnitude=7, jit_compile=False)
        empty = tf.zeros([1, 2, 2], tf.uint8)
        draws = _draws(policy, 60)
        marks = _augment(policy, empty, draws)[:, 0, ::-1, 0].tolist()
        for row, numbers in zip(draws, marks, strict=True):
            names = [operations.NAMES[n - 1] for n in numbers if n]
            assert sorted(policy.ops(tf.constant(row))) == sorted(names)

    def test_cutout_and_none_say_so(self):
        draws = tf.constant([1, 2])
        assert policies.build("cutout").ops(draws) == ("Cutout",)
        assert policies.build("none").ops(draws[:0]) == ()


class TestCutout:
    def test_a_quarter_of_the_picture_goes_less_at_the_border(self, image):
        policy = policies.build("cutout")
        results = _augment(policy, np.zeros_like(image), _draws(policy, 800))
        shares = np.mean(results == 128, axis=(1, 2, 3))
        assert shares.max() == 0.25
        # Near the border a centre leaves half of the side or more, evenly:
        # 3/4 of it in the mean, and that is where half of the centres are.
        assert abs(shares.mean() - 0.25 * 0.875**2) < 0.015

    def test_it_does_not_depend_on_the_magnitude(self, image):
        weak, strong = (
            policies.build("cutout", magnitude=level) for level in (0, 10)
        )
        draws = _draws(weak, 3)
        results = _augment(weak, image, draws)
        np.testing.assert_array_equal(_augment(strong, image, draws), results)
        assert np.any(results != image)


class TestBuild:
    def test_none_leaves_the_picture_and_draws_nothing(self, image):
        policy = policies.build("none")
        assert policy.num_draws == 0
        np.testing.assert_array_equal(
            _augment(policy, image, _draws(policy, 1))[0], image
        )

    def test_the_released_codes_name_of_autoaugment(self, image):
        ours, theirs = map(policies.build, ("autoaug", "effnetv1_autoaug"))
        draws = _draws(ours, 5)
        np.testing.assert_array_equal(
            _augment(ours, image, draws), _augment(theirs, image, draws)
        )

    def test_every_name_a_recipe_may_have_is_a_policy(self):
        names = typing.get_args(config_schema.TYPES["data.augname"])
        assert set(names) == set(policies.NAMES)

    @pytest.mark.parametrize(
        "name, settings, message",
        [
            ("randaugment", {}, "nearest: 'randaug'"),
            ("randaug", {"magnitude": -1}, "magnitude must be >= 0"),
        ],
    )
    def test_what_it_cannot_build_is_refused(self, name, settings, message):
        with pytest.raises(ValueError, match=message):
            policies.build(name, **settings)
