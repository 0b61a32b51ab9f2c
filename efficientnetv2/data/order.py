"""Which example comes when: a function of seed, epoch and place.

An epoch reads its examples in an order of its own; where broken ones leave it
short it begins that order again, so the stream never ends. An offset is a
place in this stream. Each host takes its own part of every batch, so that two
hosts read what one would.
"""

import functools

import numpy as np


@functools.lru_cache(maxsize=4)  # this epoch's and the next one's
def shuffled(num_examples, seed, epoch):
    """The order of an epoch.

    Args:
        num_examples: Number of examples.
        seed: The run's seed, int >= 0.
        epoch: Int >= 0.

    Returns:
        All numbers below `num_examples`, int32 or int64 array. Not to be
        written to.
    """
    kind = np.int32 if num_examples < 2**31 else np.int64
    numbers = np.arange(num_examples, dtype=kind)
    np.random.default_rng([seed, epoch]).shuffle(numbers)
    numbers.flags.writeable = False
    return numbers


def shuffled_nearby(blocks, reach, seed, epoch):
    """An order that reads blocks of examples one after the other, about.

    Blocks come in a random order, and each example moves behind its place in
    that by a random way, so that what is being read stays within some blocks.

    Args:
        blocks: Number of each example's block, int array [n].
        reach: The longest way, in examples.
        seed: The run's seed, int >= 0.
        epoch: Int >= 0.

    Returns:
        All numbers below n, int64 array. Not to be written to.
    """
    rng = np.random.default_rng([seed, epoch])
    ranks = rng.permutation(int(blocks.max()) + 1)
    stream = np.argsort(ranks[blocks], kind="stable")
    ways = rng.uniform(0.0, reach, len(blocks))
    numbers = stream[np.argsort(np.arange(len(blocks)) + ways, kind="stable")]
    numbers.flags.writeable = False
    return numbers


def host_offsets(places, *, host_rows, host_index=0, num_hosts=1):
    """Offsets of the examples that a host reads.

    Args:
        places: Int array, places in the host's own stream.
        host_rows: Rows of each global batch that are one host's.
        host_index: Number of the host.
        num_hosts: Number of hosts.

    Returns:
        int64 array, offsets in the stream of all hosts.
    """
    places = np.asarray(places, np.int64)
    batch, row = places // host_rows, places % host_rows
    return (batch * num_hosts + host_index) * host_rows + row


def host_place(offset, *, host_rows, host_index=0, num_hosts=1):
    """The host's first place at or behind an offset: where it goes on.

    Args:
        offset: Offset in the stream of all hosts.
        host_rows: Rows of each global batch that are one host's.
        host_index: Number of the host.
        num_hosts: Number of hosts.

    Returns:
        Place in the host's own stream.
    """
    batch, row = divmod(offset, host_rows * num_hosts)
    own = min(max(row - host_index * host_rows, 0), host_rows)
    return batch * host_rows + own
