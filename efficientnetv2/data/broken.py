"""Counts and names the examples that could not be decoded."""

import threading

import numpy as np
from absl import logging

from efficientnetv2.data import order

_NAMED = 5  # the first ones, in the log
_LOOKED_AT = 100  # for their names, where a stream ends in an error


class _Report:
    """Names the first broken examples, and fails where there are too many.

    Args:
        source: The `sources.Source`.
        max_bad_fraction: Share of an epoch's examples that may be broken.
        num_hosts: Number of hosts; this one has as many examples as others.
    """

    def __init__(self, source, *, max_bad_fraction, num_hosts):
        self._source = source
        self._max_bad_fraction = max_bad_fraction
        self._most = max_bad_fraction * source.num_examples / num_hosts
        self._named = set()

    def name(self, number):
        """Names an example in the log, if it is one of the first."""
        if len(self._named) >= _NAMED:
            return
        reason = self._source.explain(number) or "fails in preprocessing"
        sentence = f"{self._source.place(number)}: {reason}"
        if sentence not in self._named:
            self._named.add(sentence)
            logging.warning("left out, %s", sentence)

    def check(self, count):
        """Raises ValueError if so many broken ones are too many."""
        if count > self._most:
            raise ValueError(
                f"{count} of {self._source.num_examples} examples of "
                f"{self._source.name} are broken, more than "
                f"data.max_bad_fraction={self._max_bad_fraction} allows"
                f"{self.first()}"
            )

    def first(self):
        """The end of a sentence about broken examples: the first ones."""
        if not self._named:
            return ""
        return f"; the first: {'; '.join(sorted(self._named))}"


class BrokenExamples:
    """Watches the offsets of a stream of training batches.

    An example that cannot be decoded is missing in its batch; nothing else
    keeps account of it. So the count is exact and costs nothing where all are
    good. In a run that goes on after a stop it begins anew.

    Args:
        source: The `sources.Source`.
        seed: The run's.
        epoch: Epoch of the position the stream begins at.
        offset: Examples of that epoch used up.
        max_bad_fraction: Share of an epoch's examples that may be broken.
        host_rows: As in `pipeline.train_batches`, not None.
        host_index: The same.
        num_hosts: The same.

    Attributes:
        count: Broken examples of the present epoch.
        total: Broken examples of all epochs.
    """

    def __init__(
        self,
        source,
        *,
        seed,
        epoch=0,
        offset=0,
        max_bad_fraction=0.01,
        host_rows,
        host_index=0,
        num_hosts=1,
    ):
        self.count = 0
        self.total = 0
        self._source = source
        self._seed = seed
        self._report = _Report(
            source, max_bad_fraction=max_bad_fraction, num_hosts=num_hosts
        )
        self._host = {
            "host_rows": host_rows,
            "host_index": host_index,
            "num_hosts": num_hosts,
        }
        self._epoch = epoch
        self._place = order.host_place(offset, **self._host)

    def observe(self, epoch, offsets):
        """Takes account of a batch.

        Args:
            epoch: The batch's, int.
            offsets: int64 array [batch], the batch's.

        Returns:
            The offset at which the stream goes on: the last one + 1.

        Raises:
            ValueError: if more examples are broken than may be.
        """
        if epoch != self._epoch:
            self._epoch, self._place, self.count = epoch, 0, 0
        offsets = np.asarray(offsets)
        end = order.host_place(int(offsets[-1]), **self._host) + 1
        if end - self._place != len(offsets):
            self._account(end, offsets)
        self._place = end
        return int(offsets[-1]) + 1

    def first(self):
        """Names broken examples ahead: the stream has found too few good.

        Returns:
            The end of a sentence about them, or nothing.
        """
        size = self._source.num_examples
        numbers = self._source.order(self._seed, self._epoch)
        places = np.arange(self._place, self._place + min(size, _LOOKED_AT))
        offsets = order.host_offsets(places, **self._host) % size
        for number in numbers[offsets].tolist():
            if self._source.explain(number) is not None:
                self._report.name(number)
        return self._report.first()

    def _account(self, end, offsets):
        places = np.arange(self._place, end)
        missing = np.setdiff1d(
            order.host_offsets(places, **self._host), offsets
        )
        size = self._source.num_examples
        numbers = self._source.order(self._seed, self._epoch)
        # From `size` on the epoch's order begins again: counted already.
        for offset in missing[missing < size].tolist():
            self.count += 1
            self.total += 1
            self._report.name(int(numbers[offset]))
        self._report.check(self.count)


class ServedExamples:
    """Watches what the workers of a data service deliver.

    Args:
        source: The `sources.Source`.
        max_bad_fraction: Share of an epoch's examples that may be broken.
        num_hosts: Number of hosts that train.

    Attributes:
        total: Broken examples of all epochs.
    """

    def __init__(self, source, *, max_bad_fraction=0.01, num_hosts=1):
        self.total = 0
        self._broken = set()  # (epoch, number); a second round adds none
        self._lock = threading.Lock()  # `note` is called by other threads
        self._report = _Report(
            source, max_bad_fraction=max_bad_fraction, num_hosts=num_hosts
        )

    def note(self, good, numbers, epochs):
        """Takes account of a chunk that a worker has sent.

        Args:
            good: int64 array, the numbers of the examples in it.
            numbers: int64 array, those that were to be in it.
            epochs: int64 array, the epoch of each of `numbers`.
        """
        for row in np.flatnonzero(~np.isin(numbers, good)).tolist():
            found = int(epochs[row]), int(numbers[row])
            with self._lock:
                is_new = found not in self._broken
                self._broken.add(found)
                self.total += is_new
            if is_new:
                self._report.name(found[1])

    def first(self):
        """As `BrokenExamples.first`."""
        return self._report.first()

    def observe(self, epoch, offsets):
        """Takes account of a batch, as `BrokenExamples.observe`.

        Returns:
            0: a service cannot be told where to go on.

        Raises:
            ValueError: if more examples are broken than may be.
        """
        del offsets
        with self._lock:
            self._broken = {row for row in self._broken if row[0] >= epoch}
            count = sum(row[0] == epoch for row in self._broken)
        self._report.check(count)
        return 0
