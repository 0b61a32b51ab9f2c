"""Start-up of TensorFlow: its environment, and its chatter kept off stderr.

TensorFlow 2.21 writes some lines whatever TF_CPP_MIN_LOG_LEVEL says, because
it does so before its log is set up; they can only be caught on their way.
"""

import contextlib
import glob
import os
import re
import sys
import tempfile

_STDERR = 2  # file descriptor, also of C++
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_DEFAULTS = {
    "KERAS_BACKEND": "tensorflow",
    # Fatal ones only: what C++ logs as an error also comes as an exception,
    # or is advice, such as that oneDNN has no kernel for a type.
    _LOG_LEVEL: "3",
    "GRPC_VERBOSITY": "ERROR",
}
# Lines of C++, as "I0000 00:00:1795 145 port.cc:153] ...".
_CHATTER = re.compile(
    r"[IWE]\d{4} |WARNING: All log messages before absl::InitializeLog"
)


def _replay(file):
    file.seek(0)
    for line in file.read().decode(errors="replace").splitlines(True):
        if not _CHATTER.match(line):
            os.write(_STDERR, line.encode())


@contextlib.contextmanager
def _filtered_stderr():
    sys.stderr.flush()
    kept = os.dup(_STDERR)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), _STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, _STDERR)
            os.close(kept)
            _replay(file)


def _look_for_devices():
    """Finds the devices, the last of the chatter; names an idle GPU."""
    found = sys.modules["tensorflow"].config.list_physical_devices()
    is_idle = (
        glob.glob("/dev/nvidia[0-9]*")
        and "CUDA_VISIBLE_DEVICES" not in os.environ
        and not any(device.device_type == "GPU" for device in found)
    )
    if is_idle:
        print(
            "There is a GPU, but TensorFlow cannot use it; "
            "pip install 'tensorflow[and-cuda]' may help",
            file=sys.stderr,
        )


@contextlib.contextmanager
def quiet():
    """Context in which TensorFlow may be imported without its chatter.

    Sets the environment first; what the user has set stays, and with a log
    level of the user's own nothing is filtered.
    """
    # Ours may come from a parent process.
    quiet_level = _DEFAULTS[_LOG_LEVEL]
    users_own = os.environ.get(_LOG_LEVEL, quiet_level) != quiet_level
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    with contextlib.nullcontext() if users_own else _filtered_stderr():
        yield
        if "tensorflow" in sys.modules:
            _look_for_devices()
