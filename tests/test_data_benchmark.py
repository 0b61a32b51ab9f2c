"""The speed of the input pipeline: how its figures come about."""

import re

import numpy as np
import pytest
import small_data
import small_runs

from efficientnetv2 import app, data_benchmark

pytestmark = pytest.mark.usefixtures("cache")


class TestSpeeds:
    @pytest.fixture
    def speeds(self):
        """Three rounds; the machine is half as fast in the last one."""
        seconds = np.array(
            [
                # limit, read, decode, batch, whole
                [4.0, 1.0, 3.0, 4.0, 5.0],
                [4.0, 1.0, 3.0, 4.0, 5.0],
                [8.0, 2.0, 6.0, 8.0, 16.0],
            ]
        )
        names = ("limit", "read", "decode", "batch", "whole")
        return data_benchmark.Speeds(names, seconds)

    def test_shares_of_the_limit_are_of_the_same_round(self, speeds):
        low, middle, high = speeds.share_of_limit("whole")
        assert (low, middle, high) == pytest.approx((0.65, 0.8, 0.8))

    def test_a_stages_share_is_what_it_adds(self, speeds):
        shares = speeds.shares_of_stages()
        assert shares == pytest.approx(
            {"read": 0.25, "decode": 0.5, "batch": 0.25}
        )


def _benchmark(recipe):
    return app.main(
        [
            "main.py",
            "--mode=benchmark",
            "--what=data",
            "--pairs=1",
            f"--model_name={small_runs.BLOCKS}",
            f"--dataset_cfg={recipe}",
        ]
    )


class TestCommand:
    def test_no_rounds_are_an_error(self):
        with pytest.raises(ValueError, match="pairs must be >= 1. .*: 0"):
            data_benchmark.run(None, "", pairs=0)

    def test_it_prints_shares_of_the_limit_and_of_a_pictures_time(
        self, tmp_path, capsys
    ):
        data = small_data.write_data_set(tmp_path / "data", broken=(3, 17))
        recipe = small_runs.write_recipe(
            tmp_path / "mine.yaml", data, {"train.stages": 1}
        )
        assert _benchmark(recipe) == 0
        out = capsys.readouterr().out
        assert "40 pictures of mine/train, " in out
        assert re.findall(r"^(\d+) px, none$", out, re.M) == ["24"]
        shares = re.findall(r"^(limit|whole) .*  +(\d\.\d\d)  \(", out, re.M)
        assert [name for name, _ in shares] == ["limit", "whole"]
        assert shares[0][1] == "1.00" and 0 < float(shares[1][1]) < 1.5
        rows = re.findall(r"^(\w+) +([\d.]+)%", out, re.M)
        stages = ["read", "decode", "resize", "augment", "batch", "mix"]
        assert [name for name, _ in rows] == stages
        assert abs(sum(float(share) for _, share in rows) - 100) < 0.5

    def test_data_without_a_good_picture_are_one_line(self, tmp_path, capsys):
        data = small_data.write_data_set(tmp_path / "data", broken=range(40))
        recipe = small_runs.write_recipe(tmp_path / "mine.yaml", data)
        assert _benchmark(recipe) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert line == "error: no picture of mine/train can be decoded"
