"""The conversion: what is not written yet is written, then all is checked."""

import concurrent.futures
import itertools
import os
import posixpath
import sys

import tensorflow as tf
import tqdm

from efficientnetv2 import storage
from efficientnetv2.data.convert import ledger, shard_file
from efficientnetv2.data.convert import plan as plan_lib

_AHEAD = 8  # pictures a thread that wait to be written
_NAMED = 5  # broken pictures, the first ones


class _Tally:
    """Counts pictures on a bar and names the first broken ones.

    Args:
        total: Number of pictures.
        done: Of them, in shards finished before.
        broken: Of those, broken ones.
        max_bad_fraction: Share of `total` that may be broken.
    """

    def __init__(self, total, *, done, broken, max_bad_fraction):
        self.broken = broken
        self._total = total
        self._max_bad_fraction = max_bad_fraction
        self._named = []
        self._bar = tqdm.tqdm(
            total=total,
            initial=done,
            unit="picture",
            file=sys.stderr,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()

    def good(self, rows):
        """Passes on the records of pictures that are not broken."""
        for (shard, number), record in rows:
            self._bar.update()
            if record is None:
                self._leave_out(shard.source, number)
            else:
                yield record

    def _leave_out(self, source, number):
        self.broken += 1
        if len(self._named) < _NAMED:
            reason = source.explain(number) or "could not be read at first"
            self._named.append(f"{source.place(number)}: {reason}")
            self._bar.write(f"left out, {self._named[-1]}", file=sys.stderr)
        if self.broken > self._max_bad_fraction * self._total:
            raise ValueError(
                f"{self.broken} of {self._total} pictures are broken, more "
                f"than max_bad_fraction={self._max_bad_fraction} allows; the "
                f"first: {'; '.join(self._named)}"
            )


def _write_shards(plan, book, *, threads, max_bad_fraction):
    """Writes the shards that are not in the book."""
    kept = {shard.name: book.entry(shard.name) for shard in plan.shards}
    missing = [shard for shard in plan.shards if kept[shard.name] is None]
    found = [entry for entry in kept.values() if entry is not None]
    if found:
        print(
            f"{len(found)} of {len(kept)} files are there already", flush=True
        )
    items = (
        (shard, number)
        for shard in missing
        for number in shard.numbers.tolist()
    )
    with (
        concurrent.futures.ThreadPoolExecutor(threads) as executor,
        _Tally(
            plan.num_pictures,
            done=sum(entry["examples"] + entry["left_out"] for entry in found),
            broken=sum(entry["left_out"] for entry in found),
            max_bad_fraction=max_bad_fraction,
        ) as tally,
    ):
        rows = shard_file.ahead(
            executor,
            lambda item: shard_file.make_record(item[0].source, item[1]),
            items,
            at_most=_AHEAD * threads,
        )
        for shard, members in itertools.groupby(rows, lambda row: row[0][0]):
            before = tally.broken
            shard_file.write(book.path(shard.name), tally.good(members))
            left_out = tally.broken - before
            book.enter(
                shard.name,
                examples=len(shard.numbers) - left_out,
                left_out=left_out,
            )


def _check(plan, book):
    """Compares the files with the plan; returns examples by split, broken."""
    counts, broken = {}, 0
    for shard in plan.shards:
        entry = book.entry(shard.name)
        expected = len(shard.numbers)
        if entry is None or entry["examples"] + entry["left_out"] != expected:
            raise ValueError(
                f"{book.path(shard.name)} is not as it was written; the same "
                "command writes it again"
            )
        if not entry["examples"]:
            raise ValueError(
                f"none of the {expected} pictures of {shard.name} can be read"
            )
        split = shard.name.partition("-")[0]
        counts[split] = counts.get(split, 0) + entry["examples"]
        broken += entry["left_out"]
    return counts, broken


def convert(
    data_dir,
    output_dir,
    *,
    kind=None,
    shard_mb=128,
    seed=0,
    threads=None,
    max_bad_fraction=0.01,
    overwrite=False,
):
    """Converts pictures into TFRecords in the form of ImageNet's.

    Stopped at any moment, even by SIGKILL, it goes on where it was: a file is
    there whole or not at all, and a list says which are.

    Args:
        data_dir: Folder of the pictures, see the sources `folder` and `csv`;
            may be remote.
        output_dir: Folder of the TFRecords, made if it is not there; may be
            remote. In the end it holds train-*, validation-* or test-*, and
            labels.txt.
        kind: 'folder' or 'csv'; None: a CSV where there is a train.csv.
        shard_mb: About the size of a file, MiB.
        seed: Of the order, int >= 0.
        threads: That read and check pictures; None: one a CPU core.
        max_bad_fraction: Share of the pictures that may be broken; they are
            left out.
        overwrite: Whether to remove an earlier conversion first.

    Returns:
        (dict from split to its number of examples, number of broken pictures).

    Raises:
        ValueError: if there are no such pictures, too many are broken, or
            `output_dir` holds something else.
    """
    plan = plan_lib.make(data_dir, kind=kind, shard_mb=shard_mb, seed=seed)
    tf.io.gfile.makedirs(output_dir)
    with ledger.alone(output_dir):
        if overwrite:
            ledger.clear(output_dir)
        book = ledger.Ledger(output_dir, plan)
        _write_shards(
            plan,
            book,
            threads=threads or os.cpu_count(),
            max_bad_fraction=max_bad_fraction,
        )
        result = _check(plan, book)
        names = "".join(f"{name}\n" for name in plan.class_names)
        storage.write(
            posixpath.join(output_dir, "labels.txt"),
            lambda file: file.write(names.encode()),
        )
    return result
