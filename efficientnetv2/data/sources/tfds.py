"""Data sets of the TensorFlow Datasets catalogue, read as TFRecords."""

import os

from efficientnetv2 import spelling
from efficientnetv2.data.sources import tfrecords


def _import():
    try:
        import tensorflow_datasets
    except ImportError:
        raise ValueError(
            "tensorflow-datasets must be installed for this data set, or "
            "data_dir hold TFRecords: pip install 'efficientnetv2[datasets]'"
        ) from None
    return tensorflow_datasets


def _first_sentence(error):
    lines = [line.strip() for line in str(error).splitlines()]
    first = next((line for line in lines if line), type(error).__name__)
    return first.split(". ")[0]


def _builder(tfds_name, data_dir):
    """The data set's builder, with the files prepared."""
    library = _import()
    try:
        builder = library.builder(tfds_name, data_dir=data_dir)
    except library.core.DatasetNotFoundError:
        raise ValueError(
            "data.tfds_name must be a data set of TensorFlow Datasets. "
            f"Received: {tfds_name!r}"
            f"{spelling.nearest(tfds_name, library.list_builders())}"
        ) from None
    if not builder.is_prepared():
        print(f"Preparing {tfds_name} in {builder.data_path}", flush=True)
        try:
            builder.download_and_prepare(file_format="tfrecord")
        # Any: downloads, unpacking and missing manual steps fail in many ways.
        except Exception as error:
            raise ValueError(
                f"data_dir holds no TFRecords of {tfds_name}, and TensorFlow "
                f"Datasets cannot prepare it: {_first_sentence(error)}. "
                f"Received: {data_dir!r}"
            ) from error
    kept = builder.info.file_format
    if kept is not None and kept.value != "tfrecord":
        raise ValueError(
            f"{tfds_name} must be prepared as tfrecord in "
            f"{builder.data_path}. Received: {kept.value}"
        )
    return builder


def open_tfds(
    tfds_name, split, *, data_dir=None, num_classes=None, shuffle_memory_mb=256
):
    """Opens a data set of the catalogue; downloads it if it is not there.

    Args:
        tfds_name: Its name, such as 'cifar10' or 'cars196:2.1.0'.
        split: See `splits`; the stored splits are the catalogue's.
        data_dir: Where TensorFlow Datasets keeps its files; None: its own
            choice.
        num_classes: Number of classes, to be checked; None: as the catalogue
            says.
        shuffle_memory_mb: See `tfrecords.RecordSource`.

    Returns:
        A `tfrecords.RecordSource`.

    Raises:
        ValueError: if there is no such data set or split, it cannot be
            prepared, or is none of pictures with a label.
    """
    builder = _builder(tfds_name, data_dir)
    info = builder.info
    if info.supervised_keys is None:
        raise ValueError(
            "data.tfds_name must be a data set of pictures with a label. "
            f"Received: {tfds_name!r}"
        )
    encoded_key, label_key = info.supervised_keys[:2]
    class_names = getattr(info.features[label_key], "names", None)
    if (
        not class_names
        or "Image" not in type(info.features[encoded_key]).__name__
    ):
        raise ValueError(
            "data.tfds_name must be a data set of pictures with a label. "
            f"Received: {tfds_name!r}"
        )
    if num_classes not in (None, len(class_names)):
        raise ValueError(
            f"data.num_classes must be {len(class_names)} for {tfds_name}. "
            f"Received: {num_classes}"
        )

    def files_of(stored):
        if stored not in info.splits:
            raise ValueError(
                f"split must be one of {', '.join(info.splits)} for "
                f"{tfds_name}. Received: {stored!r}"
            )
        parts = info.splits[stored].file_instructions
        return [os.fspath(part.filename) for part in parts]

    return tfrecords.open_split(
        split,
        files_of,
        name=tfds_name,
        class_names=class_names,
        record_format=tfrecords.RecordFormat(
            encoded_key=encoded_key, label_key=label_key, label_offset=0
        ),
        shuffle_memory_mb=shuffle_memory_mb,
    )
