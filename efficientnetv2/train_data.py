"""The batches of a stage, dealt out to the replicas, from any position."""

import tensorflow as tf

from efficientnetv2 import distribute
from efficientnetv2.data import broken, pipeline


def _loosen(batch):
    """Hides the image size from the trace, so that one serves all stages."""
    image = batch["image"]
    shape = tf.shape(image)
    sizes = tf.raw_ops.PlaceholderWithDefault(input=shape[1:3], shape=[2])
    shape = tf.concat([shape[:1], sizes, shape[3:]], 0)
    return {**batch, "image": tf.reshape(image, shape)}


def batches(setup, state, stage):
    """Training batches from a state's position to the end of its stage.

    Args:
        setup: A `train_setup.Setup`.
        state: A `train_setup.State`.
        stage: The `progressive.Stage` of the state's epoch.

    Returns:
        An iterable of batches, one a step; distributed where there are
        several replicas, each of which takes its rows in their order.
    """
    config = setup.config
    replicas = setup.strategy.num_replicas_in_sync
    done = state.step % setup.epoch_steps
    found = pipeline.train_batches(
        setup.source,
        batch_size=distribute.per_replica_batch(
            config.train.batch_size, setup.strategy
        ),
        image_size=stage.image_size,
        style=config.data.preprocessing,
        min_area=config.data.min_area,
        augname=config.data.augname,
        magnitude=stage.randaug_magnitude,
        mixup_alpha=stage.mixup_alpha,
        cutmix_alpha=stage.cutmix_alpha,
        normalize_labels=config.train.loss_type == "softmax",
        seed=config.train.seed,
        first_epoch=state.step // setup.epoch_steps,
        end_epoch=stage.end_epoch,
        first_offset=state.offset,
        steps_per_epoch=setup.epoch_steps * replicas,
        first_step=done * replicas,
        max_bad_fraction=config.data.max_bad_fraction,
        host_rows=config.train.batch_size,
    ).map(_loosen)
    if replicas == 1:
        return found
    return setup.strategy.distribute_datasets_from_function(lambda _: found)


def watch(setup, state):
    """Watches for broken examples from a state's position on.

    Args:
        setup: A `train_setup.Setup`.
        state: A `train_setup.State`.

    Returns:
        A `broken.BrokenExamples`.
    """
    config = setup.config
    return broken.BrokenExamples(
        setup.source,
        seed=config.train.seed,
        epoch=state.step // setup.epoch_steps,
        offset=state.offset,
        max_bad_fraction=config.data.max_bad_fraction,
        host_rows=config.train.batch_size,
    )
