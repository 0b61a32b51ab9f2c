"""Batch normalisation on TensorFlow's fused kernel, alone or synchronised.

Keras 3 composes batch normalisation from a dozen element-wise operations and
casts to float32. On the TensorFlow backend the layer here uses the fused
kernel, in any float type; over several replicas it computes the moments of
the global batch. Other backends take Keras's own code.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import keras

_MOMENTUM = contextvars.ContextVar("batch_norm_momentum", default=None)
_KERNEL_DTYPES = ("float32", "bfloat16", "float16")


@contextlib.contextmanager
def batch_norm_momentum(value: Any) -> Iterator[None]:
    """Replaces every layer's own momentum inside.

    So a traced function can take the momentum as an argument. It reaches the
    layers that use the fused kernel (TensorFlow, rank 4), not Keras's code.

    Args:
        value: A float32 scalar tensor or a float in [0, 1), or None to leave
            each layer its own.
    """
    token = _MOMENTUM.set(value)
    try:
        yield
    finally:
        _MOMENTUM.reset(token)


@keras.saving.register_keras_serializable("efficientnetv2")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation with a faster step on TensorFlow.

    The moving variance is the biased one, as Keras's: the kernel's is
    n / (n - 1) larger and is corrected, so that one replica agrees with two.

    Args:
        synchronized: Take the moments over the replicas of the strategy.
            With one replica, and outside a replica, it changes nothing.
        **kwargs: As `keras.layers.BatchNormalization`.

    Call arguments:
        inputs: Float tensor [batch, height, width, channels]; any other rank
            or axis takes Keras's code.
        training: True: moments of the batch, moving statistics are updated
            unless `trainable` is False.
        mask: As Keras's; a masked call takes Keras's code.
    """

    def __init__(self, *, synchronized=False, **kwargs):
        # Keras refuses `synchronized` off TensorFlow; there it means nothing.
        super().__init__(**kwargs)
        self.synchronized = bool(synchronized)

    def call(self, inputs, training=None, mask=None):
        if not self._has_kernel(inputs, mask):
            return self._keras_call(inputs, training, mask)
        if training and self.trainable:
            return self._train(inputs)
        return _kernel(
            inputs,
            self.gamma.value,
            self.beta.value,
            self.moving_mean.value,
            self.moving_variance.value,
            self.epsilon,
        )

    def _has_kernel(self, inputs, mask):
        return (
            keras.backend.backend() == "tensorflow"
            and mask is None
            and len(inputs.shape) == 4
            and self.axis in (3, -1)  # the CPU has no kernel for others
            and self.scale
            and self.center
            and not self.renorm
            and self.variable_dtype == "float32"
            and keras.backend.standardize_dtype(inputs.dtype) in _KERNEL_DTYPES
        )

    def _keras_call(self, inputs, training, mask):
        if keras.backend.backend() == "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        synchronized, self.synchronized = self.synchronized, False
        try:
            return super().call(inputs, training=training, mask=mask)
        finally:
            self.synchronized = synchronized

    def _train(self, inputs):
        import tensorflow as tf

        weights = self.gamma.value, self.beta.value
        replica = tf.distribute.get_replica_context()
        several = replica is not None and replica.num_replicas_in_sync > 1
        if self.synchronized and several:
            outputs, mean, variance = _synchronized(
                inputs, *weights, epsilon=self.epsilon, replica=replica
            )
        else:
            outputs, mean, variance = _moments_kernel(
                inputs, *weights, self.epsilon
            )
            count = _count(inputs, weights[0])
            variance *= (count - 1.0) / tf.maximum(count, 1.0)
            if several:
                mean, variance = _mean_of_replicas(
                    count, mean, variance, replica
                )
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        return outputs

    def _move(self, moving, value):
        momentum = _MOMENTUM.get()
        if momentum is None:
            momentum = self.momentum
        # Keras's own `assign`, so that stateless calls stay without effect.
        old = moving.value
        moving.assign(old - (old - value) * (1.0 - momentum))

    def get_config(self):
        return {**super().get_config(), "synchronized": self.synchronized}


def _kernel(inputs, gamma, beta, mean, variance, epsilon):
    """Normalises by given moments."""
    import tensorflow as tf

    return tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=False,
    )[0]


