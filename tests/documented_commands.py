"""Says what is wrong with a shell command that a document shows."""

import importlib
import pathlib
import re
import runpy
import shlex
import sys
import types

import pytest
import setuptools
from conftest import ROOT

from efficientnetv2 import app, config, modes
from export import __main__ as export_main
from export import formats

MODEL_YAML = (
    "blocks: [r1_k3_s1_e1_i24_o24_c1, r2_k3_s2_e4_i24_o48_c1]\n"
    "feature_size: 64\n"
)
# Programs of others, whose flags are theirs.
_FOREIGN = {
    "base64", "cd", "curl", "echo", "export", "git", "mkdocs", "pre-commit",
    "ruff", "saved_model_cli", "source", "tensorflow_model_server",
}  # fmt: skip
# Packages of the index that no extra names, with the reason.
_PACKAGES = {
    "google-api-python-client": "finds a TPU by its name",
    "litserve": "on a machine without this project",
    "pre-commit": "for those who contribute",
    "tensorflow": "on a machine without this project",
    "tensorflow[and-cuda]": "a GPU's libraries",
}
_SEPARATORS = {"|", "||", "&", "&&", ";"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_VARIABLE = re.compile(r"\$\{?\w+\}?")


def statements(text):
    """Splits shell text into commands, each a list of words.

    Args:
        text: Lines of a shell, with continuations and quotes over lines.

    Yields:
        (line, words): the line that it starts in, from 0, and its words
        without assignments before it.
    """
    lines = text.split("\n")
    start, waiting = 0, ""
    for number, line in enumerate(lines):
        if not waiting:
            start = number
        waiting += line
        if waiting.endswith("\\"):
            waiting = waiting[:-1] + " "
            continue
        try:
            words = _words(waiting)
        except ValueError:  # a quote is open
            waiting += "\n"
            continue
        if words and words[-1] in ("|", "&&"):
            waiting += " "
            continue
        waiting = ""
        yield from ((start, command) for command in _split(words))
    if waiting.strip():
        yield start, ["<a quote is never closed>"]


def _words(text):
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    return list(lexer)


def _split(words):
    command = []
    for word in [*words, ";"]:
        if word not in _SEPARATORS:
            command.append(word)
            continue
        while command and _ASSIGNMENT.match(command[0]):
            command.pop(0)
        if command:
            yield command
        command = []


def metadata():
    """What setup.py says, without building; a dict."""
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(setuptools, "setup", lambda **rows: said.update(rows))
        runpy.run_path("setup.py")
    return said


def make_targets():
    """Targets of the Makefile; a set."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", text, re.MULTILINE))


class Checker:
    """Checks commands in an empty folder; nothing is trained or installed.

    Args:
        patch: A `pytest.MonkeyPatch` that lasts as long as this.
        folder: An empty folder, the present one from then on.
        files: Files by name that commands may find there: text.
    """

    def __init__(self, patch, folder, files):
        patch.chdir(folder)
        patch.setenv("KERAS_BACKEND", "tensorflow")
        self.folder = folder
        self.files = files
        self.called = []
        recorder = types.SimpleNamespace(record=self._record)
        patch.setitem(sys.modules, "efficientnetv2.recorder", recorder)
        for rows in (modes.MODES, modes.SUBJECTS):
            for name, mode in rows.items():
                row = mode._replace(module="recorder", function="record")
                patch.setitem(rows, name, row)
        self._extras = metadata()["extras_require"]
        self._targets = make_targets()

    def _record(self, *args, **kwargs):
        self.called.append((args, kwargs))

    def problem(self, words):
        """What is wrong with a command.

        Args:
            words: Program and arguments.

        Returns:
            A line, or None.
        """
        program = pathlib.PurePath(words[0]).name
        arguments = [_VARIABLE.sub("placeholder", w) for w in words[1:]]
        try:
            if program in ("python", "python3"):
                return self._python(arguments)
            if program == "make":
                return self._make(arguments)
            if program in ("pip", "pip3"):
                return self._pip(arguments)
        except (ValueError, OSError, SyntaxError) as error:
            return str(error)
        return None if program in _FOREIGN else f"unknown program {program!r}"

    def _python(self, arguments):
        first, *rest = arguments
        if first == "-m" and not rest:  # named, not shown
            return None
        if first == "-c":
            compile(rest[0], "<command>", "exec")
            return None
        if first == "-m":
            return self._module(rest[0], rest[1:])
        if first == "main.py":
            return self._app(rest)
        known = (ROOT / first).is_file() or first in self.files
        return None if known else f"no file {first!r}"

    def _module(self, name, arguments):
        if name.split(".")[0] == "export":
            name = f"efficientnetv2.{name}"
        if name == "efficientnetv2":
            return self._app(arguments)
        if name == "efficientnetv2.export":
            return self._export(arguments)
        if name == "pytest":
            paths = [a for a in arguments if a.startswith("tests/")]
            lost = [p for p in paths if not (ROOT / p.split("::")[0]).exists()]
            return f"no file {lost[0]!r}" if lost else None
        if name == "pip":
            return self._pip(arguments)
        if not name.startswith("efficientnetv2."):
            return None if name == "venv" else f"unknown module {name!r}"
        path = name.replace("efficientnetv2.export", "export").split(".")
        if (ROOT / pathlib.Path(*path)).is_dir():
            path.append("__main__")
        module = importlib.import_module(".".join(path))
        if arguments:
            values = module._parser().parse_args(arguments)
            self._recipe(values)
        return None

    def _recipe(self, values):
        """Loads the config that flags of other programs name."""
        model = getattr(values, "model_name", None)
        if model is not None:
            dataset = getattr(values, "dataset_cfg", None)
            settings = getattr(values, "hparam_str", None)
            config.load(model, dataset or "imagenet", settings or "")

    def _app(self, arguments):
        if not arguments:  # named, not shown
            return None
        arguments = [self._prepare(a) for a in arguments]
        self._write_run(arguments)
        before = len(self.called)
        code = app.main(["main.py", *arguments])
        is_help = "--help" in arguments or "--version" in arguments
        if code or (len(self.called) == before and not is_help):
            return f"exit code {code}"
        return None

    def _prepare(self, argument):
        """Writes files that a flag names; folders go below the present one."""
        flag, equals, value = argument.partition("=")
        if flag == "--model_dir":
            return f"{flag}={value.lstrip('/')}"
        if equals and value.endswith(".yaml") and "=" not in value:
            text = self.files.get(pathlib.PurePath(value).name)
            if text is None:
                text = MODEL_YAML if flag == "--model_name" else "train: {}\n"
            path = self.folder / value.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return argument

    def _write_run(self, arguments):
        """A run for those modes that work on one, where none is saved yet."""
        given = dict(a[2:].partition("=")[::2] for a in arguments)
        folder = given.get("model_dir")
        trains = given.get("mode") in ("train", "traineval", "search")
        if (
            folder is None
            or "://" in folder
            or trains
            and "model_name" in given
        ):
            return
        path = self.folder / folder / "config.yaml"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            names = given.get("model_name"), given.get("dataset_cfg")
            config.save(
                config.load(names[0] or "efficientnetv2-b0", names[1]), path
            )

    def _export(self, arguments):
        if not arguments:
            return None
        values = export_main._parse(["export", *arguments])
        if values.help:
            return None
        formats.parse(values.format)
        export_main._check(values)
        self._recipe(values)
        return None

    def _make(self, arguments):
        targets = [a for a in arguments if "=" not in a]
        lost = [a for a in targets if a not in self._targets]
        return f"no target {lost[0]!r} in the Makefile" if lost else None

    def _pip(self, arguments):
        named = [a for a in arguments[1:] if not a.startswith("-")]
        requirements = {r for rows in self._extras.values() for r in rows}
        for name in named:
            own = re.fullmatch(r"(?:\.|efficientnetv2)(?:\[(.+)\])?", name)
            extras = own[1].split(",") if own and own[1] else []
            lost = [e for e in extras if e not in self._extras]
            if lost:
                return f"no extra {lost[0]!r} in setup.py"
            if not own and name not in _PACKAGES and name not in requirements:
                return f"unknown package {name!r}"
        return None
