"""Stateless random bits: a function of what a draw depends on.

Equal arguments give equal bits, whatever the number of threads, hosts and
replicas. All is Philox (Salmon et al., Parallel random numbers: as easy as
1, 2, 3; 2011), a counter turned into noise by a key. Draw in plain graphs
only: code that XLA compiles orders the random bits differently.
"""

import tensorflow as tf

# Named, not left to "auto": the automatic choice depends on the device.
_PHILOX = 1
# Counters that belong to one example; each gives four integers.
_COUNTERS = 256
MAX_COUNT = 4 * _COUNTERS


def _bits(key, counter, count):
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[count], key=key, counter=counter, alg=_PHILOX, dtype=tf.int32
    )


def draw(seed, count):
    """Draws `count` independent integers, uniform over all of int32.

    Args:
        seed: int32 [2].
        count: how many, Python int.

    Returns:
        int32 [count].
    """
    key, _ = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    return _bits(key, tf.zeros([2], tf.uint64), count)


def of_example(seed, epoch, index, count):
    """Draws all the integers that one example needs in one epoch.

    Args:
        seed: the run's, Python int >= 0.
        epoch: int scalar >= 0.
        index: the example's raw index, int scalar >= 0.
        count: how many, Python int, at most `MAX_COUNT`.

    Returns:
        int32 [count], independent, uniform over all of int32.

    Raises:
        ValueError: if count is too large.
    """
    if count > MAX_COUNT:
        raise ValueError(f"count must be <= {MAX_COUNT}. Received: {count}")
    key = tf.constant([seed], tf.uint64)
    first = tf.cast(index, tf.uint64) * _COUNTERS
    return _bits(key, tf.stack([first, tf.cast(epoch, tf.uint64)]), count)
