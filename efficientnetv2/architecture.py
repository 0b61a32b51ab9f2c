"""Architecture and Variant: all settings of a model as checked records."""

import dataclasses
import math


def _is_number(value):
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _one_of(*values):
    words = ", ".join("none" if v is None else v for v in values)
    return f"one of {words}", lambda x: x in values


_COUNT = ("a whole number >= 1", _is_count)
_POSITIVE = ("> 0", lambda x: _is_number(x) and x > 0)
_RATE = (">= 0 and < 1", lambda x: _is_number(x) and 0 <= x < 1)
_OPTIONAL_RATE = (">= 0 and < 1, or none", lambda x: x is None or _RATE[1](x))
_TEXT = ("text", lambda x: isinstance(x, str) and x != "")

_ARCHITECTURE_RULES = {
    "name": _TEXT,
    "family": _one_of("v1", "v2"),
    "blocks": (
        "a tuple of block strings",
        lambda x: isinstance(x, tuple) and len(x) > 0,
    ),
    "width_coefficient": _POSITIVE,
    "depth_coefficient": _POSITIVE,
    "feature_size": _COUNT,
    "dropout_rate": _RATE,
    "survival_prob": (
        "> 0 and <= 1",
        lambda x: _is_number(x) and 0 < x <= 1,
    ),
    "act_fn": _TEXT,  # the layer knows the names
    "bn_type": _one_of(None, "local", "gn"),
    "bn_momentum": _RATE,
    "bn_epsilon": _POSITIVE,
    "gn_groups": _COUNT,
    "conv_dropout": _OPTIONAL_RATE,
    "headbias": ("a number or none", lambda x: x is None or _is_number(x)),
    "local_pooling": ("true or false", lambda x: isinstance(x, bool)),
    "depth_divisor": _COUNT,
    "min_depth": _COUNT,
    "data_format": _one_of("channels_last", "channels_first"),
}
_VARIANT_RULES = {
    "train_size": _COUNT,
    "eval_size": _COUNT,
    "preprocessing": _one_of("v1", "v2"),
}


def _check(record, rules):
    for field, (rule, holds) in rules.items():
        value = getattr(record, field)
        if not holds(value):
            raise ValueError(f"{field} must be {rule}. Received: {value!r}")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """All that decides a model's variables and its outputs.

    Args:
        name: Name of the variant, also the Keras model's name.
        family: 'v1' or 'v2'; decides the channel rounding.
        blocks: Block strings, one a stage.
        width_coefficient: Factor on channels.
        depth_coefficient: Factor on the number of blocks.
        feature_size: Channels of the last convolution before scaling.
        dropout_rate: Dropout before the classifier, in [0, 1).
        survival_prob: Survival probability of the last residual branch, in
            (0, 1]; 1 turns stochastic depth off.
        act_fn: Activation, see `layers.ACTIVATIONS`.
        bn_type: None (synchronised over replicas), 'local' (each replica by
            itself) or 'gn' (group normalisation).
        bn_momentum: Momentum of the moving statistics, in [0, 1).
        bn_epsilon: Added to the variance, > 0.
        gn_groups: Groups of group normalisation.
        conv_dropout: Dropout inside expanding blocks, in [0, 1), or None.
        headbias: Start value of the classifier's bias, or None for 0.
        local_pooling: Accepted for old recipes; it is the global mean.
        depth_divisor: Channels are multiples of this.
        min_depth: Smallest number of channels.
        data_format: 'channels_last' or 'channels_first', of the input and of
            the endpoints.
    """

    name: str
    family: str
    blocks: tuple[str, ...]
    width_coefficient: float = 1.0
    depth_coefficient: float = 1.0
    feature_size: int = 1280
    dropout_rate: float = 0.2
    survival_prob: float = 0.8
    act_fn: str = "silu"
    bn_type: str | None = None
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-3
    gn_groups: int = 8
    conv_dropout: float | None = None
    headbias: float | None = None
    local_pooling: bool = False
    depth_divisor: int = 8
    min_depth: int = 8
    data_format: str = "channels_last"

    def __post_init__(self):
        _check(self, _ARCHITECTURE_RULES)


@dataclasses.dataclass(frozen=True)
class Variant:
    """A published model: its architecture and what was printed about it.

    Args:
        architecture: The `Architecture`.
        train_size: Largest training image size, pixels.
        eval_size: Evaluation image size, pixels.
        preprocessing: Style of `data.preprocess` its weights expect: 'v2'
            is (x - 128) / 128, 'v1' is ImageNet mean and deviation.
        billions_multiply_adds: Published figure at `eval_size`, or None.
        imagenet_top1: Published accuracy in percent after training on
            ImageNet-1k alone, or None.
        imagenet21k_top1: The same after ImageNet-21k pretraining, or None.
    """

    architecture: Architecture
    train_size: int
    eval_size: int
    preprocessing: str
    billions_multiply_adds: float | None = None
    imagenet_top1: float | None = None
    imagenet21k_top1: float | None = None

    def __post_init__(self):
        _check(self, _VARIANT_RULES)
