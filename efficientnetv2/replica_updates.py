"""What the optimizers share: updates by replica, clipping, loss scale, rates.

Keras's own optimizers leave the replicas for every update (a merge call), clip
each replica's share of the gradient instead of their sum, and skip steps by
the finiteness of the first replica alone. Here, on TensorFlow, each replica
sums the gradients first, decides by the sum, and writes its own copies of the
variables: all hold the same sum, so the copies stay equal.
"""

import re

import keras
from keras import ops

_FIRST_LOSS_SCALE = 2.0**15
_STEPS_TO_DOUBLE = 2000


def in_replica():
    """Whether TensorFlow code runs as one replica (also the only one)."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.get_replica_context() is not None


class ReplicaUpdates(keras.optimizers.Optimizer):
    """Mixed into a Keras optimizer, before its class.

    Args:
        learning_rate_factors: Dict from variable path to the factor on its
            learning rate; 1 for those not in it.
        weight_decay_exclude: Regular expression; variables whose path it fits
            from the start have no (decoupled) weight decay.
        dynamic_loss_scale: Whether `scale_loss` multiplies the loss, so that
            float16 gradients do not vanish (arXiv 1710.03740, section 3.2):
            halved by a step that is not finite, doubled after 2000 good ones.
        **kwargs: As the Keras optimizer.
    """

    def __init__(
        self,
        *args,
        learning_rate_factors=None,
        weight_decay_exclude=None,
        dynamic_loss_scale=False,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        if dynamic_loss_scale and keras.backend.backend() != "tensorflow":
            raise ValueError(
                "dynamic_loss_scale must be False on Keras's "
                f"{keras.backend.backend()} backend. Received: True"
            )
        self.learning_rate_factors = dict(learning_rate_factors or {})
        self.weight_decay_exclude = weight_decay_exclude
        self.dynamic_loss_scale = dynamic_loss_scale

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        factors = self.learning_rate_factors
        self._factors = [factors.get(v.path, 1.0) for v in variables]
        if self.dynamic_loss_scale:
            self._loss_scale = self.add_variable(
                (),
                initializer=keras.initializers.Constant(_FIRST_LOSS_SCALE),
                dtype="float32",
                name="loss_scale",
            )
            self._good_steps = self.add_variable(
                (), dtype="int32", name="good_steps"
            )

    def scale_loss(self, loss):
        """Multiplies the loss by the loss scale, if there is one."""
        if self.dynamic_loss_scale:
            return loss * ops.cast(self._loss_scale, loss.dtype)
        return super().scale_loss(loss)

    def apply(self, grads, trainable_variables=None):
        if self.dynamic_loss_scale:
            self.apply_if_finite(grads, trainable_variables)
        else:
            super().apply(grads, trainable_variables)

    def apply_if_finite(self, gradients, variables=None):
        """Applies gradients; if their sum is not finite nothing is changed.

        The step counts all the same, so that schedules keep pace with it.
        Call it inside a replica (TensorFlow only).

        Args:
            gradients: This replica's share of the gradient of the scaled loss
                for each variable; None for one that has none.
            variables: Those the optimizer was built with; None: all of them.

        Returns:
            A bool scalar tensor, the same on all replicas: whether the step
            was taken.
        """
        import tensorflow as tf

        variables = list(variables or self._trainable_variables)
        if not self.built:
            self.build(variables)
        gradients, variables = self._filter_empty_gradients(
            gradients, variables
        )
        gradients = _sum_over_replicas(gradients)
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm)
        unscale = 1.0 / self._loss_scale if self.dynamic_loss_scale else None
        gradients = self._clip(gradients, norm, unscale)
        rate = self.learning_rate

        def update():
            self._update_own_copies(gradients, variables, rate)
            return tf.no_op()

        tf.cond(finite, update, tf.no_op)
        if self.dynamic_loss_scale:
            self._adapt_loss_scale(finite)
        self.assign_add(self._iterations, 1)
        return finite

    def _adapt_loss_scale(self, finite):
        good = ops.where(finite, self._good_steps + 1, 0)
        doubles = good >= _STEPS_TO_DOUBLE
        scale = self._loss_scale * ops.where(
            finite, ops.where(doubles, 2.0, 1.0), 0.5
        )
        self.assign(self._loss_scale, ops.maximum(scale, 1.0))
        self.assign(self._good_steps, ops.where(doubles, 0, good))

    def _clip(self, gradients, norm, unscale=None):
        """Unscales and clips gradients that are summed already."""
        factor = unscale
        if self.global_clipnorm:
            factor = 1.0 if unscale is None else unscale
            longest = ops.maximum(norm * factor, self.global_clipnorm)
            factor = factor * self.global_clipnorm / longest
        if factor is not None:
            gradients = [g * ops.cast(factor, g.dtype) for g in gradients]
        if self.clipnorm or self.clipvalue:
            gradients = super()._clip_gradients(gradients)
        return gradients

    def _clip_gradients(self, grads):
        # In a replica only after the sum: see `_backend_update_step`.
        return grads if in_replica() else super()._clip_gradients(grads)

    def _apply_weight_decay(self, variables):
        # In a replica with the update: see `_update_own_copies`.
        if not in_replica():
            super()._apply_weight_decay(variables)

    def _use_weight_decay(self, variable):
        if self.weight_decay_exclude is None:
            return super()._use_weight_decay(variable)
        path = self._trainable_variables[
            self._get_variable_index(variable)
        ].path
        return not re.match(self.weight_decay_exclude, path)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if not in_replica():
            super()._backend_update_step(
                grads, trainable_variables, learning_rate
            )
            return
        import tensorflow as tf

        grads = _sum_over_replicas(grads)
        norm = tf.linalg.global_norm(grads) if self.global_clipnorm else None
        grads = self._clip(grads, norm)
        self._update_own_copies(grads, trainable_variables, learning_rate)

    def _update_own_copies(self, gradients, variables, learning_rate):
        """Updates this replica's copies by gradients that are summed."""
        self._decay_own_copies(variables, learning_rate)
        for gradient, variable in zip(gradients, variables, strict=True):
            self.update_step(gradient, variable, learning_rate)

    def _decay_own_copies(self, variables, learning_rate):
        if not self.weight_decay:
            return
        for variable in variables:
            if self._use_weight_decay(variable):
                rate = self._rate(variable, learning_rate)
                share = ops.cast(rate * self.weight_decay, variable.dtype)
                self.assign_sub(variable, variable * share)

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(
            gradient, variable, self._rate(variable, learning_rate)
        )

    def _rate(self, variable, learning_rate):
        factor = self._factors[self._get_variable_index(variable)]
        return learning_rate if factor == 1.0 else learning_rate * factor

    def assign(self, variable, value):
        if not in_replica():
            super().assign(variable, value)
            return
        import tensorflow as tf

        tf.raw_ops.AssignVariableOp(
            resource=variable.value.handle,
            value=tf.cast(value, variable.dtype),
        )

    def assign_add(self, variable, value):
        if not in_replica():
            super().assign_add(variable, value)
            return
        import tensorflow as tf

        tf.raw_ops.AssignAddVariableOp(
            resource=variable.value.handle,
            value=tf.cast(value, variable.dtype),
        )

    def assign_sub(self, variable, value):
        if not in_replica():
            super().assign_sub(variable, value)
            return
        import tensorflow as tf

        tf.raw_ops.AssignSubVariableOp(
            resource=variable.value.handle,
            value=tf.cast(value, variable.dtype),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "learning_rate_factors": self.learning_rate_factors,
            "weight_decay_exclude": self.weight_decay_exclude,
            "dynamic_loss_scale": self.dynamic_loss_scale,
        }


def _sum_over_replicas(gradients):
    """Sums each gradient over the replicas, all in one go."""
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    gradients = [tf.convert_to_tensor(g) for g in gradients]
    if replica.num_replicas_in_sync == 1:
        return gradients
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
