"""Sources of pictures with labels, all read through one interface."""

import numpy as np
import tensorflow as tf

from efficientnetv2 import spelling
from efficientnetv2.config_schema import DataConfig
from efficientnetv2.data import shapes
from efficientnetv2.data.sources import (
    cached,
    csv_list,
    folder,
    record_folder,
    splits,
    tfds,
    tfrecords,
)
from efficientnetv2.data.sources.source import Source

__all__ = ["Source", "check_disjoint", "open_source"]

_WITHOUT_RECORDS = {"folder": folder.open_folder, "csv": csv_list.open_csv}
_NAMES = ("shapes", *_WITHOUT_RECORDS)


def _check_folder(data):
    """A folder that is given must be there, also for what is downloaded."""
    if data.data_dir is not None and not tf.io.gfile.isdir(data.data_dir):
        raise ValueError(
            f"data_dir must be a folder. Received: {data.data_dir!r}"
        )


def _check_given(data):
    if data.data_dir is None:
        raise ValueError(
            f"data_dir must be given for the data set {data.ds_name!r}"
            f"{spelling.nearest(data.ds_name, _NAMES)}. Received: None"
        )


def _has_records(data, split):
    """Whether data_dir holds the split's TFRecords."""
    return data.data_dir is not None and any(
        record_folder.find_files(data.data_dir, name)
        for name in splits.base_names(split)
    )


def _open_shapes(data, split):
    if data.data_dir is not None:
        raise ValueError(
            "data.ds_name must be folder, csv, or a name for the TFRecords "
            f"in data_dir={data.data_dir!r}. Received: 'shapes', which is "
            "drawn and has no data_dir"
        )
    return record_folder.open_records(
        shapes.prepare(), split, name="shapes", num_classes=data.num_classes
    )


def _open(data, split):
    if data.ds_name == "shapes" and not data.tfds_name:
        return _open_shapes(data, split)
    _check_folder(data)
    if data.tfds_name and not _has_records(data, split):
        return tfds.open_tfds(
            data.tfds_name,
            split,
            data_dir=data.data_dir,
            num_classes=data.num_classes,
            shuffle_memory_mb=data.shuffle_memory_mb,
        )
    _check_given(data)
    if data.ds_name in _WITHOUT_RECORDS:
        return _WITHOUT_RECORDS[data.ds_name](
            data.data_dir, split, num_classes=data.num_classes
        )
    return record_folder.open_records(
        data.data_dir,
        split,
        name=data.ds_name,
        num_classes=data.num_classes,
        record_format=tfrecords.RecordFormat(
            label_offset=data.label_offset, multi_label=data.multiclass
        ),
        shuffle_memory_mb=data.shuffle_memory_mb,
    )


def open_source(data: DataConfig, split: str) -> Source:
    """Opens a split of a data set.

    Args:
        data: Settings: `ds_name`, `data_dir`, `tfds_name`, `num_classes`,
            `multiclass`, `label_offset`, `shuffle_memory_mb` and `cache` of
            `config.data`.
        split: Name of the split, see `splits`.

    Returns:
        A `Source`.

    Raises:
        ValueError: if there are no such data; one line.
    """
    return cached.wrap(_open(data, split), data.cache)


def check_disjoint(training: Source, evaluation: Source) -> None:
    """Checks that no example is both trained and evaluated on.

    Args:
        training: A `Source`.
        evaluation: A `Source`.

    Raises:
        ValueError: if they have an example in common.
    """
    trained = training.files()
    shared = sum(
        int(np.isin(places, trained[path]).sum())
        for path, places in evaluation.files().items()
        if path in trained
    )
    if shared:
        raise ValueError(
            "eval.split must have no example of train.split (minitrain is "
            f"train without minival). Received: {evaluation.name} and "
            f"{training.name}, {shared} in both"
        )
