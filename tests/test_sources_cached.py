"""Caches before a source: in memory and on the disk."""

import os
import pathlib
import subprocess
import sys

import cache_writer
import numpy as np
import pytest
import small_data

from efficientnetv2.data.sources import cached

ROOT = pathlib.Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.usefixtures("cache")


class TestCache:
    @pytest.mark.parametrize("kind", ["memory", "disk"])
    def test_each_payload_is_read_once(self, records, kind, monkeypatch):
        source = small_data.open_source(records, cache=kind)
        plain = small_data.open_source(records)
        numbers = np.random.default_rng(1).permutation(40)
        assert source.read(numbers) == plain.read(numbers)
        monkeypatch.setattr(source._source, "read", None)
        assert source.read(numbers[::-1]) == plain.read(numbers[::-1])

    def test_it_passes_everything_else_on(self, records):
        source, plain = (
            small_data.open_source(records, cache="memory"),
            small_data.open_source(records),
        )
        assert source.place(21) == plain.place(21)
        assert source.class_names == plain.class_names
        np.testing.assert_array_equal(source.order(1, 2), plain.order(1, 2))
        assert source.explain(3) is None

    def test_the_disk_keeps_them_for_the_next_run(self, records, monkeypatch):
        first = small_data.open_source(records, cache="disk")
        payloads = first.read(np.arange(40))
        del first
        second = small_data.open_source(records, cache="disk")
        monkeypatch.setattr(second._source, "read", None)
        assert second.read(np.arange(40)) == payloads

    def test_a_second_process_may_read_what_the_first_keeps(self, records):
        first, second = (
            small_data.open_source(records, cache="disk") for _ in range(2)
        )
        payloads = first.read(np.arange(40))
        assert second.read(np.arange(40)) == payloads

    def test_damage_on_the_disk_is_found_out(self, records, cache):
        payloads = small_data.open_source(records, cache="disk").read(
            np.arange(40)
        )
        (path,) = (cache / "payloads").glob("*/payloads")
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        source = small_data.open_source(records, cache="disk")
        assert source.read(np.arange(40)) == payloads

    def test_a_part_of_the_data_has_its_own(self, records):
        first = small_data.open_source(records, "train[:50%]", cache="disk")
        second = small_data.open_source(records, "train[50%:]", cache="disk")
        assert first.read(np.arange(20)) != second.read(np.arange(20))

    def test_changed_data_have_a_new_one(self, tmp_path):
        small_data.write_pictures(tmp_path / "train" / "cat", ["1.jpg"])
        small_data.write_pictures(tmp_path / "eval" / "cat", ["1.jpg"])
        picture = tmp_path / "train" / "cat" / "1.jpg"
        for number in (3, 4):
            picture.write_bytes(small_data.jpeg(number))
            os.utime(picture, (number, number))
            source = small_data.open_source(
                tmp_path, ds_name="folder", cache="disk"
            )
            assert source.read(np.array([0])) == [small_data.jpeg(number)]

    def test_a_remote_cache_folder_is_an_error(self, records, monkeypatch):
        monkeypatch.setenv("EFFICIENTNETV2_CACHE", "ram://cache")
        with pytest.raises(
            ValueError, match="disk needs a local .*ram://cache"
        ):
            small_data.open_source(records, cache="disk")


class TestDisk:
    """What a process leaves that was killed, or met a full disk."""

    def test_killed_writers_leave_whole_payloads(self, tmp_path):
        count = 2000
        result = subprocess.run(
            [sys.executable, cache_writer.__file__, tmp_path, str(count), "12"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
        found = [int(line) for line in result.stdout.split()]
        assert len(found) == 12
        assert found == sorted(found) and found[-1] > found[0]
        store = cached.Disk(tmp_path, count)
        kept = [store.get(number) for number in range(count)]
        for number, payload in enumerate(kept):
            assert payload in (None, cache_writer.payload(number))
        for number in range(count):
            store.put(number, cache_writer.payload(number))
            assert store.get(number) == cache_writer.payload(number)

    def test_a_place_that_is_half_written_is_not_there(self, tmp_path):
        store = cached.Disk(tmp_path, 4)
        store.put(1, b"payload")
        for row in ([0, 7, 0], [0, 0, 0], [3, 7, 5], [0, 2**60, 9], [-3, 7, 0]):
            store._places[1] = row
            assert store.get(1) is None

    @pytest.mark.parametrize("size", [0, 40, 200])
    def test_a_half_made_table_of_places_is_made_again(self, tmp_path, size):
        cached.Disk(tmp_path, 4).put(1, b"payload")
        os.truncate(tmp_path / "places", size)
        store = cached.Disk(tmp_path, 4)
        assert store.get(1) is None
        store.put(1, b"another")
        assert store.get(1) == b"another"

    def test_the_lock_ends_with_the_store(self, tmp_path):
        first = cached.Disk(tmp_path, 4)
        second = cached.Disk(tmp_path, 4)
        second.put(1, b"payload")
        assert first.get(1) is second.get(1) is None
        del first
        cached.Disk(tmp_path, 4).put(1, b"payload")
        assert second.get(1) == b"payload"

    def test_a_full_disk_ends_the_writing_with_a_line(
        self, tmp_path, monkeypatch, caplog
    ):
        store = cached.Disk(tmp_path, 4)
        store.put(0, b"payload")
        write = os.pwrite
        monkeypatch.setattr(
            os, "pwrite", lambda file, data, at: write(file, data[:3], at)
        )
        store.put(1, b"payload")
        assert "takes no more" in caplog.text and "No space" in caplog.text
        monkeypatch.undo()
        store.put(2, b"payload")
        assert [store.get(n) for n in range(3)] == [b"payload", None, None]
