"""The sixteen image operations of AutoAugment and RandAugment.

Every op maps uint8 [height, width, 3] to the same and gives the same bits
eagerly, in a graph and compiled by XLA. Levels may be Python numbers or
tensors. Source: arXiv 1805.09501, table 6; arXiv 1909.13719.
"""

import numpy as np
import tensorflow as tf

from efficientnetv2.data.geometry import (
    cutout,
    cutout_at,
    rotate,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
)
from efficientnetv2.data.stretching import (
    autocontrast,
    equalize,
    floats,
    product,
    rows_of,
)

__all__ = [
    "autocontrast",
    "brightness",
    "color",
    "contrast",
    "cutout",
    "cutout_at",
    "equalize",
    "invert",
    "posterize",
    "rotate",
    "sharpness",
    "shear_x",
    "shear_y",
    "solarize",
    "solarize_add",
    "translate_x",
    "translate_y",
]

_CENTER = float(np.float32(5.0) / np.float32(13.0))
_AROUND = float(np.float32(1.0) / np.float32(13.0))


def _blend(degenerate, image, factor):
    """degenerate + factor * (image - degenerate), clipped and truncated."""
    base = floats(degenerate)
    mixed = base + product(factor, floats(image) - base)
    mixed = tf.clip_by_value(mixed, 0.0, 255.0)
    return tf.cast(mixed, tf.uint8)


def invert(image: tf.Tensor) -> tf.Tensor:
    """255 minus each value.

    Args:
        image: uint8 [height, width, 3].

    Returns:
        uint8 [height, width, 3].
    """
    return 255 - image


def posterize(image: tf.Tensor, bits: int | tf.Tensor) -> tf.Tensor:
    """Keeps the highest bits of each value.

    Args:
        image: uint8 [height, width, 3].
        bits: int scalar. Outside 1 to 8 all bits are kept.

    Returns:
        uint8 [height, width, 3].
    """
    bits = tf.convert_to_tensor(bits, tf.int32)
    bits = tf.where((bits < 1) | (bits > 8), 8, bits)
    mask = tf.bitwise.left_shift(255, 8 - bits)  # its low byte counts
    mask = tf.cast(tf.bitwise.bitwise_and(mask, 255), tf.uint8)
    return tf.bitwise.bitwise_and(image, mask)


def solarize(image: tf.Tensor, threshold: int | tf.Tensor) -> tf.Tensor:
    """Inverts the values at or above a threshold.

    Args:
        image: uint8 [height, width, 3].
        threshold: int scalar. Above 255 nothing changes.

    Returns:
        uint8 [height, width, 3].
    """
    below = tf.cast(image, tf.int32) < threshold
    return tf.where(below, image, 255 - image)


def solarize_add(
    image: tf.Tensor,
    addition: int | tf.Tensor,
    *,
    threshold: int | tf.Tensor = 128,
) -> tf.Tensor:
    """Adds to the values below a threshold, clipped to 0..255.

    Args:
        image: uint8 [height, width, 3].
        addition: int scalar.
        threshold: int scalar.

    Returns:
        uint8 [height, width, 3].
    """
    values = tf.cast(image, tf.int32)
    added = tf.clip_by_value(values + addition, 0, 255)
    return tf.cast(tf.where(values < threshold, added, values), tf.uint8)


def _gray(image):
    """float32 [height, width, 1] luma in whole numbers."""
    red, green, blue = tf.split(floats(image), 3, axis=-1)
    # Whole numbers below 2**24: exact in any order, with any contraction.
    luma = 2989.0 * red + 5870.0 * green + 1140.0 * blue
    # Values go to [0, 1] by 255 and back by 255.5, then are truncated.
    return tf.floor(luma * (255.5 / 255.0 / 10000.0))


def color(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Blends with the gray image.

    Args:
        image: uint8 [height, width, 3].
        factor: scalar >= 0; 0 gives gray, 1 the image.

    Returns:
        uint8 [height, width, 3].
    """
    return _blend(_gray(image), image, factor)


def contrast(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Blends with one gray value.

    The released operation takes the mean count of a 256-bin histogram, that
    is, the number of pixels over 256, for the mean brightness. Models were
    trained and published with it, and so it stays.

    Args:
        image: uint8 [height, width, 3].
        factor: scalar >= 0; 0 gives gray, 1 the image.

    Returns:
        uint8 [height, width, 3].
    """
    pixels = tf.size(image) // 3
    mean = tf.cast(tf.minimum(pixels // 256, 255), tf.float32)
    return _blend(mean, image, factor)


def brightness(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Blends with black.

    Args:
        image: uint8 [height, width, 3].
        factor: scalar >= 0; 0 gives black, 1 the image.

    Returns:
        uint8 [height, width, 3].
    """
    return _blend(tf.zeros([], tf.uint8), image, factor)


def sharpness(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Blends with a smoothed image; the border stays as it is.

    Args:
        image: uint8 [height, width, 3], sides of 3 pixels at least.
        factor: scalar >= 0; 0 gives the smoothed image, 1 the image.

    Returns:
        uint8 [height, width, 3].
    """
    rows, width = rows_of(image)
    height = tf.shape(rows)[0] if rows.shape[0] is None else rows.shape[0]
    values = tf.cast(rows, tf.float64)
    total = tf.zeros([], tf.float64)
    # Kernel 1 1 1, 1 5 1, 1 1 1 over 13. Each step rounds to float32 once,
    # like a fused multiply-add: float64 holds product and sum exactly.
    for row in range(3):
        for column in range(3):
            weight = _CENTER if row == column == 1 else _AROUND
            part = values[
                row : height - 2 + row, 3 * column : 3 * (width - 2 + column)
            ]
            total = tf.cast(total + weight * part, tf.float32)
            total = tf.cast(total, tf.float64)
    smooth = tf.floor(tf.cast(total, tf.float32))
    inside = _blend(smooth, rows[1:-1, 3:-3], factor)
    middle = tf.concat([rows[1:-1, :3], inside, rows[1:-1, -3:]], 1)
    sharp = tf.concat([rows[:1], middle, rows[-1:]], 0)
    return tf.reshape(sharp, tf.shape(image))
