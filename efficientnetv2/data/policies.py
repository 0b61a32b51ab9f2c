"""Which image ops a picture goes through: RandAugment, AutoAugment, cutout.

A policy turns a few random integers into the numbers of ops and hands them to
one compiled program, which holds all its ops and applies one, layer after
layer. No random number is drawn and no float decides inside the program, so
that the compiled and the plain path give the same pictures.
"""

import dataclasses
import functools
import typing

import tensorflow as tf

from efficientnetv2 import spelling
from efficientnetv2.data import image_ops, operations

# Recipes of V1 and V2-B have the released code's name of AutoAugment, which
# there stands for their crops too; here those are `preprocess`'s.
NAMES = ("randaug", "autoaug", "effnetv1_autoaug", "cutout", "none")

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


@dataclasses.dataclass(frozen=True)
class Policy:
    """An augmentation.

    Args:
        apply: Function of (image uint8 [height, width, 3], draws int32
            [num_draws]) to uint8 [height, width, 3].
        num_draws: Random integers it takes, uniform over all of int32.
        ops: Function of draws, eager, to the names of the ops that they
            stand for, a tuple.
    """

    apply: typing.Callable
    num_draws: int
    ops: typing.Callable

    def __call__(self, image, draws):
        return tf.ensure_shape(self.apply(image, draws), image.shape)


def _choose(numbers, count):
    """Maps random int32 to 0..count-1."""
    return (numbers & 0x7FFFFFFF) % count


def _program(steps, sizes, *, num_layers, jit_compile):
    """One program that applies some of several ops to an image.

    Args:
        steps: tuple of (name, level).
        sizes: keyword arguments of `operations.build`.
        num_layers: how many ops come one after the other.
        jit_compile: whether XLA compiles the program.

    Returns:
        Function of (image, branches int32 [num_layers], bits int32
        [num_layers, 2]): branch 0 leaves the image as it is, branch i + 1
        applies steps[i] with those random bits.
    """
    ops = [operations.build(name, level, **sizes) for name, level in steps]

    def apply(image, branches, bits):
        def layer(number, image):
            branch_ops = [lambda: image]
            branch_ops += [
                functools.partial(op, image, bits[number]) for op in ops
            ]
            return number + 1, tf.switch_case(branches[number], branch_ops)

        # A loop: XLA would compile each op once a layer otherwise.
        _, image = tf.while_loop(
            lambda number, _: number < num_layers,
            layer,
            (tf.constant(0), image),
            maximum_iterations=num_layers,
        )
        return image

    return tf.function(apply, jit_compile=jit_compile)


def _of_program(program, steps, choose, num_layers):
    """A policy of a `_program`; `choose`: draws of the layers to branches."""

    def layers(draws):
        return tf.reshape(draws, [num_layers, _DRAWS_PER_OP])

    def apply(image, draws):
        draws = layers(draws)
        return program(image, choose(draws), draws[:, 2:])

    def ops(draws):
        branches = choose(layers(draws)).numpy()
        return tuple(steps[branch - 1][0] for branch in branches if branch)

    return Policy(apply, num_layers * _DRAWS_PER_OP, ops)


def _randaugment(magnitude, num_layers, jit_compile):
    steps = tuple((name, magnitude) for name in operations.NAMES)
    program = _program(
        steps,
        _RANDAUGMENT_SIZES,
        num_layers=num_layers,
        jit_compile=jit_compile,
    )

    def choose(draws):
        return 1 + _choose(draws[:, 0], len(steps))

    return _of_program(program, steps, choose, num_layers)


def _autoaugment(jit_compile):
    """Both ops of a random pair, each by its probability."""
    steps = sorted(
        {(name, level) for pair in AUTOAUGMENT_V0 for name, _, level in pair}
    )
    program = _program(
        steps, _AUTOAUGMENT_SIZES, num_layers=2, jit_compile=jit_compile
    )
    branches = [
        [1 + steps.index((name, level)) for name, _, level in pair]
        for pair in AUTOAUGMENT_V0
    ]
    limits = [
        [round(probability * _SCALE) for _, probability, _ in pair]
        for pair in AUTOAUGMENT_V0
    ]

    def choose(draws):
        pair = _choose(draws[0, 0], len(AUTOAUGMENT_V0))
        taken = (draws[:, 1] & (_SCALE - 1)) < tf.gather(limits, pair)
        return tf.where(taken, tf.gather(branches, pair), 0)

    return _of_program(program, steps, choose, 2)


def _cutout(jit_compile):
    """A square of half the image's side, as in the released fine-tuning."""

    def apply(image, draws):
        side = min(image.shape[:2])
        place = _choose(draws, tf.shape(image)[:2])
        return image_ops.cutout_at(
            image, side // 4, row=place[0], column=place[1]
        )

    apply = tf.function(apply, jit_compile=jit_compile)
    return Policy(apply, 2, lambda draws: ("Cutout",))


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
        name: one of `NAMES`.
        magnitude: >= 0, level of 'randaug'; beyond 10 the ops grow as far as
            their ranges allow.
        num_layers: how many ops 'randaug' applies one after the other.
        jit_compile: whether XLA compiles the ops, one program for each static
            image size; the pictures are the same. `None`: where it can.

    Returns:
        A `Policy`.

    Raises:
        ValueError: on an unknown name or a negative magnitude.
    """
    if magnitude < 0:
        raise ValueError(f"magnitude must be >= 0. Received: {magnitude}")
    if name == "none":
        return Policy(lambda image, draws: image, 0, lambda draws: ())
    if jit_compile is None:
        jit_compile = can_compile()
    if name == "randaug":
        return _randaugment(magnitude, num_layers, jit_compile)
    if name in ("autoaug", "effnetv1_autoaug"):
        return _autoaugment(jit_compile)
    if name == "cutout":
        return _cutout(jit_compile)
    raise ValueError(
        f"name must be one of {', '.join(NAMES)}. Received: {name!r}"
        f"{spelling.nearest(name, NAMES)}"
    )
