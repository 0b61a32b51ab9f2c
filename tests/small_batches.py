"""Reads training batches for tests, and compares them."""

import numpy as np

from efficientnetv2.data import pipeline

BROKEN = (3, 17, 30)  # of 40 examples


def train(source, **values):
    """All batches of `pipeline.train_batches`, dicts of arrays.

    Args:
        source: A `sources.Source` of 40 examples.
        **values: Settings in place of those below.
    """
    settings = {
        "batch_size": 4,
        "steps_per_epoch": 10,
        "image_size": 16,
        "max_bad_fraction": 0.1,
        "seed": 5,
        **values,
    }
    batches = pipeline.train_batches(source, **settings)
    return list(batches.as_numpy_iterator())


def assert_equal(left, right):
    """Two lists of batches are equal to the bit."""
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], name)


def column(batches, name):
    """One array of all batches, joined."""
    return np.concatenate([batch[name] for batch in batches])
