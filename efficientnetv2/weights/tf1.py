"""Reads the original's TensorFlow checkpoints, moving averages first.

A released archive holds each variable, its `ExponentialMovingAverage` and
the optimizer's slots under the model's scope:
'efficientnetv2-s/blocks_3/conv2d_1/kernel'. Checkpoints of tf.train.Checkpoint
are read by the variable names that they state.
"""

import re

from efficientnetv2.weights import names
from efficientnetv2.weights.source import Source, WeightsError, damaged

KIND = "a checkpoint of the original"
_AVERAGE = "/ExponentialMovingAverage"
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
LEAVES = (
    "kernel",
    "depthwise_kernel",
    "bias",
    "gamma",
    "beta",
    "moving_mean",
    "moving_variance",
)
# tpu_batch_normalization, batch_normalization, group_normalization, ...
_NORM = re.compile(r"/\w*normalization(_\d+)?/")


class Checkpoint:
    """A TensorFlow checkpoint, by variable name.

    Args:
        prefix: The path without '.index'.
    """

    def __init__(self, prefix):
        try:
            import tensorflow as tf
        except ImportError:
            raise WeightsError(
                f"reading {str(prefix)!r} needs TensorFlow: "
                "pip install tensorflow"
            ) from None
        # TensorFlow raises what its status text suggests: IndexError, too.
        self._errors = (
            tf.errors.OpError,
            LookupError,
            RuntimeError,
            ValueError,
        )
        self._prefix = prefix
        try:
            self._reader = tf.train.load_checkpoint(str(prefix))
            shapes = self._reader.get_variable_to_shape_map()
            self._keys = {name: name for name in shapes}
            if _GRAPH in shapes:
                self._keys = _object_names(self._reader.get_tensor(_GRAPH))
        except self._errors as error:
            raise damaged(prefix, error) from None

    def __iter__(self):
        return iter(self._keys)

    def __contains__(self, name):
        return name in self._keys

    def __getitem__(self, name):
        try:
            return self._reader.get_tensor(self._keys[name])
        except self._errors as error:
            raise damaged(self._prefix, error) from None


def _object_names(graph):
    """Variable name -> key, as an object-based checkpoint states them."""
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    message = trackable_object_graph_pb2.TrackableObjectGraph()
    message.ParseFromString(graph)
    return {
        attribute.full_name: attribute.checkpoint_key
        for node in message.nodes
        for attribute in node.attributes
        if attribute.full_name
    }


def read(prefix, layers, *, moving_average=True):
    """Reads a checkpoint of the original.

    Args:
        prefix: Path without '.index'.
        layers: See `names`.
        moving_average: Take the averages where the file has them.

    Returns:
        A `Source`.

    Raises:
        WeightsError: if the file is damaged or holds no such model.
    """
    checkpoint = Checkpoint(prefix)
    scope = _scope(checkpoint, prefix)
    stored = {
        _NORM.sub(r"/normalization\1/", name.removeprefix(scope)): name
        for name in checkpoint
        if name.startswith(scope) and name.rpartition("/")[2] in LEAVES
    }
    arrays = {}
    for layer, theirs in names.original(layers).items():
        for leaf in layers[layer]:
            kernel = names.kernel_name(layer) if leaf == "kernel" else leaf
            name = stored.pop(f"{theirs}/{kernel}", None)
            if name is None:
                continue
            if moving_average and name + _AVERAGE in checkpoint:
                name += _AVERAGE
            arrays[f"{layer}/{leaf}"] = checkpoint[name]
    head = {k for k in stored if k.startswith("head/dense/")}
    return Source(KIND, arrays, tuple(sorted(set(stored) - head)))


def _scope(checkpoint, prefix):
    anchor = "stem/conv2d/kernel"
    for name in checkpoint:
        if name == anchor or name.endswith(f"/{anchor}"):
            return name.removesuffix(anchor)
    raise WeightsError(
        f"{str(prefix)!r} holds no EfficientNet of the original: no variable "
        f"is called '<model>/{anchor}'"
    )
