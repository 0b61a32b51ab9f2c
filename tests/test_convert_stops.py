"""The converter stopped and started again, and its command."""

import json
import os
import pathlib
import pty
import signal
import subprocess
import sys
import termios

import killed_conversion
import pytest
import small_conversions
import small_data
import small_runs
from small_conversions import PICTURES, contents, convert

from efficientnetv2 import config
from efficientnetv2.data.convert import conversion, plan

pytestmark = pytest.mark.usefixtures("cache")

MODULE = "efficientnetv2.data.convert"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return small_conversions.write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def converted(pictures, tmp_path_factory):
    """(folder, what `convert` returned) of an undisturbed conversion."""
    folder = tmp_path_factory.mktemp("converted")
    return folder, convert(pictures, folder)


def _convert(*flags):
    """Runs the command; returns (exit code, stdout, stderr)."""
    process = small_runs.start(MODULE, *flags, script="-m")
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


class TestStops:
    def test_killed_at_any_place_it_ends_in_the_same_bytes(
        self, pictures, converted, tmp_path
    ):
        result = subprocess.run(
            [
                sys.executable,
                killed_conversion.__file__,
                str(pictures),
                str(tmp_path),
            ],
            env={**os.environ, "PYTHONPATH": str(small_runs.ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
        rows = [
            json.loads(line)
            for line in result.stdout.splitlines()
            if line.startswith("[")
        ]
        codes, listings = zip(*rows, strict=True)
        assert codes == (*[-signal.SIGKILL] * 5, 0)
        shards = [
            sum(name.startswith("train-") for name in names)
            for names in listings
        ]
        assert shards[0] == 0 and shards[1:] == sorted(shards[1:])
        assert 0 < shards[1] < shards[4] == len(contents(converted[0])) - 3
        assert contents(tmp_path).keys() - contents(converted[0]).keys() <= {
            ".conversion.lock"
        }
        found = contents(tmp_path)
        for name, content in contents(converted[0]).items():
            assert found[name] == content

    def test_a_file_that_changed_is_written_again(
        self, pictures, converted, tmp_path
    ):
        expected = contents(converted[0])
        for name, content in expected.items():
            (tmp_path / name).write_bytes(content)
        shards = sorted(name for name in expected if "-of-" in name)
        (tmp_path / shards[0]).unlink()
        os.truncate(tmp_path / shards[1], 1000)
        data = bytearray(expected[shards[2]])
        data[0] ^= 1  # of as many bytes, but no records
        (tmp_path / shards[2]).write_bytes(data)
        convert(pictures, tmp_path)
        assert contents(tmp_path) == expected

    def test_a_file_damaged_in_writing_is_found_in_the_end(
        self, pictures, tmp_path, monkeypatch
    ):
        enter = conversion.ledger.Ledger.enter

        def damage(self, name, **figures):
            enter(self, name, **figures)
            path = pathlib.Path(self.path(name))
            os.truncate(path, path.stat().st_size - 1)

        monkeypatch.setattr(conversion.ledger.Ledger, "enter", damage)
        with pytest.raises(ValueError, match="not as it was written"):
            convert(pictures, tmp_path)

    def test_a_slash_behind_the_folder_says_nothing(self, pictures):
        plain, slashed = (
            plan.make(f"{pictures}{end}").fingerprint for end in ("", "/")
        )
        assert plain == slashed

    def test_another_process_at_it_is_an_error(self, pictures, tmp_path):
        with conversion.ledger.alone(str(tmp_path)):
            with pytest.raises(ValueError, match="another process converts"):
                convert(pictures, tmp_path)

    def test_other_settings_are_refused_and_overwrite_begins_anew(
        self, pictures, tmp_path
    ):
        output = str(tmp_path)
        convert(pictures, output)
        with pytest.raises(ValueError, match="with other settings; give"):
            convert(pictures, output, shard_mb=2)
        convert(pictures, output, shard_mb=100, overwrite=True)
        assert sorted(contents(tmp_path)) == [
            "conversion.json",
            "labels.txt",
            "train-00000-of-00001",
            "validation-00000-of-00001",
        ]

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_folder_with_something_else_is_an_error(
        self, pictures, tmp_path, overwrite
    ):
        (tmp_path / "train-00000-of-00001").write_bytes(b"mine")
        with pytest.raises(ValueError, match="must be empty, or hold a conv"):
            convert(pictures, tmp_path, overwrite=overwrite)
        assert (tmp_path / "train-00000-of-00001").read_bytes() == b"mine"


class TestCommand:
    def test_help_needs_no_tensorflow(self):
        code = (
            "import runpy, sys; sys.argv = ['convert', '--help'];\n"
            "try: runpy.run_module('efficientnetv2.data.convert',"
            " run_name='__main__')\n"
            "except SystemExit as end: code = end.code\n"
            "sys.exit(10 * code + bool({'tensorflow', 'numpy'} & "
            "set(sys.modules)))"
        )
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=small_runs.ROOT,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0
        assert "--output_dir DIR" in result.stdout

    @pytest.mark.parametrize(
        "flags, words",
        [
            ([], ["required", "--data_dir", "--output_dir"]),
            (["--data_dir=a"], ["required", "--output_dir"]),
            (
                ["--data_dir=a", "--output_dir=b", "--shard_mbs=3"],
                ["--shard_mbs", "nearest: '--shard_mb'"],
            ),
            (["--data_dir=a", "--output_dir=b", "c"], ["only flags", "'c'"]),
            (
                ["--data_dir=a", "--output_dir=b", "--threads=0"],
                ["threads must be >= 1. Received: 0"],
            ),
            (
                ["--data_dir=a", "--output_dir=b", "--shard_mb=many"],
                ["--shard_mb", "'many'"],
            ),
            (
                ["--data_dir=a", "--output_dir=b", "--max_bad_fraction=2"],
                ["max_bad_fraction must be", "2"],
            ),
            (
                ["--data_dir=a", "--output_dir=b", "--format=json"],
                ["--format", "'json'", "csv"],
            ),
        ],
    )
    def test_a_mistake_is_one_line_at_once(self, flags, words):
        code, out, err = _convert(*flags)
        assert (code, out) == (1, "")
        assert err.startswith("error: ") and err.count("\n") == 1
        for word in words:
            assert word in err

    def test_a_folder_that_is_not_there_is_one_line(self, tmp_path):
        code, out, err = _convert(
            f"--data_dir={tmp_path}/no", f"--output_dir={tmp_path}/out"
        )
        assert (code, out) == (1, "")
        assert err == (
            f"error: data_dir must be a folder. Received: '{tmp_path}/no'\n"
        )

    def test_the_result_trains(self, tmp_path):
        """By the recipe `records`, with nothing said of the data."""
        root = tmp_path / "pictures"
        for split in ("train", "eval"):
            for name in ("cat", "dog"):
                small_data.write_pictures(
                    root / split / name, [f"{n}.jpg" for n in range(8)]
                )
        output = tmp_path / "records"
        code, out, err = _convert(
            f"--data_dir={root}", f"--output_dir={output}"
        )
        assert (code, err) == (0, "")
        assert "16 in train, 16 in validation" in out
        assert f"--dataset_cfg=records --data_dir={output}" in out
        process = small_runs.start(
            "--mode=traineval",
            f"--model_name={small_runs.BLOCKS}",
            "--dataset_cfg=records",
            f"--data_dir={output}",
            f"--model_dir={tmp_path / 'run'}",
            "--hparam_str=train.epochs=1,train.stages=1,train.isize=24,"
            "eval.isize=24,train.batch_size=8,train.lr_warmup_epoch=0",
        )
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert "on 16 examples" in out
        _, meta = small_runs.end(tmp_path / "run")
        assert meta["class_names"] == ["cat", "dog"]
        recipe = config.read(tmp_path / "run" / "config.yaml")
        assert recipe.data.num_classes == 2

    def test_ctrl_c_ends_with_a_line_and_the_rest_comes_next_time(
        self, pictures, tmp_path
    ):
        """On a terminal, where a bar shows how far it is."""
        terminal, its_end = pty.openpty()
        termios.tcsetwinsize(its_end, (24, 80))
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                MODULE,
                f"--data_dir={pictures}",
                f"--output_dir={tmp_path}",
                "--shard_mb=1",
            ],
            cwd=small_runs.ROOT,
            stdout=subprocess.PIPE,
            stderr=its_end,
            text=True,
        )
        os.close(its_end)
        seen = b""
        while b"picture" not in seen:
            seen += os.read(terminal, 1000)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        assert f"/{sum(PICTURES.values())} [".encode() in seen
        if process.returncode:  # else it was quicker than the signal
            assert process.returncode == 130
            assert not (tmp_path / "labels.txt").exists()
        convert(pictures, tmp_path)
        assert (tmp_path / "labels.txt").exists()
