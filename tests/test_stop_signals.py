"""SIGTERM and ctrl-C wait for the loop, a second ctrl-C does not."""

import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from efficientnetv2.stop_signals import StopSignals


@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_the_first_signal_is_noted_and_the_old_handlers_come_back(
    number, code, capfd
):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopSignals() as stop:
        assert stop.received is None
        os.kill(os.getpid(), number)
        assert stop.received == number
        assert stop.exit_code == code
        os.kill(os.getpid(), signal.SIGTERM)  # more of it changes nothing
        assert stop.received == number
    after = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert after == before
    assert capfd.readouterr().err.count("ctrl-C again ends at once") == 1


def test_a_second_ctrl_c_ends_the_process_though_code_never_returns():
    code = (
        "import os, signal, threading, time\n"
        "from efficientnetv2.stop_signals import StopSignals\n"
        "with StopSignals():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('noted', flush=True)\n"
        "    lock = threading.Lock(); lock.acquire()\n"
        "    signal.pthread_kill(threading.get_ident(), signal.SIGINT)\n"
        "    print('too far')\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == -signal.SIGINT
    assert child.stdout == "noted\n"
