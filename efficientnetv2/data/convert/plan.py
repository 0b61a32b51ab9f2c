"""Which picture goes into which shard: decided before the first is written."""

import dataclasses
import hashlib
import math

import numpy as np
import tensorflow as tf

from efficientnetv2.data.sources import csv_list, folder, splits, stored_bytes

KINDS = ("folder", "csv")
_TRAIN = "train"


@dataclasses.dataclass(frozen=True, eq=False)
class Shard:
    """A file to be written.

    Args:
        name: Of the file, such as train-00000-of-00010.
        source: The `FileSource` of its split.
        numbers: Its pictures, numbers in `source`, int64 array.
    """

    name: str
    source: object
    numbers: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """All files to be written.

    Args:
        shards: A tuple of `Shard`.
        class_names: A name for each class.
        fingerprint: Tells it from plans for other pictures or settings.
    """

    shards: tuple[Shard, ...]
    class_names: tuple[str, ...]
    fingerprint: str

    @property
    def num_pictures(self):
        """Number of pictures in all shards."""
        return sum(len(shard.numbers) for shard in self.shards)


def _open_splits(data_dir, kind):
    """The `FileSource` of each split, by its name in the shards."""
    is_list = _TRAIN in csv_list.list_names(data_dir)
    if kind == "csv" or (kind is None and is_list):
        opens, there = csv_list.open_csv, csv_list.list_names(data_dir)
        names = [name for name in splits.EVALUATION if name in there]
    else:
        opens = folder.open_folder
        names = folder.evaluation_folders(data_dir) or ["eval"]
    found = {_TRAIN: opens(data_dir, _TRAIN)}
    for name in names:
        stored = "test" if name == "test" else "validation"
        if stored in found:
            raise ValueError(
                f"data_dir must have one of {' and '.join(names)} to evaluate "
                f"on, besides test. Received: {data_dir!r}"
            )
        found[stored] = opens(data_dir, name)
    return found


def _check_names(class_names):
    for name in class_names:
        if len(name.splitlines()) != 1 or name != name.strip():
            raise ValueError(
                "the name of a class must be one line of labels.txt. "
                f"Received: {name!r}"
            )


def make(data_dir, *, kind=None, shard_mb=128, seed=0):
    """Deals pictures out to shards, shuffled.

    Args:
        data_dir: Folder of the pictures or of the lists, as the sources
            `folder` and `csv` take it; may be remote.
        kind: 'folder' or 'csv'; None: a CSV where there is a train.csv.
        shard_mb: About the size of a shard, MiB.
        seed: Of the order, int >= 0.

    Returns:
        A `Plan`, the same for the same pictures and settings.

    Raises:
        ValueError: if there are no such pictures; one line.
    """
    if not tf.io.gfile.isdir(data_dir):
        raise ValueError(f"data_dir must be a folder. Received: {data_dir!r}")
    shards = []
    digest = hashlib.sha256(repr((shard_mb, seed)).encode())
    for split, source in _open_splits(data_dir, kind).items():
        _check_names(source.class_names)
        digest.update(repr((split, source.class_names)).encode())
        total = 0
        stamps = stored_bytes.stamps(source.paths)
        for label, (path, size, _) in zip(source.labels, stamps, strict=True):
            place = path.removeprefix(data_dir.rstrip("/"))
            digest.update(repr((place, int(label), size)).encode())
            total += size
        count = max(1, math.ceil(total / (shard_mb << 20)))
        order = np.random.default_rng(seed).permutation(source.num_examples)
        parts = np.array_split(order, min(count, source.num_examples))
        for number, members in enumerate(parts):
            name = f"{split}-{number:05d}-of-{len(parts):05d}"
            shards.append(Shard(name, source, members))
    return Plan(tuple(shards), source.class_names, digest.hexdigest())
