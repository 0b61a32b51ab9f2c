"""From a source to batches: order, read, decode, augment, batch.

A training batch is a dict:

    image       uint8 [batch, size, size, 3], augmented, not normalised
    label       int32 [batch] from 0, or float32 [batch, classes]
    index       int64 [batch], the example's number in its source
    epoch       int64 [batch]
    offset      int64 [batch], its place in the epoch's stream, see `order`
    mix_lambda  float32 [batch]     with mixup or CutMix only,
    mix_box     int32 [batch, 4]    see `mixing`

All that is random is drawn from (seed, epoch, index): neither threads nor
hosts nor replicas change a picture. An example that cannot be decoded is left
out and the next one takes its place; the offsets show it (see `broken`).
"""

import math

import numpy as np
import tensorflow as tf

from efficientnetv2.data import mixing, order, policies, preprocess, seeds

_READ_AT_ONCE = 16  # examples a call from the graph to Python
# Places in the program that draw random numbers of their own.
_CROP, _POLICY, _MIX = range(3)


def _options(num_threads):
    options = tf.data.Options()
    options.deterministic = True
    # Hosts are dealt their part here, not by the strategy.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    if num_threads is not None:
        options.threading.private_threadpool_size = num_threads
    return options


def _calls(num_threads):
    return tf.data.AUTOTUNE if num_threads is None else num_threads


def _read(source, places, locate, num_threads):
    """A dataset of (payload, index, offset) of the examples at `places`.

    Args:
        source: A `Source`.
        places: Dataset of int64 scalars.
        locate: Function of an int64 array of places to two int64 arrays,
            indices and offsets. Takes what `places` is zipped with, too.
        num_threads: Calls at once, None: as many as it pays.
    """

    def read(*chunk):
        indices, offsets = locate(*chunk)
        return np.array(source.read(indices), object), indices, offsets

    def read_chunk(*chunk):
        results = tf.numpy_function(
            read, chunk, [tf.string, tf.int64, tf.int64], stateful=False
        )
        for result in results:
            result.set_shape([None])
        return tuple(results)

    chunks = places.batch(_READ_AT_ONCE)
    return chunks.map(
        read_chunk, num_parallel_calls=_calls(num_threads)
    ).unbatch()


def _label(label, normalize_labels):
    if normalize_labels and not label.dtype.is_integer:
        return label / tf.reduce_sum(label)
    return label


def train_batches(
    source,
    *,
    batch_size,
    steps_per_epoch,
    image_size,
    style="v2",
    min_area=None,
    augname="none",
    magnitude=0.0,
    mixup_alpha=0.0,
    cutmix_alpha=0.0,
    normalize_labels=False,
    seed=0,
    first_epoch=0,
    end_epoch=1,
    first_offset=0,
    first_step=0,
    max_bad_fraction=0.01,
    host_rows=None,
    host_index=0,
    num_hosts=1,
    num_threads=None,
):
    """Batches to train on, from a position to the end of an epoch.

    Args:
        source: A `sources.Source`.
        batch_size: Rows of a batch; even with mixup or CutMix.
        steps_per_epoch: Batches of an epoch, exactly.
        image_size: Height and width, pixels.
        style: How pictures are cropped, see `preprocess`.
        min_area: Smallest share of a picture a crop takes; None: the style's.
        augname: A policy of `policies.NAMES`.
        magnitude: The policy's.
        mixup_alpha: See `mixing`; 0 for none.
        cutmix_alpha: The same.
        normalize_labels: Divide several labels by their number, for softmax.
        seed: The run's seed, int >= 0.
        first_epoch: Epoch of the position.
        end_epoch: The epoch after the last one.
        first_offset: Examples of `first_epoch` used up, broken ones too: the
            last one's offset + 1.
        first_step: Batches of `first_epoch` used up.
        max_bad_fraction: Share of the examples that may be broken. An epoch
            in which more are ends with an error.
        host_rows: Rows of a global batch that are this host's, where it cuts
            them into several of `batch_size`; None: `batch_size`.
        host_index: Number of this host.
        num_hosts: Number of hosts.
        num_threads: Threads of its own; None: as many as it pays, shared.

    Returns:
        A `tf.data.Dataset` of `steps_per_epoch` batches for each epoch, fewer
        for the first by `first_step`.

    Raises:
        ValueError: if a setting is outside its range.
    """
    host = {
        "host_rows": host_rows or batch_size,
        "host_index": host_index,
        "num_hosts": num_hosts,
    }
    first_place = order.host_place(first_offset, **host)
    rows = batch_size * steps_per_epoch
    last_place = rows + math.ceil(max_bad_fraction * rows) + batch_size
    policy = policies.build(augname, magnitude=magnitude)
    mixes = mixup_alpha > 0 or cutmix_alpha > 0

    def locate(places, epochs):
        offsets = order.host_offsets(places, **host)
        numbers = source.order(seed, int(epochs[0]))
        indices = numbers[offsets % source.num_examples]
        return indices.astype(np.int64), offsets

    def decode(payload, index, offset, epoch):
        encoded, label = source.parse(payload, index)
        own_seed = seeds.fold(seed, epoch, index)
        image = preprocess.decode_for_training(
            encoded,
            image_size,
            seed=seeds.fold(own_seed, _CROP),
            style=style,
            min_area=min_area,
        )
        return {
            "image": image,
            "label": _label(label, normalize_labels),
            "index": index,
            "epoch": epoch,
            "offset": offset,
            "seed": own_seed,
        }

    def augment(example):
        own_seed = seeds.fold(example["seed"], _POLICY)
        return {**example, "image": policy(example["image"], own_seed)}

    def finish(batch):
        own_seeds = batch.pop("seed")
        if mixes:
            batch["mix_lambda"], batch["mix_box"] = mixing.draw(
                tf.map_fn(lambda s: seeds.fold(s, _MIX), own_seeds),
                mixup_alpha=mixup_alpha,
                cutmix_alpha=cutmix_alpha,
                image_size=image_size,
            )
        return batch

    def epoch_batches(epoch):
        is_first = tf.equal(epoch, first_epoch)
        places = tf.data.Dataset.range(
            tf.where(is_first, tf.constant(first_place, tf.int64), 0),
            last_place,
        )
        places = tf.data.Dataset.zip(
            places, tf.data.Dataset.from_tensors(epoch).repeat()
        )
        examples = _read(source, places, locate, num_threads)
        examples = examples.map(
            lambda *example: decode(*example, epoch),
            num_parallel_calls=_calls(num_threads),
        ).ignore_errors()
        if augname != "none":
            examples = examples.map(
                augment, num_parallel_calls=_calls(num_threads)
            )
        batches = examples.batch(batch_size, drop_remainder=True).map(finish)
        batches = batches.concatenate(
            _failure(batches, source, max_bad_fraction)
        )
        done = tf.where(is_first, tf.constant(first_step, tf.int64), 0)
        return batches.take(steps_per_epoch - done)

    batches = tf.data.Dataset.range(first_epoch, end_epoch).flat_map(
        epoch_batches
    )
    return batches.with_options(_options(num_threads)).prefetch(2)


