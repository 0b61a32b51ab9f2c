"""A run's folder: what is in it, and the trained model out of it.

* `config.yaml`: the settings, see `config`
* `checkpoints/`: see `checkpoint`
* `metrics.jsonl`: see `metrics_file`; also `eval.jsonl`
* `curves.png`: see `report`
"""

import dataclasses
import functools
import pathlib

import keras

from efficientnetv2 import (
    checkpoint,
    metrics_file,
    model,
    saved_config,
    storage,
)
from efficientnetv2 import config as config_lib

CONFIG = saved_config.FILE
CHECKPOINTS = "checkpoints"


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model with its weights and what is needed to use and describe it.

    Args:
        model: Keras model; takes normalised images, gives logits.
        config: The `Config` it was trained or asked for with.
        class_names: A name for each logit.
        style: Normalisation, a style of `data.preprocess`.
        description: Where the weights come from, for a person.
        step: Global step of the checkpoint, or None.
        accuracy: A line about the accuracy measured in training, or None.
    """

    model: keras.Model
    config: config_lib.Config
    class_names: tuple[str, ...]
    style: str
    description: str
    step: int | None = None
    accuracy: str | None = None

    @property
    def image_size(self):
        """Evaluation size, pixels."""
        return self.config.eval.isize

    @functools.cached_property
    def _forward(self):
        import tensorflow as tf

        return tf.function(
            lambda images: self.model(images, training=False),
            reduce_retracing=True,
        )

    def probabilities(self, images):
        """Class probabilities of normalised images.

        Args:
            images: float32 [batch, size, size, channels].

        Returns:
            A float32 numpy array [batch, classes].
        """
        logits = self._forward(keras.ops.convert_to_tensor(images))
        if self.config.train.loss_type == "sigmoid":
            return keras.ops.convert_to_numpy(keras.ops.sigmoid(logits))
        return keras.ops.convert_to_numpy(keras.ops.softmax(logits))


def build_model(config, *, precision=None):
    """Builds the untrained model of a config.

    Args:
        config: A `Config`.
        precision: Type it computes in, 'bfloat16' or 'float16'; the variables
            are float32 all the same. None: float32.

    Returns:
        A Keras model; takes normalised images, gives logits.
    """
    before = keras.config.dtype_policy()
    if precision is not None:
        keras.config.set_dtype_policy(f"mixed_{precision}")
    try:
        return model.build(config.model, num_classes=config.data.num_classes)
    finally:
        keras.config.set_dtype_policy(before)


def read_config(model_dir):
    """Reads the settings that a run was started with.

    Args:
        model_dir: Folder of a run.

    Returns:
        A `Config`.

    Raises:
        ValueError: if `model_dir` holds no run.
    """
    found = saved_config.read(model_dir)
    if found is None:
        raise ValueError(
            f"model_dir must hold a run, with {CONFIG}. "
            f"Received: {str(model_dir)!r}"
        )
    return found


def _checkpoint(model_dir, *, best):
    """(arrays, meta, path) of the newest whole checkpoint or the best one."""
    folder = storage.join(model_dir, CHECKPOINTS)
    if best:
        path = storage.join(folder, checkpoint.BEST)
        if checkpoint.BEST not in storage.names(folder):
            raise ValueError(
                "model_dir must hold a best checkpoint, which "
                f"--mode=traineval keeps. Received: {str(model_dir)!r}"
            )
        return (*checkpoint.read(path), path)
    found = checkpoint.latest(folder)
    if found is None:
        whole = " whole" if checkpoint.saved(folder) else ""
        raise ValueError(
            f"model_dir must hold a{whole} checkpoint. "
            f"Received: {str(model_dir)!r}"
        )
    return found


def _accuracy(model_dir, config, step):
    """What an evaluation at a step said, or None."""
    rows = metrics_file.read_run(model_dir)
    found = [r for r in rows if r["kind"] == "eval" and r["step"] == step]
    if not found:
        return None
    return (
        f"top-1 {100 * found[-1]['accuracy']:.2f} % on "
        f"{found[-1]['examples']} examples of "
        f"{config.dataset_cfg}/{config.eval.split}"
    )


def load(model_dir, *, config=None, class_names=None, best=False):
    """Loads a checkpoint of a run, moving averages first.

    Args:
        model_dir: Folder of a run.
        config: A `Config` in place of the run's own, to evaluate at another
            image size and the like.
        class_names: Names in place of the run's own.
        best: Take the checkpoint with the best evaluation, not the newest
            whole one.

    Returns:
        A `Trained`.

    Raises:
        ValueError: if there is no run, no such checkpoint, or one of another
            model.
    """
    own = read_config(model_dir)
    config = config or own
    arrays, meta, path = _checkpoint(model_dir, best=best)
    network = build_model(config)
    try:
        checkpoint.restore_for_inference(arrays, network)
    except checkpoint.CheckpointError as error:
        name = pathlib.PurePath(path).name
        raise ValueError(
            f"{name} does not fit {config.model_name} with "
            f"{config.data.num_classes} classes: {error}"
        ) from None
    averaged = any(name.startswith("ema/") for name in arrays)
    return Trained(
        model=network,
        config=config,
        class_names=_names(config, class_names or meta.get("class_names")),
        style=config.data.preprocessing,
        description=f"{'moving averages' if averaged else 'weights'} after "
        f"step {meta['step']} of a training run on {own.dataset_cfg}",
        step=meta["step"],
        accuracy=_accuracy(model_dir, own, meta["step"]),
    )


def from_weights(config, weights, *, class_names=None):
    """The model of a config with the weights of a file or published name.

    Args:
        config: A `Config`; decides model, classes and sizes.
        weights: A path or a published name, see `weights.load`.
        class_names: A name for each class; None: the published ones, else
            numbers.

    Returns:
        A `Trained`.

    Raises:
        ValueError: if the weights do not fit.
    """
    from efficientnetv2 import weights as weights_lib

    network = build_model(config)
    report = weights_lib.load(network, weights)
    names = class_names or weights_lib.class_names(config.data.num_classes)
    name = pathlib.PurePath(weights).name
    return Trained(
        model=network,
        config=config,
        class_names=_names(config, names),
        style=report.preprocessing or config.data.preprocessing,
        description=f"published weights {name!r}"
        if name in weights_lib.KINDS
        else f"the weights file {name}",
    )


def _names(config, class_names):
    count = config.data.num_classes
    if not class_names:
        return tuple(str(index) for index in range(count))
    if len(class_names) != count:
        raise ValueError(
            f"the labels must be {count}, one for each class of the model. "
            f"Received: {len(class_names)} labels"
        )
    return tuple(class_names)
