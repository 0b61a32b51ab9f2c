"""The two sides of a benchmark: our model, and keras.applications' twin.

Both take the same uint8 pictures and one-hot labels. A training step is, of
    ours    the trainer's own: normalisation, forward and backward pass, softmax
            cross entropy with label smoothing, the recipe's optimizer,
            accuracy, a look for numbers that are not finite; with the recipe's
            L2 and moving averages of all weights, or (`without_extras`)
            without these
    theirs  the function that `Model.fit` calls, after `compile` with the same
            loss and optimizer: normalisation, forward and backward pass,
            neither L2 nor averages nor accuracy
Inference is a compiled forward pass from pixels to logits on either side. XLA:
ours as the trainer decides, theirs as Keras does; both use it on a GPU and not
on a CPU.
"""

import os
import pathlib

import keras
import numpy as np
import tensorflow as tf

from efficientnetv2 import config as config_lib
from efficientnetv2 import (
    distribute,
    train_data,
    train_loop,
    train_setup,
    train_state,
)
from efficientnetv2.data import preprocess

_EPOCH_STEPS = 1000  # only the learning rate's course depends on it
# A recipe's optimizer -> Keras's own class and the settings to match.
_OPTIMIZERS = {
    "rmsprop": (
        "RMSprop",
        {"rho": 0.9, "momentum": 0.9, "epsilon": 1e-3},
    ),
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
    "lamb": ("Lamb", {}),
}


def _pictures(config):
    """uint8 [batch, size, size, 3] and labels, int32 [batch]."""
    batch, size = config.train.batch_size, config.train.isize
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, size, size, 3), np.uint8)
    return images, rng.integers(
        0, config.data.num_classes, batch, dtype=np.int32
    )


def without_extras(config):
    """The config without L2 and moving averages, which `Theirs` has not.

    Args:
        config: A `Config`.
    """
    return config_lib.override(
        config, {"train.ema_decay": 0, "train.weight_decay": 0}
    )


class Ours:
    """Our model with the trainer's step.

    Args:
        config: A `Config`; `train.batch_size` and `train.isize` are the
            pictures'.
    """

    name = "efficientnetv2"

    def __init__(self, config):
        strategy = distribute.strategy_of(config.runtime)
        jit_compile = config.runtime.jit_compile
        if jit_compile is None:
            jit_compile = distribute.wants_xla(strategy)
        setup = train_setup.Setup(
            config=config,
            folder=pathlib.Path(os.devnull),  # nothing is written
            source=None,
            strategy=strategy,
            workers=None,
            epoch_steps=_EPOCH_STEPS,
            epochs=config.train.epochs,
            stages=(),
            jit_compile=jit_compile,
            has_static_sizes=jit_compile,
        )
        state = train_state.build(setup)
        self.model = state.model
        self._images, labels = _pictures(config)
        batches = tf.data.Dataset.from_tensors(
            {
                "image": self._images,
                "label": labels,
                "index": np.arange(len(labels), dtype=np.int64),
                "offset": np.arange(len(labels), dtype=np.int64),
            }
        ).repeat()
        if not setup.has_static_sizes:
            batches = batches.map(train_data.loosen)
        self._batches = iter(batches)
        self._step = train_loop.build_step(setup, state)
        self._steps = 0
        self._dropout_rate = config.model.dropout_rate
        style, dtype = config.data.preprocessing, self.model.compute_dtype

        def forward(images):
            images = preprocess.normalize(images, style)
            return self.model(tf.cast(images, dtype), training=False)

        self._forward = tf.function(forward, jit_compile=jit_compile)

    def train(self):
        """One step; waits for its end."""
        figures, _ = self._step(self._batches, self._steps, self._dropout_rate)
        self._steps += 1
        return float(figures["loss"][0])

    def infer(self):
        """One forward pass; waits for its end."""
        return self._forward(self._images).numpy()


class Theirs:
    """The twin in keras.applications, compiled as its users do.

    Args:
        config: A `Config`, as for `Ours`.

    Raises:
        ValueError: if there is no twin.
    """

    name = "keras.applications"

    def __init__(self, config):
        build = find_twin(config)
        if build is None:
            raise ValueError(f"keras.applications has no {config.model_name!r}")
        before = keras.config.dtype_policy()
        if config.runtime.mixed_precision:
            keras.config.set_dtype_policy(
                f"mixed_{config.runtime.mixed_precision}"
            )
        size = config.train.isize
        self.model = build(
            weights=None,
            classes=config.data.num_classes,
            classifier_activation=None,
            input_shape=(size, size, 3),
        )
        keras.config.set_dtype_policy(before)
        name, settings = _OPTIMIZERS[config.train.optimizer]
        self.model.compile(
            getattr(keras.optimizers, name)(1e-3, **settings),
            keras.losses.CategoricalCrossentropy(
                from_logits=True,
                label_smoothing=config.train.label_smoothing,
            ),
        )
        self._images, labels = _pictures(config)
        labels = keras.utils.to_categorical(labels, config.data.num_classes)
        batches = tf.data.Dataset.from_tensors((self._images, labels))
        self._batches = iter(batches.repeat())
        self._forward = tf.function(
            lambda images: self.model(images, training=False),
            jit_compile=bool(tf.config.list_logical_devices("GPU")),
        )

    def train(self):
        """One step; waits for its end."""
        self.model.make_train_function()  # once; then it is there
        return float(self.model.train_function(self._batches)["loss"])

    def infer(self):
        """One forward pass; waits for its end."""
        return self._forward(self._images).numpy()


def find_twin(config):
    """The function of keras.applications that builds a variant, or None.

    Args:
        config: A `Config`.
    """
    family, _, size = config.model_name.partition("-")
    name = family.replace("efficientnet", "EfficientNet")
    return getattr(
        keras.applications, name.replace("v2", "V2") + size.upper(), None
    )
