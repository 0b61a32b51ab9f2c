"""The pipeline cut off behind each of its stages, and its limit.

For measuring: all of these datasets make the same examples again and again.
Such as do not end in batches give one value of each picture, which needs all
of it to be made, so that nothing is copied that the pipeline does not copy.
"""

import functools

import numpy as np
import tensorflow as tf

from efficientnetv2.data import decoding, preprocess, reading

BATCH = 32
_FEWEST, _MOST = 256, 512  # examples


def _pixel(example):
    """One value that needs the whole picture to be made."""
    return example["image"][0, 0, 0]


def _read(source, numbers):
    """Undecoded examples, the same ones again and again."""
    places = tf.data.Dataset.range(len(numbers)).repeat()
    return reading.read(
        source, places, lambda places: (numbers[places], places)
    )


def stages(source, example, numbers):
    """The pipeline cut off behind each stage: dict from name to dataset."""
    calls = reading.parallel_calls(None)

    def run(function):
        found = _read(source, numbers).map(
            lambda *parts: function(*parts, tf.constant(0, tf.int64)),
            num_parallel_calls=calls,
        )
        return found.ignore_errors()

    def light(function):
        return lambda *parts: _pixel(function(*parts))

    decoded = run(example.decode)
    batches = decoded.map(example.augment, num_parallel_calls=calls)
    batches = batches.batch(BATCH, drop_remainder=True)
    found = {
        "read": _read(source, numbers).map(lambda _, number, place: place),
        "decode": run(light(example.cut)),
        "resize": run(light(example.decode)),
        "augment": decoded.map(
            light(example.augment), num_parallel_calls=calls
        ),
        "batch": batches,
    }
    if example.mixes:
        found["mix"] = batches.map(example.mix, num_parallel_calls=calls)
    return {
        name: data if name in ("batch", "mix") else data.batch(BATCH)
        for name, data in found.items()
    }


def _is_plain(encoded):
    """Whether it is a JPEG that needs no turning."""
    return bool(tf.io.is_jpeg(encoded)) and not bool(decoding.has_exif(encoded))


def draw(source, example):
    """What the limit needs: numbers, encoded pictures, windows, flips."""
    numbers = source.order(example.seed, 0)[:_MOST].astype(np.int64)
    rows = []
    for number, payload in zip(numbers, source.read(numbers), strict=True):
        try:
            encoded, _ = source.parse(
                tf.constant(payload), tf.constant(number, tf.int64)
            )
            if _is_plain(encoded):
                shape = tf.image.extract_jpeg_shape(encoded)
            else:
                shape = tf.shape(decoding.decode(encoded))
        except tf.errors.OpError:
            continue  # broken
        draws = example.draw(number, 0)
        rows.append(
            (
                number,
                encoded.numpy(),
                example.window(shape, draws).numpy(),
                bool(example.flip(draws)),
            )
        )
    if not rows:
        raise ValueError(f"no picture of {source.name} can be decoded")
    # Whole batches; of a few pictures some come twice.
    count = max(len(rows) // BATCH, _FEWEST // BATCH) * BATCH
    rows = [rows[place % len(rows)] for place in range(count)]
    return tuple(zip(*rows, strict=True))


def limit(encoded, windows, flips, *, image_size, style):
    """Decoding, resizing and flipping, and nothing beside."""
    decode = (
        functools.partial(tf.image.decode_and_crop_jpeg, channels=3)
        if all(map(_is_plain, encoded))
        else lambda data, window: decoding.decode(data, lambda _: window)
    )

    def run(data, window, flip):
        image = preprocess.resize(decode(data, window), image_size, style)
        return tf.cond(flip, lambda: tf.reverse(image, [1]), lambda: image)

    examples = tf.data.Dataset.from_tensor_slices(
        (list(encoded), np.array(windows), np.array(flips))
    ).repeat()
    images = examples.map(
        lambda *parts: run(*parts)[0, 0, 0],
        num_parallel_calls=reading.parallel_calls(None),
    )
    return images.batch(BATCH)
