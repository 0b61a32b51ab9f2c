"""SIGTERM and ctrl-C as a wish to stop that a loop looks at."""

import os
import signal

_STDERR = 2
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_NOTE = (
    b"\nStopping after this step, the state is saved; ctrl-C again ends at "
    b"once\n"
)


class StopSignals:
    """A context in which the first SIGTERM or ctrl-C only sets `received`.

    A second ctrl-C ends the process at once, also in the middle of compiled
    code, where Python's own handlers would have to wait.

    Attributes:
        received: Number of the signal that came first, or None.
    """

    def __init__(self):
        self.received = None

    def __enter__(self):
        self._before = {s: signal.signal(s, self._take) for s in _SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number, _):
        if self.received is None:
            self.received = number
            # Not print: the signal may have come in the middle of one.
            os.write(_STDERR, _NOTE)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    @property
    def exit_code(self):
        """What a shell expects of a program that a signal has ended.

        As after SIGTERM where another worker of the run received one.
        """
        return 128 + (self.received or signal.SIGTERM)
