"""Fills a disk cache and dies at it; not a test by itself.

`python cache_writer.py FOLDER EXAMPLES KILLS`: a process writes payload after
payload and is killed with SIGKILL somewhere; and another one, KILLS times.
Prints how many payloads each found there when it began.
"""

import os
import random
import signal
import sys
import time

from efficientnetv2.data.sources import cached


def payload(number):
    """Bytes that tell their number; 0 to 3 of the lengths differ."""
    return bytes([number % 251]) * (1000 + number % 4)


def _write(folder, num_examples, started):
    store = cached.Disk(folder, num_examples)
    kept = [n for n in range(num_examples) if store.get(n) is not None]
    print(len(kept), flush=True)
    os.write(started, b".")
    while True:  # the same again, so that the kill meets a write
        for number in range(len(kept), num_examples):
            store.put(number, payload(number))
            time.sleep(0.0001)


def main(folder, num_examples, kills):
    draws = random.Random(0)
    has_started, started = os.pipe()
    for _ in range(int(kills)):
        child = os.fork()
        if child == 0:
            _write(folder, int(num_examples), started)
        os.read(has_started, 1)
        time.sleep(draws.uniform(0.02, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
