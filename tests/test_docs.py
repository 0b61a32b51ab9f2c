"""The site: it builds without a warning, and no public name is left out."""

import ast
import html.parser
import importlib
import inspect
import os
import pathlib
import re
import subprocess
import sys

import pytest

import efficientnetv2

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))
# Modules that the API pages show.
MODULES = [
    name
    for page in PAGES
    for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)
]


class _Anchors(html.parser.HTMLParser):
    """Collects the ids of a page's elements."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def handle_starttag(self, tag, attrs):
        self.found |= {value for name, value in attrs if name == "id"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    tools = pathlib.Path(sys.executable).parent  # ruff is there
    ran = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", folder],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.fixture(scope="module")
def anchors(site):
    parser = _Anchors()
    for page in (site / "api").glob("*.html"):
        parser.feed(page.read_text(encoding="utf-8"))
    return parser.found


def _public(module):
    """Public functions and classes of a module, dotted names."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    ]
    return [f"{module.__name__}.{name}" for name in names]


def test_every_guide_is_a_page(site):
    guides = [path.stem for path in (ROOT / "docs").glob("*.md")]
    pages = {path.stem for path in site.glob("*.html")}
    assert len(guides) >= 6
    assert {*guides, "index", "recipes"} <= pages


def test_every_name_of_the_package_is_on_a_page(anchors):
    for name in set(efficientnetv2.__all__) - {"__version__"}:
        value = getattr(efficientnetv2, name)
        where = value.__name__
        if not inspect.ismodule(value):
            where = f"{value.__module__}.{value.__qualname__}"
        assert where in anchors, where


def test_every_module_that_exports_is_on_a_page():
    sources = {
        f"export.{path.stem}": ast.parse(path.read_text(encoding="utf-8"))
        for path in (ROOT / "export").glob("*.py")
    }
    exporting = {
        name
        for name, tree in sources.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == "export"
    }
    assert {"export.hub", "export.formats"} <= exporting <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_of_a_shown_module_is_on_a_page(name, anchors):
    expected = _public(importlib.import_module(name))
    assert expected and not set(expected) - anchors


@pytest.mark.parametrize("name", MODULES)
def test_no_sentence_of_a_return_value_reads_as_its_type(name):
    """Up to a colon the first line would be shown as the type."""
    module = importlib.import_module(name)
    for full in _public(module):
        value = getattr(module, full.split(".")[-1])
        own = vars(value).values() if inspect.isclass(value) else ()
        for one in (value, *own):
            doc = inspect.getdoc(one) or ""
            assert not re.search(r"^Returns:\n +[^\n]*: ", doc, re.M), full


@pytest.mark.parametrize("name", MODULES)
def test_public_functions_say_the_types_of_all_they_take_and_give(name):
    module = importlib.import_module(name)
    for full in _public(module):
        value = getattr(module, full.split(".")[-1])
        if inspect.isfunction(value):
            signature = inspect.signature(value)
            kinds = [p.annotation for p in signature.parameters.values()]
            kinds.append(signature.return_annotation)
            assert inspect.Signature.empty not in kinds, full


def test_sections_of_docstrings_are_shown_as_sections(site):
    page = (site / "api" / "models.html").read_text(encoding="utf-8")
    for section in ("Parameters", "Returns", "Raises"):
        assert re.search(rf">\s*{section}:?\s*<", page), section
    for path in (site / "api").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r">\s*(Args|Returns|Raises|Yields):\s", text), path
