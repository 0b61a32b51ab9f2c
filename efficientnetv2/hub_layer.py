"""A Keras 3 layer that runs and fine-tunes TF-Hub modules.

`hub.KerasLayer` works only in tf_keras models. `keras.layers.TFSMLayer` tracks
a module's weights but gives them names that optimizers refuse, passes on
neither `training` nor the momentum of batch normalisation, and knows nothing of
regularisation losses.
"""

import atexit
import gzip
import hashlib
import os
import pathlib
import shutil
import tarfile
import tempfile
import typing
import zlib

import keras

# What no archive, or one that is cut off, leads to.
_DAMAGE = (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error)


def _unpack(archive):
    """Unpacks a .tar.gz into a folder that stays until the process ends."""
    folder = tempfile.mkdtemp(prefix="hub-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder


def _fetch(address):
    """The archive at an address, kept by Keras for the next time."""
    # Many archives are called module.tar.gz; the address tells them apart.
    key = hashlib.sha256(address.encode()).hexdigest()[:16]
    try:
        return keras.utils.get_file(
            f"{key}.tar.gz",
            origin=address,
            cache_subdir="hub",
            cache_dir=os.environ.get("KERAS_HOME"),
        )
    except Exception as error:  # Keras raises plain exceptions here
        raise ValueError(f"cannot fetch {address!r}: {error}") from None


def resolve(handle: str | os.PathLike[str]) -> str:
    """Finds, unpacks or fetches a module.

    Args:
        handle: As `HubLayer`'s.

    Returns:
        A folder with a SavedModel; what was fetched is kept, by address, in
        the folder `hub` of Keras's cache.

    Raises:
        ValueError: if there is none.
    """
    text = str(handle)
    if text.startswith(("http://", "https://")):
        text = str(_fetch(text))
    path = pathlib.Path(text)
    if path.is_file():
        try:
            path = pathlib.Path(_unpack(path))
        except _DAMAGE:
            raise ValueError(
                f"handle must be a folder or a .tar.gz. "
                f"Received: {str(handle)!r}"
            ) from None
    if not (path / "saved_model.pb").is_file():
        raise ValueError(
            f"handle must hold a SavedModel. Received: {str(handle)!r}"
        )
    return str(path)


@keras.saving.register_keras_serializable("efficientnetv2")
class HubLayer(keras.layers.TFSMLayer):
    """A TF-Hub module (a Reusable SavedModel) as a layer of a Keras 3 model.

    The module's weights are the layer's, so that they are trained, saved and
    frozen with the model. TensorFlow backend only.

    Args:
        handle: Folder of the module, or a .tar.gz of it, or the http address
            of one.
        trainable: Whether fine-tuning changes the module. False: it runs in
            inference mode in training too and adds no losses.
        batch_norm_momentum: Momentum of the moving statistics in training, in
            [0, 1]; None: the module's own. Short runs want less than it.
        **kwargs: Of `keras.layers.Layer`.

    Call arguments:
        inputs: What the module takes; for images float32 [batch, height,
            width, 3], RGB in [0, 1].
        training: True: batch statistics and noise, unless `trainable` is
            False.
    """

    def __init__(
        self,
        handle: str | os.PathLike[str],
        *,
        trainable: bool = True,
        batch_norm_momentum: float | None = None,
        **kwargs: typing.Any,
    ) -> None:
        momentum = batch_norm_momentum
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(
                f"batch_norm_momentum must lie in [0, 1]. Received: {momentum}"
            )
        super().__init__(
            resolve(handle),
            call_endpoint="__call__",
            trainable=trainable,
            **kwargs,
        )
        self.handle = str(handle)
        self.batch_norm_momentum = momentum

    def _add_existing_weight(self, weight):
        # TFSMLayer names it 'stem_conv_kernel:0', which no optimizer takes.
        name = weight.name.partition(":")[0].replace("/", "_")
        variable = keras.Variable(
            weight,
            trainable=weight.trainable,
            dtype=weight.dtype,
            shape=weight.shape,
            name=name,
        )
        self._track_variable(variable)

    def call(self, inputs, training=False):
        training = bool(training and self.trainable)
        arguments: dict[str, bool | float] = {"training": training}
        if training and self.batch_norm_momentum is not None:
            arguments["batch_norm_momentum"] = self.batch_norm_momentum
        if self.trainable:
            module = self._reloaded_obj
            for loss in getattr(module, "regularization_losses", ()):
                self.add_loss(loss())
        return self.call_endpoint_fn(inputs, **arguments)

    def get_config(self):
        config = super().get_config()
        for name in ("filepath", "call_endpoint", "call_training_endpoint"):
            config.pop(name)
        return {
            **config,
            "handle": self.handle,
            "batch_norm_momentum": self.batch_norm_momentum,
        }
