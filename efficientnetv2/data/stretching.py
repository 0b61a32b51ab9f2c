"""Image ops that stretch each channel by the values that occur in it.

With two pieces that the other ops need too: products that round alike
everywhere, and the layout in which loops over pixels run fast.
"""

import tensorflow as tf


def floats(image):
    """The same values as float32."""
    return tf.cast(image, tf.float32)


def product(factor, values):
    """float32 product, rounded once also where XLA fuses it into a sum.

    Args:
        factor: float32 scalar or [3].
        values: float32 holding whole numbers below 2**12 in magnitude.
    """
    factor = tf.convert_to_tensor(factor, tf.float32)
    # Two exact products of 12 + 12 bits: one sum, one rounding.
    bits = tf.bitwise.bitwise_and(tf.bitcast(factor, tf.int32), -(1 << 12))
    high = tf.bitcast(bits, tf.float32)
    return high * values + (factor - high) * values


def rows_of(image):
    """Joins columns and channels: loops over an axis of 3 do not vectorise.

    Args:
        image: [height, width, 3].

    Returns:
        The image as [height, 3 * width], and its width.
    """
    width = image.shape[1]
    if width is None:
        width = tf.shape(image)[1]
    return tf.reshape(image, [-1, 3 * width]), width


def _per_channel(values, width):
    """[3] to [3 width], for use on rows."""
    return tf.tile(values, [width])


def autocontrast(image):
    """Stretches each channel to the whole range.

    Args:
        image: uint8 [height, width, 3].

    Returns:
        uint8 [height, width, 3].
    """
    rows, width = rows_of(image)
    low = tf.reshape(tf.reduce_min(rows, 0), [width, 3])
    high = tf.reshape(tf.reduce_max(rows, 0), [width, 3])
    low = floats(tf.reduce_min(low, 0))  # [3]
    high = floats(tf.reduce_max(high, 0))
    flat = high <= low
    scale = tf.where(flat, 1.0, 255.0 / (high - low))
    offset = tf.where(flat, 0.0, product(scale, -low))
    stretched = product(_per_channel(scale, width), floats(rows))
    stretched += _per_channel(offset, width)
    result = tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), tf.uint8)
    return tf.reshape(result, tf.shape(image))


def _histogram(image):
    """int32 [3, 256]: how often each value occurs in each channel."""
    return tf.stack(
        [
            tf.raw_ops.DenseBincount(
                input=tf.cast(tf.reshape(channel, [-1]), tf.int32),
                size=256,
                weights=tf.zeros([0], tf.int32),
            )
            for channel in tf.split(tf.reshape(image, [-1, 3]), 3, axis=1)
        ]
    )


def equalization(image):
    """The table that `equalize` looks values up in.

    Args:
        image: uint8 [height, width, 3].

    Returns:
        uint8 [3, 256], the new value of each value in each channel. In plain
        graphs it is much faster than compiled: XLA counts one by one.
    """
    counts = _histogram(image)
    seen = tf.where(counts > 0, tf.range(256), -1)
    last = tf.reduce_max(seen, axis=1, keepdims=True)  # [3, 1]
    others = tf.where(tf.range(256) == last, 0, counts)
    step = tf.reduce_sum(others, axis=1, keepdims=True) // 255  # [3, 1]
    before = tf.cumsum(counts, axis=1, exclusive=True)
    table = (before + step // 2) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.minimum(table, 255), tf.range(256))
    return tf.cast(table, tf.uint8)


def equalize(image, *, table=None):
    """Spreads the values of each channel evenly, as Pillow does.

    Args:
        image: uint8 [height, width, 3].
        table: uint8 [3, 256], the image's `equalization`, where it is at hand.

    Returns:
        uint8 [height, width, 3].
    """
    if table is None:
        table = equalization(image)
    rows, width = rows_of(image)
    index = tf.cast(rows, tf.int32) + _per_channel([0, 256, 512], width)
    result = tf.gather(tf.reshape(table, [-1]), index)
    return tf.reshape(result, tf.shape(image))
