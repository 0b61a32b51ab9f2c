"""Values of variables that later steps do not change, read without a copy."""

import keras
import numpy as np


def _tensor(value):
    """The present value of a variable of TensorFlow's."""
    import tensorflow as tf

    if isinstance(value, tf.distribute.DistributedValues):
        return value.read_value()
    # The bare operation: a checkpoint reads a thousand variables, in half the
    # time that `read_value` takes.
    return tf.raw_ops.ReadVariableOp(resource=value.handle, dtype=value.dtype)


def read(variable):
    """Reads a variable as it is now.

    TensorFlow never writes into memory that a reader holds: the next update
    of the variable copies it first. So on CPU the array is a view, and the
    copy happens inside the next step, spread over its threads.

    Args:
        variable: Keras variable. Of one that is mirrored over devices the
            first copy is read.

    Returns:
        A NumPy array that only may be read.
    """
    if keras.backend.backend() == "tensorflow":
        tensor = _tensor(variable.value)
        try:
            return np.asarray(memoryview(tensor))
        except (TypeError, ValueError):  # bfloat16 has no buffer format
            return tensor.numpy()
    array = np.array(keras.ops.convert_to_numpy(variable))
    array.flags.writeable = False
    return array