def _failure(batches, source, max_bad_fraction):
    """A batch that ends in an error: the epoch has too few good examples."""
    message = (
        f"more than data.max_bad_fraction={max_bad_fraction} of the examples "
        f"of {source.name} are broken"
    )

    def fail(step):
        check = tf.debugging.Assert(step < 0, [message])
        with tf.control_dependencies([check]):
            return tf.nest.map_structure(
                lambda spec: tf.zeros(spec.shape, spec.dtype),
                batches.element_spec,
            )

    return tf.data.Dataset.range(1).map(fail)


def eval_batches(
    source,
    *,
    batch_size,
    image_size,
    style="v2",
    host_index=0,
    num_hosts=1,
    num_threads=None,
):
    """Batches to evaluate on: each example once, in order.

    Args:
        source: A `sources.Source`.
        batch_size: Rows of a batch.
        image_size: Height and width, pixels.
        style: How pictures are cut and normalised, see `preprocess`.
        host_index: Number of this host; it reads its part of the examples.
        num_hosts: Number of hosts.
        num_threads: Threads of its own; None: as many as it pays, shared.

    Returns:
        A `tf.data.Dataset`, as long on every host, of dicts:
        image, float32 [batch, size, size, 3], normalised;
        label, as for training;
        index, int64 [batch], -1 on rows that only fill up;
        weight, float32 [batch], 0 on those, else 1.
        Broken examples are left out, so that the weights' sum counts the good.
    """
    total = source.num_examples
    first, last = (
        total * index // num_hosts for index in (host_index, host_index + 1)
    )
    steps = math.ceil(math.ceil(total / num_hosts) / batch_size)

    def decode(payload, index, _):
        encoded, label = source.parse(payload, index)
        image = preprocess.preprocess_image(encoded, image_size, style=style)
        return {
            "image": image,
            "label": label,
            "index": index,
            "weight": tf.ones([]),
        }

    places = tf.data.Dataset.range(first, last)
    examples = _read(source, places, lambda rows: (rows, rows), num_threads)
    examples = examples.map(
        decode, num_parallel_calls=_calls(num_threads)
    ).ignore_errors()
    blank = {
        name: tf.zeros(spec.shape, spec.dtype)
        for name, spec in examples.element_spec.items()
    }
    blank["index"] -= 1
    filling = tf.data.Dataset.from_tensors(blank).repeat()
    batches = examples.concatenate(filling).batch(
        batch_size, drop_remainder=True
    )
    batches = batches.take(steps).with_options(_options(num_threads))
    return batches.prefetch(2)