def _moments_kernel(inputs, gamma, beta, epsilon):
    """Normalises by the moments of the batch.

    Returns:
        outputs like `inputs`, mean [channels], variance [channels] with the
        factor n / (n - 1); without examples the moments are NaN.
    """
    import tensorflow as tf

    empty = tf.zeros([0], tf.float32)
    return tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=gamma,
        offset=beta,
        mean=empty,
        variance=empty,
        epsilon=epsilon,
        exponential_avg_factor=1.0,
        is_training=True,
    )[:3]


def _count(inputs, gamma):
    """Values for each channel, a float32 scalar."""
    import tensorflow as tf

    return tf.cast(tf.size(inputs) // gamma.shape[0], tf.float32)


def _mean_of_replicas(count, mean, variance, replica):
    """Averages moments over the replicas that have examples."""
    import tensorflow as tf

    some = tf.ones_like(mean)
    packed = tf.stack([mean, variance, some])  # [3, channels]
    packed = tf.where(count > 0, packed, 0.0)
    packed = replica.all_reduce(tf.distribute.ReduceOp.SUM, packed)
    mean, variance, replicas = tf.unstack(packed)
    return mean / replicas, variance / replicas


def _global_moments(inputs, gamma, beta, epsilon, replica):
    """Count, mean and biased variance over all replicas, each [channels].

    Each replica's moments are joined as in Chan et al. (1979), which keeps
    the precision that E[x^2] - E[x]^2 loses far from zero. They travel in one
    all-reduce, each replica in its own row of zeros.
    """
    import tensorflow as tf

    _, mean, variance = _moments_kernel(inputs, gamma, beta, epsilon)
    count = _count(inputs, gamma)
    local = tf.stack(
        [tf.fill(tf.shape(mean), count), mean, variance * (count - 1.0)]
    )  # [3, channels]
    local = tf.where(count > 0, local, 0.0)  # a replica without examples
    row = tf.one_hot(
        replica.replica_id_in_sync_group, replica.num_replicas_in_sync
    )
    rows = replica.all_reduce(
        tf.distribute.ReduceOp.SUM, row[:, None, None] * local
    )  # [replicas, 3, channels]
    counts, means, squares = tf.unstack(rows, axis=1)
    count = tf.maximum(tf.reduce_sum(counts, 0), 1.0)
    mean = tf.reduce_sum(counts * means, 0) / count
    squares += counts * tf.square(means - mean)
    return count, mean, tf.reduce_sum(squares, 0) / count


def _synchronized(inputs, gamma, beta, *, epsilon, replica):
    """Batch normalisation over all replicas, with its own gradient.

    The kernel cannot aggregate, so it runs on the joined moments, and the
    gradient adds what the moments contribute. Only `inputs` is kept for it.

    Returns:
        outputs like `inputs`, mean [channels], biased variance [channels].
    """
    import tensorflow as tf

    @tf.custom_gradient
    def normalize(x, gamma, beta):
        count, mean, variance = _global_moments(
            x, gamma, beta, epsilon, replica
        )
        outputs = _kernel(x, gamma, beta, mean, variance, epsilon)

        def gradient(upstream, *_):
            direct, local_gamma, local_beta, _, _ = (
                tf.raw_ops.FusedBatchNormGradV3(
                    y_backprop=upstream,
                    x=x,
                    scale=gamma,
                    reserve_space_1=mean,
                    reserve_space_2=variance,
                    reserve_space_3=tf.zeros([0], tf.float32),
                    epsilon=epsilon,
                    is_training=False,
                )
            )
            all_gamma, all_beta = tf.unstack(
                replica.all_reduce(
                    tf.distribute.ReduceOp.SUM,
                    tf.stack([local_gamma, local_beta]),
                )
            )
            # d/dx = (gamma / deviation) *
            #        (upstream - mean(upstream) - x_hat mean(upstream x_hat))
            inverse = tf.math.rsqrt(variance + epsilon)
            factor = gamma * inverse / count
            through = (tf.cast(x, tf.float32) - mean) * (
                factor * inverse * all_gamma
            ) + factor * all_beta
            down = tf.cast(direct, tf.float32) - through
            return tf.cast(down, x.dtype), local_gamma, local_beta

        return (outputs, mean, variance), gradient

    return normalize(inputs, gamma, beta)
