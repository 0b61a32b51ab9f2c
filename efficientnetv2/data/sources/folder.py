"""Pictures in folders, one folder a class."""

import hashlib
import os
import posixpath

import tensorflow as tf

from efficientnetv2.data.picture_files import SUFFIXES
from efficientnetv2.data.sources import splits
from efficientnetv2.data.sources.files import FileSource
from efficientnetv2.storage import is_remote

_TRAIN = ("train", "training")
# One picture of so many goes to evaluation where no folder says which.
_EVALUATION_EVERY = 10


def _subfolders(folder):
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(folder)]
    return sorted(
        name
        for name in names
        if not name.startswith(".")
        and tf.io.gfile.isdir(posixpath.join(folder, name))
    )


def _pictures(folder):
    """All pictures in a folder and below, sorted."""
    walk = tf.io.gfile.walk if is_remote(folder) else os.walk
    return sorted(
        posixpath.join(place, name)
        for place, _, names in walk(folder)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    )


def is_evaluation(file_name):
    """Whether a picture goes to evaluation, by its name alone.

    So it stays where it is when pictures are added or the folder is moved.

    Args:
        file_name: Without the folder.

    Returns:
        True for one name in ten.
    """
    digest = hashlib.sha256(os.fsencode(file_name)).digest()
    return int.from_bytes(digest[:8], "big") % _EVALUATION_EVERY == 0


def evaluation_folders(data_dir):
    """Names of the folders to evaluate on that are there, as splits."""
    there = {name.lower() for name in _subfolders(data_dir)}
    return [name for name in splits.EVALUATION if name in there]


def _find_split(data_dir, split):
    """The folders of classes and what is asked of a picture's name.

    Returns:
        (folder that names the classes, folder of the pictures, function of a
        file's name).
    """
    there = {name.lower(): name for name in _subfolders(data_dir)}
    wanted = _TRAIN if split in _TRAIN else splits.EVALUATION
    if split not in (*_TRAIN, *splits.EVALUATION):
        raise ValueError(
            f"split must be train or eval for a folder. Received: {split!r}"
        )
    train = next((there[name] for name in _TRAIN if name in there), None)
    if train is None:
        inside = split not in _TRAIN
        return data_dir, data_dir, lambda name: is_evaluation(name) == inside
    root = posixpath.join(data_dir, train)
    names = [split, *(name for name in wanted if name != split)]
    own = next((there[name] for name in names if name in there), None)
    if own is None:  # only train/ is there
        return root, root, is_evaluation
    if split in _TRAIN and not any(name in there for name in splits.EVALUATION):
        return root, root, lambda name: not is_evaluation(name)
    return root, posixpath.join(data_dir, own), lambda name: True


def open_folder(data_dir, split, *, name="folder", num_classes=None):
    """Opens folders of pictures: train/<class>/* and eval/<class>/*.

    Without a folder for evaluation, or without both (<class>/*), one picture
    in ten is kept for it, chosen by its name.

    Args:
        data_dir: Folder; may be remote.
        split: 'train', or 'eval' and its other names.
        name: The data set's name, for messages.
        num_classes: Number of classes, to be checked; None: as many as there
            are folders.

    Returns:
        A `FileSource`; classes are numbered by their folders' sorted names.

    Raises:
        ValueError: if there are no classes, or one has no pictures.
    """
    class_root, root, is_wanted = _find_split(data_dir, split)
    class_names = _subfolders(class_root)
    if not class_names:
        raise ValueError(
            "data_dir must hold a folder of pictures for each class. "
            f"Received: {data_dir!r}"
        )
    if num_classes not in (None, len(class_names)):
        raise ValueError(
            f"data.num_classes must be {len(class_names)}, as many as "
            f"{class_root!r} has folders. Received: {num_classes}"
        )
    extra = sorted(set(_subfolders(root)) - set(class_names))
    if extra:
        raise ValueError(
            f"{root!r} holds a class that {class_root!r} does not: {extra[0]!r}"
        )
    paths, labels = [], []
    for label, class_name in enumerate(class_names):
        folder = posixpath.join(root, class_name)
        pictures = _pictures(folder) if tf.io.gfile.isdir(folder) else []
        # A class may be absent in evaluation, but an empty folder is none.
        if not pictures and (root == class_root or tf.io.gfile.isdir(folder)):
            raise ValueError(f"the folder {folder!r} holds no picture")
        wanted = [p for p in pictures if is_wanted(posixpath.basename(p))]
        paths += wanted
        labels += [label] * len(wanted)
    if not paths:
        raise ValueError(
            f"no picture for split {split!r} in {root!r}; one name in "
            f"{_EVALUATION_EVERY} is evaluated on where there is no folder "
            "for it"
        )
    return FileSource(f"{name}/{split}", paths, labels, class_names=class_names)
