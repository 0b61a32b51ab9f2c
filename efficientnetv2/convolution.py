"""The convolution layer, with gradients that are faster on the CPU."""

import keras


def _is_cpu_alone():
    import tensorflow as tf

    kinds = {device.device_type for device in tf.config.list_logical_devices()}
    return not kinds & {"GPU", "TPU"}


def _pointwise_slopes(x, kernel, upstream):
    """Gradients of a 1 x 1 convolution as matrix products.

    TensorFlow's own on the CPU take up to ten times as long where maps are
    small and channels many, as in the later blocks.
    """
    import tensorflow as tf

    inputs, outputs = kernel.shape[2:]
    rows = tf.reshape(upstream, (-1, outputs))
    matrix = tf.reshape(kernel, (inputs, outputs))
    down = tf.matmul(rows, matrix, transpose_b=True)
    slopes = tf.matmul(tf.reshape(x, (-1, inputs)), rows, transpose_a=True)
    return tf.reshape(down, tf.shape(x)), tf.reshape(slopes, kernel.shape)


def _square_slopes(x, kernel, upstream):
    """Gradients of a convolution of stride 1 with an odd kernel.

    That of the inputs is a convolution with the kernel turned round, for
    which TensorFlow's code on the CPU is up to three times as fast as the
    one that it has for gradients.
    """
    import tensorflow as tf

    turned = tf.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
    slopes = tf.raw_ops.Conv2DBackpropFilter(
        input=x,
        filter_sizes=kernel.shape,
        out_backprop=upstream,
        strides=[1, 1, 1, 1],
        padding="SAME",
    )
    return tf.nn.conv2d(upstream, turned, 1, "SAME"), slopes


def _conv(x, kernel):
    """A convolution of stride 1, 'same', with its own gradient."""
    import tensorflow as tf

    pointwise = kernel.shape[:2] == (1, 1)
    find_slopes = _pointwise_slopes if pointwise else _square_slopes

    @tf.custom_gradient
    def with_gradient(x, kernel):
        def gradient(upstream):
            return find_slopes(x, kernel, upstream)

        return tf.nn.conv2d(x, kernel, 1, "SAME"), gradient

    return with_gradient(x, tf.convert_to_tensor(kernel))


@keras.saving.register_keras_serializable("efficientnetv2")
class Conv2D(keras.layers.Conv2D):
    """Keras's convolution, with a faster gradient on the CPU.

    It is for kernels of odd sizes and stride 1.

    Args:
        **kwargs: As `keras.layers.Conv2D`.

    Call arguments:
        inputs: Float tensor [batch, height, width, channels].
        training: True takes the faster gradient; without it the graph stays
            plain, so that TensorFlow fuses what follows.
    """

    def call(self, inputs, training=None):
        if not training or not self._has_gradient(inputs):
            return super().call(inputs)
        outputs = _conv(inputs, self.kernel)
        if self.use_bias:
            outputs = keras.ops.add(outputs, self.bias)
        if self.activation is not None:
            outputs = self.activation(outputs)
        return outputs

    def _has_gradient(self, inputs):
        odd = all(size % 2 for size in self.kernel_size)
        return (
            keras.backend.backend() == "tensorflow"
            and not isinstance(inputs, keras.KerasTensor)
            and odd
            and (self.padding == "same" or self.kernel_size == (1, 1))
            and self.strides == (1, 1)
            and self.dilation_rate == (1, 1)
            and self.groups == 1
            and self.data_format == "channels_last"
            and _is_cpu_alone()
        )
