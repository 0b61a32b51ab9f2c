"""Sources: each form of data, and what is said of data that are none."""

import os
import sys

import numpy as np
import pytest
import small_data
import tensorflow as tf

from efficientnetv2.data import sources
from efficientnetv2.data.sources import (
    crc32c,
    record_index,
    remote_blocks,
    splits,
    stored_bytes,
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EFFICIENTNETV2_CACHE", str(folder))
    return folder


@pytest.fixture
def records(tmp_path):
    folder = small_data.write_data_set(tmp_path / "data")
    return small_data.write_data_set(folder, split="test", count=7, shards=1)


def _open(folder, split="train", **values):
    return sources.open_source(
        small_data.settings(data_dir=folder, **values), split
    )


def _labels(source, count=None):
    numbers = range(count or source.num_examples)
    return [
        source.parse(source.read(np.array([n]))[0], tf.constant(n, tf.int64))[
            1
        ].numpy()
        for n in numbers
    ]


class TestRecords:
    def test_labels_count_from_zero_and_names_come_from_labels_txt(
        self, records
    ):
        source = _open(records)
        assert source.num_examples == 40
        assert source.class_names == tuple(f"class {n}" for n in range(4))
        assert _labels(source) == [n % 4 for n in range(40)]
        assert not source.multi_label

    def test_each_number_reads_its_own_record(self, records):
        source = _open(records)
        numbers = np.array([39, 0, 20, 19])
        payloads = source.read(numbers)
        for number, payload in zip(numbers, payloads, strict=True):
            encoded, _ = source.parse(payload, tf.constant(number, tf.int64))
            assert encoded.numpy() == small_data.jpeg(number)

    def test_place_names_shard_and_record(self, records):
        assert _open(records).place(21) == (
            f"{records}/train-00001-of-00002, record 1"
        )

    @pytest.mark.parametrize("split", ["test", "validation", "eval"])
    def test_names_of_the_evaluation_split_stand_for_each_other(
        self, records, split
    ):
        assert _open(records, split).num_examples == 7

    def test_evaluation_split_is_not_guessed_where_there_are_two(self, records):
        small_data.write_data_set(records, split="eval", count=3, shards=1)
        with pytest.raises(ValueError, match="TFRecords called validation-"):
            _open(records, "validation")

    def test_tfds_file_names_are_found(self, tmp_path):
        small_data.write_records(
            tmp_path / "flowers-train.tfrecord-00000-of-00001",
            [small_data.example(small_data.jpeg(0), 1)],
        )
        assert _open(tmp_path, num_classes=3).num_examples == 1

    def test_without_labels_txt_num_classes_must_be_given(self, records):
        (records / "labels.txt").unlink()
        assert _open(records, num_classes=4).class_names == ("0", "1", "2", "3")
        with pytest.raises(ValueError, match="num_classes must be given"):
            _open(records)

    def test_num_classes_must_agree_with_labels_txt(self, records):
        with pytest.raises(ValueError, match="num_classes must be 4"):
            _open(records, num_classes=10)

    @pytest.mark.parametrize(
        "label, offset, good",
        [(0, 1, False), (1, 1, True), (4, 1, True), (5, 1, False)]
        + [(0, 0, True), (4, 0, False), (-1, 0, False), (2**33, 0, False)],
    )
    def test_a_label_out_of_range_makes_the_example_a_broken_one(
        self, tmp_path, label, offset, good
    ):
        payload = small_data.example(small_data.jpeg(0), label)
        small_data.write_records(tmp_path / "train-0", [payload])
        source = _open(tmp_path, num_classes=4, label_offset=offset)
        encoded, _ = source.parse(payload, tf.constant(0, tf.int64))
        assert bool(encoded.numpy()) == good
        assert (source.explain(0) is None) == good

    def test_several_labels_become_a_row_of_ones(self, tmp_path):
        payloads = [
            small_data.example(small_data.jpeg(0), *labels)
            for labels in ([0, 2], [3], [2, 2], [], [1, 4])
        ]
        small_data.write_records(tmp_path / "train-0", payloads)
        source = _open(tmp_path, num_classes=4, label_offset=0, multiclass=True)
        assert source.multi_label
        rows = [
            source.parse(payload, tf.constant(0, tf.int64))
            for payload in payloads
        ]
        assert [row.numpy().tolist() for _, row in rows[:3]] == [
            [1, 0, 1, 0],
            [0, 0, 0, 1],
            [0, 0, 1, 0],
        ]
        assert [bool(encoded.numpy()) for encoded, _ in rows] == [
            *(True, True, True),
            *(False, False),
        ]

    def test_cifar10_is_read_whole(self, cifar10_folder):
        source = _open(cifar10_folder)
        assert source.num_examples == 50000
        assert source.class_names[3] == "cat"


class TestRemote:
    """With TensorFlow's file system in memory for a remote one."""

    @pytest.fixture
    def remote(self, records, monkeypatch):
        monkeypatch.setattr(remote_blocks, "_BLOCK_BYTES", 4096)
        folder = "ram://remote"
        if tf.io.gfile.exists(folder):
            tf.io.gfile.rmtree(folder)
        tf.io.gfile.makedirs(folder)
        for name in os.listdir(records):
            tf.io.gfile.copy(f"{records}/{name}", f"{folder}/{name}")
        return folder

    def test_records_read_like_local_ones(self, records, remote):
        numbers = np.random.default_rng(0).permutation(40)
        local = _open(records)
        for memory in (1, 64):
            source = _open(remote, shuffle_memory_mb=memory)
            assert source.read(numbers) == local.read(numbers)

    def test_each_block_is_read_once_an_epoch(self, remote, monkeypatch):
        source = _open(remote)
        blocks = source._remote.blocks
        assert 4 <= blocks.max() < 20
        pieces = []

        def watched(path, offset, length):
            pieces.append((path, offset))
            return stored_bytes.read_piece(path, offset, length)

        monkeypatch.setattr(remote_blocks, "read_piece", watched)
        for number in source.order(0, 0).tolist():
            source.read(np.array([number]))
        assert len(pieces) == len(set(pieces)) == blocks.max() + 1

    def test_the_order_is_a_permutation(self, remote):
        source = _open(remote)
        assert sorted(source.order(0, 0).tolist()) == list(range(40))
        assert np.any(source.order(0, 0) != source.order(0, 1))

    def test_files_that_are_gone_are_broken_examples(self, remote):
        source = _open(remote)
        tf.io.gfile.remove(f"{remote}/train-00000-of-00002")
        payloads = source.read(np.arange(40))
        assert [bool(data) for data in payloads] == [False] * 20 + [True] * 20

    def test_a_folder_of_pictures_may_be_remote(self, remote):
        for name in ("cat", "dog"):
            tf.io.gfile.makedirs(f"{remote}/train/{name}")
            for number in range(3):
                path = f"{remote}/train/{name}/{number}.jpg"
                with tf.io.gfile.GFile(path, "wb") as file:
                    file.write(small_data.jpeg(number))
        tf.io.gfile.makedirs(f"{remote}/eval/cat")
        with tf.io.gfile.GFile(f"{remote}/eval/cat/1.jpg", "wb") as file:
            file.write(small_data.jpeg(9))
        source = _open(remote, ds_name="folder")
        assert source.class_names == ("cat", "dog")
        assert source.read(np.array([4])) == [small_data.jpeg(1)]


class TestCache:
    @pytest.mark.parametrize("kind", ["memory", "disk"])
    def test_each_payload_is_read_once(self, records, kind, monkeypatch):
        source = _open(records, cache=kind)
        plain = _open(records)
        numbers = np.random.default_rng(1).permutation(40)
        assert source.read(numbers) == plain.read(numbers)
        monkeypatch.setattr(source._source, "read", None)
        assert source.read(numbers[::-1]) == plain.read(numbers[::-1])

    def test_it_passes_everything_else_on(self, records):
        source, plain = _open(records, cache="memory"), _open(records)
        assert source.place(21) == plain.place(21)
        assert source.class_names == plain.class_names
        np.testing.assert_array_equal(source.order(1, 2), plain.order(1, 2))
        assert source.explain(3) is None

    def test_the_disk_keeps_them_for_the_next_run(self, records, monkeypatch):
        first = _open(records, cache="disk")
        payloads = first.read(np.arange(40))
        del first
        second = _open(records, cache="disk")
        monkeypatch.setattr(second._source, "read", None)
        assert second.read(np.arange(40)) == payloads

    def test_a_second_process_may_read_what_the_first_keeps(self, records):
        first, second = (_open(records, cache="disk") for _ in range(2))
        payloads = first.read(np.arange(40))
        assert second.read(np.arange(40)) == payloads

    def test_damage_on_the_disk_is_found_out(self, records, cache):
        payloads = _open(records, cache="disk").read(np.arange(40))
        (path,) = (cache / "payloads").glob("*/payloads")
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        source = _open(records, cache="disk")
        assert source.read(np.arange(40)) == payloads

    def test_a_part_of_the_data_has_its_own(self, records):
        first = _open(records, "train[:50%]", cache="disk")
        second = _open(records, "train[50%:]", cache="disk")
        assert first.read(np.arange(20)) != second.read(np.arange(20))


class TestDisjoint:
    def test_minival_is_no_part_of_minitrain(self, tmp_path):
        folder = small_data.write_data_set(tmp_path / "data", count=300)
        minitrain, minival, train = (
            _open(folder, split) for split in ("minitrain", "minival", "train")
        )
        assert (minitrain.num_examples, minival.num_examples) == (298, 2)
        sources.check_disjoint(minitrain, minival)
        with pytest.raises(ValueError, match="minitrain .* 2 in both"):
            sources.check_disjoint(train, minival)

    def test_parts_are_told_from_parts_that_overlap(self, records):
        low = _open(records, "train[:80%]", cache="memory")
        sources.check_disjoint(low, _open(records, "train[80%:]"))
        with pytest.raises(ValueError, match="Received: mine/train"):
            sources.check_disjoint(low, _open(records, "train[75%:]"))

    def test_folders_and_lists_too(self, tmp_path):
        _write_pictures(tmp_path / "cat", [f"{n}.jpg" for n in range(60)])
        train, held_out = (
            _open(tmp_path, split, ds_name="folder")
            for split in ("train", "eval")
        )
        sources.check_disjoint(train, held_out)
        with pytest.raises(ValueError, match="54 in both|5[0-9] in both"):
            sources.check_disjoint(train, train)


class TestDamagedRecords:
    def test_a_cut_shard_loses_only_its_tail(self, records):
        path = records / "train-00000-of-00002"
        os.truncate(path, path.stat().st_size - 5)
        source = _open(records)
        assert source.num_examples == 39
        assert _labels(source) == [n % 4 for n in range(40) if n != 19]

    def test_a_damaged_length_loses_only_what_is_behind_it(self, records):
        path = records / "train-00000-of-00002"
        data = bytearray(path.read_bytes())
        begin = int(_open(records).index.offsets[5]) - 12
        data[begin] ^= 1
        path.write_bytes(data)
        os.utime(path, (0, 0))  # the clock may not have moved on
        assert _labels(_open(records)) == [
            n % 4 for n in range(40) if n < 5 or n >= 20
        ]

    def test_data_that_do_not_fit_their_checksum_are_broken(self, records):
        path = records / "train-00000-of-00002"
        data = bytearray(path.read_bytes())
        data[int(_open(records).index.offsets[5]) + 200] ^= 1
        path.write_bytes(data)
        os.utime(path, (0, 0))
        source = _open(records)
        assert source.num_examples == 40
        payloads = source.read(np.arange(40))
        assert [n for n in range(40) if not payloads[n]] == [5]
        assert source.explain(5) == "does not fit its checksum"

    def test_damage_is_said_each_time(self, records, caplog):
        os.truncate(records / "train-00001-of-00002", 1000)
        for _ in range(2):
            caplog.clear()
            _open(records)
            assert "train-00001-of-00002 is damaged" in caplog.text

    def test_a_shard_without_records_is_an_error(self, records):
        (records / "train-00001-of-00002").write_bytes(b"")
        with pytest.raises(ValueError, match="00001-of-00002 holds no records"):
            _open(records)

    def test_a_shard_of_zeros_is_an_error(self, records):
        (records / "train-00001-of-00002").write_bytes(bytes(100_000))
        with pytest.raises(ValueError, match="holds no records"):
            _open(records)

    def test_a_missing_shard_is_said(self, records, caplog):
        (records / "train-00001-of-00002").unlink()
        assert _open(records).num_examples == 20
        assert "1 of 2 files are here" in caplog.text

    def test_what_cannot_be_read_any_more_is_empty(self, records):
        source = _open(records)
        os.truncate(records / "train-00000-of-00002", 100)
        payloads = source.read(np.array([3, 30]))
        assert payloads[0] == b"" and payloads[1]
        assert "cannot be read" in source.explain(3)

    @pytest.mark.parametrize(
        "payload, reason",
        [
            (b"nonsense", "not a serialized example"),
            (b"", "cannot be read, or empty"),
            (small_data.example(b"", 1), "no picture"),
            (small_data.example(b"\xff\xd8\xff nonsense", 1), "decoded"),
            (small_data.example(small_data.jpeg(0)[:200], 1), "decoded"),
        ],
    )
    def test_explain_says_what_is_wrong(self, tmp_path, payload, reason):
        small_data.write_records(tmp_path / "train-0", [payload])
        assert reason in _open(tmp_path, num_classes=2).explain(0)


class TestIndex:
    def test_checksum_is_that_of_the_files(self, records):
        data = (records / "train-00000-of-00002").read_bytes()
        stored = int.from_bytes(data[8:12], "little")
        assert crc32c.masked(data[:8]) == stored

    def test_index_is_read_from_the_cache(self, records, cache, monkeypatch):
        paths = [str(records / f"train-0000{n}-of-00002") for n in (0, 1)]
        made = record_index.build(paths)
        monkeypatch.setattr(record_index, "record_scan", None)
        kept = record_index.build(paths)
        np.testing.assert_array_equal(made.offsets, kept.offsets)
        np.testing.assert_array_equal(made.files, kept.files)
        assert len(os.listdir(cache / "record_index")) == 1

    def test_index_of_a_changed_file_is_made_again(self, records):
        path = records / "train-00000-of-00002"
        assert len(record_index.build([str(path)])) == 20
        small_data.write_records(path, [b"one"])
        assert len(record_index.build([str(path)])) == 1

    def test_a_damaged_cache_is_no_harm(self, records, cache):
        paths = [str(records / "train-00000-of-00002")]
        record_index.build(paths)
        (kept,) = (cache / "record_index").iterdir()
        kept.write_bytes(b"nonsense")
        assert len(record_index.build(paths)) == 20


class TestSplits:
    def _numbers(self, split, **counts):
        return [
            (name, rows.tolist())
            for name, rows in splits.select(split, counts.get)
        ]

    def test_parts_in_percent_and_numbers(self):
        assert self._numbers("train[:30%]", train=10) == [("train", [0, 1, 2])]
        assert self._numbers("train[8:]+test[-1:]", train=10, test=3) == [
            ("train", [8, 9]),
            ("test", [2]),
        ]

    def test_parts_of_one_split_do_not_overlap(self):
        for count in (1, 7, 99, 3670):
            (_, low), (_, high) = self._numbers(
                "train[:80%]+train[80%:]", train=count
            )
            assert low + high == list(range(count))

    def test_minival_and_minitrain_divide_train(self):
        (_, held_out), (_, rest) = self._numbers(
            "minival+minitrain", train=1281167
        )
        assert len(held_out) == 10009
        assert sorted(held_out + rest) == list(range(1281167))

    def test_a_split_that_cannot_be_read_is_shown(self):
        with pytest.raises(ValueError, match=r"Received: 'train\[80\]'"):
            splits.select("train[80]", {}.get)

    def test_parts_of_records_hold_different_pictures(self, records):
        low, high = (
            _open(records, split) for split in ("train[:25%]", "train[25%:]")
        )
        assert (low.num_examples, high.num_examples) == (10, 30)
        payloads = low.read(np.arange(10)) + high.read(np.arange(30))
        assert payloads == _open(records).read(np.arange(40))
        assert high.place(12).endswith("train-00001-of-00002, record 2")

    def test_an_empty_split_is_an_error(self, records):
        with pytest.raises(ValueError, match="split must hold an example"):
            _open(records, "minival")


def _write_pictures(folder, names):
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        (folder / name).write_bytes(small_data.jpeg(number))


class TestFolder:
    @pytest.fixture
    def divided(self, tmp_path):
        for split, count in (("train", 3), ("eval", 2)):
            for name in ("dog", "cat"):
                _write_pictures(
                    tmp_path / split / name,
                    [f"{split}{n}.JPG" for n in range(count)],
                )
        return tmp_path

    def test_classes_are_the_folders_in_order(self, divided):
        source = _open(divided, ds_name="folder")
        assert source.class_names == ("cat", "dog")
        assert _labels(source) == [0, 0, 0, 1, 1, 1]
        assert source.place(0) == f"{divided}/train/cat/train0.JPG"
        assert _open(divided, "eval", ds_name="folder").num_examples == 4

    def test_other_names_of_the_evaluation_folder(self, divided):
        (divided / "eval").rename(divided / "val")
        for split in ("eval", "validation", "test"):
            source = _open(divided, split, ds_name="folder")
            assert source.place(0).startswith(f"{divided}/val/")

    @pytest.mark.parametrize("inside", ["", "train"])
    def test_without_evaluation_folder_one_name_in_ten_is_kept(
        self, tmp_path, inside
    ):
        for name in ("cat", "dog"):
            _write_pictures(
                tmp_path / inside / name, [f"{n}.png" for n in range(200)]
            )
        parts = [
            set(_open(tmp_path, split, ds_name="folder").paths)
            for split in ("train", "eval")
        ]
        assert len(parts[0] | parts[1]) == 400
        assert not parts[0] & parts[1]
        assert 20 < len(parts[1]) < 60

    def test_other_files_are_no_pictures(self, divided):
        (divided / "train" / "cat" / "Thumbs.db").write_bytes(b"x")
        (divided / "train" / "cat" / "._train0.jpg").write_bytes(b"x")
        assert _open(divided, ds_name="folder").num_examples == 6

    def test_a_class_without_pictures_is_an_error(self, divided):
        (divided / "train" / "eel").mkdir()
        with pytest.raises(ValueError, match="eel' holds no picture"):
            _open(divided, ds_name="folder")

    def test_a_class_that_training_does_not_know_is_an_error(self, divided):
        _write_pictures(divided / "eval" / "eel", ["1.jpg"])
        with pytest.raises(ValueError, match="does not: 'eel'"):
            _open(divided, "eval", ds_name="folder")

    def test_a_folder_without_classes_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match="a folder of pictures for each"):
            _open(tmp_path, ds_name="folder")


