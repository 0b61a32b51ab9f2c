"""Optimizers by name, and the RMSProp of the original on a fused kernel."""

import difflib

import keras
from keras import ops


@keras.saving.register_keras_serializable("efficientnetv2")
class RMSProp(keras.optimizers.Optimizer):
    """RMSProp as EfficientNet was trained with.

    For each variable, with accumulators that start at 1:

        mean_square = rho * mean_square + (1 - rho) * gradient ** 2
        update = momentum * update
                 + learning_rate * gradient / sqrt(mean_square + epsilon)
        variable = variable - update

    Keras's own starts at 0 and adds epsilon outside the root. On TensorFlow a
    variable's update is one kernel, applied by each replica to its own copy:
    all replicas hold the same summed gradient, so the copies stay equal.

    Args:
        learning_rate: Float, schedule or callable.
        rho: Decay of the mean square, in [0, 1).
        momentum: In [0, 1).
        epsilon: Added under the root, > 0.
        **kwargs: As `keras.optimizers.Optimizer`, such as `global_clipnorm`.
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
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        self.assign(
            mean_square,
            self.rho * mean_square + (1 - self.rho) * ops.square(gradient),
        )
        scaled = rate * gradient / ops.sqrt(mean_square + self.epsilon)
        self.assign(update, self.momentum * update + scaled)
        self.assign_sub(variable, update)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if keras.backend.backend() != "tensorflow":
            super()._backend_update_step(
                grads, trainable_variables, learning_rate
            )
            return
        import tensorflow as tf

        replica = tf.distribute.get_replica_context()
        if replica is None:  # in a cross-replica context Keras's way holds
            super()._backend_update_step(
                grads, trainable_variables, learning_rate
            )
            return
        if replica.num_replicas_in_sync > 1:
            grads = replica.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            index = self._get_variable_index(variable)
            dtype = variable.dtype
            tf.raw_ops.ResourceApplyRMSProp(
                var=variable.value.handle,
                ms=self._mean_squares[index].value.handle,
                mom=self._momentums[index].value.handle,
                lr=tf.cast(learning_rate, dtype),
                rho=tf.constant(self.rho, dtype),
                momentum=tf.constant(self.momentum, dtype),
                epsilon=tf.constant(self.epsilon, dtype),
                grad=tf.cast(gradient, dtype),
            )

    def get_config(self):
        return {
            **super().get_config(),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }


def _momentum(**kwargs):
    return keras.optimizers.SGD(momentum=0.9, **kwargs)


_OPTIMIZERS = {
    "rmsprop": RMSProp,
    "sgd": keras.optimizers.SGD,
    "momentum": _momentum,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "lamb": keras.optimizers.Lamb,
}


def build(name, learning_rate, *, gclip=None):
    """Makes the optimizer that a recipe names.

    Args:
        name: 'rmsprop', 'sgd', 'momentum' (0.9), 'adam', 'adamw' or 'lamb'.
        learning_rate: Float or a Keras schedule.
        gclip: Largest global norm of the gradient, > 0, or None.

    Returns:
        A Keras optimizer. Weight decay is not its matter: recipes put L2 in
        the loss.

    Raises:
        ValueError: for an unknown name (with the nearest one).
    """
    if name not in _OPTIMIZERS:
        near = difflib.get_close_matches(str(name), _OPTIMIZERS, n=1)
        hint = f" (nearest: {near[0]!r})" if near else ""
        raise ValueError(
            f"optimizer must be one of {', '.join(_OPTIMIZERS)}. "
            f"Received: {name!r}{hint}"
        )
    return _OPTIMIZERS[name](
        learning_rate=learning_rate, global_clipnorm=gclip
    )
