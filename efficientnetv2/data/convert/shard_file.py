"""Writes one shard: pictures are read and checked by many threads."""

import collections
import os
import posixpath

import tensorflow as tf

from efficientnetv2 import storage
from efficientnetv2.data import decoding, record_example


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def _decoded_shape(encoded):
    return tf.shape(decoding.decode(encoded))


def make_record(source, number):
    """Makes the record of a picture; its bytes stay as they are.

    Args:
        source: A `FileSource`.
        number: The picture's number in it.

    Returns:
        A serialized example, bytes; None if the picture cannot be decoded.
    """
    (encoded,) = source.read([number])
    try:
        height, width, _ = _decoded_shape(encoded).numpy().tolist()
    except tf.errors.OpError:
        return None
    label = int(source.labels[number])
    return record_example.serialize(
        encoded,
        label,
        text=source.class_names[label],
        height=height,
        width=width,
        file_name=posixpath.basename(source.paths[number]),
    )


def ahead(executor, function, items, *, at_most):
    """Results in the items' order, computed before they are asked for.

    Args:
        executor: Runs `function`.
        function: Function of an item.
        items: Iterable.
        at_most: So many results are computed or kept.

    Yields:
        (item, result) pairs.
    """
    waiting = collections.deque()
    for item in items:
        waiting.append((item, executor.submit(function, item)))
        if len(waiting) >= at_most:
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()


def write(path, records):
    """Writes a TFRecord file so that it appears whole or not at all.

    Args:
        path: May be remote.
        records: Iterable of bytes.
    """
    folder, name = posixpath.split(path)
    temporary = posixpath.join(folder, f".{name}.tmp")
    with tf.io.TFRecordWriter(temporary) as writer:
        for record in records:
            writer.write(record)
    if not storage.is_remote(path):
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
    tf.io.gfile.rename(temporary, path, overwrite=True)
