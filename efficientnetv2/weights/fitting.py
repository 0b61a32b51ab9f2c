"""Compares a file's arrays with a model's variables; all or nothing."""

import dataclasses

import numpy as np

from efficientnetv2.weights import names
from efficientnetv2.weights.source import WeightsError

_STEM = "stem_conv/kernel"
# Names of a kind in a message; the report holds them all.
_LISTED = 12
_EXAMPLES = 2


@dataclasses.dataclass(frozen=True)
class Report:
    """What of a file went where.

    Args:
        kind: What the file is.
        loaded: Variables that took the file's value.
        adapted: Variables that took a value made from the file's.
        kept: Variables of the classifier that keep the model's value.
        missing: Variables that the file does not have.
        mismatched: Variables of another shape, as (name, the file's shape,
            the model's shape).
        unused: Names in the file that the model does not have.
        class_names: Names of the classes where the file states them.
        preprocessing: Style of `data.preprocess` that the weights expect,
            known for published ones only.
    """

    kind: str
    loaded: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, tuple, tuple], ...] = ()
    unused: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None
    preprocessing: str | None = None

    @property
    def complete(self):
        """Whether every variable and every name found its other half."""
        return not (self.missing or self.mismatched or self.unused)

    @property
    def exact(self):
        """Whether it is complete without anything adapted or kept."""
        return self.complete and not (self.adapted or self.kept)

    def __str__(self):
        took = len(self.loaded) + len(self.adapted)
        total = took + sum(
            len(part) for part in (self.kept, self.missing, self.mismatched)
        )
        parts = [f"{took} of {total} variables fit"]
        shapes = [
            f"{name} {list(theirs)} for {list(ours)}"
            for name, theirs, ours in self.mismatched
        ]
        for title, items in (
            ("other channels, adapted", self.adapted),
            ("kept as they are", self.kept),
            ("not in the file", self.missing),
            ("of another shape", shapes),
            ("not in the model", self.unused),
        ):
            if items:
                parts.append(f"{title}: {_listed(items)}")
        return "; ".join(parts)


def _listed(items):
    if len(items) <= _LISTED:
        return ", ".join(items)
    rest = len(items) - _EXAMPLES
    return f"{', '.join(items[:_EXAMPLES])} and {rest} more"


def _is_float(array):
    # Kind V: bfloat16, which numpy itself does not know.
    return array.dtype.kind in "fV"


def _adapt_channels(kernel, channels):
    """Gives a kernel other input channels, for an input of like content.

    One channel takes the sum, so that a grey picture gives what it gave as
    RGB; more channels repeat the kernel in turn and share its weight.

    Args:
        kernel: [height, width, channels_before, filters].
        channels: Channels after, >= 1.

    Returns:
        An array [height, width, channels, filters].
    """
    kernel = kernel.astype("float32", copy=False)
    before = kernel.shape[2]
    if channels == 1:
        return kernel.sum(2, keepdims=True)
    turn = np.arange(channels) % before
    return kernel[:, :, turn] * np.float32(before / channels)


def fit(variables, source, *, adapt):
    """Pairs variables with arrays; assigns nothing.

    Args:
        variables: Dict of `names.variables`.
        source: The file's `Source`.
        adapt: Whether the first kernel takes other input channels, and the
            classifier may stay where the file has none or other classes.

    Returns:
        A dict from name to array and the `Report`.
    """
    values, adapted, kept, missing, mismatched = {}, [], [], [], []
    for name, variable in variables.items():
        array = source.arrays.get(name)
        shape = tuple(variable.shape)
        if array is not None and array.shape == shape and _is_float(array):
            values[name] = array.astype("float32", copy=False)
        elif adapt and names.is_head(name):
            kept.append(name)
        elif array is None:
            missing.append(name)
        elif adapt and name == _STEM and _other_channels(array.shape, shape):
            values[name] = _adapt_channels(array, shape[2])
            adapted.append(name)
        else:
            mismatched.append((name, array.shape, shape))
    # Kernel and bias go together: one class count may fit the other's shape.
    if kept:
        kept = [name for name in variables if names.is_head(name)]
        values = {k: v for k, v in values.items() if not names.is_head(k)}
    unused = [
        name
        for name in source.arrays
        if name not in variables and not names.is_head(name)
    ]
    report = Report(
        kind=source.kind,
        loaded=tuple(name for name in values if name not in adapted),
        adapted=tuple(adapted),
        kept=tuple(kept),
        missing=tuple(missing),
        mismatched=tuple(mismatched),
        unused=(*source.unknown, *unused),
        class_names=None if kept else source.class_names,
    )
    return values, report


def _other_channels(theirs, ours):
    return (*theirs[:2], *theirs[3:]) == (*ours[:2], *ours[3:])


def check(report, *, strict, path, model_name):
    """Refuses what does not fit.

    Args:
        report: Of `fit`.
        strict: Refuse any difference; else only when fewer than half of the
            variables fit.
        path: The file, for the message.
        model_name: The model, for the message.

    Raises:
        WeightsError: one line, with the report.
    """
    took = len(report.loaded) + len(report.adapted)
    if report.complete or (
        not strict and took > len(report.missing) + len(report.mismatched)
    ):
        return
    advice = _advice(report)
    raise WeightsError(
        f"{str(path)!r} ({report.kind}) does not fit {model_name}: "
        f"{advice or report}",
        report=report,
    )


def _advice(report):
    """A plainer line for the two differences that `adapt` bridges."""
    if report.unused:
        return None
    shapes = {name: (theirs, ours) for name, theirs, ours in report.mismatched}
    wrong = [*shapes, *report.missing]
    if wrong == [_STEM] and _other_channels(*shapes.get(_STEM, ((), (0,)))):
        theirs, ours = shapes[_STEM]
        return (
            f"the file's input has {theirs[2]} channels, the model's "
            f"{ours[2]}; adapt=True adapts {_STEM}"
        )
    if not all(names.is_head(name) for name in wrong):
        return None
    if not shapes:
        return (
            f"it has no classifier ({', '.join(wrong)}); adapt=True keeps "
            "the model's own"
        )
    theirs, ours = next(iter(shapes.values()))
    return (
        f"the file has {theirs[-1]} classes, the model {ours[-1]} "
        f"({', '.join(wrong)}): num_classes={theirs[-1]} fits, or adapt=True "
        "keeps the model's own"
    )
