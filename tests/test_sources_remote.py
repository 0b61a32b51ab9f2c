"""Remote data, with TensorFlow's file system in memory for a remote one."""

import os

import numpy as np
import pytest
import small_data
import tensorflow as tf

from efficientnetv2.data.sources import remote_blocks, stored_bytes

pytestmark = pytest.mark.usefixtures("cache")


class TestRemote:
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
        local = small_data.open_source(records)
        for memory in (1, 64):
            source = small_data.open_source(remote, shuffle_memory_mb=memory)
            assert source.read(numbers) == local.read(numbers)

    def test_each_block_is_read_once_an_epoch(self, remote, monkeypatch):
        source = small_data.open_source(remote)
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
        source = small_data.open_source(remote)
        assert sorted(source.order(0, 0).tolist()) == list(range(40))
        assert np.any(source.order(0, 0) != source.order(0, 1))

    def test_files_that_are_gone_are_broken_examples(self, remote):
        source = small_data.open_source(remote)
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
        source = small_data.open_source(remote, ds_name="folder")
        assert source.class_names == ("cat", "dog")
        assert source.read(np.array([4])) == [small_data.jpeg(1)]
