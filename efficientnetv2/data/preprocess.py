"""From a picture to a square of the size and range that a model takes.

Three styles:

    v2  V2-S to XL. Evaluation below 320 pixels takes the centre crop, from
        320 on the whole picture; bilinear; (x - 128) / 128.
    v1  V1 and V2-B. Centre crop; bicubic (a = -0.75, corners unaligned, as
        TensorFlow 1 resized); ImageNet's mean and deviation.
    ft  Fine-tuning. The whole picture, in training too; bilinear;
        (x / 255 - 0.5) / 0.5.

Training crops follow Inception (arXiv 1409.4842, section 6): a random part of
the area and a random aspect ratio, stretched to the square, then flipped by
chance. Stretched pixels are rounded to uint8, so that augmentation and the
transfer to the device work on a quarter of the bytes; evaluation is not.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from efficientnetv2.data import decoding, seeds

CROP_PADDING = 32
_WHOLE_FROM_SIZE = 320
_MEAN = np.array([0.485 * 255, 0.456 * 255, 0.406 * 255], np.float32)
_DEVIATION = np.array([0.229 * 255, 0.224 * 255, 0.225 * 255], np.float32)


@dataclasses.dataclass(frozen=True)
class _CropLaw:
    """How a style draws training crops, as the released code does.

    Args:
        min_area: smallest part of the area drawn; 1: the whole picture.
        min_covered: smaller crops are drawn again, part of the area.
        aspect_ratios: smallest and largest width / height.
        attempts: draws before the whole picture is taken.
    """

    min_area: float
    min_covered: float
    aspect_ratios: tuple[float, float]
    attempts: int


_CROP_LAWS = {
    "v2": _CropLaw(0.05, 0.0, (0.75, 1.33), 100),
    "v1": _CropLaw(0.08, 0.1, (3.0 / 4.0, 4.0 / 3.0), 10),
    "ft": _CropLaw(1.0, 0.0, (0.75, 1.33), 100),
}


def _check(style, image_size):
    if style not in _CROP_LAWS:
        raise ValueError(
            f"style must be one of 'v2', 'v1', 'ft'. Received: {style!r}"
        )
    if image_size < 1:
        raise ValueError(
            f"image_size must be >= 1 pixel. Received: {image_size}"
        )


def normalize(images: tf.Tensor, style: str = "v2") -> tf.Tensor:
    """Maps pixel values to the range that the models of a style take.

    Args:
        images: [..., 3], any number type, values 0 to 255.
        style: 'v2', 'v1' or 'ft'.

    Returns:
        float32, same shape.

    Raises:
        ValueError: on an unknown style.
    """
    _check(style, 1)
    images = tf.cast(images, tf.float32)
    if style == "v1":
        return (images - _MEAN) / _DEVIATION
    if style == "ft":
        return (images / 255.0 - 0.5) / 0.5
    return (images - 128.0) / 128.0


def resize(
    image: tf.Tensor, image_size: int | tf.Tensor, style: str = "v2"
) -> tf.Tensor:
    """Stretches a picture to a square, as a style does.

    Args:
        image: uint8 or float32 [height, width, 3].
        image_size: side of the square, pixels.
        style: 'v2', 'v1' or 'ft'.

    Returns:
        float32 [image_size, image_size, 3]; 'v1' may overshoot 0..255.
    """
    size = [image_size, image_size]
    if style == "v1":
        batch = tf.raw_ops.ResizeBicubic(images=image[None], size=size)
        return batch[0]
    batch = tf.raw_ops.ResizeBilinear(
        images=image[None], size=size, half_pixel_centers=True
    )
    return batch[0]


def _center_window(shape, image_size, style):
    """The centre square: size / (size + 32) of the shorter side."""
    short = tf.cast(tf.minimum(shape[0], shape[1]), tf.float32)
    side = tf.cast(image_size / (image_size + CROP_PADDING) * short, tf.int32)
    side = tf.maximum(side, 1)
    # The two styles round the margin differently.
    rest = shape[:2] - side + (1 if style == "v1" else 0)
    return tf.stack([rest[0] // 2, rest[1] // 2, side, side])


def random_window(
    shape: tf.Tensor,
    image_size: int,
    *,
    seed: tf.Tensor,
    style: str = "v2",
    min_area: float | None = None,
) -> tf.Tensor:
    """Draws the part of a picture that a training image shows.

    Args:
        shape: int32 [3], height, width and channels of the picture.
        image_size: side of the training image, pixels.
        seed: int32 [2].
        style: 'v2', 'v1' or 'ft'.
        min_area: smallest part of the area a window takes, in (0, 1]; 1 takes
            the whole picture. `None`: the style's.

    Returns:
        int32 [4], that is top, left, height, width.

    Raises:
        ValueError: on an unknown style or size.
    """
    _check(style, image_size)
    law = _CROP_LAWS[style]
    area, covered = law.min_area, law.min_covered
    if min_area is not None:
        area, covered = min_area, 0.0
    whole = decoding.whole_window(shape)
    if area >= 1.0:
        return whole
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed,
        min_object_covered=covered,
        aspect_ratio_range=law.aspect_ratios,
        area_range=(area, 1.0),
        max_attempts=law.attempts,
    )
    window = tf.concat([begin[:2], size[:2]], 0)
    if style != "v1":
        return window
    # Where no crop was found, the centre as in evaluation.
    failed = tf.reduce_all(window == whole)
    return tf.where(failed, _center_window(shape, image_size, style), window)


def _pixels(image, choose_window):
    """Window of an image given as file bytes or as decoded uint8."""
    image = tf.convert_to_tensor(image)
    if image.dtype == tf.string:
        return decoding.decode(image, choose_window)
    if image.dtype != tf.uint8:
        raise ValueError(
            "image must be encoded bytes or decoded uint8. "
            f"Received: {image.dtype.name}"
        )
    return decoding.slice_window(image, choose_window)


def stretch_for_training(
    window: tf.Tensor, image_size: int, *, flip: tf.Tensor, style: str = "v2"
) -> tf.Tensor:
    """Stretches a window to a square and may flip it.

    Args:
        window: uint8 [height, width, 3].
        image_size: side of the square, pixels.
        flip: bool scalar, left to right.
        style: 'v2', 'v1' or 'ft'.

    Returns:
        uint8 [image_size, image_size, 3].
    """
    resized = resize(window, image_size, style)
    if style == "v1":  # bicubic overshoots
        resized = tf.clip_by_value(resized, 0.0, 255.0)
    resized = tf.cast(resized + 0.5, tf.uint8)
    resized = tf.cond(flip, lambda: tf.reverse(resized, [1]), lambda: resized)
    return tf.ensure_shape(resized, [image_size, image_size, 3])


def _evaluation_image(image, image_size, style):
    def center(shape):
        return _center_window(shape, image_size, style)

    crops = style == "v1" or (style == "v2" and image_size < _WHOLE_FROM_SIZE)
    pixels = _pixels(image, center if crops else None)
    if style == "ft":
        # The released code normalises first; the last bit tells.
        return resize(normalize(pixels, style), image_size, style)
    return normalize(resize(pixels, image_size, style), style)


def preprocess_image(
    image: tf.Tensor,
    image_size: int,
    *,
    is_training: bool = False,
    style: str = "v2",
    seed: tf.Tensor | None = None,
) -> tf.Tensor:
    """Turns one picture into a model's input.

    Args:
        image: string scalar, the bytes of a picture file, or uint8
            [height, width, 3].
        image_size: side of the result, pixels.
        is_training: takes a random crop and flip; needs a seed.
        style: 'v2', 'v1' or 'ft'.
        seed: int32 [2], for training.

    Returns:
        float32 [image_size, image_size, 3].

    Raises:
        ValueError: on an unknown style, type or size, or a missing seed.
    """
    _check(style, image_size)
    if is_training:
        if seed is None:
            raise ValueError(
                "seed must be given with is_training=True. Received: None"
            )
        window = _pixels(
            image,
            lambda shape: random_window(
                shape, image_size, seed=seed, style=style
            ),
        )
        flip = seeds.draw(seed, 1)[0] < 0
        pixels = stretch_for_training(
            window, image_size, flip=flip, style=style
        )
        return normalize(pixels, style)
    result = _evaluation_image(image, image_size, style)
    return tf.ensure_shape(result, [image_size, image_size, 3])
