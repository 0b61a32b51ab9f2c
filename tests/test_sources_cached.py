"""Caches before a source: in memory and on the disk."""

import numpy as np
import pytest
import small_data

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
