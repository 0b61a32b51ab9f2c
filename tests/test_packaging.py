"""The distribution: what a wheel holds, and that it works by itself."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import documented_commands
import pytest
import wheels

import efficientnetv2

ROOT = pathlib.Path(__file__).resolve().parent.parent
_MODEL_WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = None  # an import of it fails
import numpy as np
import efficientnetv2
blocks = "r1_k3_s1_e1_i8_o8_c1;r1_k3_s2_e4_i8_o16_se0.25"
model = efficientnetv2.get_model(blocks, num_classes=7)
logits = model(np.zeros([2, 32, 32, 3], "float32"))
print(*logits.shape, type(logits).__module__)
"""


@pytest.fixture(scope="module")
def metadata():
    return documented_commands.metadata()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Path of a wheel built from a copy of the sources."""
    return wheels.build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked(wheel):
    """Folder with the wheel's files, as in site-packages."""
    folder = wheel.parent / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def _run_installed(unpacked, *arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=unpacked.parent,
        env={**os.environ, "PYTHONPATH": str(unpacked), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_wheel_holds_every_module_and_recipe_and_nothing_generic(wheel):
    expected = {"efficientnetv2/py.typed"}
    for folder, name in (
        ("efficientnetv2", "efficientnetv2"),
        ("export", "efficientnetv2/export"),
        ("hparams", "efficientnetv2/hparams"),
    ):
        for pattern in ("**/*.py", "**/*.yaml"):
            for path in (ROOT / folder).glob(pattern):
                inside = path.relative_to(ROOT / folder).as_posix()
                expected.add(f"{name}/{inside}")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"efficientnetv2-{efficientnetv2.__version__}.dist-info"
    assert expected <= names, f"not in the wheel: {expected - names}"
    assert {name.split("/")[0] for name in names} == {"efficientnetv2", info}
    assert any(name.endswith("/LICENSE") for name in names)


def test_the_wheel_runs_as_python_m_with_its_recipes(unpacked):
    ran = _run_installed(unpacked, "-m", "efficientnetv2", "--help")
    assert ran.returncode == 0
    assert "python -m efficientnetv2 --mode=train" in ran.stdout
    for name in ("imagenet", "cifar10", "shapes", "efficientnetv2-xl"):
        assert name in ran.stdout


def test_the_wheels_recipes_make_the_config_of_the_checkout(unpacked):
    code = (
        "from efficientnetv2 import config as c; import sys;"
        "sys.stdout.write(repr(c.load('efficientnetv2-s', 'imagenet')))"
    )
    ran = _run_installed(unpacked, "-c", code)
    here = efficientnetv2.config.load("efficientnetv2-s", "imagenet")
    assert ran.stdout == repr(here)


def test_export_is_a_part_of_the_installed_package(unpacked):
    code = "import efficientnetv2.export as e; print(e.__file__)"
    ran = _run_installed(unpacked, "-c", code)
    assert ran.stdout.strip().startswith(str(unpacked))


def test_the_model_runs_on_jax_where_tensorflow_is_not_installed(unpacked):
    pytest.importorskip("jax", reason="JAX is not installed")
    ran = _run_installed(
        unpacked, "-c", _MODEL_WITHOUT_TENSORFLOW, KERAS_BACKEND="jax"
    )
    assert ran.stdout.split()[:2] == ["2", "7"], ran.stderr
    assert ran.stdout.split()[2].startswith("jax")


def test_main_runs_uninstalled_from_any_directory(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, ROOT / "main.py", "--help"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--mode=train" in ran.stdout
    assert ran.stderr == ""


def test_main_is_a_few_lines():
    assert len((ROOT / "main.py").read_text().splitlines()) <= 12


def test_every_requirement_has_an_upper_bound(metadata):
    extras = metadata["extras_require"]
    rows = [row for extra in extras.values() for row in extra]
    for row in (*metadata["install_requires"], *rows):
        assert re.search(r"<\d", row), row
    assert metadata["python_requires"] == ">=3.11,<3.14"


def test_the_extras_are_complete(metadata):
    extras = metadata["extras_require"]
    named = {"hub", "datasets", "search", "report", "onnx", "tflite", "serve"}
    named |= {"demo", "docs", "test", "all"}
    assert set(extras) == named
    for name in named - {"all"}:
        assert set(extras[name]) <= set(extras["all"])


def test_the_readme_gives_the_reason_for_every_dependency(metadata):
    readme = (ROOT / "README.md").read_text().lower()
    for row in metadata["install_requires"]:
        name = re.match(r"[\w-]+", row).group().lower()
        assert re.search(rf"^[|*-] *`?{name}`?", readme, re.MULTILINE), name
    assert "tensorflow-addons" in readme


def test_ci_runs_exactly_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    commands = [line for line in lines if not line.startswith("#")]
    assert commands[-1] == "exec make test"
    if shutil.which("make"):
        planned = subprocess.run(
            ["make", "--dry-run", "test"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "ruff check ." in planned
        assert "ruff format --check ." in planned
        assert "bin/mypy" in planned
        assert "-m pytest" in planned


def test_the_license_is_apache_2():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert "9. Accepting Warranty or Additional Liability." in text
