"""The converter: folder or CSV to TFRecords, nothing lost or changed."""

import io
import os

import numpy as np
import pytest
import small_conversions
import small_data
import tensorflow as tf
from PIL import Image
from small_conversions import contents, convert

from efficientnetv2.data import decoding
from efficientnetv2.data.convert import conversion, shard_file

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return small_conversions.write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def converted(pictures, tmp_path_factory):
    """(folder, what `convert` returned) of an undisturbed conversion."""
    folder = tmp_path_factory.mktemp("converted")
    return folder, convert(pictures, folder)


class TestConversion:
    def test_every_picture_is_in_it_once_with_its_label(
        self, pictures, converted
    ):
        folder, (counts, broken) = converted
        assert counts == {"train": 96, "validation": 8}
        assert broken == 0
        for split, stored in (("train", "train"), ("eval", "validation")):
            before = small_data.open_source(pictures, split, ds_name="folder")
            after = small_data.open_source(folder, stored)
            assert after.class_names == before.class_names == ("cat", "dog")
            numbers = np.arange(before.num_examples)
            expected = zip(
                before.read(numbers), small_data.labels(before), strict=True
            )
            found = [
                after.parse(payload, tf.constant(0))[0].numpy()
                for payload in after.read(numbers)
            ]
            pairs = zip(found, small_data.labels(after), strict=True)
            assert sorted(pairs) == sorted(expected)

    def test_files_are_shuffled_and_named_as_imagenets(self, converted):
        folder, _ = converted
        names = sorted(os.listdir(folder))
        count = len(names) - 3
        assert count >= 3
        assert names == [
            "conversion.json",
            "labels.txt",
            *(f"train-{n:05d}-of-{count:05d}" for n in range(count)),
            "validation-00000-of-00001",
        ]
        labels = small_data.labels(small_data.open_source(folder))
        for part in np.array_split(labels, count):
            assert 0 < np.mean(part) < 1

    def test_a_record_has_imagenets_features(self, converted):
        folder, _ = converted
        source = small_data.open_source(folder, "validation")
        (payload,) = source.read(np.array([0]))
        feature = tf.train.Example.FromString(payload).features.feature
        assert feature["image/format"].bytes_list.value == [b"JPEG"]
        assert feature["image/height"].int64_list.value == [140]
        assert feature["image/width"].int64_list.value == [160]
        label = feature["image/class/label"].int64_list.value[0]
        assert feature["image/class/text"].bytes_list.value == [
            (b"cat", b"dog")[label - 1]
        ]
        assert feature["image/filename"].bytes_list.value[0].endswith(b".jpg")

    def test_the_same_command_finds_it_finished(
        self, pictures, converted, monkeypatch
    ):
        folder, result = converted
        before = contents(folder)
        monkeypatch.setattr(shard_file, "make_record", None)
        again = convert(pictures, folder)
        assert again == result
        assert contents(folder) == before

    def test_the_number_of_threads_changes_nothing(
        self, pictures, converted, tmp_path
    ):
        convert(pictures, tmp_path, shard_mb=1, threads=5)
        assert contents(tmp_path) == contents(converted[0])

    def test_a_csv_gives_what_the_folder_gives(
        self, pictures, converted, tmp_path
    ):
        for split in ("train", "eval"):
            paths = sorted(pictures.glob(f"{split}/*/*.jpg"))
            (tmp_path / f"{split}.csv").write_text(
                "".join(f"{path},{path.parent.name}\n" for path in paths)
            )
        output = tmp_path / "output"
        convert(tmp_path, output)
        found, expected = contents(output), contents(converted[0])
        assert found.pop("conversion.json") != expected.pop("conversion.json")
        assert found == expected

    def test_output_and_pictures_may_be_remote(self, tmp_path):
        remote = "ram://conversion"
        for split in ("train", "test"):
            tf.io.gfile.makedirs(f"{remote}/in/{split}/cat")
        for number in range(3):
            path = f"{remote}/in/train/cat/{number}.jpg"
            with tf.io.gfile.GFile(path, "wb") as file:
                file.write(small_data.jpeg(number))
            tf.io.gfile.copy(path, f"{remote}/in/test/cat/{number}.jpg")
        counts, _ = conversion.convert(f"{remote}/in", f"{remote}/out")
        assert counts == {"train": 3, "test": 3}
        source = small_data.open_source(f"{remote}/out", "test")
        assert (source.num_examples, source.class_names) == (3, ("cat",))

    def test_a_list_alone_may_be_converted(self, tmp_path):
        small_data.write_pictures(tmp_path / "all", ["a.jpg", "b.jpg"])
        (tmp_path / "train.csv").write_text("all/a.jpg,x\nall/b.jpg,y\n")
        counts, _ = convert(tmp_path, tmp_path / "out")
        assert counts == {"train": 2}


