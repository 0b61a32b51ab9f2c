"""Stateless seeds: fold what a random draw depends on into two integers.

A seed is an int32 tensor [2]. Equal seeds and equal values give equal draws,
whatever the number of threads. Draw in plain graphs only: code that XLA
compiles orders the random bits differently.
"""

import tensorflow as tf

# Named, not left to "auto": the automatic choice depends on the device.
_PHILOX = 1


def _bits(seed, counter, count):
    """`count` random int32 of the stream `seed` from place `counter` on."""
    key, _ = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    counter = tf.stack([tf.cast(counter, tf.uint64), tf.zeros([], tf.uint64)])
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
    return _bits(seed, 0, count)


def fold(seed, *values):
    """Makes a new seed from a seed and the values it shall depend on.

    Args:
        seed: int32 [2], or one Python int (a run's seed).
        *values: non-negative integers, Python or scalar tensors: epoch, raw
            index of the example, place in the program. Their order matters.

    Returns:
        int32 [2].
    """
    if isinstance(seed, int):
        seed = [seed & 0x7FFFFFFF, (seed >> 31) & 0x7FFFFFFF]
    seed = tf.convert_to_tensor(seed, tf.int32)
    for value in values:
        # Counter 0 belongs to `draw`.
        seed = _bits(seed, tf.cast(value, tf.uint64) + 1, 2)
    return seed
