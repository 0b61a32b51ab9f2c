"""The documents: links lead somewhere, and their Python code works."""

import ast
import importlib
import importlib.util
import inspect
import posixpath
import re

import documents
import numpy as np
import pytest
import yaml
from conftest import ROOT

import efficientnetv2

# Packages that a document may show though no extra brings them.
_ELSEWHERE = {"timm", "torch"}
# Pages whose code is run from top to bottom, without the blocks that need a
# module of TF-Hub or a package that is not here.
_RUN = ("README.md", "docs/models.md", "docs/moving.md")
_NOT_RUN = ("HubLayer(", "import timm")
_LANGUAGES = {"bibtex", "python", "sh", "yaml"}
CODE = documents.blocks("python")


def test_every_link_points_to_a_file_and_a_heading_that_exist():
    wrong = []
    for place, target in documents.links():
        path, _, anchor = target.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        own = place.rpartition(":")[0]
        file = own
        if path:
            file = posixpath.normpath(
                posixpath.join(posixpath.dirname(own), path)
            )
        if not (ROOT / file).exists():
            wrong.append(f"{place}: no file {target!r}")
        elif anchor and anchor not in documents.anchors(
            (ROOT / file).read_text(encoding="utf-8")
        ):
            wrong.append(f"{place}: no heading {target!r}")
    assert not wrong, "\n".join(wrong)


def test_anchors_are_those_of_github():
    text = "# A `b` c: d\n```sh\n# no heading\n```\n## Table 3: it's, so\n"
    assert documents.anchors(text) == {"a-b-c-d", "table-3-its-so"}


def test_every_block_says_its_language():
    wrong = [x for x in documents.languages() if x[1] not in _LANGUAGES]
    assert not wrong, wrong


def test_blocks_of_yaml_are_yaml():
    for block in documents.blocks("yaml"):
        assert isinstance(yaml.safe_load(block.text), dict), block.place


def _import(name):
    """A module, or None where it is one of others that is not here."""
    if name.split(".")[0] in _ELSEWHERE:
        return None
    return importlib.import_module(name)


def _imports(tree):
    """Names that a block imports, and what they are."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module = _import(alias.name)
                own = alias.asname or alias.name.split(".")[0]
                names[own] = module if alias.asname else _import(own)
        elif isinstance(node, ast.ImportFrom):
            module = _import(node.module)
            for alias in node.names:
                value = getattr(module, alias.name, None)
                if module is not None and value is None:
                    value = _import(f"{node.module}.{alias.name}")
                names[alias.asname or alias.name] = value
    return names


def _resolve(node, names):
    """What 'a.b.c' stands for, or None where `a` is not imported."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _resolve(node.value, names)
        return None if owner is None else getattr(owner, node.attr)
    return None


def _check_call(node, names):
    function = _resolve(node.func, names)
    if function is None or any(k.arg is None for k in node.keywords):
        return
    try:
        signature = inspect.signature(function)
    except ValueError:  # written in C
        return
    signature.bind_partial(
        *[None for a in node.args if not isinstance(a, ast.Starred)],
        **{k.arg: None for k in node.keywords},
    )


