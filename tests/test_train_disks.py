"""A disk that is read-only or full ends a run with one line."""

import os
import shutil
import subprocess
import sys

import pytest
import small_data
import small_runs

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # as a user starts it


def _can_mount(folder):
    """Whether a file system can be mounted in a name space of one's own."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    small_data.write_data_set(folder, count=48)
    return small_runs.write_recipe(folder / "mine.yaml", folder)


@pytest.fixture
def disk(tmp_path):
    if not _can_mount(tmp_path):
        pytest.skip("no file system can be mounted here: unshare -rm mount")
    return tmp_path


def _train(recipe, disk, options):
    """Trains into a folder of a small disk that only this process sees."""
    flags = small_runs.flags(recipe, disk / "run")
    main = [sys.executable, str(small_runs.ROOT / "main.py"), *flags]
    environment = {k: v for k, v in os.environ.items() if k != _LOG_LEVEL}
    mount = f'mount -t tmpfs -o {options} none "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, str(disk), *main],
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.mark.parametrize(
    "options, words",
    [
        ("ro", ["Read-only file system"]),
        # Room for settings and figures, but for no second checkpoint.
        ("size=600k", ["cannot write the checkpoint", "No space left"]),
        # Not even for figures.
        ("size=16k", ["No space left"]),
    ],
)
def test_a_disk_without_room_is_one_line(options, words, recipe, disk):
    result = _train(recipe, disk, options)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for word in (*words, str(disk)):
        assert word in result.stderr
