"""Losses: cross entropy of each example, and L2."""

import re
from collections.abc import Iterable
from typing import Any

import keras


def cross_entropy(
    labels: Any,
    logits: Any,
    *,
    label_smoothing: float = 0.0,
    loss_type: str = "softmax",
) -> Any:
    """Cross entropy of each example.

    Per example, so that the mean over a global batch is right on any number
    of replicas.

    Args:
        labels: Integers [batch], or float [batch, classes]: one-hot, mixed or
            several labels.
        logits: Float [batch, classes]; float16 and bfloat16 are computed in
            float32.
        label_smoothing: In [0, 1): with softmax this share of the label is
            spread over all classes (arXiv 1512.00567, section 7); with
            sigmoid each label moves this share towards 0.5.
        loss_type: 'softmax', or 'sigmoid': one yes or no a class, summed over
            the classes.

    Returns:
        float32 [batch].

    Raises:
        ValueError: for another `loss_type` or a share out of range.
    """
    ops = keras.ops
    if loss_type not in ("softmax", "sigmoid"):
        raise ValueError(
            f"loss_type must be 'softmax' or 'sigmoid'. Received: {loss_type!r}"
        )
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            f"label_smoothing must lie in [0, 1). Received: {label_smoothing}"
        )
    logits = ops.cast(logits, "float32")
    classes = logits.shape[-1]
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) == 1:
        labels = ops.one_hot(labels, classes)
    labels = ops.cast(labels, "float32")
    if label_smoothing:
        middle = 1.0 / classes if loss_type == "softmax" else 0.5
        labels = labels * (1.0 - label_smoothing) + middle * label_smoothing
    if loss_type == "softmax":
        return ops.categorical_crossentropy(labels, logits, from_logits=True)
    each = ops.binary_crossentropy(labels, logits, from_logits=True)
    return ops.sum(each, axis=-1)  # [batch]


def decayed_variables(
    variables: Iterable[keras.Variable], exclude: str
) -> list[keras.Variable]:
    """The variables that L2 covers: those whose path `exclude` misses.

    Args:
        variables: Keras variables.
        exclude: Regular expression, matched from the start of the path.

    Returns:
        A list of variables.
    """
    pattern = re.compile(exclude)
    return [v for v in variables if not pattern.match(v.path)]


def l2(kernels: Iterable[Any]) -> Any:
    """Half the squared norm of the kernels together.

    Args:
        kernels: Variables or tensors of any shapes.

    Returns:
        A float32 scalar; 0 for no kernels.
    """
    if not kernels:
        return keras.ops.zeros((), "float32")
    halves = [_half_square(keras.ops.convert_to_tensor(k)) for k in kernels]
    return keras.ops.sum(keras.ops.stack(halves))


def _half_square(kernel):
    kernel = keras.ops.cast(kernel, "float32")
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.nn.l2_loss(kernel)  # one op, and one for its gradient
    return 0.5 * keras.ops.sum(keras.ops.square(kernel))
