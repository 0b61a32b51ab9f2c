"""The tools of the house: layout, types, hooks."""

import pathlib
import shlex
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = pathlib.Path(sys.executable).parent


def _run(command):
    """Runs a command of .venv/bin in the environment of this Python."""
    program, *arguments = shlex.split(command)
    return subprocess.run(
        [TOOLS / pathlib.Path(program).name, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def _hooks():
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (local,) = yaml.safe_load(text)["repos"]
    assert local["repo"] == "local"  # no network
    return local["hooks"]


def test_every_hook_is_a_command_with_options_that_it_knows():
    for hook in _hooks():
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
        ran = _run(f"{hook['entry']} --help")
        assert ran.returncode == 0, ran.stderr
        assert "usage" in ran.stdout.lower()


def test_the_hooks_look_at_what_make_test_looks_at():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = makefile.partition("\ntest: ")[2].partition("\n\n")[0]
    for hook in _hooks():
        command = hook["entry"].removeprefix(".venv/").split(" --")[0]
        assert command.replace("bin/", "$(BIN)/") in commands


def test_the_tree_is_laid_out_by_ruff():
    ran = _run("ruff format --check .")
    assert ran.returncode == 0, ran.stdout
