"""Scaling rules: rounding by hand, scaled stages, drop rates."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efficientnetv2 import scaling, variants

B0 = variants.lookup("efficientnetv2-b0").architecture


@pytest.mark.parametrize(
    ("filters", "width", "rounded", "guarded"),
    [
        (32, 1.0, 32, 32),
        (32, 1.1, 32, 32),  # 35.2 is nearer to 32
        (40, 1.1, 48, 48),  # 44 lies half way: up
        (16, 1.2, 16, 24),  # 19.2 to 16 loses more than a tenth
        (1280, 1.1, 1408, 1408),
        (3, 1.0, 8, 8),  # min_depth
        (20, 1.0, 24, 24),  # rounded at width 1 too
    ],
)
def test_round_filters_by_hand(filters, width, rounded, guarded):
    assert scaling.round_filters(filters, width) == rounded
    assert scaling.round_filters(filters, width, guard=True) == guarded


@given(st.integers(1, 5000), st.floats(0.1, 5), st.sampled_from([4, 8, 16]))
def test_round_filters_is_a_near_multiple_of_the_divisor(filters, width, by):
    rounded = scaling.round_filters(
        filters, width, divisor=by, min_depth=by, guard=True
    )
    assert rounded % by == 0
    assert rounded >= 0.9 * filters * width
    assert rounded <= max(by, filters * width + by)


def test_divisor_and_minimum_are_respected():
    assert scaling.round_filters(30, 1.0, divisor=4, min_depth=4) == 32
    assert scaling.round_filters(5, 1.0, divisor=8, min_depth=16) == 16


def test_round_repeats_rounds_up():
    assert [scaling.round_repeats(r, 1.1) for r in (1, 2, 3, 9)] == [
        2,
        3,
        4,
        10,
    ]
    assert scaling.round_repeats(4, 1.0) == 4


def test_stages_of_b3_scale_in_width_and_depth():
    stages = scaling.scale_stages(
        variants.lookup("efficientnetv2-b3").architecture
    )
    assert [stage.num_repeat for stage in stages] == [2, 3, 3, 5, 7, 12]
    assert [stage.input_filters for stage in stages] == [
        40,
        16,
        40,
        56,
        112,
        136,
    ]
    assert [stage.output_filters for stage in stages] == [
        16,
        40,
        56,
        112,
        136,
        232,
    ]


def test_scale_stages_rejects_channels_that_do_not_meet():
    broken = dataclasses.replace(
        B0, blocks=("r1_k3_s1_e1_i8_o16", "r1_k3_s1_e1_i24_o24")
    )
    with pytest.raises(ValueError, match="the 16 output .*r1_k3_s1_e1_i24_o24"):
        scaling.scale_stages(broken)


def test_only_the_first_block_of_a_stage_strides_and_changes_channels():
    blocks = scaling.expand_stages(scaling.scale_stages(B0))
    assert [place[:2] for place in blocks[:4]] == [
        (0, 0),
        (1, 0),
        (1, 1),
        (2, 0),
    ]
    assert len(blocks) == 21
    for _, index, block in blocks:
        assert block.num_repeat == 1
        if index:
            assert block.strides == 1
            assert block.input_filters == block.output_filters


def test_drop_rate_grows_linearly_over_scaled_blocks():
    assert scaling.drop_rate(0.8, 0, 40) == 0
    assert scaling.drop_rate(0.8, 10, 40) == pytest.approx(0.05)
    assert scaling.drop_rate(0.8, 39, 40) == pytest.approx(0.195)
    assert scaling.drop_rate(1.0, 39, 40) == 0
