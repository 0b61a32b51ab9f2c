"""Sources read by TensorFlow's ops alone give what they give in Python."""

import os

import numpy as np
import pytest
import small_data
import tensorflow as tf

from efficientnetv2.data.sources import graph_reader

pytestmark = pytest.mark.usefixtures("cache")


def _read(source, first=0, end=None):
    """(number, payload) of each example, read in a graph; b"" for no file."""
    reader = source.graph_reader(first, end or source.num_examples)

    def load(reference):
        found = tf.data.Dataset.from_tensors(reference).map(reader.load)
        found = found.ignore_errors().concatenate(
            tf.data.Dataset.from_tensors(tf.constant(b""))
        )
        return found.take(1).get_single_element()

    def read(block):
        return tf.data.Dataset.zip(
            reader.numbers(block), reader.references(block).map(load)
        )

    blocks = tf.data.Dataset.range(reader.num_blocks).flat_map(read)
    return list(blocks.as_numpy_iterator())


def _expected(source, first=0, end=None):
    numbers = np.arange(first, end or source.num_examples)
    return list(zip(numbers, source.read(numbers), strict=True))


class TestRecords:
    @pytest.mark.parametrize(
        "split", ["train", "train[30%:]", "test+train[:7]", "train+train"]
    )
    def test_every_part_of_a_split_is_read(self, records, split):
        source = small_data.open_source(records, split)
        assert _read(source) == _expected(source)

    def test_what_a_split_leaves_out_is_left_out(self, tmp_path):
        folder = small_data.write_data_set(tmp_path / "data", count=300)
        for split in ("minival", "minitrain"):
            source = small_data.open_source(folder, split)
            assert _read(source) == _expected(source)

    def test_a_part_has_the_numbers_of_the_whole(self, records):
        source = small_data.open_source(records, cache="memory")
        assert _read(source, 13, 29) == _expected(source, 13, 29)

    def test_blocks_stay_small_and_inside_a_file(self, records, monkeypatch):
        source = small_data.open_source(records)
        edges = source.graph_reader(0, 40).edges.tolist()
        assert edges == [0, 16, 20, 32, 40]
        size = int(source.index.offsets[3])
        monkeypatch.setattr(graph_reader, "_BLOCK_BYTES", size)
        edges = source.graph_reader(0, 40).edges.tolist()
        assert len(edges) > 10
        assert _read(source) == _expected(source)

    def test_a_record_that_does_not_fit_its_checksum_is_alone(self, records):
        path = records / "train-00000-of-00002"
        data = bytearray(path.read_bytes())
        data[int(small_data.open_source(records).index.offsets[5]) + 9] ^= 1
        path.write_bytes(data)
        os.utime(path, (0, 0))
        source = small_data.open_source(records)
        found = _read(source)
        assert found == _expected(source)
        assert [number for number, data in found if not data] == [5]

    @pytest.mark.parametrize("change", ["gone", "cut", "empty"])
    def test_a_file_that_changes_leaves_empty_payloads(self, records, change):
        source = small_data.open_source(records)
        path = records / "train-00000-of-00002"
        reader = source.graph_reader(0, 40)
        expected = [b""] * 20 + source.read(np.arange(20, 40))
        if change == "gone":
            path.unlink()
        else:
            os.truncate(path, 300 if change == "cut" else 0)
        found = [
            data
            for block in range(reader.num_blocks)
            for data in reader.references(
                tf.constant(block, tf.int64)
            ).as_numpy_iterator()
        ]
        assert found == expected


class TestFiles:
    @pytest.fixture
    def pictures(self, tmp_path):
        for split in ("train", "eval"):
            for name in ("cat", "dog"):
                small_data.write_pictures(
                    tmp_path / split / name, [f"{n}.jpg" for n in range(11)]
                )
        return tmp_path

    def test_files_are_read(self, pictures):
        source = small_data.open_source(pictures, ds_name="folder")
        assert sorted(_read(source)) == _expected(source)
        assert sorted(_read(source, 5, 20)) == _expected(source, 5, 20)

    def test_a_block_is_of_several_classes(self, pictures):
        """In the folder's order the first block would be of one."""
        source = small_data.open_source(pictures, ds_name="folder")
        reader = source.graph_reader(0, 22)
        first = reader.numbers(tf.constant(0, tf.int64)).as_numpy_iterator()
        labels = source.labels[np.array(list(first))]
        assert 3 <= labels.sum() <= 13

    def test_a_file_that_is_gone_is_one_broken_example(self, pictures):
        source = small_data.open_source(pictures, ds_name="folder")
        (pictures / "train" / "cat" / "3.jpg").unlink()
        found = _read(source)
        assert [data for _, data in found].count(b"") == 1
        assert sorted(found) == _expected(source)
