"""Image ops by the name and the level that policies give them.

The released search's levels run from 0 to 10; RandAugment's magnitudes go on
beyond, and so do the amounts, as far as an op's range allows. Source: arXiv
1805.09501, table 6, in the released code's units.
"""

import tensorflow as tf

from efficientnetv2 import spelling
from efficientnetv2.data import image_ops

MAX_LEVEL = 10.0
NAMES = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Cutout",
    "SolarizeAdd",
)
_FACTOR_OPS = {
    "Color": image_ops.color,
    "Contrast": image_ops.contrast,
    "Brightness": image_ops.brightness,
    "Sharpness": image_ops.sharpness,
}
_PLAIN_OPS = {
    "AutoContrast": image_ops.autocontrast,
    "Equalize": image_ops.equalize,
    "Invert": image_ops.invert,
}


def _signed(move, amount):
    def run(image, bits):
        return tf.cond(
            bits[0] >= 0,
            lambda: move(image, amount),
            lambda: move(image, -amount),
        )

    return run


def _cutout(image, bits, pad_size):
    height, width = image.shape[:2]
    if height is None or width is None:
        height, width = tf.shape(image)[0], tf.shape(image)[1]
    return image_ops.cutout_at(
        image,
        pad_size,
        row=(bits[0] & 0x7FFFFFFF) % height,
        column=(bits[1] & 0x7FFFFFFF) % width,
    )


def build(name, level, *, cutout_const=40, translate_const=100):
    """An image op at a level, as a function of the image and random bits.

    Args:
        name: one of `NAMES`.
        level: >= 0; 10 is the released search's strongest.
        cutout_const: half the side of the cut-out square at level 10, pixels.
        translate_const: way of a translation at level 10, pixels.

    Returns:
        Function of (image uint8 [height, width, 3], int32 [2] random bits) to
        uint8 [height, width, 3].

    Raises:
        ValueError: on an unknown name or a negative level.
    """
    if level < 0:
        raise ValueError(f"level must be >= 0. Received: {level}")
    share = level / MAX_LEVEL
    if name in _PLAIN_OPS:
        return lambda image, bits: _PLAIN_OPS[name](image)
    if name in _FACTOR_OPS:
        return lambda image, bits: _FACTOR_OPS[name](image, share * 1.8 + 0.1)
    if name == "Posterize":
        return lambda image, bits: image_ops.posterize(image, int(share * 4))
    if name == "Solarize":
        return lambda image, bits: image_ops.solarize(image, int(share * 256))
    if name == "SolarizeAdd":
        addition = int(share * 110)
        return lambda image, bits: image_ops.solarize_add(image, addition)
    if name == "Cutout":
        pad_size = int(share * cutout_const)
        return lambda image, bits: _cutout(image, bits, pad_size)
    signed = {
        "Rotate": (image_ops.rotate, share * 30.0),
        "ShearX": (image_ops.shear_x, share * 0.3),
        "ShearY": (image_ops.shear_y, share * 0.3),
        "TranslateX": (image_ops.translate_x, share * translate_const),
        "TranslateY": (image_ops.translate_y, share * translate_const),
    }
    if name not in signed:
        raise ValueError(
            f"name must be one of {', '.join(NAMES)}. Received: {name!r}"
            f"{spelling.nearest(name, NAMES)}"
        )
    return _signed(*signed[name])
