"""Batch normalisation on TensorFlow's fused kernel, alone or synchronised.

Keras 3 composes batch normalisation from a dozen element-wise operations and
casts to float32. On the TensorFlow backend the layer here uses the fused
kernel, in any float type; over several replicas it computes the moments of
the global batch. Other backends take Keras's own code.
"""

import contextlib
import contextvars

import keras

_MOMENTUM = contextvars.ContextVar("batch_norm_momentum", default=None)
_KERNEL_DTYPES = ("float32", "bfloat16", "float16")


@contextlib.contextmanager
def batch_norm_momentum(value):
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
        outputs, _, _ = self._kernel(
            inputs,
            self.moving_mean.value,
            self.moving_variance.value,
            training=False,
        )
        return outputs

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
            and keras.backend.standardize_dtype(inputs.dtype)
            in _KERNEL_DTYPES
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

        replica = tf.distribute.get_replica_context()
        if (
            self.synchronized
            and replica is not None
            and replica.num_replicas_in_sync > 1
        ):
            outputs, mean, variance = _synchronized(
                inputs,
                self.gamma.value,
                self.beta.value,
                self.moving_mean.value,
                epsilon=self.epsilon,
                replica=replica,
            )
        else:
            empty = tf.zeros([0], tf.float32)
            outputs, mean, variance = self._kernel(
                inputs, empty, empty, training=True
            )
            count = tf.cast(
                tf.size(inputs) // self.gamma.shape[0], tf.float32
            )
            variance = variance * ((count - 1.0) / tf.maximum(count, 1.0))
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        return outputs

    def _kernel(self, inputs, mean, variance, *, training):
        import tensorflow as tf

        outputs, mean, variance, _, _, _ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=mean,
            variance=variance,
            epsilon=self.epsilon,
            exponential_avg_factor=1.0,
            is_training=training,
        )
        return outputs, mean, variance

    def _move(self, moving, value):
        momentum = _MOMENTUM.get()
        if momentum is None:
            momentum = self.momentum
        moving = moving.value
        moving.assign_sub((moving - value) * (1.0 - momentum))

    def get_config(self):
        return {**super().get_config(), "synchronized": self.synchronized}


def _synchronized(inputs, gamma, beta, shift, *, epsilon, replica):
    """Batch normalisation over all replicas, with its own gradient.

    The kernel cannot aggregate, so the sums travel in one all-reduce forward
    and one backward. Sums are taken around `shift` (the moving mean) to keep
    the precision that E[x^2] - E[x]^2 loses far from zero. A replica without
    examples adds nothing to the sums.

    Returns:
        outputs like `inputs`, mean [channels], biased variance [channels].
    """
    import tensorflow as tf

    axes = [0, 1, 2]

    def total(*vectors):
        packed = tf.stack(vectors)  # [vectors, channels]
        return tf.unstack(replica.all_reduce(tf.distribute.ReduceOp.SUM, packed))

    @tf.custom_gradient
    def normalize(x, gamma, beta):
        wide = tf.cast(x, tf.float32)
        centred = wide - shift
        count = tf.cast(tf.size(x) // tf.size(gamma), tf.float32)
        count, first, second = total(
            tf.fill(tf.shape(gamma), count),
            tf.reduce_sum(centred, axes),
            tf.reduce_sum(tf.square(centred), axes),
        )
        count = tf.maximum(count, 1.0)
        offset = first / count
        variance = tf.maximum(second / count - tf.square(offset), 0.0)
        mean = shift + offset
        inverse = tf.math.rsqrt(variance + epsilon)
        normal = (wide - mean) * inverse
        outputs = normal * gamma + beta

        def gradient(upstream, *_):
            upstream = tf.cast(upstream, tf.float32)
            local_beta = tf.reduce_sum(upstream, axes)
            local_gamma = tf.reduce_sum(upstream * normal, axes)
            all_beta, all_gamma = total(local_beta, local_gamma)
            inner = upstream - (all_beta / count)
            inner -= normal * (all_gamma / count)
            down = inner * (gamma * inverse)
            return tf.cast(down, x.dtype), local_gamma, local_beta

        return (tf.cast(outputs, x.dtype), mean, variance), gradient

    return normalize(inputs, gamma, beta)
