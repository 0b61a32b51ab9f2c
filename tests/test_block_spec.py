"""Block strings: decode and encode are inverse, bad ones are shown."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efficientnetv2 import block_spec, variants

PUBLISHED = sorted(
    {
        string
        for variant in variants.VARIANTS.values()
        for string in variant.architecture.blocks
    }
)
COUNTS = st.integers(1, 10**6)
SPECS = st.builds(
    block_spec.BlockSpec,
    num_repeat=COUNTS,
    kernel_size=st.integers(0, 500).map(lambda i: 2 * i + 1),
    strides=st.sampled_from([1, 2]),
    expand_ratio=COUNTS,
    input_filters=COUNTS,
    output_filters=COUNTS,
    se_ratio=st.none() | st.floats(0, 1, exclude_min=True) | st.just(1),
    fused=st.booleans(),
    id_skip=st.booleans(),
)
PLAIN = block_spec.BlockSpec(1, 3, 1, 1, 24, 24)


@pytest.mark.parametrize("string", PUBLISHED)
def test_encode_is_the_inverse_of_decode_for_published_strings(string):
    assert block_spec.encode(block_spec.decode([string])) == [string]


@given(st.lists(SPECS, max_size=4))
def test_decode_is_the_inverse_of_encode(blocks):
    strings = block_spec.encode(blocks)
    assert block_spec.decode(strings) == tuple(blocks)
    assert block_spec.encode(block_spec.decode(strings)) == strings


@given(SPECS, st.randoms(use_true_random=False))
def test_decode_takes_keys_in_any_order(block, random):
    parts = block_spec.encode([block])[0].split("_")
    random.shuffle(parts)
    assert block_spec.decode(["_".join(parts)]) == (block,)


@given(st.text(alphabet="rkseioc_0123456789.ts-n", max_size=40))
def test_decode_gives_a_block_or_one_line_with_the_string(string):
    try:
        (block,) = block_spec.decode([string])
    except ValueError as error:
        assert repr(string) in str(error)
        assert "\n" not in str(error)
    else:
        assert block_spec.decode(block_spec.encode([block])) == (block,)


def test_decode_reads_every_field():
    (block,) = block_spec.decode(["r4_k5_s2_e6_i24_o40_se0.25_c1_noskip"])
    assert dataclasses.asdict(block) == {
        "num_repeat": 4,
        "kernel_size": 5,
        "strides": 2,
        "expand_ratio": 6,
        "input_filters": 24,
        "output_filters": 40,
        "se_ratio": 0.25,
        "fused": True,
        "id_skip": False,
    }


def test_left_out_keys_mean_mbconv_with_skip_and_no_squeeze_excite():
    (block,) = block_spec.decode(["r1_k3_s1_e1_i24_o24"])
    assert (block.se_ratio, block.fused, block.id_skip) == (None, False, True)
    assert block_spec.decode(["r1_k3_s1_e1_i24_o24_c0"]) == (block,)


@pytest.mark.parametrize(
    ("string", "rule"),
    [
        ("r1_k3_s1_e1_i24_o24_x2", "unknown key 'x2'"),
        ("r1_k3_s1_e1_i24_o24_noskp", "nearest: 'noskip'"),
        ("", "unknown key ''"),
        ("k3_s1_e1_i24_o24", "missing key 'r'"),
        ("r1_k3_s1_e1_i24", "missing key 'o'"),
        ("r1_k3_s1_e1_i24_o24_r2", "doubled key 'r'"),
        ("r1_k3_s1_e1_i24_o24_noskip_noskip", "doubled key 'noskip'"),
        ("r0_k3_s1_e1_i24_o24", "num_repeat must be a whole number >= 1"),
        ("r1_k3_s1_e0_i24_o24", "expand_ratio must be a whole number >= 1"),
        ("r1_k4_s1_e1_i24_o24", "kernel_size must be odd. Received: 4"),
        ("r1_k3_s3_e1_i24_o24", "strides must be 1 or 2. Received: 3"),
        ("r1_k3_s22_e1_i24_o24", "strides must be 1 or 2. Received: 22"),
        ("r1_k3_s1_e1.5_i24_o24", "expand_ratio must be a whole number"),
        ("r1_k3_s1_e-1_i24_o24", "expand_ratio must be a whole number"),
        ("r1_k3_s1_e1_i24_o" + "9" * 5000, "output_filters must be a whole"),
        ("r1_k3_s1_e1_i24_o24_se0", "se_ratio must lie in (0, 1]"),
        ("r1_k3_s1_e1_i24_o24_se1.5", "se_ratio must lie in (0, 1]"),
        ("r1_k3_s1_e1_i24_o24_senan", "unknown key 'senan'"),
        ("r1_k3_s1_e1_i24_o24_c2", "c must be 0 (MBConv) or 1 (Fused-MBConv)"),
    ],
)
def test_decode_rejects_and_shows_the_string(string, rule):
    with pytest.raises(ValueError) as error:
        block_spec.decode([string])
    assert rule in str(error.value)
    assert repr(string) in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strides", True),
        ("strides", 1.0),
        ("num_repeat", 0),
        ("se_ratio", "0.25"),
        ("se_ratio", float("nan")),
        ("fused", 1),
        ("id_skip", None),
    ],
)
def test_block_spec_rejects_what_it_could_not_write(field, value):
    with pytest.raises(ValueError, match=f"{field} must .*Received: "):
        dataclasses.replace(PLAIN, **{field: value})


def test_decode_rejects_a_bare_string_and_other_types():
    with pytest.raises(ValueError, match="must be a list of block strings"):
        block_spec.decode("r1_k3_s1_e1_i24_o24")
    with pytest.raises(ValueError, match="a block must be a string"):
        block_spec.decode([3])
