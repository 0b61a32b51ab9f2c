"""Kills a conversion again and again; not a test by itself.

`python killed_conversion.py DATA_DIR OUTPUT_DIR`: each time a process is killed
a little later, at other places of the program, and the last one ends. Prints
a line of JSON for each: the files that are there then.
"""

import json
import os
import signal
import sys

from efficientnetv2.data.convert import conversion, ledger, shard_file

_MAKE, _WRITE, _ENTER = (
    shard_file.make_record,
    shard_file.write,
    ledger.Ledger.enter,
)


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _die_in_a_shard(records):
    """So many pictures are read."""
    calls = iter(range(records))

    def make(source, number):
        if next(calls, None) is None:
            _die()
        return _MAKE(source, number)

    shard_file.make_record = make


def _die_behind_a_shard(count):
    """The file has its name, but is not entered."""

    def enter(self, name, **figures):
        if len(self._shards) == count:
            _die()
        _ENTER(self, name, **figures)

    ledger.Ledger.enter = enter


def _die_in_the_end():
    """All files are there, labels.txt is not."""
    conversion.storage.write = lambda *_: _die()


def _never():
    pass


def _run(data_dir, output_dir, prepare):
    child = os.fork()
    if child == 0:
        prepare()
        conversion.convert(data_dir, output_dir, shard_mb=1, threads=2)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(
        json.dumps([os.waitstatus_to_exitcode(status), os.listdir(output_dir)]),
        flush=True,
    )


def main(data_dir, output_dir):
    for prepare in (
        lambda: _die_in_a_shard(3),
        lambda: _die_in_a_shard(60),
        lambda: _die_behind_a_shard(2),
        lambda: _die_in_a_shard(20),
        _die_in_the_end,
        _never,
    ):
        _run(data_dir, output_dir, prepare)


if __name__ == "__main__":
    main(*sys.argv[1:])
