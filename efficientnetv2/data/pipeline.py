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

import tensorflow as tf

from efficientnetv2.data import order, policies, preprocess, reading
from efficientnetv2.data.examples import Example

# Where all examples may be broken, so many rounds are looked through.
_MOST_BAD = 0.9
_SLACK = 64  # examples


def _last_place(rows, max_bad_fraction):
    """Where to give up finding `rows` good examples in an epoch's stream."""
    bad = min(max_bad_fraction, _MOST_BAD)
    return math.ceil(rows / (1.0 - bad) + rows * bad) + _SLACK


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
    example = Example(
        source=source,
        image_size=image_size,
        style=style,
        min_area=min_area,
        policy=policies.build(augname, magnitude=magnitude),
        mixup_alpha=mixup_alpha,
        cutmix_alpha=cutmix_alpha,
        normalize_labels=normalize_labels,
        seed=seed,
    )
    calls = reading.parallel_calls(num_threads)
    first_place = order.host_place(first_offset, **host)
    last_place = _last_place(batch_size * steps_per_epoch, max_bad_fraction)

    def locate(places, epochs):
        offsets = order.host_offsets(places, **host)
        numbers = source.order(seed, int(epochs[0]))
        return numbers[offsets % source.num_examples].astype("int64"), offsets

    def epoch_batches(epoch):
        is_first = tf.cast(tf.equal(epoch, first_epoch), tf.int64)
        places = tf.data.Dataset.zip(
            tf.data.Dataset.range(first_place * is_first, last_place),
            tf.data.Dataset.from_tensors(epoch).repeat(),
        )
        examples = reading.read(source, places, locate, num_threads=num_threads)
        # Only decoding may fail: what goes wrong behind it is no broken file.
        examples = examples.map(
            lambda payload, index, offset: example.decode(
                payload, index, offset, epoch
            ),
            num_parallel_calls=calls,
        ).ignore_errors()
        examples = examples.map(example.augment, num_parallel_calls=calls)
        batches = examples.batch(batch_size, drop_remainder=True)
        if example.mixes:
            batches = batches.map(example.mix, num_parallel_calls=calls)
        batches = batches.concatenate(
            failure(batches, source, max_bad_fraction)
        )
        return batches.take(steps_per_epoch - first_step * is_first)

    epochs = tf.data.Dataset.range(first_epoch, end_epoch)
    batches = epochs.flat_map(epoch_batches)
    return batches.with_options(reading.options(num_threads)).prefetch(2)


def failure(batches, source, max_bad_fraction):
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
    examples = reading.read(
        source, places, lambda rows: (rows, rows), num_threads=num_threads
    )
    examples = examples.map(
        decode, num_parallel_calls=reading.parallel_calls(num_threads)
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
    batches = batches.take(steps).with_options(reading.options(num_threads))
    return batches.prefetch(2)
