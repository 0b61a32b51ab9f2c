"""The batches of a stage, dealt out to the replicas, from any position."""

import tensorflow as tf

from efficientnetv2 import distribute, treatment
from efficientnetv2.data import broken, mixing, pipeline
from efficientnetv2.data.service import batches as service

_SHOWN = 8  # pictures, an even number: pairs are mixed


def loosen(batch):
    """Hides the image size from the trace, so that one serves all stages."""
    image = batch["image"]
    shape = tf.shape(image)
    sizes = tf.raw_ops.PlaceholderWithDefault(input=shape[1:3], shape=[2])
    shape = tf.concat([shape[:1], sizes, shape[3:]], 0)
    return {**batch, "image": tf.reshape(image, shape)}


def _host(setup):
    """Which rows of each batch this host reads."""
    workers = setup.workers
    return {
        "host_rows": setup.config.train.batch_size // workers.count,
        "host_index": workers.index,
        "num_hosts": workers.count,
    }


def _treatment(setup, stage):
    """What a stage does to its pictures, and to broken ones."""
    config = setup.config
    return {
        **treatment.of_stage(config, stage),
        "max_bad_fraction": config.data.max_bad_fraction,
    }


def _pictures(dataset):
    """The first pictures of a dataset of batches, mixed.

    Returns:
        uint8 [n, height, width, 3], or None where they cannot be read: why,
        the training itself will tell.
    """
    try:
        batch = next(iter(dataset))
    except tf.errors.OpError:
        return None
    parts = {key: value[:_SHOWN] for key, value in batch.items()}
    images = tf.cast(parts["image"], tf.float32)
    if "mix_lambda" in parts:
        images, _ = mixing.apply(
            images,
            tf.zeros([len(images), 1]),
            mix_lambda=parts["mix_lambda"],
            mix_box=parts["mix_box"],
        )
    return tf.cast(tf.clip_by_value(images, 0, 255), tf.uint8).numpy()


def batches(setup, state, stage, watch, *, show=None):
    """Training batches from a state's position to the end of its stage.

    Args:
        setup: A `train_setup.Setup`.
        state: A `train_state.State`.
        stage: The `progressive.Stage` of the state's epoch.
        watch: What `watch` gave.
        show: Function that is called with the first pictures of the stage as
            they are trained on, uint8 [n, size, size, 3], or None.

    Returns:
        An iterable of batches, one a step; distributed where there are
        several replicas, each of which takes its rows in their order.
    """
    config, workers = setup.config, setup.workers
    wanted = {
        **_treatment(setup, stage),
        "batch_size": distribute.per_replica_batch(
            config.train.batch_size, setup.strategy
        ),
        "steps_per_epoch": setup.epoch_steps * workers.replicas,
        "first_epoch": state.step // setup.epoch_steps,
        "end_epoch": stage.end_epoch,
        "first_step": state.step % setup.epoch_steps * workers.replicas,
    }
    address = config.runtime.data_service
    if show is not None or not address:
        found = pipeline.train_batches(
            setup.source, first_offset=state.offset, **_host(setup), **wanted
        )
    if show is not None:
        # To begin the same dataset twice costs less than to make another.
        pictures = _pictures(found)
        if pictures is not None:
            show(pictures)
    if address:
        found = service.train_batches(
            setup.source,
            address=address,
            note=watch.note,
            shuffle_memory_mb=config.data.shuffle_memory_mb,
            host_index=workers.index,
            num_hosts=workers.count,
            **wanted,
        )
    if not setup.has_static_sizes:
        found = found.map(loosen)
    if setup.strategy.num_replicas_in_sync == 1:
        return found
    return setup.strategy.distribute_datasets_from_function(lambda _: found)


def watch(setup, state):
    """Watches for broken examples from a state's position on.

    Args:
        setup: A `train_setup.Setup`.
        state: A `train_state.State`.

    Returns:
        A `broken.BrokenExamples`, or `broken.ServedExamples` of a service.
    """
    config = setup.config
    if config.runtime.data_service:
        return broken.ServedExamples(
            setup.source,
            max_bad_fraction=config.data.max_bad_fraction,
            num_hosts=setup.workers.count,
        )
    return broken.BrokenExamples(
        setup.source,
        seed=config.train.seed,
        epoch=state.step // setup.epoch_steps,
        offset=state.offset,
        max_bad_fraction=config.data.max_bad_fraction,
        **_host(setup),
    )
