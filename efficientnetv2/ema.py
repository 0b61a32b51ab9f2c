"""Moving averages of weights and moving statistics, with warm-up."""

import contextlib

import keras


class ExponentialMovingAverage:
    """Keeps an average of each variable: avg -= (1 - d) (avg - variable).

    The decay warms up: d = min(decay, (1 + n) / (10 + n)) after n updates.
    Keras's `use_ema` covers trainable variables only; evaluation needs the
    averages of the moving statistics too.

    Args:
        variables: Keras variables, trainable or not.
        decay: Final decay, in (0, 1).

    Raises:
        ValueError: for a decay out of range.
    """

    def __init__(self, variables, decay):
        if not 0 < decay < 1:
            raise ValueError(f"decay must lie in (0, 1). Received: {decay}")
        self.decay = decay
        self.variables = list(variables)
        self.values = [
            keras.Variable(
                keras.ops.convert_to_tensor(variable),
                dtype=variable.dtype,
                trainable=False,
                name=f"{variable.name}_average",
            )
            for variable in self.variables
        ]

    def update(self, step):
        """Moves the averages; inside a replica, each its own copy.

        Args:
            step: Number of updates before this one, an int or int64 scalar.
        """
        step = keras.ops.cast(step, "float32")
        warm = (1.0 + step) / (10.0 + step)
        share = 1.0 - keras.ops.minimum(warm, self.decay)
        for average, variable in zip(self.values, self.variables, strict=True):
            difference = average.value - variable.value
            _subtract(average, share * difference)

    @contextlib.contextmanager
    def swapped(self):
        """Puts the averages into the variables while the context lasts."""
        before = [keras.ops.convert_to_numpy(v) for v in self.variables]
        for average, variable in zip(self.values, self.variables, strict=True):
            variable.assign(average.value)
        try:
            yield
        finally:
            for value, variable in zip(before, self.variables, strict=True):
                variable.assign(value)


def _subtract(variable, amount):
    if keras.backend.backend() == "tensorflow":
        variable.value.assign_sub(amount)
    else:
        variable.assign(variable.value - amount)
