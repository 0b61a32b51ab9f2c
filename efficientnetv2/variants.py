"""The published variants as data, with the source of each figure.

V2: arXiv 2104.00298, table 4 (blocks), table 6 (sizes), table 7 (accuracy,
multiply-adds of XL); the B variants, XL's blocks and the multiply-adds of B0
to B3 and S to L as the released code states them. V1: arXiv 1905.11946, table 1
(blocks) and table 2 (accuracy); coefficients of B8 and L2 from
arXiv 1911.09665 and arXiv 1911.04252.
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import yaml

from efficientnetv2 import block_spec, spelling
from efficientnetv2.architecture import Architecture, Variant

_V1_BLOCKS = (
    "r1_k3_s1_e1_i32_o16_se0.25",
    "r2_k3_s2_e6_i16_o24_se0.25",
    "r2_k5_s2_e6_i24_o40_se0.25",
    "r3_k3_s2_e6_i40_o80_se0.25",
    "r3_k5_s1_e6_i80_o112_se0.25",
    "r4_k5_s2_e6_i112_o192_se0.25",
    "r1_k3_s1_e6_i192_o320_se0.25",
)
_V2_BASE_BLOCKS = (
    "r1_k3_s1_e1_i32_o16_c1",
    "r2_k3_s2_e4_i16_o32_c1",
    "r2_k3_s2_e4_i32_o48_c1",
    "r3_k3_s2_e4_i48_o96_se0.25",
    "r5_k3_s1_e6_i96_o112_se0.25",
    "r8_k3_s2_e6_i112_o192_se0.25",
)
_V2_S_BLOCKS = (
    "r2_k3_s1_e1_i24_o24_c1",
    "r4_k3_s2_e4_i24_o48_c1",
    "r4_k3_s2_e4_i48_o64_c1",
    "r6_k3_s2_e4_i64_o128_se0.25",
    "r9_k3_s1_e6_i128_o160_se0.25",
    "r15_k3_s2_e6_i160_o256_se0.25",
)
_V2_M_BLOCKS = (
    "r3_k3_s1_e1_i24_o24_c1",
    "r5_k3_s2_e4_i24_o48_c1",
    "r5_k3_s2_e4_i48_o80_c1",
    "r7_k3_s2_e4_i80_o160_se0.25",
    "r14_k3_s1_e6_i160_o176_se0.25",
    "r18_k3_s2_e6_i176_o304_se0.25",
    "r5_k3_s1_e6_i304_o512_se0.25",
)
_V2_L_BLOCKS = (
    "r4_k3_s1_e1_i32_o32_c1",
    "r7_k3_s2_e4_i32_o64_c1",
    "r7_k3_s2_e4_i64_o96_c1",
    "r10_k3_s2_e4_i96_o192_se0.25",
    "r19_k3_s1_e6_i192_o224_se0.25",
    "r25_k3_s2_e6_i224_o384_se0.25",
    "r7_k3_s1_e6_i384_o640_se0.25",
)
_V2_XL_BLOCKS = (
    "r4_k3_s1_e1_i32_o32_c1",
    "r8_k3_s2_e4_i32_o64_c1",
    "r8_k3_s2_e4_i64_o96_c1",
    "r16_k3_s2_e4_i96_o192_se0.25",
    "r24_k3_s1_e6_i192_o256_se0.25",
    "r32_k3_s2_e6_i256_o512_se0.25",
    "r8_k3_s1_e6_i512_o640_se0.25",
)


def _v2(
    name,
    blocks,
    train_size,
    eval_size,
    dropout_rate,
    multiply_adds,
    top1,
    top1_21k=None,
    *,
    width=1.0,
    depth=1.0,
):
    architecture = Architecture(
        name,
        "v2",
        blocks,
        width_coefficient=width,
        depth_coefficient=depth,
        dropout_rate=dropout_rate,
    )
    return Variant(
        architecture,
        train_size,
        eval_size,
        preprocessing="v1" if blocks is _V2_BASE_BLOCKS else "v2",
        billions_multiply_adds=multiply_adds,
        imagenet_top1=top1,
        imagenet21k_top1=top1_21k,
    )


def _v2_base(name, width, depth, *figures):
    return _v2(name, _V2_BASE_BLOCKS, *figures, width=width, depth=depth)


def _v1(name, width, depth, size, dropout_rate, multiply_adds, top1):
    architecture = Architecture(
        name,
        "v1",
        _V1_BLOCKS,
        width_coefficient=width,
        depth_coefficient=depth,
        dropout_rate=dropout_rate,
    )
    return Variant(
        architecture,
        size,
        size,
        preprocessing="v1",
        billions_multiply_adds=multiply_adds,
        imagenet_top1=top1,
    )


_PUBLISHED = (
    # name, width, depth (B0 to B3 of V1's scaling), then as below
    _v2_base("efficientnetv2-b0", 1.0, 1.0, 192, 224, 0.2, 0.72, 78.7),
    _v2_base("efficientnetv2-b1", 1.0, 1.1, 192, 240, 0.2, 1.2, 79.8),
    _v2_base("efficientnetv2-b2", 1.1, 1.2, 208, 260, 0.3, 1.7, 80.5),
    _v2_base("efficientnetv2-b3", 1.2, 1.4, 240, 300, 0.3, 3.0, 82.1),
    # name, blocks, train px, eval px, dropout at the last stage (table 6),
    # multiply-adds (billions), top-1 of ImageNet and after ImageNet-21k
    _v2("efficientnetv2-s", _V2_S_BLOCKS, 300, 384, 0.3, 8.4, 83.9, 84.9),
    _v2("efficientnetv2-m", _V2_M_BLOCKS, 380, 480, 0.4, 24.7, 85.1, 86.2),
    _v2("efficientnetv2-l", _V2_L_BLOCKS, 380, 480, 0.5, 56.3, 85.7, 86.8),
    _v2("efficientnetv2-xl", _V2_XL_BLOCKS, 380, 512, 0.5, 94.0, None, 87.3),
    # name, width, depth, px, dropout, multiply-adds (billions), top-1
    _v1("efficientnet-b0", 1.0, 1.0, 224, 0.2, 0.39, 77.1),
    _v1("efficientnet-b1", 1.0, 1.1, 240, 0.2, 0.70, 79.1),
    _v1("efficientnet-b2", 1.1, 1.2, 260, 0.3, 1.0, 80.1),
    _v1("efficientnet-b3", 1.2, 1.4, 300, 0.3, 1.8, 81.6),
    _v1("efficientnet-b4", 1.4, 1.8, 380, 0.4, 4.2, 82.9),
    _v1("efficientnet-b5", 1.6, 2.2, 456, 0.4, 9.9, 83.6),
    _v1("efficientnet-b6", 1.8, 2.6, 528, 0.5, 19.0, 84.0),
    _v1("efficientnet-b7", 2.0, 3.1, 600, 0.5, 37.0, 84.3),
    _v1("efficientnet-b8", 2.2, 3.6, 672, 0.5, None, None),
    _v1("efficientnet-l2", 4.3, 5.3, 800, 0.5, None, None),
)

VARIANTS = {variant.architecture.name: variant for variant in _PUBLISHED}


def from_blocks(
    blocks: Sequence[str],
    *,
    name: str = "custom",
    family: str = "v2",
    **settings: Any,
) -> Variant:
    """Makes a `Variant` of one's own from block strings.

    Args:
        blocks: List of block strings.
        name: Name of the model.
        family: 'v1' or 'v2', see `Architecture`.
        **settings: Further fields of `Variant` or `Architecture`.

    Returns:
        A `Variant`; sizes default to V2-S's, preprocessing to 'v2'.

    Raises:
        ValueError: for a bad block string, an unknown field or a value that
            is out of range.
    """
    block_spec.decode(blocks)
    outer = {f.name for f in dataclasses.fields(Variant)} - {"architecture"}
    inner = {f.name for f in dataclasses.fields(Architecture)}
    for key in settings:
        if key not in outer | inner:
            raise ValueError(
                f"unknown key {key!r} in model {name!r}"
                f"{spelling.nearest(key, outer | inner)}"
            )
    architecture = Architecture(
        name,
        family,
        tuple(blocks),
        **{k: v for k, v in settings.items() if k in inner},
    )
    variant = Variant(architecture, 300, 384, preprocessing="v2")
    return dataclasses.replace(
        variant, **{k: v for k, v in settings.items() if k in outer}
    )


def _read(path):
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"model file not found: {str(path)!r}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = str(error).splitlines()[0]
        raise ValueError(f"{str(path)!r} is not YAML: {problem}") from None
    if not isinstance(data, dict) or "blocks" not in data:
        raise ValueError(
            f"{str(path)!r} must hold a mapping with the key 'blocks'"
        )
    settings = {str(key): value for key, value in data.items()}
    settings.setdefault("name", path.stem)
    try:
        return from_blocks(settings.pop("blocks"), **settings)
    except ValueError as error:
        raise ValueError(f"{error} in {str(path)!r}") from None


def lookup(name: str | os.PathLike[str] | Sequence[str]) -> Variant:
    """Finds a variant.

    Args:
        name: A published name, the path of a YAML file with the key `blocks`
            (and any field of `Variant` or `Architecture`), or block strings
            joined by ';' or in a list.

    Returns:
        A `Variant`.

    Raises:
        ValueError: for an unknown name (with the nearest one) or a bad file.
    """
    if isinstance(name, (list, tuple)):
        return from_blocks(name)
    if name in VARIANTS:
        return VARIANTS[name]
    if str(name).endswith((".yaml", ".yml")):
        return _read(pathlib.Path(str(name)))
    if ";" in str(name) or str(name).count("_") >= 5:
        return from_blocks(str(name).rstrip(";").split(";"))
    raise ValueError(
        f"model_name must be one of {', '.join(VARIANTS)}, a YAML file or "
        f"block strings. Received: {name!r}{spelling.nearest(name, VARIANTS)}"
    )
