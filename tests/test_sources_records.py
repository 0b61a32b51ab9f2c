"""Sources of TFRecords: labels, names, places and files."""

import os

import numpy as np
import pytest
import small_data
import tensorflow as tf

from efficientnetv2.data import cache_folder
from efficientnetv2.data.sources import crc32c, record_index

pytestmark = pytest.mark.usefixtures("cache")


class TestRecords:
    def test_labels_count_from_zero_and_names_come_from_labels_txt(
        self, records
    ):
        source = small_data.open_source(records)
        assert source.num_examples == 40
        assert source.class_names == tuple(f"class {n}" for n in range(4))
        assert small_data.labels(source) == [n % 4 for n in range(40)]
        assert not source.multi_label

    def test_each_number_reads_its_own_record(self, records):
        source = small_data.open_source(records)
        numbers = np.array([39, 0, 20, 19])
        payloads = source.read(numbers)
        for number, payload in zip(numbers, payloads, strict=True):
            encoded, _ = source.parse(payload, tf.constant(number, tf.int64))
            assert encoded.numpy() == small_data.jpeg(number)

    def test_place_names_shard_and_record(self, records):
        assert small_data.open_source(records).place(21) == (
            f"{records}/train-00001-of-00002, record 1"
        )

    @pytest.mark.parametrize("split", ["test", "validation", "eval"])
    def test_names_of_the_evaluation_split_stand_for_each_other(
        self, records, split
    ):
        assert small_data.open_source(records, split).num_examples == 7

    def test_evaluation_split_is_not_guessed_where_there_are_two(self, records):
        small_data.write_data_set(records, split="eval", count=3, shards=1)
        with pytest.raises(ValueError, match="TFRecords called validation-"):
            small_data.open_source(records, "validation")

    def test_tfds_file_names_are_found(self, tmp_path):
        small_data.write_records(
            tmp_path / "flowers-train.tfrecord-00000-of-00001",
            [small_data.example(small_data.jpeg(0), 1)],
        )
        assert small_data.open_source(tmp_path, num_classes=3).num_examples == 1

    def test_without_labels_txt_num_classes_must_be_given(self, records):
        (records / "labels.txt").unlink()
        assert small_data.open_source(records, num_classes=4).class_names == (
            "0",
            "1",
            "2",
            "3",
        )
        with pytest.raises(ValueError, match="num_classes must be given"):
            small_data.open_source(records)

    def test_num_classes_must_agree_with_labels_txt(self, records):
        with pytest.raises(ValueError, match="num_classes must be 4"):
            small_data.open_source(records, num_classes=10)

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
        source = small_data.open_source(
            tmp_path, num_classes=4, label_offset=offset
        )
        encoded, _ = source.parse(payload, tf.constant(0, tf.int64))
        assert bool(encoded.numpy()) == good
        assert (source.explain(0) is None) == good

    def test_an_empty_line_in_labels_txt_would_shift_the_names(self, records):
        (records / "labels.txt").write_text("cat\n\ndog\neel\n\n")
        with pytest.raises(ValueError, match="an empty line 2"):
            small_data.open_source(records)
        (records / "labels.txt").write_text("\ufeffcat\ncow\ndog\neel\n\n")
        names = small_data.open_source(records).class_names
        assert names == ("cat", "cow", "dog", "eel")

    def test_labels_txt_in_another_code_is_an_error(self, records):
        (records / "labels.txt").write_bytes("öl".encode("latin-1"))
        with pytest.raises(ValueError, match="labels.txt must be text in UTF"):
            small_data.open_source(records)

    def test_unfinished_and_hidden_files_are_no_shards(self, records):
        for name in ("train-00000-of-00002.tmp", ".train-00000-of-00002"):
            (records / name).write_bytes(b"half of it")
        assert small_data.open_source(records).num_examples == 40

    def test_several_labels_become_a_row_of_ones(self, tmp_path):
        payloads = [
            small_data.example(small_data.jpeg(0), *labels)
            for labels in ([0, 2], [3], [2, 2], [], [1, 4])
        ]
        small_data.write_records(tmp_path / "train-0", payloads)
        source = small_data.open_source(
            tmp_path, num_classes=4, label_offset=0, multiclass=True
        )
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
        source = small_data.open_source(cifar10_folder)
        assert source.num_examples == 50000
        assert source.class_names[3] == "cat"


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

    def test_what_cannot_be_kept_leaves_nothing_behind(self, tmp_path):
        (tmp_path / "taken" / "inside").mkdir(parents=True)
        with pytest.raises(tf.errors.OpError):
            cache_folder.write_file(str(tmp_path / "taken"), b"data")
        assert os.listdir(tmp_path) == ["taken"]

    @pytest.mark.parametrize("left", [None, 0, 100])
    def test_a_damaged_cache_is_no_harm(self, records, cache, left):
        paths = [str(records / "train-00000-of-00002")]
        record_index.build(paths)
        (kept,) = (cache / "record_index").iterdir()
        whole = kept.read_bytes()
        kept.write_bytes(b"nonsense" if left is None else whole[:left])
        assert len(record_index.build(paths)) == 20
