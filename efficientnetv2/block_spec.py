"""Block strings: the one-line notation of a stage and its decoder.

A stage of identical blocks is written as `r4_k3_s2_e4_i24_o48_c1`:

    r   number of blocks (the first one takes the stride)
    k   kernel size, pixels, odd
    s   stride of the first block, 1 or 2
    e   expansion ratio of the inner channels
    i   input channels of the stage
    o   output channels of the stage
    se  squeeze-excite ratio to the block's input channels, 0 < se <= 1
    c   0: MBConv (depthwise), 1: Fused-MBConv
    noskip  no residual connection

`se`, `c` and `noskip` may be left out. Source: the tables of the papers
(arXiv 1905.11946, table 1; arXiv 2104.00298, table 4).
"""

import dataclasses
import re
from collections.abc import Iterable, Sequence

from efficientnetv2 import spelling

_REQUIRED = ("r", "k", "s", "e", "i", "o")
_NAMES = {
    "r": "num_repeat",
    "k": "kernel_size",
    "s": "strides",
    "e": "expand_ratio",
    "i": "input_filters",
    "o": "output_filters",
    "se": "se_ratio",
    "c": "fused",
}
_INTEGER = re.compile(r"0|[1-9][0-9]{0,8}")
_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?")


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """One stage of identical blocks.

    Args:
        num_repeat: Number of blocks, >= 1.
        kernel_size: Side of the (depthwise) kernel in pixels, odd, >= 1.
        strides: Stride of the first block, 1 or 2.
        expand_ratio: Inner channels over input channels, >= 1.
        input_filters: Channels that enter the stage, >= 1.
        output_filters: Channels that leave every block, >= 1.
        se_ratio: Squeeze-excite channels over the input channels of the
            block, in (0, 1], or None for no squeeze-excite.
        fused: Fused-MBConv instead of MBConv.
        id_skip: Residual connection where the shapes allow it.

    Raises:
        ValueError: if a value is outside its range.
    """

    num_repeat: int
    kernel_size: int
    strides: int
    expand_ratio: int
    input_filters: int
    output_filters: int
    se_ratio: float | None = None
    fused: bool = False
    id_skip: bool = True

    def __post_init__(self):
        for field in (
            "num_repeat",
            "kernel_size",
            "strides",
            "expand_ratio",
            "input_filters",
            "output_filters",
        ):
            _check_positive(field, getattr(self, field))
        if self.kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd. Received: {self.kernel_size}"
            )
        if self.strides > 2:
            raise ValueError(
                f"strides must be 1 or 2. Received: {self.strides}"
            )
        ratio = self.se_ratio
        if ratio is not None and not (_is_number(ratio) and 0 < ratio <= 1):
            raise ValueError(
                f"se_ratio must lie in (0, 1]. Received: {ratio!r}"
            )
        for field in ("fused", "id_skip"):
            value = getattr(self, field)
            if not isinstance(value, bool):
                raise ValueError(
                    f"{field} must be True or False. Received: {value!r}"
                )


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_positive(field, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"{field} must be a whole number >= 1. Received: {value!r}"
        )


def _split(token, string):
    """Splits `se0.25` into ('se', '0.25')."""
    match = re.fullmatch(r"([a-z]+)(.*)", token)
    key = match.group(1) if match else token
    if match is None or key not in _NAMES:
        raise ValueError(
            f"unknown key {token!r} in {string!r}"
            f"{spelling.nearest(key, [*_NAMES, 'noskip'])}"
        )
    value = match.group(2)
    pattern = _DECIMAL if key == "se" else _INTEGER
    if not pattern.fullmatch(value):
        kind = "a number" if key == "se" else "a whole number below 10^9"
        raise ValueError(
            f"{_NAMES[key]} must be {kind}. Received: {token!r} in {string!r}"
        )
    return key, float(value) if key == "se" else int(value)


def _decode_one(string):
    if not isinstance(string, str):
        raise ValueError(f"a block must be a string. Received: {string!r}")
    values = {}
    tokens = string.strip().split("_")
    id_skip = "noskip" not in tokens
    if tokens.count("noskip") > 1:
        raise ValueError(f"doubled key 'noskip' in {string!r}")
    for token in tokens:
        if token == "noskip":
            continue
        key, value = _split(token, string)
        if key in values:
            raise ValueError(f"doubled key {key!r} in {string!r}")
        values[key] = value
    missing = [key for key in _REQUIRED if key not in values]
    if missing:
        raise ValueError(f"missing key {missing[0]!r} in {string!r}")
    if values.get("c", 0) not in (0, 1):
        raise ValueError(
            f"c must be 0 (MBConv) or 1 (Fused-MBConv). "
            f"Received: {values['c']} in {string!r}"
        )
    fields = {_NAMES[key]: value for key, value in values.items()}
    fields["fused"] = bool(values.get("c", 0))
    try:
        return BlockSpec(id_skip=id_skip, **fields)
    except ValueError as error:
        raise ValueError(f"{error} in {string!r}") from None


def _encode_one(block):
    parts = [
        f"r{block.num_repeat}",
        f"k{block.kernel_size}",
        f"s{block.strides}",
        f"e{block.expand_ratio}",
        f"i{block.input_filters}",
        f"o{block.output_filters}",
    ]
    if block.se_ratio is not None:
        parts.append(f"se{float(block.se_ratio)!r}")
    if block.fused:
        parts.append("c1")
    if not block.id_skip:
        parts.append("noskip")
    return "_".join(parts)


def decode(strings: Sequence[str]) -> tuple[BlockSpec, ...]:
    """Turns block strings into `BlockSpec`s.

    Args:
        strings: A list of block strings, one a stage.

    Returns:
        A tuple of `BlockSpec`, in the same order.

    Raises:
        ValueError: for an unknown, missing or doubled key or an impossible
            value; the message shows the string.
    """
    if not isinstance(strings, (list, tuple)):
        raise ValueError(
            f"blocks must be a list of block strings. Received: {strings!r}"
        )
    return tuple(_decode_one(string) for string in strings)


def encode(blocks: Iterable[BlockSpec]) -> list[str]:
    """Turns `BlockSpec`s into block strings; the inverse of `decode`.

    Args:
        blocks: A list of `BlockSpec`.

    Returns:
        A list of strings, keys in the order r k s e i o se c noskip.
    """
    return [_encode_one(block) for block in blocks]
