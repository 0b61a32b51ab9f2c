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


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches each channel to the whole range.

    Args:
        image: uint8 [height, width, 3].

    Returns:
        uint8 [height, width, 3].
    """
    rows, width = rows_of(image)
    values = floats(rows)  # XLA's loops over bytes do not vectorise
    low = tf.reshape(tf.reduce_min(values, 0), [width, 3])
    high = tf.reshape(tf.reduce_max(values, 0), [width, 3])
    low = tf.reduce_min(low, 0)  # [3]
    high = tf.reduce_max(high, 0)
    flat = high <= low
    scale = tf.where(flat, 1.0, 255.0 / (high - low))
    offset = tf.where(flat, 0.0, product(scale, -low))
    stretched = product(_per_channel(scale, width), values)
    stretched += _per_channel(offset, width)
    result = tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), tf.uint8)
    return tf.reshape(result, tf.shape(image))


def _table(counts):
    """New values of the values 0 to 255, from how often they occur.

    Args:
        counts: int32 [3, 256].

    Returns:
        uint8 [3, 256].
    """
    seen = tf.where(counts > 0, tf.range(256), -1)
    last = tf.reduce_max(seen, axis=1, keepdims=True)  # [3, 1]
    others = tf.where(tf.range(256) == last, 0, counts)
    step = tf.reduce_sum(others, axis=1, keepdims=True) // 255  # [3, 1]
    same = tf.tile(tf.range(256)[None], [3, 1])

    def spread():
        before = tf.cumsum(counts, axis=1, exclusive=True)
        table = (before + step // 2) // tf.maximum(step, 1)
        return tf.where(step > 0, tf.minimum(table, 255), same)

    # A branch for its own sake: without it XLA fuses the table into the
    # lookup and divides anew for each pixel.
    table = tf.cond(tf.reduce_any(step > 0), spread, lambda: same)
    return tf.cast(table, tf.uint8)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Spreads the values of each channel evenly, as Pillow does.

    Args:
        image: uint8 [height, width, 3].

    Returns:
        uint8 [height, width, 3].
    """
    rows, width = rows_of(image)
    places = tf.cast(rows, tf.int32) + _per_channel([0, 256, 512], width)
    # A sum by segments, since XLA has no DenseBincount.
    flat = tf.reshape(places, [-1])
    counts = tf.math.unsorted_segment_sum(tf.ones_like(flat), flat, 3 * 256)
    table = _table(tf.reshape(counts, [3, 256]))
    result = tf.gather(tf.reshape(table, [-1]), places)
    return tf.reshape(result, tf.shape(image))
