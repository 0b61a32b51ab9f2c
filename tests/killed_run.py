"""The app with a signal to itself in mid-run; not a test by itself.

`python killed_run.py KILL 11 --mode=train ...`: after step 11 it waits until
some checkpoint is written, then sends itself SIGKILL.
"""

import os
import pathlib
import signal
import sys
import time

from efficientnetv2 import app, metrics_log

_PATIENCE = 120  # seconds


def _wait_for_checkpoint(argv):
    flag = "--model_dir="
    folder = next(a.removeprefix(flag) for a in argv if a.startswith(flag))
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if list(pathlib.Path(folder, "checkpoints").glob("ckpt-*.npz")):
            return
        time.sleep(0.01)


def main(name, step, *argv):
    take = metrics_log.MetricsLog.step

    def take_and_die(self, number, *args, **kwargs):
        take(self, number, *args, **kwargs)
        if number == int(step):
            _wait_for_checkpoint(argv)
            os.kill(os.getpid(), getattr(signal, f"SIG{name}"))

    metrics_log.MetricsLog.step = take_and_die
    return app.main(["main.py", *argv])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
