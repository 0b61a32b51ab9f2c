"""From a picture to a square of the size and range that a model takes.

Three styles:

    v2  V2-S to XL. Evaluation below 320 pixels takes the centre crop, from
        320 on the whole picture; bilinear; (x - 128) / 128.
    v1  V1 and V2-B. Centre crop; bicubic (a = -0.75, corners unaligned, as
        TensorFlow 1 resized); ImageNet's mean and deviation.
    ft  Fine-tuning. The whole picture; bilinear; (x / 255 - 0.5) / 0.5.

Training crops follow Inception (arXiv 1409.4842, section 6): a random part of
the area and a random aspect ratio, stretched to the square, then flipped by
chance. Stretched pixels are rounded to uint8, so that augmentation and the
transfer to the device work on a quarter of the bytes; evaluation is not.
"""

import difflib

import numpy as np
import tensorflow as tf

from efficientnetv2.data import decoding

CROP_PADDING = 32
_WHOLE_FROM_SIZE = 320
_MEAN = np.float32([0.485 * 255, 0.456 * 255, 0.406 * 255])
_DEVIATION = np.float32([0.229 * 255, 0.224 * 255, 0.225 * 255])
_ASPECT_RATIOS = (3.0 / 4.0, 4.0 / 3.0)
_ATTEMPTS = 10
# Smallest part of the area that a training crop takes.
_MIN_AREA = {"v2": 0.05, "v1": 0.08, "ft": 0.05}


def _check(style, image_size):
    if style not in _MIN_AREA:
        near = difflib.get_close_matches(str(style), _MIN_AREA, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"style must be one of 'v2', 'v1', 'ft'. Received: {style!r}.{hint}"
        )
    if image_size < 1:
        raise ValueError(
            f"image_size must be >= 1 pixel. Received: {image_size}"
        )


def normalize(images, style="v2"):
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


def _resize(image, image_size, style):
    """uint8 or float [h, w, 3] to float32 [image_size, image_size, 3]."""
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


def _random_window(shape, min_area, seed):
    """A window of random area and aspect ratio, by Inception's law."""
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.zeros([1, 0, 4]),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=_ASPECT_RATIOS,
        area_range=(min_area, 1.0),
        max_attempts=_ATTEMPTS,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], size[:2]], 0)


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


def decode_for_training(image, image_size, *, seed, style="v2", min_area=None):
    """Cuts a random window, stretches it to a square and flips it by chance.

    Args:
        image: string scalar, the bytes of a picture file, or uint8
            [height, width, 3].
        image_size: side of the square, pixels.
        seed: int32 [2]; the window and the flip depend on nothing else.
        style: 'v2', 'v1' or 'ft'.
        min_area: smallest part of the area a window takes, in (0, 1]. `None`
            takes 0.08 for 'v1' (arXiv 1409.4842), 0.05 for the others.

    Returns:
        uint8 [image_size, image_size, 3].

    Raises:
        ValueError: on an unknown style, type or size.
    """
    _check(style, image_size)
    area = _MIN_AREA[style] if min_area is None else min_area
    window = _pixels(image, lambda shape: _random_window(shape, area, seed))
    resized = _resize(window, image_size, style)
    if style == "v1":  # bicubic overshoots
        resized = tf.clip_by_value(resized, 0.0, 255.0)
    resized = tf.cast(resized + 0.5, tf.uint8)
    flip = tf.random.stateless_uniform([], seed) < 0.5
    resized = tf.cond(flip, lambda: tf.reverse(resized, [1]), lambda: resized)
    return tf.ensure_shape(resized, [image_size, image_size, 3])


def _evaluation_image(image, image_size, style):
    crops = style == "v1" or (style == "v2" and image_size < _WHOLE_FROM_SIZE)
    window = None
    if crops:

        def window(shape):
            return _center_window(shape, image_size, style)

    pixels = _pixels(image, window)
    if style == "ft":
        # The released code normalises first; the last bit tells.
        return _resize(normalize(pixels, style), image_size, style)
    return normalize(_resize(pixels, image_size, style), style)


def preprocess_image(
    image, image_size, *, is_training=False, style="v2", seed=None
):
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
        pixels = decode_for_training(image, image_size, style=style, seed=seed)
        return normalize(pixels, style)
    result = _evaluation_image(image, image_size, style)
    return tf.ensure_shape(result, [image_size, image_size, 3])
