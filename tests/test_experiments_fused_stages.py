"""Table 3 of the paper: B4 with Fused-MBConv in its first stages."""

import pytest

from efficientnetv2 import block_spec, entry_point
from efficientnetv2.experiments import fused_stages
from efficientnetv2.experiments.fused_stages import PRINTED

# Parameters and multiply-adds at 380 px, each block replaced as it is.
AS_IT_IS = {
    0: (19_341_616, 4.39e9),
    3: (20_954_968, 9.65e9),
    5: (43_529_184, 23.00e9),
    7: (132_120_688, 36.04e9),
}


@pytest.mark.parametrize("row", PRINTED, ids=lambda row: str(row.last))
class TestALine:
    def test_as_it_is_has_these_figures(self, row):
        found = fused_stages.count("as_it_is", row.last)
        parameters, multiply_adds = AS_IT_IS[row.last]
        assert found.parameters == pytest.approx(parameters, rel=1e-3)
        assert found.multiply_adds == pytest.approx(multiply_adds, rel=1e-3)

    def test_nearest_is_within_half_a_percent_of_the_parameters(self, row):
        found = fused_stages.count("nearest", row.last)
        printed = row.million_parameters * 1e6
        assert found.parameters == pytest.approx(printed, rel=5e-3)

    def test_nearest_is_within_3_percent_of_the_multiply_adds(self, row):
        found = fused_stages.count("nearest", row.last)
        printed = row.billion_multiply_adds * 1e9
        assert found.multiply_adds == pytest.approx(printed, rel=3e-2)

    def test_nearest_is_never_farther_than_as_it_is(self, row):
        def distance(reading):
            found = fused_stages.count(reading, row.last)
            return abs(
                found.multiply_adds / 1e9 / row.billion_multiply_adds - 1
            ) + abs(found.parameters / 1e6 / row.million_parameters - 1)

        assert distance("nearest") <= distance("as_it_is")


@pytest.mark.parametrize("last", [0, 3, 5, 7])
def test_the_replaced_stages_are_fused_without_squeeze_excite(last):
    specs = block_spec.decode(fused_stages.blocks("as_it_is", last))
    assert [spec.fused for spec in specs] == [n < last for n in range(7)]
    assert all((spec.se_ratio is None) == spec.fused for spec in specs)


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--reading=best", "reading must be one of as_it_is, nearest"),
        ("--pairs=-1", "pairs must be >= 0. Received: -1"),
    ],
)
def test_a_wrong_flag_is_one_line(flag, message, capsys):
    assert entry_point.run(fused_stages._run, ["fused_stages", flag]) == 1
    assert message in capsys.readouterr().err


def test_sizes_are_printed_with_their_differences(capsys):
    code = entry_point.run(fused_stages._run, ["fused_stages", "--pairs=0"])
    assert code == 0
    assert "| 1-7 | 132.0 M, 34.4 B | 132.12 M (+0.1%)" in (
        capsys.readouterr().out
    )
