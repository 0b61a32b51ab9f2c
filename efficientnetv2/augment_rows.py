"""What each stage of a recipe makes of a few pictures."""

import dataclasses

import numpy as np
import tensorflow as tf

from efficientnetv2 import progressive, treatment
from efficientnetv2.data import decoding, mixing, order, policies
from efficientnetv2.data.examples import Example

_MOST = 8  # an even number, since neighbours are mixed
_LOOKED_AT = 64  # pictures, some of which may be broken


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture as it is stored.

    Args:
        number: The example's number.
        name: Its class, or its file.
        encoded: The file's bytes.
        pixels: uint8 [height, width, 3].
    """

    number: int
    name: str
    encoded: bytes
    pixels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Row:
    """What a stage makes of the pictures.

    Args:
        stage: The `progressive.Stage`.
        windows: int32 [pictures, 4], what is taken: top, left, height, width.
        images: uint8 [pictures, size, size, 3], as they are trained on.
        ops: Of each picture the names of the ops that it went through.
        weights: float32 [pictures, pictures], what each picture's label has
            of every other's.
    """

    stage: progressive.Stage
    windows: np.ndarray
    images: np.ndarray
    ops: tuple[tuple[str, ...], ...]
    weights: np.ndarray


def _good(found, name):
    """The first of (number, name, encoded) that can be decoded."""
    pictures = []
    for number, label, encoded in found:
        try:
            pixels = decoding.decode(encoded).numpy()
        except tf.errors.OpError:
            continue
        pictures.append(Picture(number, label, encoded, pixels))
        if len(pictures) == _MOST:
            break
    if not pictures:
        raise ValueError(f"no picture of {name} can be decoded")
    return tuple(pictures)


def of_files(paths, *, seed):
    """Takes some picture files.

    Args:
        paths: The files, `pathlib.Path`.
        seed: Chooses where they are many, int >= 0.

    Returns:
        A tuple of `Picture`.

    Raises:
        ValueError: if none can be decoded.
    """
    numbers = range(len(paths))
    if len(paths) > _MOST:
        numbers = order.shuffled(len(paths), seed, 0)[:_LOOKED_AT].tolist()
    found = ((n, paths[n].stem, paths[n].read_bytes()) for n in numbers)
    return _good(found, "those named")


def of_source(source, *, seed):
    """Takes the examples that training begins with.

    Args:
        source: A `sources.Source`.
        seed: The run's, int >= 0.

    Returns:
        A tuple of `Picture`.

    Raises:
        ValueError: if none can be decoded.
    """
    numbers = source.order(seed, 0)[:_LOOKED_AT].astype(np.int64)

    def found():
        payloads = source.read(numbers)
        for number, payload in zip(numbers, payloads, strict=True):
            try:
                encoded, label = source.parse(
                    tf.constant(payload), tf.constant(number)
                )
            except tf.errors.OpError:
                continue
            place = np.argmax(label) if source.multi_label else int(label)
            yield int(number), source.class_names[place], encoded.numpy()

    return _good(found(), source.name)


def _mix(example, images, mix_seeds):
    """Mixes as the training step does; returns the labels' parts too."""
    drawn = example.mix({"mix_seed": tf.stack(mix_seeds)})
    mixed, weights = mixing.apply(
        tf.cast(images, tf.float32),
        tf.eye(len(images)),
        mix_lambda=drawn["mix_lambda"],
        mix_box=drawn["mix_box"],
    )
    return tf.cast(mixed + 0.5, tf.uint8), weights


def row(config, stage, pictures):
    """Makes what the first epoch of a stage trains on.

    Args:
        config: A `config.Config`.
        stage: A `progressive.Stage`.
        pictures: `Picture`s; neighbours are mixed.

    Returns:
        A `Row`.
    """
    settings = treatment.of_stage(config, stage)
    policy = policies.build(
        settings.pop("augname"),
        magnitude=settings.pop("magnitude"),
        jit_compile=False,  # a few pictures: compiling would take longer
    )
    example = Example(source=None, policy=policy, **settings)
    windows, done, ops = [], [], []
    for picture in pictures:
        draws = example.draw(picture.number, stage.first_epoch)
        window = example.window(tf.shape(picture.pixels), draws)
        image = decoding.decode(picture.encoded, lambda _, w=window: w)
        square = example.stretch({"image": image, "draws": draws})
        windows.append(window.numpy())
        done.append(example.augment(square))
        ops.append(example.ops(draws))
    images = tf.stack([each["image"] for each in done])
    weights = tf.eye(len(done))
    if example.mixes:
        seeds = [each["mix_seed"] for each in done]
        images, weights = _mix(example, images, seeds)
    return Row(
        stage=stage,
        windows=np.array(windows),
        images=images.numpy(),
        ops=tuple(ops),
        weights=weights.numpy(),
    )
