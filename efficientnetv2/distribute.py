"""The strategy of a run: on which devices and machines it trains."""

import json
import os

from efficientnetv2 import spelling

STRATEGIES = ("one", "mirrored", "multiworker", "tpu")


def _tf_config_workers():
    """Number of workers that TF_CONFIG names; 0 without it."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 0
    try:
        found = json.loads(text)
        cluster, task = found["cluster"], found.get("task", {})
        jobs = {job: len(cluster.get(job, ())) for job in ("chief", "worker")}
        place = task.get("type"), task.get("index")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"TF_CONFIG must be JSON with the key 'cluster'. Received: {text!r}"
        ) from None
    if place[0] == "evaluator":  # a process that evaluates by itself
        return 0
    count = sum(jobs.values())
    known = [(job, i) for job in jobs for i in range(jobs[job])]
    if count > 1 and place not in known:
        raise ValueError(
            "TF_CONFIG must hold a task of its cluster, a chief or a worker. "
            f"Received: {place[0]} {place[1]} of {jobs}"
        )
    return count


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
        return _multi_worker_strategy()
    if name == "tpu":
        return _tpu_strategy(tpu, gcp_project, tpu_zone)
    raise ValueError(
        f"strategy must be one of {', '.join(STRATEGIES)}. "
        f"Received: {name!r}{spelling.nearest(name, STRATEGIES)}"
    )


def _multi_worker_strategy():
    import tensorflow as tf

    print(f"Waiting for {_tf_config_workers()} workers", flush=True)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        reason = str(error).splitlines()[0]
        raise ConnectionError(
            f"the workers that TF_CONFIG names do not come together: {reason}"
        ) from None


def _tpu_strategy(tpu, gcp_project, tpu_zone):
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu or "local", zone=tpu_zone, project=gcp_project
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (
        tf.errors.OpError,
        ValueError,
        RuntimeError,
        ImportError,  # Google's client, which finds a TPU by its name
        OSError,
    ) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"no TPU {tpu or 'local'!r}: {reason}") from None
    return tf.distribute.TPUStrategy(resolver)


def strategy_of(runtime):
    """`strategy` for the section `runtime` of a config.

    Args:
        runtime: A `config_schema.RuntimeConfig`.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        ValueError: as `strategy` does.
    """
    return strategy(
        runtime.strategy,
        tpu=runtime.tpu,
        gcp_project=runtime.gcp_project,
        tpu_zone=runtime.tpu_zone,
    )


def is_tpu(strategy):
    """Whether a strategy's replicas are TPU cores."""
    import tensorflow as tf

    return isinstance(strategy, tf.distribute.TPUStrategy)


def wants_xla(strategy):
    """Whether the training step is best compiled by XLA: on one GPU.

    On a CPU it is slower, a TPU compiles by itself, and several GPUs would
    need collectives inside the compiled code.
    """
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    return bool(gpus) and strategy.num_replicas_in_sync == 1


def per_replica_batch(batch_size, strategy, *, in_pairs=False):
    """Examples of a global batch that each replica takes.

    Args:
        batch_size: Global batch, train.batch_size, >= 1.
        strategy: A `tf.distribute.Strategy`.
        in_pairs: Whether a replica's examples are mixed in pairs.

    Returns:
        An int.

    Raises:
        ValueError: if the replicas do not divide the batch.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ValueError(
            f"train.batch_size must be a multiple of the {replicas} replicas. "
            f"Received: {batch_size}"
        )
    if in_pairs and batch_size // replicas % 2:
        raise ValueError(
            f"train.batch_size must be a multiple of {2 * replicas}: mixup and "
            f"CutMix mix pairs on each of the {replicas} replicas. "
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
