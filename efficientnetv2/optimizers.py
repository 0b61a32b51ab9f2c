"""Optimizers by name; RMSProp as the original's, and Adam, on their kernels."""

import re
from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from efficientnetv2 import spelling
from efficientnetv2.replica_updates import ReplicaUpdates


@keras.saving.register_keras_serializable("efficientnetv2")
class RMSProp(ReplicaUpdates):
    """RMSProp as EfficientNet was trained with.

    For each variable, with a mean square that starts at 1:

        mean_square = rho * mean_square + (1 - rho) * gradient ** 2
        update = momentum * update
                 + learning_rate * gradient / sqrt(mean_square + epsilon)
        variable = variable - update

    Keras's own starts at 0 and adds epsilon outside the root. On TensorFlow
    all three lines are one kernel.

    Args:
        learning_rate: Float, schedule or callable.
        rho: Decay of the mean square, in [0, 1).
        momentum: In [0, 1).
        epsilon: Added under the root, > 0.
        **kwargs: As `replica_updates.ReplicaUpdates` and
            `keras.optimizers.Optimizer`, such as `global_clipnorm`.
    """

    def __init__(
        self,
        learning_rate=0.016,
        *,
        rho=0.9,
        momentum=0.9,
        epsilon=1e-3,
        name="rmsprop",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        for key, value in (("rho", rho), ("momentum", momentum)):
            if not 0 <= value < 1:
                raise ValueError(f"{key} must lie in [0, 1). Received: {value}")
        if not epsilon > 0:
            raise ValueError(f"epsilon must be > 0. Received: {epsilon}")
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._mean_squares = self.add_optimizer_variables(
            variables, "mean_square", initializer="ones"
        )
        self._momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        mean_square = self._mean_squares[index]
        update = self._momentums[index]
        rate = ops.cast(self._rate(variable, learning_rate), variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        self.assign(
            mean_square,
            self.rho * mean_square + (1 - self.rho) * ops.square(gradient),
        )
        scaled = rate * gradient / ops.sqrt(mean_square + self.epsilon)
        self.assign(update, self.momentum * update + scaled)
        self.assign_sub(variable, update)

    def _update_own_copies(self, gradients, variables, learning_rate):
        import tensorflow as tf

        self._decay_own_copies(variables, learning_rate)
        settings = {}  # constants once for each kind, not for each variable
        for gradient, variable in zip(gradients, variables, strict=True):
            index = self._get_variable_index(variable)
            kind = variable.dtype, self._factors[index]
            if kind not in settings:
                settings[kind] = {
                    "lr": tf.cast(
                        self._rate(variable, learning_rate), variable.dtype
                    ),
                    "rho": tf.constant(self.rho, variable.dtype),
                    "momentum": tf.constant(self.momentum, variable.dtype),
                    "epsilon": tf.constant(self.epsilon, variable.dtype),
                }
            tf.raw_ops.ResourceApplyRMSProp(
                var=variable.value.handle,
                ms=self._mean_squares[index].value.handle,
                mom=self._momentums[index].value.handle,
                grad=tf.cast(gradient, variable.dtype),
                **settings[kind],
            )

    def get_config(self):
        return {
            **super().get_config(),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }


@keras.saving.register_keras_serializable("efficientnetv2")
class SGD(ReplicaUpdates, keras.optimizers.SGD):
    """Keras's SGD with the additions of `ReplicaUpdates`."""


class _AdamKernel(ReplicaUpdates):
    """Mixed into Keras's Adam: on TensorFlow a variable's update is one op."""

    def _update_own_copies(self, gradients, variables, learning_rate):
        if self.amsgrad:  # the kernel has none
            super()._update_own_copies(gradients, variables, learning_rate)
            return
        import tensorflow as tf

        self._decay_own_copies(variables, learning_rate)
        step = ops.cast(self.iterations + 1, "float32")
        powers = self.beta_1**step, self.beta_2**step
        for gradient, variable in zip(gradients, variables, strict=True):
            index = self._get_variable_index(variable)
            dtype = variable.dtype
            tf.raw_ops.ResourceApplyAdam(
                var=variable.value.handle,
                m=self._momentums[index].value.handle,
                v=self._velocities[index].value.handle,
                beta1_power=tf.cast(powers[0], dtype),
                beta2_power=tf.cast(powers[1], dtype),
                lr=tf.cast(self._rate(variable, learning_rate), dtype),
                beta1=tf.constant(self.beta_1, dtype),
                beta2=tf.constant(self.beta_2, dtype),
                epsilon=tf.constant(self.epsilon, dtype),
                grad=tf.cast(gradient, dtype),
            )


@keras.saving.register_keras_serializable("efficientnetv2")
class Adam(_AdamKernel, keras.optimizers.Adam):
    """Keras's Adam with the additions of `ReplicaUpdates`."""


@keras.saving.register_keras_serializable("efficientnetv2")
class AdamW(_AdamKernel, keras.optimizers.AdamW):
    """Keras's AdamW with the additions of `ReplicaUpdates`."""


@keras.saving.register_keras_serializable("efficientnetv2")
class Lamb(ReplicaUpdates, keras.optimizers.Lamb):
    """Keras's LAMB with the additions of `ReplicaUpdates`."""


_OPTIMIZERS = {
    "rmsprop": (RMSProp, {}),
    "sgd": (SGD, {}),
    "momentum": (SGD, {"momentum": 0.9}),
    "adam": (Adam, {}),
    "adamw": (AdamW, {}),
    "lamb": (Lamb, {}),
}
# With these, weight decay is a matter of the optimizer, not of the loss.
DECOUPLED = ("adamw", "lamb")


def layer_factors(
    variables: Iterable[keras.Variable], decay: float
) -> dict[str, float]:
    """Factors on the learning rate that fall from the head to the stem.

    The head (top convolution and classifier) has 1, the last block `decay`,
    each block below `decay` times that of the one above, the stem the least.

    Args:
        variables: A model's variables in the order of its layers.
        decay: Factor from a block to the one below, in (0, 1].

    Returns:
        A dict from variable path to factor.

    Raises:
        ValueError: for a decay out of range.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay must lie in (0, 1]. Received: {decay}")
    places = [_place(v.path) for v in variables]
    order = list(dict.fromkeys(p for p in places if p is not None))
    below_head = {p: len(order) - i for i, p in enumerate(order)}
    return {
        variable.path: decay ** below_head.get(place, 0)
        for variable, place in zip(variables, places, strict=True)
    }


def _place(path):
    """'stem', 'block3b' and so on; None for the head."""
    found = re.match(r"stem(?=_)|block\d+[a-z]+(?=_)", path)
    return found and found.group()


def build(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    *,
    gclip: float | None = None,
    weight_decay: float | None = None,
    **kwargs: Any,
) -> keras.optimizers.Optimizer:
    """Makes the optimizer that a recipe names.

    Args:
        name: 'rmsprop', 'sgd', 'momentum' (0.9), 'adam', 'adamw' or 'lamb'.
        learning_rate: Float or a Keras schedule.
        gclip: Largest global norm of the gradient over all replicas, > 0, or
            None.
        weight_decay: Decoupled weight decay, >= 0, or None. For those in
            `DECOUPLED`; with others it belongs into the loss.
        **kwargs: As `replica_updates.ReplicaUpdates`.

    Returns:
        A Keras optimizer.

    Raises:
        ValueError: for an unknown name (with the nearest one) or a value out
            of range.
    """
    if name not in _OPTIMIZERS:
        raise ValueError(
            f"optimizer must be one of {', '.join(_OPTIMIZERS)}. "
            f"Received: {name!r}{spelling.nearest(name, _OPTIMIZERS)}"
        )
    if gclip is not None and not gclip > 0:
        raise ValueError(f"gclip must be > 0 or None. Received: {gclip}")
    if weight_decay and name not in DECOUPLED:
        raise ValueError(
            f"weight_decay must be None for {name!r}: it belongs into the "
            f"loss. Received: {weight_decay}"
        )
    if isinstance(learning_rate, int):
        learning_rate = float(learning_rate)
    # Keras's AdamW takes a number only, the others take None for none.
    decay = float(weight_decay or 0.0) if name in DECOUPLED else None
    optimizer, settings = _OPTIMIZERS[name]
    return optimizer(
        learning_rate=learning_rate,
        global_clipnorm=gclip,
        weight_decay=decay,
        **settings,
        **kwargs,
    )
