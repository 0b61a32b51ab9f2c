"""Noise that belongs to examples: per-example masks from a counter hash.

Keras's own seed generators give two replicas the same mask and are not saved
in checkpoints. Here a training step opens a scope that carries a seed (run
seed and global step), the identity of each example and the rates of the
present stage; layers inside it draw from a hash of (seed, example, place in
the graph, element). The same example gets the same noise on one replica or
on several, before or after a restart, in a compiled graph or a plain one.
"""

import contextlib
import contextvars
import dataclasses
import typing

_GOLDEN = 0x9E3779B9  # 2^32 / golden ratio: spreads consecutive counters


@dataclasses.dataclass(frozen=True)
class NoiseScope:
    """What a training step tells the layers.

    Args:
        seed: uint32 scalar tensor, folded from run seed and global step.
        example_ids: int64 tensor [batch], identity of each example.
        dropout_rate: float32 scalar tensor in [0, 1), or None to leave each
            layer its own rate.
    """

    seed: typing.Any
    example_ids: typing.Any
    dropout_rate: typing.Any = None

    def uniform(self, place, count):
        """Draws from [0, 1).

        Args:
            place: An int that names the place in the graph, 0 <= place < 2^32.
            count: Number of values for each example, an int or a scalar tensor.

        Returns:
            A float32 TensorFlow tensor [batch, count].
        """
        import tensorflow as tf

        ids = tf.cast(self.example_ids, tf.int64)
        low = tf.cast(tf.bitwise.bitwise_and(ids, 0xFFFFFFFF), tf.uint32)
        high = tf.cast(tf.bitwise.right_shift(ids, 32), tf.uint32)
        key = _scramble(tf.bitwise.bitwise_xor(_u32(self.seed), _u32(place)))
        key = _scramble(tf.bitwise.bitwise_xor(key, high))
        key = _scramble(tf.bitwise.bitwise_xor(key, low))  # [batch]
        counters = tf.cast(tf.range(count), tf.uint32) * _u32(_GOLDEN)
        bits = _scramble(key[:, tf.newaxis] + counters)  # [batch, count]
        # 24 bits fill a float32's significand: never rounds up to 1.
        bits = tf.cast(tf.bitwise.right_shift(bits, _u32(8)), tf.int32)
        return tf.cast(bits, tf.float32) * (2.0**-24)


_SCOPE: contextvars.ContextVar[NoiseScope | None] = contextvars.ContextVar(
    "training_noise", default=None
)


def _u32(value):
    import tensorflow as tf

    return tf.cast(value, tf.uint32)


def _scramble(x):
    """A 32-bit finaliser of two multiplications (Wellons's lowbias32)."""
    from tensorflow import bitwise

    x = bitwise.bitwise_xor(x, bitwise.right_shift(x, _u32(16)))
    x = x * _u32(0x7FEB352D)
    x = bitwise.bitwise_xor(x, bitwise.right_shift(x, _u32(15)))
    x = x * _u32(0x846CA68B)
    return bitwise.bitwise_xor(x, bitwise.right_shift(x, _u32(16)))


def fold(run_seed, step):
    """Folds a run's seed and the global step into one uint32 scalar.

    Args:
        run_seed: Python int.
        step: int64 scalar tensor, the global step.

    Returns:
        A uint32 scalar tensor.
    """
    import tensorflow as tf

    low = tf.cast(tf.bitwise.bitwise_and(step, 0xFFFFFFFF), tf.uint32)
    return _scramble(
        tf.bitwise.bitwise_xor(_scramble(_u32(run_seed % 2**32)), low)
    )


def current():
    """The `NoiseScope` that the calling code runs in, or None."""
    return _SCOPE.get()


@contextlib.contextmanager
def training_noise(seed, example_ids, *, dropout_rate=None):
    """Gives the layers called inside the noise of one training step.

    Enter it inside the replica's function: each replica has its own scope.
    TensorFlow backend only; without a scope layers fall back on Keras's
    random numbers and their own rates.

    Args:
        seed: uint32 scalar tensor, see `fold`.
        example_ids: int64 tensor [batch].
        dropout_rate: float32 scalar tensor in [0, 1) for every `Dropout`
            inside, or None.
    """
    token = _SCOPE.set(NoiseScope(seed, example_ids, dropout_rate))
    try:
        yield
    finally:
        _SCOPE.reset(token)
