"""What values settings may have: ranges, and rules between settings."""

import re

from efficientnetv2 import block_spec

_POSITIVE = ("> 0", lambda x: x > 0)
_NOT_NEGATIVE = (">= 0", lambda x: x >= 0)
_AT_LEAST_ONE = (">= 1", lambda x: x >= 1)
_RATE = (">= 0 and < 1", lambda x: 0 <= x < 1)
_PROBABILITY = ("> 0 and <= 1", lambda x: 0 < x <= 1)
_FRACTION = (">= 0 and <= 1", lambda x: 0 <= x <= 1)


RANGES = {
    "train.stages": _NOT_NEGATIVE,
    "train.epochs": _AT_LEAST_ONE,
    "train.min_steps": _NOT_NEGATIVE,
    "train.batch_size": _AT_LEAST_ONE,
    "train.isize": _AT_LEAST_ONE,
    "train.dropout_rate_start": _RATE,
    "train.lr_base": _POSITIVE,
    "train.lr_decay_epoch": _POSITIVE,
    "train.lr_decay_factor": _PROBABILITY,
    "train.lr_warmup_epoch": _NOT_NEGATIVE,
    "train.lr_min": _NOT_NEGATIVE,
    "train.lr_layer_decay": _PROBABILITY,
    "train.gclip": _POSITIVE,
    "train.ema_decay": _RATE,
    "train.weight_decay": _NOT_NEGATIVE,
    "train.label_smoothing": _RATE,
    "train.max_bad_steps": _AT_LEAST_ONE,
    "train.seed": (">= 0 and < 2**31", lambda x: 0 <= x < 2**31),
    "eval.batch_size": _AT_LEAST_ONE,
    "eval.isize": _AT_LEAST_ONE,
    "eval.steps": _AT_LEAST_ONE,
    "eval.every_epochs": _AT_LEAST_ONE,
    "data.num_classes": (">= 2", lambda x: x >= 2),
    "data.min_area": _PROBABILITY,
    "data.ibase": _AT_LEAST_ONE,
    "data.ram": _NOT_NEGATIVE,
    "data.ram_start": _NOT_NEGATIVE,
    "data.mixup_alpha": _NOT_NEGATIVE,
    "data.mixup_alpha_start": _NOT_NEGATIVE,
    "data.cutmix_alpha": _NOT_NEGATIVE,
    "data.cutmix_alpha_start": _NOT_NEGATIVE,
    "data.max_bad_fraction": _FRACTION,
    "data.shuffle_memory_mb": _AT_LEAST_ONE,
    "runtime.iterations_per_loop": _AT_LEAST_ONE,
    "runtime.log_step_count_steps": _AT_LEAST_ONE,
    "runtime.save_checkpoints_steps": _AT_LEAST_ONE,
    "runtime.save_checkpoints_secs": _POSITIVE,
    "runtime.keep_checkpoint_max": _AT_LEAST_ONE,
    "search.trials": _AT_LEAST_ONE,
    "search.heartbeat_secs": _AT_LEAST_ONE,
    "search.max_million_parameters": _POSITIVE,
    "search.max_billion_multiply_adds": _POSITIVE,
    "search.step_pairs": _AT_LEAST_ONE,
    "search.population": (">= 2", lambda x: x >= 2),
    "search.tournament": _AT_LEAST_ONE,
    "search.target_million_parameters": _POSITIVE,
    "search.target_billion_multiply_adds": _POSITIVE,
    "search.max_isize": _AT_LEAST_ONE,
}
_PATTERNS = ("train.varsexp", "train.weight_decay_exclude")
_ADDRESS = re.compile(r"grpc://[^/\s]+:\d+")


def _check_ranges(values):
    for key, (rule, holds) in RANGES.items():
        if values[key] is not None and not holds(values[key]):
            raise ValueError(f"{key} must be {rule}. Received: {values[key]!r}")
    for key in _PATTERNS:
        try:
            re.compile(values[key] or "")
        except re.error as error:
            raise ValueError(
                f"{key} must be a regular expression ({error}). "
                f"Received: {values[key]!r}"
            ) from None


def _check_address(values):
    address = values["runtime.data_service"]
    if address is not None and not _ADDRESS.fullmatch(address):
        raise ValueError(
            "runtime.data_service must be grpc://host:port. "
            f"Received: {address!r}"
        )


def _check_order(values, low, high, reason):
    if values[low] is not None and values[low] > values[high]:
        raise ValueError(
            f"{low} must be <= {high} ({reason}). "
            f"Received: {values[low]!r} > {values[high]!r}"
        )


def _check_stages(values):
    """Only what the plan will read: one stage has no start values."""
    if values["train.stages"] <= 1:
        return
    _check_order(
        values, "data.ibase", "train.isize", "sizes never shrink by stage"
    )
    weaker = "regularisation never weakens by stage"
    pairs = [
        ("data.mixup_alpha_start", "data.mixup_alpha"),
        ("data.cutmix_alpha_start", "data.cutmix_alpha"),
    ]
    if values["data.augname"] == "randaug":
        pairs.append(("data.ram_start", "data.ram"))
    if values["train.schedule"] == "paper":
        pairs.append(("train.dropout_rate_start", "model.dropout_rate"))
    for low, high in pairs:
        _check_order(values, low, high, weaker)


def check_length(values, epochs):
    """Checks that stages and warm-up fit into the length of the run.

    Args:
        values: Mapping from dotted key to value.
        epochs: Length of the run, whole epochs.

    Raises:
        ValueError: if a stage would be empty, or warm-up would not end.
    """
    if epochs < values["train.stages"]:
        raise ValueError(
            f"train.epochs must be >= train.stages "
            f"({values['train.stages']}). Received: {epochs}"
        )
    if values["train.lr_warmup_epoch"] >= epochs:
        raise ValueError(
            f"train.lr_warmup_epoch must be < the run's {epochs} epochs. "
            f"Received: {values['train.lr_warmup_epoch']}"
        )


def check(values):
    """Checks every value by itself and the rules between them.

    Args:
        values: Mapping from dotted key to value, all keys present.

    Raises:
        ValueError: one line that names the key, the rule and the value.
    """
    _check_ranges(values)
    _check_address(values)
    block_spec.decode(values["model.blocks"])
    _check_stages(values)
    if not values["train.min_steps"]:  # with it the data decide the length
        check_length(values, values["train.epochs"])
    mixing = values["data.mixup_alpha"] or values["data.cutmix_alpha"]
    if mixing and values["train.batch_size"] % 2:
        raise ValueError(
            "train.batch_size must be even with mixup or CutMix (neighbours "
            f"are mixed). Received: {values['train.batch_size']}"
        )
    peak = values["train.lr_base"] * values["train.batch_size"] / 256
    if values["train.lr_min"] > peak:
        raise ValueError(
            "train.lr_min must be <= train.lr_base * train.batch_size / 256. "
            f"Received: {values['train.lr_min']!r} > {peak!r}"
        )
