"""The order of examples: a permutation, and each host's part of it."""

import numpy as np
import pytest

from efficientnetv2.data import order


def test_an_epoch_holds_each_example_once_in_its_own_order():
    first, second = (order.shuffled(1000, 7, epoch) for epoch in (0, 1))
    assert sorted(first.tolist()) == list(range(1000))
    assert np.mean(first == second) < 0.02
    assert np.mean(first == order.shuffled(1000, 8, 0)) < 0.02


def test_the_order_is_that_of_the_first_day():
    # Runs that go on after an update must find their order again.
    assert order.shuffled(8, 0, 0).tolist() == [2, 4, 3, 6, 5, 0, 1, 7]


@pytest.mark.parametrize("num_hosts", [1, 2, 4])
def test_hosts_together_read_each_batch_as_one_would(num_hosts):
    rows = 8 // num_hosts
    parts = [
        order.host_offsets(
            np.arange(5 * rows),
            host_rows=rows,
            host_index=host,
            num_hosts=num_hosts,
        ).reshape(5, rows)
        for host in range(num_hosts)
    ]
    np.testing.assert_array_equal(
        np.concatenate(parts, axis=1), np.arange(40).reshape(5, 8)
    )


def test_host_place_is_where_the_stream_goes_on():
    host = {"host_rows": 4, "host_index": 1, "num_hosts": 2}
    offsets = order.host_offsets(np.arange(12), **host)
    assert offsets.tolist() == [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23]
    for place, offset in enumerate(offsets.tolist()):
        assert order.host_place(offset, **host) == place
        assert order.host_place(offset + 1, **host) == place + 1
    assert order.host_place(9, **host) == 4


class TestNearby:
    BLOCKS = np.repeat(np.arange(50), 20)

    def test_an_epoch_holds_each_example_once_in_its_own_order(self):
        first, second = (
            order.shuffled_nearby(self.BLOCKS, 100, 7, epoch)
            for epoch in (0, 1)
        )
        assert sorted(first.tolist()) == list(range(1000))
        assert np.mean(first == second) < 0.05

    def test_few_blocks_are_being_read_at_any_time(self):
        blocks = self.BLOCKS[order.shuffled_nearby(self.BLOCKS, 100, 7, 0)]
        begin, end = (
            np.array([edge(np.flatnonzero(blocks == n)) for n in range(50)])
            for edge in (np.min, np.max)
        )
        open_blocks = [
            np.sum((begin <= place) & (place <= end)) for place in range(1000)
        ]
        assert max(open_blocks) <= 100 / 20 + 2
        assert np.median(open_blocks) >= 4  # and yet they are mixed

    def test_blocks_come_in_a_random_order(self):
        blocks = self.BLOCKS[order.shuffled_nearby(self.BLOCKS, 0, 7, 0)]
        starts = blocks[::20]
        assert sorted(starts.tolist()) == list(range(50))
        assert np.mean(np.diff(starts) == 1) < 0.2
