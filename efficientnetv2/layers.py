"""Small Keras layers of the model: activation, dropout, stochastic depth."""

import sys
import zlib
from typing import Any

import keras

from efficientnetv2 import noise, spelling

_PACKAGE = "efficientnetv2"
# Keras walks a functional graph by recursion, to build it and to load it; the
# longest model here has 1,400 layers, Python's own limit is 1,000 frames. Set
# here because this module is imported by whoever loads a saved model.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 10_000))


def silu(x: Any) -> Any:
    """x * sigmoid(x), whose gradient reuses the forward pass's sigmoid.

    Args:
        x: Float tensor of any shape.

    Returns:
        A tensor like `x`; the source is arXiv 1702.03118.
    """
    if keras.backend.backend() != "tensorflow" or isinstance(
        x, keras.KerasTensor
    ):
        return keras.ops.silu(x)
    return _tensorflow_silu(x)


def _tensorflow_silu(x):
    import tensorflow as tf

    @tf.custom_gradient
    def with_gradient(x):
        gate = tf.sigmoid(x)
        y = x * gate

        def gradient(upstream):
            # d/dx = gate + y (1 - gate)
            return upstream * (gate + y * (1 - gate))

        return y, gradient

    return with_gradient(x)


ACTIVATIONS = {
    "silu": silu,
    "swish": silu,
    "hswish": keras.activations.hard_silu,
    "hard_swish": keras.activations.hard_silu,
    "identity": keras.activations.linear,
    **{
        name: keras.activations.get(name)
        for name in (
            "elu",
            "gelu",
            "hard_silu",
            "leaky_relu",
            "linear",
            "mish",
            "relu",
            "relu6",
            "selu",
            "tanh",
        )
    },
}


@keras.saving.register_keras_serializable(_PACKAGE)
class Activation(keras.layers.Layer):
    """One of the activations that a recipe's `act_fn` may name.

    Args:
        activation: Key of `ACTIVATIONS`.

    Call arguments:
        inputs: Float tensor of any shape.
        training: True takes `silu` with its own gradient, else Keras's.
    """

    def __init__(self, activation="silu", **kwargs):
        super().__init__(**kwargs)
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"act_fn must be one of {', '.join(sorted(ACTIVATIONS))}. "
                f"Received: {activation!r}"
                f"{spelling.nearest(activation, ACTIVATIONS)}"
            )
        self.activation = activation
        self.supports_masking = True

    def call(self, inputs, training=None):
        function = ACTIVATIONS[self.activation]
        if function is silu and not training:
            function = keras.ops.silu
        return function(inputs)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "activation": self.activation}


class _Noise(keras.layers.Layer):
    """Shared by the layers that draw: a rate, a place, a fallback generator."""

    def __init__(self, rate, *, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
            raise ValueError(f"rate must lie in [0, 1). Received: {rate!r}")
        self.rate = float(rate)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True
        # Names are unique in a model and stable across processes.
        self._place = zlib.crc32(self.name.encode())

    def _mask(self, inputs, shape, rate):
        """0 with probability `rate`, else 1 / (1 - rate), for `inputs`.

        `shape` is the mask's shape after the batch, ints or scalar tensors.
        """
        scope = noise.current()
        batch = keras.ops.shape(inputs)[0]
        if scope is None:
            uniform = keras.random.uniform(
                (batch, *shape), dtype="float32", seed=self.seed_generator
            )
        else:
            count = 1
            for size in shape:
                count *= size
            uniform = scope.uniform(self._place, count)
            uniform = keras.ops.reshape(uniform, (batch, *shape))
        keep = keras.ops.cast(uniform >= rate, "float32")
        return keras.ops.cast(keep / (1.0 - rate), inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(_PACKAGE)
class Dropout(_Noise):
    """Sets elements to zero; the rate may come from a training step.

    Inside `noise.training_noise(..., dropout_rate=...)` that rate, a tensor,
    holds instead of the layer's own, so that it can change from stage to
    stage in a compiled step.

    Args:
        rate: Probability of zero, in [0, 1).
        staged: Whether a training step's `dropout_rate` replaces `rate`.
        seed: Seed of the fallback generator, outside a training step.

    Call arguments:
        inputs: Float tensor [batch, ...].
        training: Without it, or False, the inputs pass unchanged.
    """

    def __init__(self, rate, *, staged=True, seed=None, **kwargs):
        super().__init__(rate, seed=seed, **kwargs)
        self.staged = staged

    def call(self, inputs, training=False):
        scope = noise.current()
        rate = self.rate
        if self.staged and scope is not None:
            rate = rate if scope.dropout_rate is None else scope.dropout_rate
        if not training or (isinstance(rate, float) and rate == 0):
            return inputs
        shape = tuple(keras.ops.shape(inputs)[1:])
        return inputs * self._mask(inputs, shape, rate)

    def get_config(self):
        return {**super().get_config(), "staged": self.staged}


@keras.saving.register_keras_serializable(_PACKAGE)
class StochasticDepth(_Noise):
    """Drops a residual branch of single examples (arXiv 1603.09382).

    Args:
        rate: Drop rate, in [0, 1): one minus the survival probability.
        seed: Seed of the fallback generator, outside a training step.

    Call arguments:
        inputs: Float tensor [batch, ...], the branch before the addition.
        training: Without it, or False, the inputs pass unchanged.
    """

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        ones = (1,) * (len(inputs.shape) - 1)
        return inputs * self._mask(inputs, ones, self.rate)