def check_code(text, names=()):
    """Compiles code and looks up what it imports, names and passes.

    Args:
        text: Python code.
        names: Names that code before it has imported, and what they are.

    Returns:
        These and its own.

    Raises:
        Exception: where something is not there.
    """
    tree = ast.parse(text)
    names = {**dict(names), **_imports(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.pop(node.id, None)  # it is another thing from now on
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            _resolve(node, names)
        elif isinstance(node, ast.Call):
            _check_call(node, names)
    return names


@pytest.mark.parametrize("file", sorted({block.file for block in CODE}))
def test_names_and_arguments_in_code_exist(file):
    wrong, names = [], {}
    for block in CODE:
        if block.file == file:
            try:
                names = check_code(block.text, names)
            except Exception as error:  # of any kind: the document is wrong
                wrong.append(f"{block.place}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text, problem",
    [
        ("import efficientnetv3", ModuleNotFoundError),
        ("from efficientnetv2 import weight", ModuleNotFoundError),
        ("import efficientnetv2 as e\ne.get_models('a')", AttributeError),
        ("import efficientnetv2 as e\ne.get_model('a', top=1)", TypeError),
        ("import keras\nkeras.layers.Dens(3)", AttributeError),
        ("model = (", SyntaxError),
    ],
)
def test_wrong_code_is_found(text, problem):
    with pytest.raises(problem):
        check_code(text)


def _find(name):
    """Raises ImportError where there is nothing of a dotted name."""
    root, *rest = name.split(".")
    found = importlib.import_module(root)
    for number, part in enumerate(rest, 1):
        value = getattr(found, part, None)
        if value is None:  # a module that nobody has imported yet
            value = importlib.import_module(".".join([root, *rest[:number]]))
        found = value


def _texts(path):
    """Regular expressions of the texts that a source file can print."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        parts = []
        if isinstance(node, ast.JoinedStr):
            parts = [getattr(part, "value", None) for part in node.values]
        elif isinstance(node, ast.Constant):
            parts = [node.value]
        plain = [x for x in parts if isinstance(x, str)]
        if sum(map(len, plain)) >= 18:
            yield "".join(
                re.escape(x) if isinstance(x, str) else ".*?" for x in parts
            )


def _messages():
    """(place, message) of what the pages say that the program prints."""
    page = documents.prose("docs/troubleshooting.md")
    for shown in re.finditer(r"(?:^    \S.*\n)+", page, re.MULTILINE):
        text = " ".join(shown[0].split()).removeprefix("error: ")
        if not re.match(r"\w+Error: ", text):  # what others print
            line = page.count("\n", 0, shown.start()) + 1
            yield f"docs/troubleshooting.md:{line}", text


def test_messages_that_the_documents_show_are_those_of_the_program():
    sources = (ROOT / "efficientnetv2").rglob("*.py")
    texts = [re.compile(x) for path in sources for x in _texts(path)]
    shown = list(_messages())
    wrong = [
        f"{place}: {message}"
        for place, message in shown
        if not any(text.match(message) for text in texts)
    ]
    assert not wrong, "\n".join(wrong)
    assert len(shown) >= 8


def test_names_in_prose_exist():
    pattern = re.compile(r"(?:efficientnetv2|keras|tf)(?:\.[A-Za-z_]\w*)+")
    wrong, found = [], 0
    for snippet in documents.inline():
        named = pattern.match(snippet.text)
        if named and not snippet.text.startswith("tf.train.Example"):
            found += 1
            try:
                _find(re.sub("^tf", "tensorflow", named[0]))
            except ImportError as error:
                wrong.append(f"{snippet.place}: {snippet.text}: {error}")
    assert not wrong, "\n".join(wrong)
    assert found > 10


@pytest.fixture
def published(monkeypatch, tmp_path):
    """Random weights stand for the published ones; nothing is fetched."""

    def fetch(name, kind):
        path = tmp_path / f"{name}-{kind}.weights.h5"
        if not path.exists():
            model = efficientnetv2.get_model(name)
            efficientnetv2.weights.save(model, path)
        return str(path)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("efficientnetv2.weights.fetch", fetch)


def run_code(blocks, names):
    """Runs blocks one after the other; returns their names."""
    for block in blocks:
        if not any(words in block.text for words in _NOT_RUN):
            text = block.text.replace("efficientnetv2-s", "efficientnetv2-b0")
            exec(compile(text, block.place, "exec"), names)
    return names


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Keras's own
@pytest.mark.parametrize("file", _RUN)
def test_code_of_the_page_runs(file, published):
    names = {"pictures": np.zeros((1, 64, 64, 3), "float32")}
    blocks = [block for block in CODE if block.file == file]
    assert blocks
    names = run_code(blocks, names)
    if file == "docs/models.md":
        heat = np.asarray(names["heat"])
        assert heat.shape == (1, 2, 2) and heat.min() >= 0
        assert [x.shape[-1] for x in names["pyramid"].outputs] == [64] * 4
    if file == "docs/moving.md":
        assert names["difference"] < 1e-4
        assert not names["report"].missing
        assert names["features"].output_shape[-1] == 1280
        assert names["head"][0] == "top_conv/kernel"
        assert names["head"][-1] == "predictions/bias"
