"""Every key of a recipe is read by something, or the test names it."""

import ast

import pytest
from conftest import ROOT

from efficientnetv2 import config_schema

PACKAGE = ROOT / "efficientnetv2"
# Sections that go by another name where they are passed on alone.
_NAMES = {
    "model": ("model", "architecture"),
    "search": ("search", "settings"),
}
# Old recipes hold it; on or off it is the same mean (see `Architecture`).
_WITHOUT_EFFECT = {"model.local_pooling"}


def _reads(tree):
    """(owner, attribute) of every `owner.attribute` that is read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value
            name = getattr(owner, "id", getattr(owner, "attr", None))
            if name is not None:
                yield name, node.attr


@pytest.fixture(scope="module")
def reads():
    """All of the package's but for the rooms that know every key anyway."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if not path.stem.startswith("config"):
            found |= set(_reads(ast.parse(path.read_text(encoding="utf-8"))))
    return found


def _is_read(key, reads):
    section, _, field = key.partition(".")
    return any(
        (name, field) in reads for name in _NAMES.get(section, (section,))
    )


def test_every_key_is_read_by_something(reads):
    unread = [key for key in config_schema.TYPES if not _is_read(key, reads)]
    assert set(unread) == _WITHOUT_EFFECT


@pytest.mark.parametrize("key", ["train.epoch", "model.width", "runtime.gpu"])
def test_a_key_that_nothing_reads_is_found(key, reads):
    assert not _is_read(key, reads)


def test_text_in_messages_and_docstrings_is_no_reading():
    tree = ast.parse('"""train.epochs"""\nprint("train.epochs must be")')
    assert set(_reads(tree)) == set()
    assert ("train", "epochs") in set(_reads(ast.parse("x = c.train.epochs")))
