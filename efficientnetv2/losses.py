"""Losses: cross entropy of each example, and L2."""

import re

import keras


def cross_entropy(labels, logits, *, label_smoothing=0.0, loss_type="softmax"):
    """Cross entropy of each example.

    Per example, so that the mean over a global batch is right on any number
    of replicas.

    Args:
        labels: float [batch, classes]: one-hot, mixed or several labels.
        logits: float [batch, classes].
        label_smoothing: In [0, 1): with softmax this share of the label is
            spread over all classes (arXiv 1512.00567, section 7); with
            sigmoid each label moves this share towards 0.5.
        loss_type: 'softmax' or 'sigmoid' (summed over classes).

    Returns:
        float32 [batch].

    Raises:
        ValueError: for another `loss_type`.
    """
    ops = keras.ops
    labels = ops.cast(labels, "float32")
    logits = ops.cast(logits, "float32")
    if loss_type == "softmax":
        if label_smoothing:
            spread = label_smoothing / logits.shape[-1]
            labels = labels * (1.0 - label_smoothing) + spread
        return ops.categorical_crossentropy(labels, logits, from_logits=True)
    if loss_type == "sigmoid":
        if label_smoothing:
            labels = labels * (1.0 - label_smoothing) + 0.5 * label_smoothing
        # max(x, 0) - x z + log(1 + exp(-|x|)): finite for any logit.
        rows = ops.relu(logits) - logits * labels
        rows += ops.log1p(ops.exp(-ops.abs(logits)))
        return ops.sum(rows, axis=-1)
    raise ValueError(
        f"loss_type must be 'softmax' or 'sigmoid'. Received: {loss_type!r}"
    )


def decayed_variables(variables, exclude):
    """The variables that L2 covers: those whose path `exclude` misses.

    Args:
        variables: Keras variables.
        exclude: Regular expression, matched from the start of the path.

    Returns:
        A list of variables.
    """
    pattern = re.compile(exclude)
    return [v for v in variables if not pattern.match(v.path)]


def l2(kernels):
    """Half the squared norm of the kernels together.

    Args:
        kernels: Variables or tensors of any shapes.

    Returns:
        A float32 scalar; 0 for no kernels.
    """
    ops = keras.ops
    total = ops.zeros((), "float32")
    for kernel in kernels:
        total += 0.5 * ops.sum(ops.square(ops.convert_to_tensor(kernel)))
    return total
