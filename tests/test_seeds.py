"""Random integers: functions of what they depend on, and nothing else."""

import numpy as np
import pytest
import tensorflow as tf

from efficientnetv2.data import seeds


def _example(seed=1, epoch=2, index=3, count=12):
    return seeds.of_example(seed, epoch, index, count).numpy()


def test_equal_arguments_give_equal_integers_eagerly_and_in_a_dataset():
    rows = tf.data.Dataset.range(20).map(
        lambda index: seeds.of_example(7, tf.constant(4, tf.int64), index, 9),
        num_parallel_calls=8,
    )
    for index, row in enumerate(rows.as_numpy_iterator()):
        np.testing.assert_array_equal(row, _example(7, 4, index, 9))


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"epoch": 3}, {"index": 4}], ids=str
)
def test_each_argument_changes_all_of_them(change):
    assert not np.any(_example() == _example(**change))


def test_a_longer_draw_begins_with_a_shorter_one():
    np.testing.assert_array_equal(_example(count=12)[:5], _example(count=5))


def test_no_two_examples_share_an_integer_even_at_the_longest_draw():
    drawn = [
        _example(index=index, epoch=epoch, count=seeds.MAX_COUNT)
        for index in (0, 1, 2**40)
        for epoch in (0, 1)
    ]
    # Of 6144 random int32 two are equal by chance with probability 0.4 %.
    assert len(np.unique(drawn)) == 6 * seeds.MAX_COUNT


def test_more_than_an_example_has_is_an_error():
    with pytest.raises(ValueError, match="count must be <= 1024"):
        seeds.of_example(0, 0, 0, seeds.MAX_COUNT + 1)


def test_integers_are_uniform_and_independent_of_their_neighbours():
    rows = np.stack([_example(index=index, count=8) for index in range(2000)])
    units = rows / 2.0**32  # -0.5 .. 0.5
    assert np.abs(units.mean(0)).max() < 0.03  # 4.6 standard deviations
    assert np.abs(units.var(0) - 1 / 12).max() < 0.008
    between_places = np.corrcoef(units.T) - np.eye(8)
    between_examples = np.corrcoef(units[1:, 0], units[:-1, 0])[0, 1]
    assert np.abs(between_places).max() < 0.1
    assert abs(between_examples) < 0.1


def test_draw_depends_on_its_seed_alone():
    first = seeds.draw([5, 6], 4).numpy()
    np.testing.assert_array_equal(first, seeds.draw([5, 6], 4))
    assert not np.any(first == seeds.draw([5, 7], 4).numpy())
