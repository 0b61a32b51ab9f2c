"""Which image ops a picture goes through: RandAugment, AutoAugment, cutout.

A policy draws a few integers from a seed in the plain graph and hands them to
a compiled program that holds all its ops and applies one, layer after layer.
No random number is drawn and no float decides inside the program, so that the
compiled and the plain path give the same pictures.
"""

import difflib
import functools

import tensorflow as tf

from efficientnetv2.data import image_ops, operations, seeds

NAMES = ("randaug", "autoaug", "cutout", "none")

# RandAugment (arXiv 1909.13719) chooses evenly among `operations.NAMES`, as the
# released code does, which adds Invert, Cutout and SolarizeAdd to the paper's
# list and leaves out the identity.
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

_DRAWS_PER_OP = 4
_SCALE = 1 << 24  # of probabilities as integers


def _choose(number, count):
    """Maps random int32 to 0..count-1."""
    return (number & 0x7FFFFFFF) % count


def _switch(steps, sizes, jit_compile):
    """One program that applies one of several ops to an image.

    Args:
        steps: tuple of (name, level); branch 0 of the program leaves the image
            as it is, branch i + 1 applies steps[i].
        sizes: keyword arguments of `operations.build`.
        jit_compile: whether XLA compiles the program.

    Returns:
        Function of (image, branch, int32 [2] random bits).
    """
    branches = [operations.build(name, level, **sizes) for name, level in steps]
    equalizes = [False] + [name == "Equalize" for name, _ in steps]

    def apply(image, branch, bits, table):
        def run(step, name):
            if name == "Equalize":
                return image_ops.equalize(image, table=table)
            return step(image, bits)

        return tf.switch_case(
            branch,
            [lambda: image]
            + [
                functools.partial(run, step, name)
                for step, (name, _) in zip(branches, steps, strict=True)
            ],
        )

    program = tf.function(apply, jit_compile=jit_compile)

    def augment(image, branch, bits):
        # Counting values is slow in compiled code.
        table = tf.cond(
            tf.gather(equalizes, branch),
            lambda: image_ops.equalization(image),
            lambda: tf.zeros([3, 256], tf.uint8),
        )
        result = program(image, branch, bits, table)
        return tf.ensure_shape(result, image.shape)

    return augment


def _randaugment(magnitude, num_layers, jit_compile):
    steps = tuple((name, magnitude) for name in operations.NAMES)
    switch = _switch(steps, _RANDAUGMENT_SIZES, jit_compile)

    def apply(image, draws):
        for layer in range(num_layers):
            bits = draws[_DRAWS_PER_OP * layer :][:_DRAWS_PER_OP]
            branch = 1 + _choose(bits[0], len(steps))
            image = switch(image, branch, bits[2:])
        return image

    return apply, _DRAWS_PER_OP * num_layers


def _autoaugment(jit_compile):
    """Both ops of a random pair, each by its probability."""
    steps = sorted(
        {(name, level) for pair in AUTOAUGMENT_V0 for name, _, level in pair}
    )
    switch = _switch(steps, _AUTOAUGMENT_SIZES, jit_compile)
    branches = [
        [1 + steps.index((name, level)) for name, _, level in pair]
        for pair in AUTOAUGMENT_V0
    ]
    limits = [
        [round(probability * _SCALE) for _, probability, _ in pair]
        for pair in AUTOAUGMENT_V0
    ]

    def apply(image, draws):
        chosen = _choose(draws[0], len(AUTOAUGMENT_V0))
        for place in range(2):
            bits = draws[_DRAWS_PER_OP * place :][:_DRAWS_PER_OP]
            taken = (bits[1] & (_SCALE - 1)) < tf.gather(limits, chosen)[place]
            branch = tf.where(taken, tf.gather(branches, chosen)[place], 0)
            image = switch(image, branch, bits[2:])
        return image

    return apply, 2 * _DRAWS_PER_OP


@functools.cache
def can_compile():
    """Whether XLA compiles on this machine's CPU; bool."""

    @tf.function(jit_compile=True)
    def probe(value):
        return value + 1

    try:
        with tf.init_scope(), tf.device("CPU:0"):
            return int(probe(tf.constant(1))) == 2
    except (tf.errors.OpError, ValueError):
        return False


def build(name, *, magnitude=10.0, num_layers=2, jit_compile=None):
    """Makes a policy.

    Args:
        name: 'randaug', 'autoaug', 'cutout' or 'none'.
        magnitude: >= 0, level of 'randaug' and 'cutout'.
        num_layers: how many ops 'randaug' applies one after the other.
        jit_compile: whether XLA compiles the ops, one program for each static
            image size; the pictures are the same. `None`: where it can.

    Returns:
        Function of (image uint8 [height, width, 3], seed int32 [2]) to uint8
        [height, width, 3].

    Raises:
        ValueError: on an unknown name or a negative magnitude.
    """
    if magnitude < 0:
        raise ValueError(f"magnitude must be >= 0. Received: {magnitude}")
    if jit_compile is None:
        jit_compile = can_compile()
    if name == "none":
        return lambda image, seed: image
    if name == "randaug":
        apply, count = _randaugment(magnitude, num_layers, jit_compile)
    elif name == "autoaug":
        apply, count = _autoaugment(jit_compile)
    elif name == "cutout":
        cut = operations.build("Cutout", magnitude, **_RANDAUGMENT_SIZES)
        apply = tf.function(cut, jit_compile=jit_compile)
        count = 2
    else:
        near = difflib.get_close_matches(str(name), NAMES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"name must be one of {', '.join(NAMES)}. Received: {name!r}.{hint}"
        )

    def augment(image, seed):
        return apply(image, seeds.draw(seed, count))

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