class TestCsv:
    @pytest.fixture
    def lists(self, tmp_path):
        _write_pictures(tmp_path / "pictures", ["a.jpg", "b.jpg", "c, d.jpg"])
        (tmp_path / "train.csv").write_text(
            'path,label\npictures/a.jpg,10\n"pictures/c, d.jpg",9\n\n'
        )
        (tmp_path / "eval.csv").write_text("pictures/b.jpg,10\n")
        return tmp_path

    def test_labels_of_train_csv_are_the_classes(self, lists):
        source = _open(lists, ds_name="csv")
        assert source.class_names == ("9", "10")
        assert source.labels.tolist() == [1, 0]
        assert source.read(np.array([1])) == [small_data.jpeg(2)]
        assert _open(lists, "eval", ds_name="csv").labels.tolist() == [1]

    def test_an_unknown_label_is_an_error(self, lists):
        (lists / "eval.csv").write_text("pictures/b.jpg,11\n")
        with pytest.raises(ValueError, match="'11' for 'pictures/b.jpg'"):
            _open(lists, "eval", ds_name="csv")

    def test_a_line_without_label_is_an_error(self, lists):
        (lists / "train.csv").write_text("pictures/a.jpg\n")
        with pytest.raises(ValueError, match="in line 1"):
            _open(lists, ds_name="csv")

    def test_a_missing_list_is_an_error(self, lists):
        with pytest.raises(ValueError, match="must hold validation.csv"):
            _open(lists, "validation", ds_name="csv")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """A data set of TensorFlow Datasets made here: nothing is loaded."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class FewPictures(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(20, 24, 3)),
                        "label": tfds.features.ClassLabel(
                            names=["cat", "dog", "eel"]
                        ),
                    }
                ),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, _):
            return {
                "train": self._generate_examples(0, 30),
                "test": self._generate_examples(30, 40),
            }

        def _generate_examples(self, first, last):
            for number in range(first, last):
                yield (
                    number,
                    {
                        "image": small_data.picture(number),
                        "label": number % 3,
                    },
                )

    return tmp_path_factory.mktemp("catalogue")


class TestTfds:
    def _open(self, folder, split, **values):
        return _open(folder, split, tfds_name="few_pictures", **values)

    def test_pictures_and_labels_are_the_catalogues(self, catalogue):
        source = self._open(catalogue, "train")
        assert source.name == "few_pictures/train"
        assert source.num_examples == 30
        assert source.class_names == ("cat", "dog", "eel")
        for number, payload in enumerate(source.read(np.arange(30))):
            encoded, label = source.parse(payload, tf.constant(number))
            mean = np.mean(tf.io.decode_image(encoded)) - 20
            assert label.numpy() == round(mean) % 3
            assert source.explain(number) is None

    def test_parts_of_its_one_split_are_disjoint(self, catalogue):
        train, held_out = (
            self._open(catalogue, split)
            for split in ("train[:80%]", "train[80%:]")
        )
        assert (train.num_examples, held_out.num_examples) == (24, 6)
        sources.check_disjoint(train, held_out)

    def test_records_in_the_folder_come_first(self, catalogue, records):
        assert self._open(records, "train").name == "mine/train"

    def test_an_unknown_split_is_an_error(self, catalogue):
        with pytest.raises(ValueError, match="split must be one of t"):
            self._open(catalogue, "validation")

    def test_classes_must_be_as_many_as_are_asked_for(self, catalogue):
        with pytest.raises(ValueError, match="num_classes must be 3"):
            self._open(catalogue, "train", num_classes=5)

    def test_a_mistyped_name_is_met_by_the_nearest(self, catalogue):
        with pytest.raises(ValueError, match="Did you mean 'few_pictures'"):
            _open(catalogue, tfds_name="few_picture")

    def test_without_the_library_it_says_what_to_install(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
        with pytest.raises(ValueError, match=r"efficientnetv2\[datasets\]"):
            self._open(tmp_path, "train")


class TestOpening:
    def test_a_folder_without_data_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match="must hold TFRecords called tr"):
            _open(tmp_path)

    def test_a_missing_folder_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match="data_dir must be a folder"):
            _open(tmp_path / "none")

    def test_a_mistyped_name_is_met_by_the_nearest(self):
        with pytest.raises(ValueError, match="Did you mean 'shapes'?"):
            sources.open_source(small_data.settings(ds_name="shpaes"), "train")

    def test_shapes_need_no_folder(self):
        source = sources.open_source(
            small_data.settings(ds_name="shapes"), "validation"
        )
        assert source.num_examples == 1000
        assert source.class_names[0] == "blue plain triangle"
        assert _labels(source, 3) == [
            source.class_names.index(text) for text in _texts(source, 3)
        ]


def _texts(source, count):
    for payload in source.read(np.arange(count)):
        feature = tf.train.Example.FromString(payload).features.feature
        yield feature["image/class/text"].bytes_list.value[0].decode()
