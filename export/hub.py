"""TF-Hub modules: Reusable SavedModels that others load and fine-tune.

After tensorflow.org/hub/reusable_saved_models and the Common SavedModel APIs
for images: RGB in [0, 1] of any size goes in, normalisation is inside, and
`variables`, `trainable_variables` and `regularization_losses` can be reached.
"""

import os
import tarfile
import typing
from collections.abc import Sequence

import keras
import tensorflow as tf

from efficientnetv2 import losses, noise, normalization
from efficientnetv2.data import preprocess

from . import artefact, endpoints, publish
from . import inputs as inputs_lib

_OUTPUTS = {
    "feature_vector": "features",
    "classification": "logits",
    "feature_maps": "maps",
}
KINDS = tuple(_OUTPUTS)


def _part(model, kind):
    """The part of a model that a kind of module runs."""
    if kind == "classification":
        return keras.Model(model.inputs, model.outputs[0])
    if kind == "feature_vector":
        # Before the dropout, which features must not have.
        return keras.Model(model.inputs, model.get_layer("avg_pool").output)
    maps = {
        f"reduction_{i + 1}": x
        for i, x in enumerate(endpoints.endpoints(model))
    }
    return keras.Model(model.inputs, maps)


def _momentum(model):
    layers = [
        layer.momentum
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    return float(layers[0]) if layers else 0.99


def build_module(
    model: keras.Model,
    kind: str,
    *,
    style: str,
    weight_decay: float,
    weight_decay_exclude: str,
) -> tf.Module:
    """Makes the object that `tf.saved_model.save` writes.

    Args:
        model: Functional model of `efficientnetv2.model`, float32.
        kind: One of `KINDS`.
        style: Normalisation of the model's input, see `preprocess.normalize`.
        weight_decay: Factor of the L2 loss, >= 0.
        weight_decay_exclude: Regex of variables without L2.

    Returns:
        A trackable with `__call__(inputs, training, batch_norm_momentum)`,
        traced for both values of `training`.
    """
    part = inputs_lib.after_preprocessing(_part(model, kind))
    default_momentum = _momentum(part)

    @tf.function
    def call(inputs, training=False, batch_norm_momentum=default_momentum):
        images = preprocess.normalize(inputs * 255.0, style)
        if not training:
            return part(images, training=False)
        # Masks from a stateful seed: no counter variable to carry along, and
        # replicas that fine-tune the module draw different ones.
        seed = tf.random.uniform([], maxval=2**31 - 1, dtype=tf.int32)
        examples = tf.range(tf.shape(inputs)[0], dtype=tf.int64)
        with (
            noise.training_noise(tf.cast(seed, tf.uint32), examples),
            normalization.batch_norm_momentum(batch_norm_momentum),
        ):
            return part(images, training=True)

    images = tf.TensorSpec([None, None, None, 3], tf.float32, name="inputs")
    momentum = tf.TensorSpec([], tf.float32, name="batch_norm_momentum")
    for training in (False, True):
        call.get_concrete_function(
            images, training=training, batch_norm_momentum=momentum
        )

    decayed = losses.decayed_variables(
        part.trainable_variables, weight_decay_exclude
    )

    @tf.function(input_signature=[])
    def regularization():
        return weight_decay * losses.l2(decayed)

    # A tf.train.Checkpoint is the public object that tracks what is set on
    # it; a tf.Module or a Keras model has `variables` of its own.
    module = tf.train.Checkpoint()
    module.__call__ = call
    module.variables = [v.value for v in part.weights]
    module.trainable_variables = [v.value for v in part.trainable_weights]
    module.regularization_losses = [regularization] if weight_decay else []
    return module


def write(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    kind: str = "feature_vector",
    style: str | None = None,
    weight_decay: float = 0.0,
    weight_decay_exclude: str = ".*(bias|gamma|beta).*",
) -> list[artefact.Artefact]:
    """Writes a module's folder; arguments as `export`.

    Returns:
        A list of one `artefact.Artefact`.
    """
    if kind not in KINDS:
        raise ValueError(
            f"kind must be one of {', '.join(KINDS)}. Received: {kind!r}"
        )
    module = build_module(
        model,
        kind,
        style=inputs_lib.resolve_style(model, style),
        weight_decay=weight_decay,
        weight_decay_exclude=weight_decay_exclude,
    )
    # The gradient of silu is hand-written: save it with the function.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    tf.saved_model.save(module, str(path), options=options)
    return [
        artefact.Artefact(
            f"hub {kind}", str(path), "module", "unit", _OUTPUTS[kind]
        )
    ]


def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    verify: bool = True,
    image_size: int | None = None,
    files: Sequence[bytes] | None = None,
    **settings: typing.Any,
) -> str:
    """Writes a TF-Hub module.

    Args:
        model: Functional model of `efficientnetv2.get_model`, float32.
        path: Folder to write.
        overwrite: Replace `path` where it exists.
        verify: Load it in a process of its own and compare it with `model`.
        image_size: Pixels that are compared at; None: the variant's.
        files: Pictures to compare on, a list of files' bytes; None: drawn.
        **settings: `kind`: 'feature_vector' (float32 [batch, features], no
            dropout on them), 'classification' (logits [batch, classes]) or
            'feature_maps' (a dict reduction_1, ... of [batch, height / 2^k,
            width / 2^k, channels]). `style`: normalisation of the model's
            input, 'v2', 'v1', 'ft' or None: the variant's. `weight_decay`:
            factor of the L2 loss in `regularization_losses`, >= 0, and
            `weight_decay_exclude`: regex of the variables without L2.

    Returns:
        The path.

    Raises:
        ValueError: for an unknown kind, if `path` exists, or if the module
            does not do what the model does.
    """
    return publish.publish(
        lambda temporary: write(model, temporary, **settings),
        path,
        model=model if verify else None,
        style=settings.get("style"),
        image_size=image_size,
        files=files,
        overwrite=overwrite,
    )


def pack(
    folder: str | os.PathLike[str], archive: str | os.PathLike[str]
) -> None:
    """Packs a module as the .tar.gz that hubs serve.

    Args:
        folder: The module.
        archive: File to write.
    """
    # Weights hardly shrink: the quickest level does as well as the best.
    with tarfile.open(archive, "w:gz", compresslevel=1) as file:
        file.add(folder, arcname=".")
