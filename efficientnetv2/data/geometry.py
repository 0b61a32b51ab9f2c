"""Image ops that move pixels: rotation, shear, translation, cutout.

Every op maps uint8 [height, width, 3] to the same, takes the nearest source
pixel and fills what comes from outside with 128.
Results are the same to the bit eagerly, in a graph and compiled by XLA.
"""

import math

import numpy as np
import tensorflow as tf

FILL = 128


def _size(image):
    """Height and width, Python ints where they are static."""
    dynamic = tf.shape(image)
    return [
        side if side is not None else dynamic[axis]
        for axis, side in enumerate(image.shape[:2])
    ]


def _product(factor, values):
    """float32 product of float32 values, rounded once.

    Sums and products go through float64, which holds them exactly, and back:
    otherwise XLA fuses them and saves a rounding, and Grappler draws factors
    out of sums or reorders them and moves one.
    """
    factor = tf.cast(tf.convert_to_tensor(factor, tf.float32), tf.float64)
    return tf.cast(factor * tf.cast(values, tf.float64), tf.float32)


def _sum(left, right):
    """float32 sum of float32 values, rounded once."""
    total = tf.cast(left, tf.float64) + tf.cast(right, tf.float64)
    return tf.cast(total, tf.float32)


def _round_half_away(values):
    """float32 to int32, halves away from zero, as C's round()."""
    whole = tf.cast(values, tf.int32)  # truncates
    part = values - tf.cast(whole, tf.float32)
    up = tf.cast(part >= 0.5, tf.int32)
    return whole + up - tf.cast(part <= -0.5, tf.int32)


def _gather(image, rows, columns):
    """Picks image[rows, columns]; 128 where that lies outside.

    Args:
        image: uint8 [height, width, 3].
        rows: int32, broadcasts to [height, width].
        columns: the same.
    """
    height, width = _size(image)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    flat = tf.where(inside, rows * width + columns, 0)
    pixels = tf.gather(tf.reshape(image, [-1, 3]), flat)  # [height, width, 3]
    pixels = tf.where(inside[..., None], pixels, tf.constant(FILL, tf.uint8))
    return tf.ensure_shape(pixels, image.shape)


def _transform(image, matrix):
    """Samples output (x, y) at a0 x + a1 y + a2, b0 x + b1 y + b2.

    The order of the float32 roundings is that of TensorFlow's
    ImageProjectiveTransform kernel.
    """
    a0, a1, a2, b0, b1, b2 = matrix
    height, width = _size(image)
    x = tf.cast(tf.range(width), tf.float32)[None, :]
    y = tf.cast(tf.range(height), tf.float32)[:, None]
    columns = _sum(_product(a0, x), _product(a1, y)) + a2
    rows = _sum(_product(b0, x), _product(b1, y)) + b2
    return _gather(image, _round_half_away(rows), _round_half_away(columns))


def _cos_sin(degrees):
    """float32 cosine and sine; through float64, so that XLA's agree."""
    if isinstance(degrees, (int, float)):
        radians = np.float32(degrees * math.pi / 180.0)
        return np.cos(radians), np.sin(radians)
    radians = tf.cast(degrees, tf.float32) * np.float32(math.pi / 180.0)
    radians = tf.cast(radians, tf.float64)
    return (
        tf.cast(tf.cos(radians), tf.float32),
        tf.cast(tf.sin(radians), tf.float32),
    )


def rotate(image, degrees):
    """Turns the image about its centre.

    Args:
        image: uint8 [height, width, 3].
        degrees: scalar; positive turns counter-clockwise.

    Returns:
        uint8 [height, width, 3].
    """
    cos, sin = _cos_sin(degrees)
    height, width = _size(image)
    right = tf.cast(width - 1, tf.float32)
    bottom = tf.cast(height - 1, tf.float32)
    # The centre maps onto itself.
    x_offset = (right - (_product(cos, right) - _product(sin, bottom))) / 2.0
    y_offset = (bottom - (_product(sin, right) + _product(cos, bottom))) / 2.0
    return _transform(image, (cos, -sin, x_offset, sin, cos, y_offset))


def shear_x(image, level):
    """Moves each row sideways by `level` pixels per row below the top.

    Args:
        image: uint8 [height, width, 3].
        level: scalar; positive moves lower rows to the left.

    Returns:
        uint8 [height, width, 3].
    """
    return _transform(image, (1.0, level, 0.0, 0.0, 1.0, 0.0))


def shear_y(image, level):
    """Moves each column by `level` pixels per column right of the left edge.

    Args:
        image: uint8 [height, width, 3].
        level: scalar; positive moves columns on the right upwards.

    Returns:
        uint8 [height, width, 3].
    """
    return _transform(image, (1.0, 0.0, 0.0, level, 1.0, 0.0))


def translate_x(image, pixels):
    """Moves the image sideways.

    Args:
        image: uint8 [height, width, 3].
        pixels: scalar; positive moves to the left.

    Returns:
        uint8 [height, width, 3].
    """
    return _transform(image, (1.0, 0.0, pixels, 0.0, 1.0, 0.0))


def translate_y(image, pixels):
    """Moves the image up or down.

    Args:
        image: uint8 [height, width, 3].
        pixels: scalar; positive moves upwards.

    Returns:
        uint8 [height, width, 3].
    """
    return _transform(image, (1.0, 0.0, 0.0, 0.0, 1.0, pixels))


def cutout_at(image, pad_size, *, row, column):
    """Fills the square of side 2 * pad_size about a pixel with 128.

    Args:
        image: uint8 [height, width, 3].
        pad_size: int, pixels; half the side.
        row: int32 scalar, the centre; the square is cut at the border.
        column: int32 scalar.

    Returns:
        uint8 [height, width, 3].
    """
    height, width = _size(image)
    y = tf.range(height)
    x = tf.range(width)
    in_rows = (y >= row - pad_size) & (y < row + pad_size)
    in_columns = (x >= column - pad_size) & (x < column + pad_size)
    inside = in_rows[:, None] & in_columns[None, :]
    return tf.where(inside[..., None], tf.constant(FILL, tf.uint8), image)


def cutout(image, pad_size, *, seed):
    """Fills a square at a random place (arXiv 1708.04552) with 128.

    Args:
        image: uint8 [height, width, 3].
        pad_size: int, pixels; half the side of the square.
        seed: int32 [2]. The centre is uniform over the pixels.

    Returns:
        uint8 [height, width, 3].
    """
    height, width = _size(image)
    place = tf.random.stateless_uniform(
        [2], seed, maxval=tf.stack([height, width]), minval=0, dtype=tf.int32
    )
    return cutout_at(image, pad_size, row=place[0], column=place[1])
