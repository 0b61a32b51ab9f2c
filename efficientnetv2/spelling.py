"""The name that exists and is most like one that does not."""

import difflib


def closest(word, possibilities):
    """The possibility most like a word, whatever its case.

    Args:
        word: What was received, a string.
        possibilities: The names that exist, strings.

    Returns:
        One of them, or None where none is like it.
    """
    by_fold = {p.casefold(): p for p in possibilities}
    found = difflib.get_close_matches(str(word).casefold(), by_fold, n=1)
    return by_fold[found[0]] if found else None


def nearest(word, possibilities):
    """`closest` as the end of a message.

    Args:
        word: What was received, a string.
        possibilities: The names that exist, strings.

    Returns:
        `" (nearest: 'x')"` or an empty string.
    """
    found = closest(word, possibilities)
    return f" (nearest: {found!r})" if found else ""
