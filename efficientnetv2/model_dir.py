"""A run's folder: what is in it, and the trained model out of it.

    config.yaml        the settings, see `config`
    checkpoints/       see `checkpoint`
    metrics.jsonl      see `metrics_log`
    curves.png         see `report`
"""

import dataclasses
import functools
import pathlib
import typing

import keras

from efficientnetv2 import checkpoint, model
from efficientnetv2 import config as config_lib

CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model with its weights and what is needed to use it.

    Args:
        model: Keras model; takes normalised images, gives logits.
        config: The `Config` it was trained or asked for with.
        class_names: A name for each logit.
        image_size: Evaluation size, pixels.
        style: Normalisation, a style of `data.preprocess`.
        step: Global step of the checkpoint, or None.
    """

    model: typing.Any
    config: typing.Any
    class_names: tuple[str, ...]
    image_size: int
    style: str
    step: int | None = None

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


def build_model(config):
    """Builds the untrained model of a config.

    Args:
        config: A `Config`.

    Returns:
        A Keras model; takes normalised images, gives logits.
    """
    return model.build(config.model, num_classes=config.data.num_classes)


def read_config(model_dir):
    """Reads the settings that a run was started with.

    Raises:
        FileNotFoundError: if `model_dir` holds no run.
    """
    path = pathlib.Path(model_dir) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"model_dir must hold a run ({CONFIG}). "
            f"Received: {str(model_dir)!r}"
        )
    return config_lib.read(path)


def load(model_dir):
    """Loads the newest good checkpoint of a run, moving averages first.

    Args:
        model_dir: Folder of a run.

    Returns:
        A `Trained`.

    Raises:
        FileNotFoundError: if there is no run or no checkpoint.
    """
    config = read_config(model_dir)
    folder = pathlib.Path(model_dir) / CHECKPOINTS
    found = checkpoint.latest(folder)
    if found is None:
        raise FileNotFoundError(
            f"model_dir must hold a checkpoint. Received: {str(model_dir)!r}"
        )
    arrays, meta, _ = found
    network = build_model(config)
    checkpoint.restore_for_inference(arrays, network)
    return _trained(network, config, meta.get("class_names"), meta["step"])


def from_weights(config, weights):
    """The model of a config with the weights of a file or published name.

    Args:
        config: A `Config`; decides model, classes and sizes.
        weights: A path or a published name, see `weights.load`.

    Returns:
        A `Trained`.
    """
    from efficientnetv2 import weights as weights_lib

    network = build_model(config)
    weights_lib.load(network, weights)
    names = weights_lib.class_names(config.data.num_classes)
    return _trained(network, config, names, None)


def _trained(network, config, class_names, step):
    count = config.data.num_classes
    if not class_names:
        class_names = [str(i) for i in range(count)]
    if len(class_names) != count:
        raise ValueError(
            f"class_names must hold {count} names. Received: {len(class_names)}"
        )
    return Trained(
        model=network,
        config=config,
        class_names=tuple(class_names),
        image_size=config.eval.isize,
        style=config.data.preprocessing,
        step=step,
    )
