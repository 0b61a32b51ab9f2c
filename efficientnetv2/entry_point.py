"""How a program of ours ends: exit codes, and one line for an error."""

import argparse
import os
import sys

from efficientnetv2.spelling import nearest

_INTERRUPTED = 130  # after ctrl-C: 128 + SIGINT
_PIPE_CLOSED = 141  # 128 + SIGPIPE, as `| head` ends other programs
_TENSORFLOW_ERROR = "tensorflow.python.framework.errors_impl.OpError"


class FlagParser(argparse.ArgumentParser):
    """Reads flags; what is wrong with them is a ValueError of one line."""

    def __init__(self, **settings):
        super().__init__(
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **settings,
        )

    def error(self, message):
        raise ValueError(message.removeprefix("argument "))

    def parse_args(self, args=None, namespace=None):
        values, others = self.parse_known_args(args, namespace)
        if not others:
            return values
        name = others[0].partition("=")[0]
        if not name.startswith("--"):
            raise ValueError(f"only flags are taken. Received: {others[0]!r}")
        known = [f for f in self._option_string_actions if f.startswith("--")]
        raise ValueError(
            f"unknown flag {name}{nearest(name, known)}; --help lists the flags"
        )


def _describe(error):
    """One line about what a user can mend; None for an error of ours."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror}{where}"
    if isinstance(error, (ValueError, OSError)):
        return text or type(error).__name__
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package == "efficientnetv2":
            return None
        return f"the package {package!r} is not installed"
    names = {f"{c.__module__}.{c.__qualname__}" for c in type(error).__mro__}
    if _TENSORFLOW_ERROR in names:
        return f"{text} (--debug shows where)"
    return None


def run(work, argv):
    """Runs a program.

    Args:
        work: Function of argv that does it and returns its exit code.
        argv: The program's name, flags and other arguments. `--debug` shows
            the traceback of an error.

    Returns:
        The exit code: 1 after an error, 130 after ctrl-C, or `work`'s.
    """
    try:
        code = work(argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("\nInterrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has gone; what is still buffered must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except Exception as error:
        line = _describe(error)
        if line is None or "--debug" in argv:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 1
