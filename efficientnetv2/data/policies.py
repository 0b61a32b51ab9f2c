"""Which image ops a picture goes through: RandAugment, AutoAugment, cutout.

A policy draws a few integers from a seed in the plain graph and hands them to
one compiled program. No random number is drawn and no float decides inside it,
so the compiled and the plain path give the same pictures.
"""

import difflib
import functools

import tensorflow as tf

from efficientnetv2.data import image_ops, seeds

NAMES = ("randaug", "autoaug", "cutout", "none")
MAX_LEVEL = 10.0

# RandAugment chooses evenly among these (arXiv 1909.13719; the released code
# adds Invert, Cutout and SolarizeAdd and leaves out the identity).
RANDAUGMENT_OPS = (
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
_RANDAUGMENT_SIZES = {"cutout_const": 40, "translate_const": 100}

# AutoAugment's policy for ImageNet, "v0" of the released search (two of
# op, probability, level), arXiv 1805.09501.
AUTOAUGMENT_V0 = (
    (("Equalize", 0.8, 1), ("ShearY", 0.8, 4)),
    (("Color", 0.4, 9), ("Equalize", 0.6, 3)),
    (("Color", 0.4, 1), ("Rotate", 0.6, 8)),
    (("Solarize", 0.8, 3), ("Equalize", 0.4, 7)),
    (("Solarize", 0.4, 2), ("Solarize", 0.6, 2)),
    (("Color", 0.2, 0), ("Equalize", 0.8, 8)),
    (("Equalize", 0.4, 8), ("SolarizeAdd", 0.8, 3)),
    (("ShearX", 0.2, 9), ("Rotate", 0.6, 8)),
    (("Color", 0.6, 1), ("Equalize", 1.0, 2)),
    (("Invert", 0.4, 9), ("Rotate", 0.6, 0)),
    (("Equalize", 1.0, 9), ("ShearY", 0.6, 3)),
    (("Color", 0.4, 7), ("Equalize", 0.6, 0)),
    (("Posterize", 0.4, 6), ("AutoContrast", 0.4, 7)),
    (("Solarize", 0.6, 8), ("Color", 0.6, 9)),
    (("Solarize", 0.2, 4), ("Rotate", 0.8, 9)),
    (("Rotate", 1.0, 7), ("TranslateY", 0.8, 9)),
    (("ShearX", 0.0, 0), ("Solarize", 0.8, 4)),
    (("ShearY", 0.8, 0), ("Color", 0.6, 4)),
    (("Color", 1.0, 0), ("Rotate", 0.6, 2)),
    (("Equalize", 0.8, 4), ("Equalize", 0.0, 8)),
    (("Equalize", 1.0, 4), ("AutoContrast", 0.6, 2)),
    (("ShearY", 0.4, 7), ("SolarizeAdd", 0.6, 7)),
    (("Posterize", 0.8, 2), ("Solarize", 0.6, 10)),
    (("Solarize", 0.6, 8), ("Equalize", 0.6, 1)),
    (("Color", 0.8, 6), ("Rotate", 0.4, 5)),
)
_AUTOAUGMENT_SIZES = {"cutout_const": 100, "translate_const": 250}

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
_DRAWS_PER_OP = 4


def _signed(operation, amount):
    def run(image, bits):
        return tf.cond(
            bits[0] >= 0,
            lambda: operation(image, amount),
            lambda: operation(image, -amount),
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


def operation(name, level, *, cutout_const=40, translate_const=100):
    """An image op at a level, as a function of the image and random bits.

    Args:
        name: one of `RANDAUGMENT_OPS`.
        level: >= 0; 10 is the paper's strongest.
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
            f"name must be one of RANDAUGMENT_OPS. Received: {name!r}"
        )
    return _signed(*signed[name])


def _choose(number, count):
    """Maps random int32 to 0..count-1."""
    return (number & 0x7FFFFFFF) % count


def _randaugment(magnitude, num_layers):
    branches = [
        operation(name, magnitude, **_RANDAUGMENT_SIZES)
        for name in RANDAUGMENT_OPS
    ]

    def apply(image, draws):
        for layer in range(num_layers):
            bits = draws[_DRAWS_PER_OP * layer :][:_DRAWS_PER_OP]
            image = tf.switch_case(
                _choose(bits[0], len(branches)),
                [
                    functools.partial(branch, image, bits[2:])
                    for branch in branches
                ],
            )
        return image

    return apply, _DRAWS_PER_OP * num_layers


def _autoaugment():
    """Both steps of the chosen pair of ops, each by its probability."""
    steps = [
        [
            (operation(name, level, **_AUTOAUGMENT_SIZES), probability)
            for name, probability, level in (pair[step] for pair in
                                             AUTOAUGMENT_V0)
        ]
        for step in range(2)
    ]

    def apply(image, draws):
        chosen = _choose(draws[0], len(AUTOAUGMENT_V0))
        for step, choices in enumerate(steps):
            bits = draws[_DRAWS_PER_OP * step :][:_DRAWS_PER_OP]
            limits = [round(share * (1 << 24)) for _, share in choices]
            taken = (bits[1] & 0xFFFFFF) < tf.gather(limits, chosen)
            image = tf.switch_case(
                tf.where(taken, chosen + 1, 0),
                [lambda image=image: image]
                + [
                    functools.partial(branch, image, bits[2:])
                    for branch, _ in choices
                ],
            )
        return image

    return apply, 2 * _DRAWS_PER_OP


def _cutout_policy(magnitude):
    cut = operation("Cutout", magnitude, **_RANDAUGMENT_SIZES)
    return lambda image, draws: cut(image, draws), 2


def build(name, *, magnitude=10.0, num_layers=2, jit_compile=True):
    """Makes a policy.

    Args:
        name: 'randaug', 'autoaug', 'cutout' or 'none'.
        magnitude: >= 0, level of 'randaug' and 'cutout'.
        num_layers: how many ops 'randaug' applies one after the other.
        jit_compile: compiles the ops by XLA, one program for a static image
            size; False where XLA cannot compile.

    Returns:
        Function of (image uint8 [height, width, 3], seed int32 [2]) to uint8
        [height, width, 3].

    Raises:
        ValueError: on an unknown name or a negative magnitude.
    """
    if name == "none":
        return lambda image, seed: image
    if name == "randaug":
        apply, count = _randaugment(magnitude, num_layers)
    elif name == "autoaug":
        apply, count = _autoaugment()
    elif name == "cutout":
        apply, count = _cutout_policy(magnitude)
    else:
        near = difflib.get_close_matches(str(name), NAMES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"name must be one of {', '.join(NAMES)}. Received: {name!r}.{hint}"
        )
    program = tf.function(apply, jit_compile=jit_compile or None)

    def augment(image, seed):
        result = program(image, seeds.draw(seed, count))
        return tf.ensure_shape(result, image.shape)

    return augment


def augment(image, name, *, magnitude=10.0, seed):
    """Applies a policy to one image; `build` saves making it each time.

    Args:
        image: uint8 [height, width, 3].
        name: 'randaug', 'autoaug', 'cutout' or 'none'.
        magnitude: >= 0, level of 'randaug' and 'cutout'.
        seed: int32 [2].

    Returns:
        uint8 [height, width, 3].
    """
    policy = build(name, magnitude=magnitude, jit_compile=False)
    return policy(image, seed)
