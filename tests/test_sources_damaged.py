"""TFRecords that are damaged lose what is damaged and nothing else."""

import gzip
import os

import numpy as np
import pytest
import small_data

pytestmark = pytest.mark.usefixtures("cache")


class TestDamagedRecords:
    def test_a_cut_shard_loses_only_its_tail(self, records):
        path = records / "train-00000-of-00002"
        os.truncate(path, path.stat().st_size - 5)
        source = small_data.open_source(records)
        assert source.num_examples == 39
        assert small_data.labels(source) == [
            n % 4 for n in range(40) if n != 19
        ]

    def test_a_damaged_length_loses_only_what_is_behind_it(self, records):
        path = records / "train-00000-of-00002"
        data = bytearray(path.read_bytes())
        begin = int(small_data.open_source(records).index.offsets[5]) - 12
        data[begin] ^= 1
        path.write_bytes(data)
        os.utime(path, (0, 0))  # the clock may not have moved on
        assert small_data.labels(small_data.open_source(records)) == [
            n % 4 for n in range(40) if n < 5 or n >= 20
        ]

    def test_data_that_do_not_fit_their_checksum_are_broken(self, records):
        path = records / "train-00000-of-00002"
        data = bytearray(path.read_bytes())
        data[int(small_data.open_source(records).index.offsets[5]) + 200] ^= 1
        path.write_bytes(data)
        os.utime(path, (0, 0))
        source = small_data.open_source(records)
        assert source.num_examples == 40
        payloads = source.read(np.arange(40))
        assert [n for n in range(40) if not payloads[n]] == [5]
        assert source.explain(5) == "does not fit its checksum"

    def test_damage_is_said_each_time(self, records, caplog):
        os.truncate(records / "train-00001-of-00002", 1000)
        for _ in range(2):
            caplog.clear()
            small_data.open_source(records)
            assert "train-00001-of-00002 is damaged" in caplog.text

    def test_a_shard_without_records_is_an_error(self, records):
        (records / "train-00001-of-00002").write_bytes(b"")
        with pytest.raises(ValueError, match="00001-of-00002 holds no records"):
            small_data.open_source(records)

    def test_a_shard_of_zeros_is_an_error(self, records):
        (records / "train-00001-of-00002").write_bytes(bytes(100_000))
        with pytest.raises(ValueError, match="holds no records"):
            small_data.open_source(records)

    def test_a_packed_shard_is_an_error_that_says_so(self, records):
        path = records / "train-00001-of-00002"
        path.write_bytes(gzip.compress(path.read_bytes()))
        with pytest.raises(ValueError, match="holds no records .a gzip file"):
            small_data.open_source(records)

    def test_a_folder_that_is_called_like_a_shard_is_an_error(self, records):
        (records / "train-old").mkdir()
        with pytest.raises(IsADirectoryError, match="train-old"):
            small_data.open_source(records)

    def test_a_missing_shard_is_said(self, records, caplog):
        (records / "train-00001-of-00002").unlink()
        assert small_data.open_source(records).num_examples == 20
        assert "1 of 2 files are here" in caplog.text

    def test_what_cannot_be_read_any_more_is_empty(self, records):
        source = small_data.open_source(records)
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
            (small_data.example(small_data.jpeg(0)), "one image/class/label"),
            (small_data.example(small_data.jpeg(0), 1, 2), "one image/class"),
            (small_data.example(small_data.jpeg(0), 3), "label 3 is not in 1"),
            (small_data.example(small_data.jpeg(0), 0), "0 is not in 1..2"),
            (small_data.example(b"\xff\xd8\xff nonsense", 1), "decoded"),
            (small_data.example(small_data.jpeg(0)[:200], 1), "decoded"),
        ],
    )
    def test_explain_says_what_is_wrong(self, tmp_path, payload, reason):
        small_data.write_records(tmp_path / "train-0", [payload])
        assert reason in small_data.open_source(
            tmp_path, num_classes=2
        ).explain(0)
