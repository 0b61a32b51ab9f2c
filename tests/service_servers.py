"""Starts servers of a tf.data service in processes, for tests."""

import contextlib
import re
import socket

import small_runs

_MODULE = "efficientnetv2.data.service"


def start(*arguments):
    """Starts a server; returns the process and its first line."""
    process = small_runs.start(_MODULE, *arguments, script="-m")
    return process, process.stdout.readline()


def free_port():
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(*, workers):
    """A dispatcher and its workers.

    Yields:
        (address, processes of the workers).
    """
    processes = []
    try:
        process, line = start("dispatcher", "--port=0")
        processes.append(process)
        address = re.search(r"grpc://\S+", line)[0]
        place = address.removeprefix("grpc://")
        for _ in range(workers):
            process, line = start("worker", f"--dispatcher={place}")
            processes.append(process)
            if f"Worker of {place}" not in line:
                raise RuntimeError(process.communicate()[1])
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
