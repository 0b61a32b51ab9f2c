"""What a model expects of its input, found out from the model."""

import keras

from efficientnetv2 import variants


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
