"""Every command of the documents is one that the programs take.

Shell commands are read by the program's own flag parser, and what they name
(model, data set, settings, target, extra, file) is looked up; the work itself
is left out.
"""

import pathlib
import re

import documents
import pytest
from documented_commands import Checker, statements

from efficientnetv2 import (
    command_line,
    config,
    config_layers,
    config_schema,
)
from export import __main__ as export_main

_SHELL_WORDS = ("python ", "python3 ", "make ", "pip ", ".venv/bin/")
_KEY = re.compile(rf"(?:{'|'.join(config_schema.SECTIONS)})\.[a-z_0-9]+")
_FILE_ENDINGS = (".csv", ".jsonl", ".keras", ".tfrecord", ".yaml")
_SETTINGS = re.compile(r"--hparam_str=(\"[^\"]*\"|'[^']*'|\S+)")


@pytest.fixture
def checker(monkeypatch, tmp_path):
    files = {}
    for language in ("python", "yaml"):
        for block in documents.blocks(language):
            named = re.match(r"# ([\w.]+)", block.text)
            if named:
                files[named[1]] = block.text
    return Checker(monkeypatch, tmp_path, files)


def _shell():
    """(place, words) of every shell command of the documents."""
    for block in documents.blocks("sh"):
        file, _, line = block.place.rpartition(":")
        for offset, words in statements(block.text):
            yield f"{file}:{int(line) + offset}", words
    for snippet in documents.inline():
        if snippet.text.startswith(_SHELL_WORDS):
            for _, words in statements(snippet.text):
                yield snippet.place, words
    for path, text in documents.comments().items():
        kept = re.sub(r"^(?!python |    ).*(?<!\\)$", "", text, flags=re.M)
        for line, words in statements(kept):
            if words[0] == "python":
                yield f"{path}:{line + 1}", words


COMMANDS = list(_shell())
PLACES = sorted({place.rpartition(":")[0] for place, _ in COMMANDS})


@pytest.mark.parametrize("path", PLACES)
def test_commands_are_ones_that_the_programs_take(path, checker, capsys):
    wrong = []
    for place, words in COMMANDS:
        if place.rpartition(":")[0] == path:
            problem = checker.problem(words)
            said = capsys.readouterr().err.strip()
            if problem:
                wrong.append(f"{place}: {' '.join(words)}: {said or problem}")
    assert not wrong, "\n".join(wrong)


def test_every_document_with_commands_is_read():
    counts = {path: 0 for path in PLACES}
    for place, _ in COMMANDS:
        counts[place.rpartition(":")[0]] += 1
    for path in ("README.md", "CONTRIBUTING.md", "docs/training.md"):
        assert counts[path] >= 3
    # One at the top of every recipe.
    assert sum(path.startswith("hparams/") for path in PLACES) >= len(
        documents.comments()
    )


@pytest.mark.parametrize(
    "command, problem",
    [
        ("python main.py --mode=trian", "exit code 1"),
        (
            "python main.py --mode=train --hparam_str=train.epohcs=3",
            "exit code",
        ),
        ("A=1 python main.py --mode=train --model_name=b0", "exit code 1"),
        ("python -m export --model_dir=r --format=tflight", "'tflight'"),
        ("python -m efficientnetv2.data.convert --datadir=a", "--data_dir"),
        ("python -m efficientnetv2.nothing --a=1", "No module named"),
        ("python -m pytest tests/test_no.py", "no file 'tests/test_no.py'"),
        ("python tests/no.py", "no file"),
        ("python -c 'import ='", "invalid syntax"),
        ("make trian", "no target 'trian'"),
        ("pip install '.[reports]'", "no extra 'reports'"),
        ("pip install keras-efficientnet-v2", "unknown package"),
        ("cat a | frobnicate", "unknown program 'frobnicate'"),
        ("echo 'a", "never closed"),
    ],
)
def test_a_wrong_command_is_found(command, problem, checker):
    found = []
    for _, words in statements(command):
        try:
            found.append(checker.problem(words) or "")
        except ModuleNotFoundError as error:
            found.append(str(error))
    assert problem in "".join(found)


def test_commands_are_told_apart_over_lines_quotes_and_pipes():
    text = "export A='{\n 1}'  # why\npython main.py \\\n  --a=b |\n  cat"
    assert [(line, words[0]) for line, words in statements(text)] == [
        (0, "export"),
        (2, "python"),
        (2, "cat"),
    ]


def _checked_text():
    """(place, text) of what may hold keys: inline code and comments."""
    for snippet in documents.inline():
        if (
            not re.match(r"^\| `", _line(snippet))
            or "moving" not in snippet.file
        ):
            yield snippet.place, snippet.text
        elif _line(snippet).find(f"`{snippet.text}`") > _line(snippet).find(
            " | "
        ):
            yield snippet.place, snippet.text  # not the original's column
    for path, text in documents.comments().items():
        for number, line in enumerate(text.splitlines(), 1):
            yield f"{path}:{number}", line.rstrip(".")


def _line(snippet):
    lines = documents.pages()[snippet.file].split("\n")
    return lines[int(snippet.place.rpartition(":")[2]) - 1]


def _is_module(name):
    path = documents.ROOT / "efficientnetv2" / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_keys_that_the_documents_name_exist():
    wrong = [
        f"{place}: {key}"
        for place, text in _checked_text()
        for key in re.findall(rf"(?<![\w./]){_KEY.pattern}(?![\w/(.])", text)
        if key not in config_schema.TYPES
        and not key.endswith(_FILE_ENDINGS)
        and key not in config_layers._RENAMED
        and not _is_module(key)
    ]
    assert not wrong, "\n".join(wrong)


def test_settings_that_the_documents_show_have_values_that_fit():
    wrong = []
    shown = 0
    for place, text in _checked_text():
        if re.fullmatch(rf"{_KEY.pattern}=\S+", text):
            shown += 1
            try:
                mapping, origin = config_layers.parse_overrides(text)
                config_layers.settings(mapping, origin)
            except ValueError as error:
                wrong.append(f"{place}: {error}")
    assert not wrong, "\n".join(wrong)
    assert shown > 10


def test_settings_in_comments_of_recipes_fit_the_recipe():
    wrong = []
    for path, text in documents.comments().items():
        name = pathlib.PurePath(path).stem
        names = (name, "imagenet")
        if path.startswith("hparams/datasets/"):
            names = ("efficientnetv2-b0", name)
        for found in _SETTINGS.findall(re.sub(r"\\\n\s*", "", text)):
            try:
                config.load(*names, found.strip("\"'").rstrip(".,;:"))
            except ValueError as error:
                wrong.append(f"{path}: {error}")
            if "$PATH" in found:
                wrong.append(f"{path}: $PATH is the shell's own")
    assert not wrong, "\n".join(wrong)


def test_flags_that_the_documents_name_exist():
    known = {row[0] for rows in command_line._FLAGS.values() for row in rows}
    known |= set(command_line._OLD_FLAGS)
    known |= {row[0] for row in export_main._FLAGS}
    known |= {f"no{name}" for name in known}
    for text in (documents.ROOT / "efficientnetv2").rglob("*.py"):
        known |= set(re.findall(r"\"--(\w+)\"", text.read_text("utf-8")))
    wrong = [
        f"{snippet.place}: {snippet.text}"
        for snippet in documents.inline()
        for flag in re.findall(r"^--([a-z_]+)", snippet.text)
        if flag not in known
    ]
    assert not wrong, "\n".join(wrong)
