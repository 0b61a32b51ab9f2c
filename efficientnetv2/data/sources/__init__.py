"""Sources of pictures with labels, all read through one interface."""

import difflib

import tensorflow as tf

from efficientnetv2.data import shapes
from efficientnetv2.data.sources import csv_list, folder, tfrecords
from efficientnetv2.data.sources.source import Source

__all__ = ["Source", "open_source"]

_WITHOUT_RECORDS = {"folder": folder.open_folder, "csv": csv_list.open_csv}
_NAMES = ("shapes", *_WITHOUT_RECORDS)


def _check_folder(data):
    if data.data_dir is None:
        near = difflib.get_close_matches(data.ds_name, _NAMES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"data_dir must be given for the data set {data.ds_name!r}.{hint} "
            "Received: None"
        )
    if not tf.io.gfile.isdir(data.data_dir):
        raise ValueError(
            f"data_dir must be a folder. Received: {data.data_dir!r}"
        )


def open_source(data, split):
    """Opens a split of a data set.

    Args:
        data: Settings: `ds_name`, `data_dir`, `tfds_name`, `num_classes`,
            `multiclass` and `label_offset` of `config.data`.
        split: Name of the split, see `splits`.

    Returns:
        A `Source`.

    Raises:
        ValueError: if there are no such data; one line.
    """
    if data.ds_name == "shapes":
        return tfrecords.open_records(
            shapes.prepare(),
            split,
            name="shapes",
            num_classes=data.num_classes,
        )
    _check_folder(data)
    if data.ds_name in _WITHOUT_RECORDS:
        return _WITHOUT_RECORDS[data.ds_name](
            data.data_dir, split, num_classes=data.num_classes
        )
    return tfrecords.open_records(
        data.data_dir,
        split,
        name=data.ds_name,
        num_classes=data.num_classes,
        record_format=tfrecords.RecordFormat(
            label_offset=data.label_offset, multi_label=data.multiclass
        ),
    )
