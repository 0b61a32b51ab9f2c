"""Times calls in turn, so that whatever slows the machine slows all."""

import gc
import time

WARM_UP = 3  # calls that are not timed; the first one traces


def seconds(calls, rounds):
    """Times calls in turn, each first as often as last.

    Args:
        calls: Functions.
        rounds: Number of rounds.

    Returns:
        A list of seconds for each function.
    """
    for call in calls:
        for _ in range(WARM_UP):
            call()
    found = [[] for _ in calls]
    gc.collect()
    gc.disable()  # else it falls on one of a pair
    try:
        for number in range(rounds):
            order = range(len(calls))
            for index in order if number % 2 == 0 else reversed(order):
                start = time.perf_counter()
                calls[index]()
                found[index].append(time.perf_counter() - start)
    finally:
        gc.enable()
    return found
