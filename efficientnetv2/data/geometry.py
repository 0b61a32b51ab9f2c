"""Image ops that move pixels: rotation, shear, translation, cutout.

Every op maps uint8 [height, width, 3] to the same, takes the nearest source
pixel and fills what comes from outside with 128.
Results are the same to the bit eagerly, in a graph and compiled by XLA, but
for ties in a compiled rotation by a tensor's degrees.
"""

import math

import numpy as np
import tensorflow as tf

from efficientnetv2.data import seeds

FILL = 128


def _size(image):
    """Height and width, Python ints where they are static."""
    dynamic = tf.shape(image)
    return [
        side if side is not None else dynamic[axis]
        for axis, side in enumerate(image.shape[:2])
    ]


def _is_static(*values):
    return all(isinstance(value, (int, float, np.number)) for value in values)


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


def _source(matrix, height, width):
    """Which pixel each output pixel shows, int32 [height, width].

    Output (x, y) shows a0 x + a1 y + a2, b0 x + b1 y + b2. The order of the
    float32 roundings is that of TensorFlow's ImageProjectiveTransform kernel.

    Returns:
        row * width + column, or -1 outside the image.
    """
    a0, a1, a2, b0, b1, b2 = matrix
    x = tf.cast(tf.range(width), tf.float32)[None, :]
    y = tf.cast(tf.range(height), tf.float32)[:, None]
    columns = _sum(_product(a0, x), _product(a1, y)) + a2
    rows = _sum(_product(b0, x), _product(b1, y)) + b2
    columns, rows = _round_half_away(columns), _round_half_away(rows)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return tf.where(inside, rows * width + columns, -1)


def _sample(image, make_matrix, level):
    """Shows at each place the pixel that a transformation says.

    Args:
        image: uint8 [height, width, 3].
        make_matrix: function of (level, height, width) to the six numbers of
            `_source`.
        level: scalar. A Python number together with a static image size makes
            the table of sources a constant, which halves the time.
    """
    height, width = _size(image)
    if _is_static(level, height, width):
        with tf.init_scope():  # at once, outside any graph
            matrix = make_matrix(float(level), height, width)
            source = _source(matrix, height, width).numpy()
    else:
        source = _source(make_matrix(level, height, width), height, width)
    pixels = tf.reshape(image, [-1, 3])
    shown = tf.gather(pixels, tf.maximum(source, 0))  # [height, width, 3]
    fill = tf.constant(FILL, tf.uint8)
    return tf.where((source >= 0)[..., None], shown, fill)


def _cos_sin(degrees):
    """float32 cosine and sine; through float64, so that XLA's agree."""
    if _is_static(degrees):
        radians = float(np.float32(degrees * math.pi / 180.0))
        return np.float32(math.cos(radians)), np.float32(math.sin(radians))
    radians = tf.cast(degrees, tf.float32) * np.float32(math.pi / 180.0)
    radians = tf.cast(radians, tf.float64)
    return (
        tf.cast(tf.cos(radians), tf.float32),
        tf.cast(tf.sin(radians), tf.float32),
    )


def _rotation(degrees, height, width):
    cos, sin = _cos_sin(degrees)
    right = tf.cast(width - 1, tf.float32)
    bottom = tf.cast(height - 1, tf.float32)
    # The centre maps onto itself.
    x_offset = (right - (_product(cos, right) - _product(sin, bottom))) / 2.0
    y_offset = (bottom - (_product(sin, right) + _product(cos, bottom))) / 2.0
    return cos, -sin, x_offset, sin, cos, y_offset


def rotate(image: tf.Tensor, degrees: float | tf.Tensor) -> tf.Tensor:
    """Turns the image about its centre.

    Args:
        image: uint8 [height, width, 3].
        degrees: scalar; positive turns counter-clockwise.

    Returns:
        uint8 [height, width, 3].
    """
    return _sample(image, _rotation, degrees)


def shear_x(image: tf.Tensor, level: float | tf.Tensor) -> tf.Tensor:
    """Moves each row sideways by `level` pixels per row below the top.

    Args:
        image: uint8 [height, width, 3].
        level: scalar; positive moves lower rows to the left.

    Returns:
        uint8 [height, width, 3].
    """
    return _sample(image, lambda k, h, w: (1.0, k, 0.0, 0.0, 1.0, 0.0), level)


def shear_y(image: tf.Tensor, level: float | tf.Tensor) -> tf.Tensor:
    """Moves each column by `level` pixels per column right of the left edge.

    Args:
        image: uint8 [height, width, 3].
        level: scalar; positive moves columns on the right upwards.

    Returns:
        uint8 [height, width, 3].
    """
    return _sample(image, lambda k, h, w: (1.0, 0.0, 0.0, k, 1.0, 0.0), level)


def _translate(image, pixels, axis):
    """Output place i along the axis shows place i + pixels, rounded."""
    size = _size(image)[axis]
    if _is_static(pixels, size):
        # A slice and a pad: much faster than a gather.
        shift = math.floor(np.float32(pixels) + 0.5)
        # Halves go away from zero, so that -0.5 is outside.
        before = math.floor(0.5 - np.float32(pixels))
        shift, before = min(max(shift, -size), size), min(max(before, 0), size)
        begin, end = before + shift, size + min(shift, 0)
        part = image[begin:end] if axis == 0 else image[:, begin:end]
        paddings = [[0, 0], [0, 0], [0, 0]]
        paddings[axis] = [before, max(shift, 0)]
        fill = tf.constant(FILL, tf.uint8)
        return tf.pad(part, paddings, constant_values=fill)
    place = tf.cast(tf.range(size), tf.float32) + tf.cast(pixels, tf.float32)
    place = _round_half_away(place)
    inside = (place >= 0) & (place < size)
    shown = tf.gather(image, tf.where(inside, place, 0), axis=axis)
    inside = inside[:, None, None] if axis == 0 else inside[:, None]
    return tf.where(inside, shown, tf.constant(FILL, tf.uint8))


def translate_x(image: tf.Tensor, pixels: float | tf.Tensor) -> tf.Tensor:
    """Moves the image sideways.

    Args:
        image: uint8 [height, width, 3].
        pixels: scalar; positive moves to the left.

    Returns:
        uint8 [height, width, 3].
    """
    return _translate(image, pixels, 1)


def translate_y(image: tf.Tensor, pixels: float | tf.Tensor) -> tf.Tensor:
    """Moves the image up or down.

    Args:
        image: uint8 [height, width, 3].
        pixels: scalar; positive moves upwards.

    Returns:
        uint8 [height, width, 3].
    """
    return _translate(image, pixels, 0)


def cutout_at(
    image: tf.Tensor,
    pad_size: int | tf.Tensor,
    *,
    row: int | tf.Tensor,
    column: int | tf.Tensor,
) -> tf.Tensor:
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


def cutout(
    image: tf.Tensor, pad_size: int | tf.Tensor, *, seed: tf.Tensor
) -> tf.Tensor:
    """Fills a square at a random place (arXiv 1708.04552) with 128.

    Args:
        image: uint8 [height, width, 3].
        pad_size: int, pixels; half the side of the square.
        seed: int32 [2]. The centre is uniform over the pixels.

    Returns:
        uint8 [height, width, 3].
    """
    draws = seeds.draw(seed, 2) & 0x7FFFFFFF
    place = draws % tf.stack(_size(image))
    return cutout_at(image, pad_size, row=place[0], column=place[1])
