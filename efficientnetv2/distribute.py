"""The strategy of a run: on which devices and machines it trains."""

import difflib
import json
import os

STRATEGIES = ("one", "mirrored", "multiworker", "tpu")


def _tf_config_workers():
    """Number of workers that TF_CONFIG names; 0 without it."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 0
    try:
        cluster = json.loads(text)["cluster"]
        return len(cluster.get("worker", ())) + len(cluster.get("chief", ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"TF_CONFIG must be JSON with the key 'cluster'. Received: {text!r}"
        ) from None


def strategy(name=None, *, tpu=None, gcp_project=None, tpu_zone=None):
    """Makes the strategy that a recipe names, or finds one out.

    Args:
        name: 'one', 'mirrored', 'multiworker', 'tpu', or None: a TPU if one
            is named, several workers if TF_CONFIG names them, all GPUs if
            there is more than one, else one device.
        tpu: Name or grpc:// address of a TPU.
        gcp_project: Google Cloud project of the TPU.
        tpu_zone: Google Cloud zone of the TPU.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        ValueError: for an unknown name, or devices that are not there.
    """
    import tensorflow as tf

    if name is None:
        if tpu:
            name = "tpu"
        elif _tf_config_workers() > 1:
            name = "multiworker"
        else:
            gpus = tf.config.list_logical_devices("GPU")
            name = "mirrored" if len(gpus) > 1 else "one"
    if name == "one":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [d.name for d in tf.config.list_logical_devices(kind)]
        return tf.distribute.MirroredStrategy(devices)
    if name == "multiworker":
        if not _tf_config_workers():
            raise ValueError("strategy 'multiworker' needs TF_CONFIG to be set")
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        return _tpu_strategy(tpu, gcp_project, tpu_zone)
    near = difflib.get_close_matches(str(name), STRATEGIES, n=1)
    hint = f" (nearest: {near[0]!r})" if near else ""
    raise ValueError(
        f"strategy must be one of {', '.join(STRATEGIES)}. "
        f"Received: {name!r}{hint}"
    )


def _tpu_strategy(tpu, gcp_project, tpu_zone):
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu or "local", zone=tpu_zone, project=gcp_project
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"no TPU {tpu or 'local'!r}: {reason}") from None
    return tf.distribute.TPUStrategy(resolver)


def per_replica_batch(batch_size, strategy):
    """Examples of a global batch that each replica takes.

    Args:
        batch_size: Global batch, >= 1.
        strategy: A `tf.distribute.Strategy`.

    Returns:
        An int.

    Raises:
        ValueError: if the replicas do not divide the batch.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ValueError(
            f"batch_size must be a multiple of the {replicas} replicas. "
            f"Received: {batch_size}"
        )
    return batch_size // replicas


def split_cpu(count):
    """Splits the CPU into logical devices, to try out several replicas.

    Args:
        count: Number of devices, >= 1.

    Raises:
        ValueError: if TensorFlow has started its devices already.
    """
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError:
        raise ValueError(
            "the CPU must be split before TensorFlow's first operation"
        ) from None
