"""Writes small data sets for tests, good and damaged."""

import types

import numpy as np
import tensorflow as tf

from efficientnetv2.data import sources

FRAGMENT = b"\xff\xd8\xff\xe0\x00\x10JFIF"


def settings(**values):
    """Settings as `sources.open_source` takes them."""
    defaults = {
        "ds_name": "mine",
        "data_dir": None,
        "tfds_name": None,
        "num_classes": None,
        "multiclass": False,
        "label_offset": 1,
        "shuffle_memory_mb": 64,
        "cache": "none",
    }
    if "data_dir" in values:
        values["data_dir"] = str(values["data_dir"])
    return types.SimpleNamespace(**{**defaults, **values})


def picture(number, *, height=20, width=24, grey=False):
    """uint8 [height, width, 3] that tells its number: mean is near it."""
    rng = np.random.default_rng(number)
    noise = rng.integers(-9, 10, (height, width, 1 if grey else 3))
    return (np.full_like(noise, number % 200 + 20) + noise).astype(np.uint8)


def jpeg(number):
    return tf.io.encode_jpeg(picture(number), quality=95).numpy()


def example(encoded, *labels):
    feature = {
        "image/encoded": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[encoded])
        ),
        "image/class/label": tf.train.Feature(
            int64_list=tf.train.Int64List(value=labels)
        ),
    }
    features = tf.train.Features(feature=feature)
    return tf.train.Example(features=features).SerializeToString()


def write_records(path, payloads):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in payloads:
            writer.write(payload)


def write_data_set(
    folder, *, split="train", count=40, shards=2, classes=4, broken=()
):
    """TFRecords of `count` pictures, those of the numbers in `broken` none."""
    folder.mkdir(exist_ok=True)
    payloads = [
        example(
            FRAGMENT if number in broken else jpeg(number),
            number % classes + 1,
        )
        for number in range(count)
    ]
    for shard in range(shards):
        part = payloads[count * shard // shards : count * (shard + 1) // shards]
        write_records(folder / f"{split}-{shard:05d}-of-{shards:05d}", part)
    names = "".join(f"class {number}\n" for number in range(classes))
    (folder / "labels.txt").write_text(names)
    return folder


def write_pictures(folder, names):
    """Writes JPEGs of these names into a new folder."""
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        (folder / name).write_bytes(jpeg(number))


def open_source(folder, split="train", **values):
    """Opens a split of a folder, with `settings` of these values."""
    return sources.open_source(settings(data_dir=folder, **values), split)


def labels(source, count=None):
    """The first labels of a source, or all."""
    numbers = np.arange(count or source.num_examples)
    return [
        source.parse(payload, tf.constant(number))[1].numpy()
        for number, payload in zip(numbers, source.read(numbers), strict=True)
    ]
