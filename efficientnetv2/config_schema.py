"""The settings: one frozen dataclass a section, each field with its unit.

A key is written `section.field`. Keys that the released code has keep its
names. `X_start` is the first stage's value where `X` is the last one's.
"""

import dataclasses
import typing
from typing import Literal

from efficientnetv2 import config_rules, variants


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the weights are trained."""

    # Stages of progressive learning; 0 and 1: none, all at the last values.
    stages: int = 4
    # Law by which size and regularisation grow, see `progressive`.
    schedule: Literal["paper", "released"] = "paper"
    # Length of the run, epochs; prolonged until `min_steps` are done.
    epochs: int = 350
    # Shortest length of the run, steps.
    min_steps: int = 0
    # Examples a step, over all replicas.
    batch_size: int = 4096
    # Image size of the last stage, pixels. Default: the variant's.
    isize: int
    # Dropout rate of the first stage. None: model.dropout_rate throughout.
    dropout_rate_start: float | None = None
    # Part of the data set to train on.
    split: str = "train"
    optimizer: Literal[
        "rmsprop", "sgd", "momentum", "adam", "adamw", "lamb"
    ] = "rmsprop"
    lr_sched: Literal["exponential", "cosine", "linear", "constant"] = (
        "exponential"
    )
    # Peak learning rate for 256 examples; peak = lr_base * batch_size / 256.
    lr_base: float = 0.016
    # Exponential decay: epochs from one decay to the next.
    lr_decay_epoch: float = 2.4
    # Exponential decay: factor a decay.
    lr_decay_factor: float = 0.97
    # Linear warm-up from 0, epochs.
    lr_warmup_epoch: float = 5.0
    # Lower bound of the learning rate, absolute.
    lr_min: float = 0.0
    # Factor on the learning rate from a block to the one below; 1: none.
    lr_layer_decay: float = 1.0
    # Largest global norm of the gradient. None: no clipping.
    gclip: float | None = None
    # Decay of the moving average of weights and statistics; 0: none.
    ema_decay: float = 0.9999
    # Factor on half the squared norm of the kernels, in the loss.
    weight_decay: float = 1e-5
    # Regular expression; variables whose name it fits have no weight decay.
    weight_decay_exclude: str = ".*(bias|gamma|beta).*"
    loss_type: Literal["softmax", "sigmoid"] = "softmax"
    # Share of the label's weight spread over all classes.
    label_smoothing: float = 0.1
    # Weights to start from, a path that `weights.load` reads.
    ft_init_ckpt: str | None = None
    # Take the moving averages out of it where it has them.
    ft_init_ema: bool = True
    # Regular expression; only variables whose name it fits are trained.
    varsexp: str | None = None
    # Keep the moving statistics of batch normalisation as they are.
    freeze_bn: bool = False
    # Steps in a row with a non-finite loss after which the run stops.
    max_bad_steps: int = 10
    # Start of all randomness: order, augmentation, weights, dropout.
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """How the weights are evaluated."""

    # Examples a step, over all replicas.
    batch_size: int = 128
    # Image size, pixels. Default: the variant's.
    isize: int
    # Part of the data set to evaluate on.
    split: str = "validation"
    # Number of batches. None: the whole split.
    steps: int | None = None
    # In --mode=traineval: epochs from one evaluation to the next.
    every_epochs: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What the pictures are and what is done to them."""

    # 'shapes', 'folder', 'csv', or the name of a data set in TFRecords.
    ds_name: str = "shapes"
    # Where the data lie; --data_dir. May be remote (gs://...).
    data_dir: str | None = None
    # Name in TensorFlow Datasets, read where data_dir has no TFRecords.
    tfds_name: str | None = None
    # Number of classes. None: as many as the data set has.
    num_classes: int | None = None
    # Several labels a picture.
    multiclass: bool = False
    # Label of the first class in TFRecords.
    label_offset: int = 1
    # Crop and normalisation, see `data.preprocess`. Default: the variant's.
    preprocessing: Literal["v1", "v2", "ft"]
    # Smallest area of a training crop, share of the picture. None: as the
    # preprocessing has it (0.05, v1 0.08).
    min_area: float | None = None
    augname: Literal[
        "randaug", "autoaug", "effnetv1_autoaug", "cutout", "none"
    ] = "randaug"
    # Image size of the first stage, pixels.
    ibase: int = 128
    # RandAugment magnitude, 10 is the papers' scale; above is stronger.
    ram: float = 15.0
    ram_start: float = 5.0
    # Parameter of the Beta distribution of mixup; 0: no mixup.
    mixup_alpha: float = 0.0
    mixup_alpha_start: float = 0.0
    # Parameter of the Beta distribution of CutMix; 0: no CutMix.
    cutmix_alpha: float = 0.0
    cutmix_alpha_start: float = 0.0
    # Share of broken examples above which training fails.
    max_bad_fraction: float = 0.01
    # Memory of the shuffle buffer, MiB.
    shuffle_memory_mb: int = 256
    # Where encoded examples are kept after the first epoch.
    cache: Literal["none", "memory", "disk"] = "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """On what and how it runs; only the precision touches the figures."""

    # None: found out from the devices and TF_CONFIG.
    strategy: Literal["one", "mirrored", "multiworker", "tpu"] | None = None
    # Cloud TPU: its name or grpc:// address, its zone, its project. None: the
    # one that the machine itself is attached to.
    tpu: str | None = None
    tpu_zone: str | None = None
    gcp_project: str | None = None
    # Dispatcher of a tf.data service whose workers make the pictures to train
    # on, grpc://host:port. None: this machine makes them.
    data_service: str | None = None
    # Compute type; weights stay float32. None: float32 throughout.
    mixed_precision: Literal["bfloat16", "float16"] | None = None
    # Training steps inside one compiled call.
    iterations_per_loop: int = 1
    # Whether XLA compiles the training step. None: on one GPU.
    jit_compile: bool | None = None
    # Steps from one line of figures to the next.
    log_step_count_steps: int = 64
    # Steps from one checkpoint to the next. None: by time and stage only.
    save_checkpoints_steps: int | None = None
    # Seconds from one checkpoint to the next.
    save_checkpoints_secs: float = 600.0
    # Newest checkpoints kept; the best one is kept apart.
    keep_checkpoint_max: int = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """What --mode=search tries, and how it chooses."""

    # Trials of the study, of all its workers together.
    trials: int = 40
    sampler: Literal["random", "evolution", "nsga2", "tpe"] = "random"
    # Which trials end early, with one objective only.
    pruner: Literal["none", "median", "halving"] = "median"
    # Where the study lies: an Optuna URL, or the path of a journal file that
    # ends in .log. None: study.db, SQLite, in model_dir.
    storage: str | None = None
    # Its name in the storage.
    study: str = "search"
    # Seconds from one sign of life of a worker to the next.
    heartbeat_secs: int = 60
    # What a stage may be, each a list with '|'.
    ops: str = "mbconv|fused"
    kernels: str = "3|5"
    expansions: str = "1|4|6"
    layers: str = "1|2|3|4"
    # Upper bounds. None: none.
    max_million_parameters: float | None = None
    max_billion_multiply_adds: float | None = None
    # Exponents of the step's time and of the parameters in the reward.
    time_weight: float = -0.07
    parameters_weight: float = -0.05
    # Timed steps of a model and of the backbone, in turn.
    step_pairs: int = 15
    # Evolution and NSGA-II: trials that may become parents.
    population: int = 12
    # Evolution: how many of them compete to be a parent.
    tournament: int = 4
    # --what=scale: what the scaled model is to have.
    target_million_parameters: float | None = None
    target_billion_multiply_adds: float | None = None
    # --what=scale: upper bound of the image size, pixels.
    max_isize: int = 480


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run, checked.

    Args:
        model_name: Published variant, path of a YAML file or block strings.
        dataset_cfg: Name of the recipe in hparams/datasets, or its path.
        model: The architecture, complete: `model.*` overrides included.
        train: Training.
        eval: Evaluation.
        data: Pictures.
        runtime: Machine.
        search: Architecture search.

    Raises:
        ValueError: if a value is outside its range or two contradict.
    """

    model_name: str
    dataset_cfg: str
    model: variants.Architecture
    train: TrainConfig
    eval: EvalConfig
    data: DataConfig
    runtime: RuntimeConfig
    search: SearchConfig

    def __post_init__(self):
        config_rules.check(flatten(self))


SECTIONS = {
    "model": variants.Architecture,
    "train": TrainConfig,
    "eval": EvalConfig,
    "data": DataConfig,
    "runtime": RuntimeConfig,
    "search": SearchConfig,
}
TYPES = {
    f"{section}.{field}": kind
    for section, cls in SECTIONS.items()
    for field, kind in typing.get_type_hints(cls).items()
}
# Keys without a default: the variant gives them.
REQUIRED = tuple(
    f"{section}.{field.name}"
    for section, cls in SECTIONS.items()
    for field in dataclasses.fields(cls)
    if field.default is dataclasses.MISSING
)
NAMES = ("model_name", "dataset_cfg")


def flatten(config: Config) -> dict[str, typing.Any]:
    """Every setting by its dotted key.

    Args:
        config: A `Config`.

    Returns:
        A dict from 'train.epochs' and so on to values, in schema order.
    """
    return {
        key: getattr(getattr(config, key.split(".")[0]), key.split(".")[1])
        for key in TYPES
    }
