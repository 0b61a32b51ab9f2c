"""Which examples a split's name stands for: `train[:80%]+validation`.

    train[:80%]    a part, in percent or in numbers of examples
    a+b            one after the other
    minival        every 128th example of train (10,009 of ImageNet's)
    minitrain      the others

Differs from the released code: there minival is part of what is trained on.
"""

import re

import numpy as np

# Data sets differ in what they call the split to evaluate on.
EVALUATION = ("eval", "validation", "val", "valid", "test")
_PART = re.compile(r"(\w[\w.-]*)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?")
_MINIVAL_EVERY = 128


def base_names(split):
    """Names of the stored splits that a split takes examples from.

    Args:
        split: A split's name.

    Returns:
        A list of names, in order.

    Raises:
        ValueError: if `split` cannot be read.
    """
    return [name for name, _ in _parts(split)]


def select(split, count):
    """Numbers of the examples that a split stands for.

    Args:
        split: A split's name.
        count: Function of a stored split's name: its number of examples.

    Returns:
        A list of (name of the stored split, int64 array of numbers).

    Raises:
        ValueError: if `split` cannot be read.
    """
    return [(name, choose(count(name))) for name, choose in _parts(split)]


def _parts(split):
    parts = []
    for text in split.split("+"):
        match = _PART.fullmatch(text.strip())
        if match is None:
            raise ValueError(
                "split must look like train, train[:80%] or train+validation. "
                f"Received: {split!r}"
            )
        parts.append(_part(*match.groups()))
    return parts


def _part(name, start, stop):
    """A stored split's name and a function of its size to the numbers."""
    if name in ("minival", "minitrain"):
        stored, inside = "train", name == "minival"

        def everyone(count):
            numbers = np.arange(count, dtype=np.int64)
            last = numbers % _MINIVAL_EVERY == _MINIVAL_EVERY - 1
            return numbers[last == inside]
    else:
        stored = name

        def everyone(count):
            return np.arange(count, dtype=np.int64)

    def choose(count):
        numbers = everyone(count)
        first, last = (_place(text, len(numbers)) for text in (start, stop))
        return numbers[first:last]

    return stored, choose


def _place(text, count):
    if text is None:
        return None
    if text.endswith("%"):
        return round(int(text[:-1]) * count / 100)
    return int(text)
