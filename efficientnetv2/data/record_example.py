"""An example as ImageNet's TFRecords hold it."""

import tensorflow as tf

# How files of each kind begin.
_FORMATS = (
    (b"\xff\xd8\xff", b"JPEG"),
    (b"\x89PNG", b"PNG"),
    (b"GIF8", b"GIF"),
    (b"BM", b"BMP"),
    (b"RIFF", b"WEBP"),
)


def _bytes(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _number(value):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _format(encoded):
    found = (name for head, name in _FORMATS if encoded.startswith(head))
    return next(found, b"")


def serialize(encoded, label, *, text, height, width, file_name=None):
    """Serializes an example.

    Args:
        encoded: The picture file's bytes.
        label: Number of its class, from 0; stored from 1, as ImageNet's.
        text: Name of its class.
        height: Of the picture, pixels.
        width: The same.
        file_name: Where the picture came from; None: nowhere.

    Returns:
        A serialized `tf.train.Example`, bytes.
    """
    features = {
        "image/encoded": _bytes(encoded),
        "image/format": _bytes(_format(encoded)),
        "image/height": _number(height),
        "image/width": _number(width),
        "image/class/label": _number(label + 1),
        "image/class/text": _bytes(text.encode()),
    }
    if file_name is not None:
        features["image/filename"] = _bytes(
            file_name.encode("utf-8", "surrogateescape")
        )
    example = tf.train.Example(features=tf.train.Features(feature=features))
    # In one order of the features, so that equal examples are equal bytes.
    return example.SerializeToString(deterministic=True)
