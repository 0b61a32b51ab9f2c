"""Builds a wheel, uses it in empty environments: python wheels.py PYTHON..."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
_USE = """
import numpy as np
import efficientnetv2
config = efficientnetv2.config.load("efficientnetv2-s", "cifar10")
(stage,) = {type(s) for s in efficientnetv2.progressive.plan(config)}
model = efficientnetv2.get_model("efficientnetv2-b0", num_classes=7)
assert model.count_params() == 5_928_279, model.count_params()
assert model(np.zeros([2, 64, 64, 3], "float32")).shape == (2, 7)
assert "site-packages" in efficientnetv2.__file__, efficientnetv2.__file__
"""
# What is run -> text that it prints.
_COMMANDS = {
    ("-m", "efficientnetv2", "--help"): "cifar10",
    ("-m", "efficientnetv2.export", "--help"): "saved_model",
    ("-c", _USE): "",
}


def build(folder):
    """Builds a wheel from a copy of the sources, so that nothing old gets in.

    Args:
        folder: An empty folder.

    Returns:
        The wheel's path.
    """
    source = folder / "source"
    source.mkdir()
    without = shutil.ignore_patterns("__pycache__")
    for name in ("efficientnetv2", "export", "hparams"):
        shutil.copytree(ROOT / name, source / name, ignore=without)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet"]
    subprocess.run(
        [*command, "--no-build-isolation", "--wheel-dir", folder, source],
        check=True,
    )
    [path] = folder.glob("*.whl")
    return path


def _problem(python, wheel, folder):
    """Installs and uses the wheel by itself; what goes wrong, or None."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    own = folder / "bin" / "python"
    subprocess.run([own, "-m", "pip", "install", "-q", wheel], check=True)
    for arguments, said in _COMMANDS.items():
        ran = subprocess.run(
            [own, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode or said not in ran.stdout:
            return f"{arguments}:\n{ran.stdout}{ran.stderr}"
    return None


def main(pythons):
    """Prints a line for each Python; exit code 1 if one fails."""
    failed = False
    with tempfile.TemporaryDirectory(prefix="wheels-") as name:
        folder = pathlib.Path(name)
        wheel = build(folder)
        for python in pythons:
            start = time.monotonic()
            problem = _problem(python, wheel, folder / "environment")
            shutil.rmtree(folder / "environment")
            failed = failed or problem is not None
            seconds = time.monotonic() - start
            print(f"{python}: {problem or 'works'} ({seconds:.0f} s)")
            sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
