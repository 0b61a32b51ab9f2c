"""What a model expects of its input, found out from the model."""

import keras
import tensorflow as tf

from efficientnetv2 import variants
from efficientnetv2.data import preprocess


def _variant(model, argument):
    if model.name not in variants.VARIANTS:
        raise ValueError(
            f"{argument} must be given for a model that is not a published "
            f"variant. Received: model {model.name!r}"
        )
    return variants.VARIANTS[model.name]


def resolve_style(model, style=None):
    """The normalisation that a model's weights expect.

    Args:
        model: Keras model of `efficientnetv2.get_model`.
        style: 'v2', 'v1' or 'ft'; None: what the model's variant has.

    Returns:
        A style of `data.preprocess`.

    Raises:
        ValueError: if `style` is None and the model is no published variant.
    """
    return style or _variant(model, "style").preprocessing


def resolve_size(model, image_size=None):
    """The evaluation image size of a model.

    Args:
        model: Keras model of `efficientnetv2.get_model`.
        image_size: Pixels; None: what the model's variant has.

    Returns:
        Pixels, an int.

    Raises:
        ValueError: as `resolve_style`.
    """
    return image_size or _variant(model, "image_size").eval_size


def affine(style):
    """What a normalisation does, as normalized = pixel * scale + offset.

    Args:
        style: A style of `data.preprocess`.

    Returns:
        `(scale, offset)`, float32 [3] each; of RGB in 0..255.
    """
    # Every style is affine: two points tell scale and offset.
    with tf.init_scope():  # values also while a function is traced
        ends = preprocess.normalize([[0] * 3, [255] * 3], style).numpy()
    return (ends[1] - ends[0]) / 255, ends[0]


def after_preprocessing(model):
    """The model without the normalisation that may stand at its start.

    The last step of taking a model apart: its layers are called anew, after
    which `layer.output` is still the tensor of the given model.

    Args:
        model: Functional model of `efficientnetv2.get_model`.

    Returns:
        A functional model that takes normalised images, on the same layers.
    """
    for layer in model.layers:
        if layer.name == "preprocessing":
            return keras.Model(layer.output, model.outputs, name=model.name)
    return model
