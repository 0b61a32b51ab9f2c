"""What every reader gives: a file's arrays under the model's own names."""

import dataclasses

import numpy as np


class WeightsError(ValueError):
    """A weights file that cannot be used, in one line.

    Args:
        message: The line.
        report: `fitting.Report` with the full lists of names, if the file
            was read and does not fit.
    """

    def __init__(self, message, *, report=None):
        super().__init__(message)
        self.report = report


@dataclasses.dataclass(frozen=True)
class Source:
    """The content of a weights file.

    Args:
        kind: What the file is, for messages.
        arrays: Variable path of the model ('stem_conv/kernel') -> array in
            Keras's layout.
        unknown: Names in the file that no rule gives to this model.
        class_names: Names of the classes where the file states them.
    """

    kind: str
    arrays: dict[str, np.ndarray]
    unknown: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None


def damaged(path, error):
    """The error for a file that its format's library cannot read.

    Args:
        path: The file.
        error: The library's exception.

    Returns:
        A `WeightsError` of one line.
    """
    lines = str(error).strip().splitlines()
    reason = lines[0].strip() if lines else type(error).__name__
    return WeightsError(f"{str(path)!r} is truncated or damaged: {reason}")
