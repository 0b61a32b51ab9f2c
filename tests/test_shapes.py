"""The embedded data set: what is in it, and that it makes itself whole."""

import concurrent.futures
import io
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from efficientnetv2.data import drawing, shapes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return shapes.prepare(str(tmp_path_factory.mktemp("cache") / "shapes"))


def _read(folder, split):
    """JPEGs and labels from 0 of a split."""
    files = sorted(tf.io.gfile.glob(f"{folder}/{split}-*"))
    jpegs, labels = [], []
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        jpegs.append(feature["image/encoded"].bytes_list.value[0])
        labels.append(feature["image/class/label"].int64_list.value[0] - 1)
        text = feature["image/class/text"].bytes_list.value[0].decode()
        assert text == shapes.CLASS_NAMES[labels[-1]]
    return jpegs, np.array(labels)


@pytest.fixture(scope="module")
def pictures(folder):
    return {split: _read(folder, split) for split in shapes.NUM_EXAMPLES}


def _small(jpegs):
    """float32 [n, 16, 16, 3] in 0..1."""
    return np.stack(
        [
            np.asarray(
                Image.open(io.BytesIO(data)).resize((16, 16), Image.BILINEAR),
                np.float32,
            )
            / 255
            for data in jpegs
        ]
    )


def _probe(train, labels, held_out, truth):
    """Accuracy of ridge regression on features."""
    mean = train.mean(0)
    train, held_out = train - mean, held_out - mean
    gram = train.T @ train + 10 * np.eye(train.shape[1], dtype=np.float32)
    targets = np.eye(10, dtype=np.float32)[labels] - 0.1
    weights = np.linalg.solve(gram, train.T @ targets)
    return np.mean(np.argmax(held_out @ weights, 1) == truth)


def _colour_histogram(images):
    bins = (images * 5.999).astype(int)
    codes = (bins[..., 0] * 36 + bins[..., 1] * 6 + bins[..., 2]).reshape(
        len(images), -1
    )
    return np.sqrt(
        np.stack([np.bincount(row, minlength=216) for row in codes])
    ).astype(np.float32)


def test_there_are_4000_and_1000_jpegs_equally_many_of_each_class(pictures):
    for split, count in (("train", 4000), ("validation", 1000)):
        jpegs, labels = pictures[split]
        assert len(jpegs) == count
        assert all(data[:3] == b"\xff\xd8\xff" for data in jpegs)
        assert np.bincount(labels).tolist() == [count // 10] * 10


def test_pictures_have_many_sizes_from_72_to_96(pictures):
    sizes = {Image.open(io.BytesIO(data)).size for data in pictures["train"][0]}
    sides = {side for size in sizes for side in size}
    assert min(sides) >= 72 and max(sides) <= 96
    assert len(sizes) > 30


def test_no_picture_is_in_both_splits_or_twice(pictures):
    train = set(pictures["train"][0])
    assert len(train) == 4000
    assert not train & set(pictures["validation"][0])


def test_classes_have_twins_that_differ_in_one_cue_only():
    for cue in range(3):
        others = [
            tuple(word for place, word in enumerate(row) if place != cue)
            for row in drawing.CLASSES
        ]
        twins = [row for row in others if others.count(row) > 1]
        assert len(twins) >= 6
    assert len(set(drawing.CLASSES)) == 10


def test_pixels_and_colours_do_not_tell_the_classes(pictures):
    (train, labels), (held_out, truth) = (
        pictures["train"],
        pictures["validation"],
    )
    train, held_out = _small(train), _small(held_out)
    by_pixels = _probe(
        train.reshape(len(train), -1),
        labels,
        held_out.reshape(len(held_out), -1),
        truth,
    )
    by_colours = _probe(
        _colour_histogram(train), labels, _colour_histogram(held_out), truth
    )
    assert 0.2 < by_pixels < 0.5
    assert 0.3 < by_colours < 0.65


def test_the_seed_decides_the_picture():
    one = drawing.draw([3, 4], [1, 2], height=72, width=80)
    assert one.shape == (2, 72, 80, 3) and one.dtype == np.uint8
    np.testing.assert_array_equal(
        one, drawing.draw([3, 4], [1, 2], height=72, width=80)
    )
    assert np.any(one != drawing.draw([3, 4], [1, 3], height=72, width=80))


def test_draw_rejects_pictures_too_small_to_tell():
    with pytest.raises(ValueError, match="height and width must be >= 16"):
        drawing.draw([0], [0], height=15, width=80)


@pytest.fixture
def few(tmp_path, monkeypatch):
    """The data set with fewer pictures."""
    monkeypatch.setattr(shapes, "NUM_EXAMPLES", {"train": 200})
    return shapes.prepare(str(tmp_path / "shapes"))


def test_files_are_written_once(few):
    before = {e.name: e.stat().st_mtime_ns for e in os.scandir(few)}
    shapes.prepare(few)
    assert before == {e.name: e.stat().st_mtime_ns for e in os.scandir(few)}


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest"])
def test_a_damaged_data_set_is_made_again(few, damage):
    path = os.path.join(few, "train-00001-of-00004")
    with open(path, "rb") as file:
        good = file.read()
    if damage == "flip":
        with open(path, "wb") as file:
            file.write(good[:999] + bytes([good[999] ^ 1]) + good[1000:])
    elif damage == "cut":
        os.truncate(path, 1000)
    elif damage == "remove":
        os.remove(path)
    else:
        with open(os.path.join(few, "manifest.json"), "w") as file:
            file.write("[]")
    shapes.prepare(few)
    with open(path, "rb") as file:
        assert file.read() == good
    assert len(os.listdir(few)) == 4 + 2


def test_two_at_once_do_not_harm_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "NUM_EXAMPLES", {"train": 200})
    path = str(tmp_path / "shapes")
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        assert list(executor.map(shapes.prepare, [path, path])) == [path] * 2
    assert os.listdir(tmp_path) == ["shapes"]
    assert len(_read(path, "train")[0]) == 200


def test_a_remote_cache_folder_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EFFICIENTNETV2_CACHE", "ram://cache")
    with pytest.raises(ValueError, match="local cache folder. .*ram://cache"):
        shapes.prepare()
    assert os.listdir(tmp_path) == []  # a folder 'ram:' above all
