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
    _LOG_LEVEL: "2",  # errors only
    "GRPC_VERBOSITY": "ERROR",
}
# Information and warnings of C++, as "I0000 00:00:1795 145 port.cc:153] ...".
_CHATTER = re.compile(
    r"[IW]\d{4} |WARNING: All log messages before absl::InitializeLog"
)
# An error only where there is a GPU.
_NO_GPU = re.compile(r"E\d{4} .*(cuInit|cuda|CUDA)")


def _is_chatter(line):
    if _CHATTER.match(line):
        return True
    return bool(_NO_GPU.match(line)) and not glob.glob("/dev/nvidia[0-9]*")


def _replay(file):
    file.seek(0)
    for line in file.read().decode(errors="replace").splitlines(True):
        if not _is_chatter(line):
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


@contextlib.contextmanager
def quiet():
    """Context in which TensorFlow may be imported without its chatter.

    Sets the environment first; what the user has set stays, and with a log
    level of the user's own nothing is filtered.
    """
    users_own = _LOG_LEVEL in os.environ
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    with contextlib.nullcontext() if users_own else _filtered_stderr():
        yield
        if "tensorflow" in sys.modules:
            # Looking for a GPU is the last of the chatter.
            sys.modules["tensorflow"].config.list_physical_devices()
