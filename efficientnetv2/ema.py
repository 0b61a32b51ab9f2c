"""Moving averages of weights and moving statistics, with warm-up."""

import contextlib
import math

import keras
import numpy as np
from keras import ops

from efficientnetv2 import frozen_values

# Averages of variables up to this many elements lie end to end in one vector:
# three quarters of a network's variables, a hundredth of its numbers.
_SMALL = 4096


class ExponentialMovingAverage:
    """Keeps an average of each variable: avg -= (1 - d) (avg - variable).

    The decay warms up: d = min(decay, (1 + n) / (10 + n)) after n updates.
    Keras's `use_ema` covers trainable variables only; evaluation needs the
    averages of the moving statistics too.

    Args:
        variables: Keras variables of a float type, trainable or not.
        decay: Final decay, in (0, 1).

    Raises:
        ValueError: for a decay out of range, or a variable of another type.
    """

    def __init__(self, variables, decay):
        if not 0 < decay < 1:
            raise ValueError(f"decay must lie in (0, 1). Received: {decay}")
        self.decay = decay
        self.variables = list(variables)
        for variable in self.variables:
            if "float" not in variable.dtype:
                raise ValueError(
                    "variables must be of a float type. "
                    f"Received: {variable.dtype} {variable.path!r}"
                )
        self._large = [v for v in self.variables if _size(v) > _SMALL]
        self._small = [v for v in self.variables if _size(v) <= _SMALL]
        self._averages = [
            _new_average(np.array(frozen_values.read(v)), f"{v.name}_average")
            for v in self._large
        ]
        self._vector = None
        if self._small:
            self._vector = _new_average(
                np.concatenate(
                    [frozen_values.read(v).ravel() for v in self._small]
                ),
                "small_averages",
            )

    def update(self, step):
        """Moves the averages; inside a replica, each its own copy.

        Args:
            step: Number of updates before this one, an integer scalar.
        """
        step = ops.cast(step, "float32")
        share = 1.0 - ops.minimum((1.0 + step) / (10.0 + step), self.decay)
        for average, variable in zip(self._averages, self._large, strict=True):
            _move(average, _read(variable), share)
        if self._small:
            values = [
                value if len(value.shape) == 1 else ops.reshape(value, (-1,))
                for value in map(_read, self._small)
            ]
            _move(self._vector, ops.concatenate(values), share)

    def values(self):
        """Reads the averages.

        Returns:
            A dict from variable path to a float32 NumPy array of its shape;
            later updates do not change them.
        """
        found = {
            variable.path: frozen_values.read(average)
            for average, variable in zip(
                self._averages, self._large, strict=True
            )
        }
        if self._small:
            vector, start = frozen_values.read(self._vector), 0
            for variable in self._small:
                part = vector[start : start + _size(variable)]
                found[variable.path] = part.reshape(variable.shape)
                start += _size(variable)
        return {v.path: found[v.path] for v in self.variables}

    def assign(self, values):
        """Sets the averages.

        Args:
            values: What `values` returned.
        """
        for average, variable in zip(self._averages, self._large, strict=True):
            average.assign(values[variable.path])
        if self._vector is not None:
            parts = [np.ravel(values[v.path]) for v in self._small]
            self._vector.assign(np.concatenate(parts))

    @contextlib.contextmanager
    def swapped(self):
        """Puts the averages into the variables while the context lasts.

        Call it outside the replicas.
        """
        before = [frozen_values.read(v) for v in self.variables]
        averages = self.values()
        try:
            for variable in self.variables:
                variable.assign(averages[variable.path])
            yield
        finally:
            for value, variable in zip(before, self.variables, strict=True):
                variable.assign(value)


def _size(variable):
    return math.prod(variable.shape)


def _new_average(value, name):
    # float32 whatever the variable is: steps of 1e-4 are lost in less.
    return keras.Variable(value, dtype="float32", trainable=False, name=name)


def _read(variable):
    """The value of this replica's copy, as float32."""
    if keras.backend.backend() != "tensorflow":
        return ops.cast(variable, "float32")
    import tensorflow as tf

    # The bare operation: it is traced a thousand times.
    value = tf.raw_ops.ReadVariableOp(
        resource=variable.value.handle, dtype=variable.dtype
    )
    return tf.cast(value, tf.float32)


def _move(average, value, share):
    """Moves an average by `share` of its distance to a value."""
    difference = _read(average) - value
    if keras.backend.backend() != "tensorflow":
        average.assign(average - share * difference)
        return
    import tensorflow as tf

    tf.raw_ops.ResourceApplyGradientDescent(
        var=average.value.handle, alpha=share, delta=difference
    )