class TestBroken:
    @pytest.fixture
    def damaged(self, tmp_path):
        root = tmp_path / "pictures"
        for split in ("train", "eval"):
            small_data.write_pictures(
                root / split / "cat", [f"{n}.jpg" for n in range(10)]
            )
        cat = root / "train" / "cat"
        (cat / "3.jpg").write_bytes(b"")
        (cat / "5.jpg").write_bytes(small_data.jpeg(5)[:300])
        return root

    def test_they_are_left_out_and_named(self, damaged, tmp_path, capsys):
        output = tmp_path / "out"
        counts, broken = convert(damaged, output, max_bad_fraction=0.1)
        assert (counts, broken) == ({"train": 8, "validation": 10}, 2)
        err = capsys.readouterr().err
        assert f"{damaged}/train/cat/3.jpg: cannot be read, or empty" in err
        assert f"{damaged}/train/cat/5.jpg: not a picture" in err
        source = small_data.open_source(output)
        assert [source.explain(number) for number in range(8)] == [None] * 8
        again = convert(damaged, output)
        assert again == (counts, 2)  # what is done is not asked again

    def test_too_many_are_an_error_and_what_is_done_stays(
        self, damaged, tmp_path
    ):
        output = str(tmp_path / "out")
        with pytest.raises(ValueError, match="2 of 20 pictures are broken"):
            convert(damaged, output, max_bad_fraction=0.05)
        assert not os.path.exists(f"{output}/labels.txt")
        counts, _ = convert(damaged, output, max_bad_fraction=0.1)
        assert counts == {"train": 8, "validation": 10}

    def test_a_file_of_none_is_an_error(self, damaged, tmp_path):
        for path in damaged.glob("eval/cat/*"):
            path.write_bytes(b"no picture")
        with pytest.raises(ValueError, match="none of the 10 pictures"):
            convert(damaged, tmp_path / "out", max_bad_fraction=1)


def test_pictures_of_every_kind_stay_as_they_are(tmp_path):
    image = small_data.picture(7)
    kinds = {
        "a.png": (tf.io.encode_png(image).numpy(), b"PNG"),
        "b.jpg": (small_data.jpeg(7), b"JPEG"),
        "c.gif": (_saved(image, "GIF"), b"GIF"),
        "d.bmp": (_saved(image, "BMP"), b"BMP"),
    }
    folder = tmp_path / "train" / "x"
    folder.mkdir(parents=True)
    for name, (data, _) in kinds.items():
        (folder / name).write_bytes(data)
    small_data.write_pictures(tmp_path / "eval" / "x", ["1.jpg"])
    convert(tmp_path, tmp_path / "out")
    source = small_data.open_source(tmp_path / "out")
    found = {}
    for payload in source.read(np.arange(4)):
        feature = tf.train.Example.FromString(payload).features.feature
        name = feature["image/filename"].bytes_list.value[0].decode()
        encoded = feature["image/encoded"].bytes_list.value[0]
        found[name] = (encoded, feature["image/format"].bytes_list.value[0])
        assert decoding.decode(encoded).shape == image.shape
    assert found == kinds


def _saved(image, kind):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()
