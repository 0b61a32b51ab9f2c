"""What the documents hold: fenced blocks, inline code, comments of recipes."""

import dataclasses
import functools
import json
import re

from conftest import ROOT

_FENCE = re.compile(
    r"^(?P<margin> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
_COMMENT = re.compile(r"^ *# ?", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Snippet:
    """A piece of a document.

    Args:
        place: 'file:line' of its first line.
        language: Of a fenced block; '' for inline code.
        text: What stands there.
    """

    place: str
    language: str
    text: str

    @property
    def file(self):
        """The document's path below the repository."""
        return self.place.rpartition(":")[0]


@functools.cache
def pages():
    """The Markdown documents: a dict from path to text.

    Of notebooks the cells of text, one below the other.
    """
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    paths += [
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "hparams/README.md",
    ]
    found = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in paths
    }
    for path in sorted((ROOT / "colab").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = [
            "".join(c["source"]) for c in cells if c["cell_type"] != "code"
        ]
        found[path.relative_to(ROOT).as_posix()] = "\n\n".join(texts)
    return found


@functools.cache
def comments():
    """The comments of the recipes: a dict from path to text, line for line."""
    found = {}
    for path in sorted((ROOT / "hparams").rglob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        # As many lines as the file has, so that places are right.
        kept = [_COMMENT.sub("", x) if x.startswith("#") else "" for x in lines]
        found[path.relative_to(ROOT).as_posix()] = "\n".join(kept) + "\n"
    return found


def _at(path, text, position):
    return f"{path}:{text.count(chr(10), 0, position) + 1}"


def blocks(language):
    """Fenced blocks of a language ('sh', 'python', ...); a list."""
    return [
        Snippet(_at(path, text, m.start("text")), language, m["text"])
        for path, text in pages().items()
        for m in _FENCE.finditer(text)
        if m["language"] == language
    ]


def languages():
    """(place, language) of all fenced blocks."""
    return [
        (_at(path, text, m.start()), m["language"])
        for path, text in pages().items()
        for m in _FENCE.finditer(text)
    ]


def prose(path):
    """A page's text without its fenced blocks, which are blank lines."""
    return _FENCE.sub(lambda m: "\n" * m.group().count("\n"), pages()[path])


def inline():
    """Inline code of all pages; a list."""
    return [
        Snippet(_at(path, prose(path), m.start()), "", " ".join(m[1].split()))
        for path in pages()
        for m in _INLINE.finditer(prose(path))
    ]


def links():
    """(place, target) of all links and pictures."""
    return [
        (_at(path, prose(path), m.start()), m[1])
        for path in pages()
        for m in _LINK.finditer(prose(path))
    ]


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them; a set."""
    found = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(plain.replace(" ", "-"))
    return found
