"""The training pipeline on the workers of a tf.data service.

The workers read, decode and augment; they need TensorFlow and the files, at the
same paths, and nothing of this program. The one that trains gathers what they
make into batches.

In an epoch every example of this host comes once, as long as no worker dies
(`distributed_epoch`); then, where broken ones have left it short, some come
again. Neither the order nor going on exactly is promised: blocks of
neighbouring examples are dealt to the workers in a random order, each mixes
what it has read, and who is ready first delivers first.
"""

import math
import socket
import warnings

import tensorflow as tf

from efficientnetv2.data import pipeline, policies
from efficientnetv2.data.examples import Example

_CHUNK = 16  # examples a worker treats and sends at once
_PATIENCE = 30  # seconds for the dispatcher to answer
_BLOCKS_AT_ONCE = 4  # that a worker reads
_MOST_MIXED = 2048  # examples that a worker mixes
_MIXED_PART = 16  # of all, it mixes one in so many
_MOST_BAD = 0.9


def check_address(address, *, patience=_PATIENCE):
    """Checks that a dispatcher listens.

    Args:
        address: grpc://host:port.
        patience: Seconds to wait for it.

    Raises:
        ConnectionError: if none does.
    """
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=patience).close()
    except (OSError, OverflowError) as error:  # no such port
        raise ConnectionError(
            f"data_service must be a dispatcher that runs: {error}. "
            f"Received: {address!r}"
        ) from None


def _references(reader, places, epoch, *, seed, memory_bytes):
    """Examples to be treated, mixed: (reference, number, epoch)."""
    last = tf.constant(reader.num_blocks - 1, tf.int64)
    seeds = tf.stack([tf.constant(seed, tf.int64), epoch])

    def read(place):
        block = tf.random.experimental.index_shuffle(place, seeds, last)
        return tf.data.Dataset.zip(
            reader.references(block),
            reader.numbers(block),
            tf.data.Dataset.from_tensors(epoch).repeat(),
        )

    found = places.interleave(
        read,
        cycle_length=_BLOCKS_AT_ONCE,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=False,
    )
    count = int(reader.edges[-1] - reader.edges[0])
    fit = int(memory_bytes / max(1.0, reader.mean_bytes))
    # No more, or the first worker would take what others are to make.
    mixed = min(fit, _MOST_MIXED, count // _MIXED_PART)
    return found.shuffle(max(1, mixed), seed=seed)


def _treat(example, reader):
    """A function of a chunk's examples to a dataset of one element.

    It is (rows, (numbers, epochs)): a dict of what could be decoded, and what
    was to be.
    """

    def decode(reference, number, epoch):
        return example.decode(reader.load(reference), number, number, epoch)

    def treat(*chunk):
        rows = tf.data.Dataset.from_tensor_slices(chunk).map(decode)
        rows = rows.ignore_errors().map(example.augment).batch(_CHUNK)
        none = tf.nest.map_structure(
            lambda spec: tf.zeros([0, *spec.shape[1:]], spec.dtype),
            rows.element_spec,
        )
        rows = rows.concatenate(tf.data.Dataset.from_tensors(none)).take(1)
        return tf.data.Dataset.zip(
            rows, tf.data.Dataset.from_tensors(chunk[1:])
        )

    return treat


def _account(note):
    """A function that passes on a chunk's rows and tells `note` of them."""

    def account(rows, chunk):
        told = tf.numpy_function(note, [rows["index"], *chunk], [])
        with tf.control_dependencies([told]):
            return tf.nest.map_structure(tf.identity, rows)

    return account


def _rounds(max_bad_fraction):
    """Rounds through the examples that give an epoch's worth of good ones."""
    good = 1.0 - min(max_bad_fraction, _MOST_BAD)
    return math.ceil(1.0 / good) + 1


def train_batches(
    source,
    *,
    address,
    note,
    batch_size,
    steps_per_epoch,
    first_epoch=0,
    end_epoch=1,
    first_step=0,
    max_bad_fraction=0.01,
    host_index=0,
    num_hosts=1,
    shuffle_memory_mb=256,
    augname="none",
    magnitude=0.0,
    **treatment,
):
    """Batches to train on, as `pipeline.train_batches` makes them.

    Args:
        source: A `sources.Source`; a cache before it is passed over.
        address: Of the dispatcher, grpc://host:port.
        note: Function of what has come, see `broken.ServedExamples.note`.
        batch_size: Rows of a batch; even with mixup or CutMix.
        steps_per_epoch: Batches of an epoch.
        first_epoch: Epoch of the position.
        end_epoch: The epoch after the last one.
        first_step: Batches of `first_epoch` used up.
        max_bad_fraction: Share of the examples that may be broken.
        host_index: Number of this host; it has its own part of the examples.
        num_hosts: Number of hosts.
        shuffle_memory_mb: Memory of each worker to mix examples in, MiB.
        augname: A policy of `policies.NAMES`.
        magnitude: The policy's.
        **treatment: The other fields of `examples.Example`.

    Returns:
        A `tf.data.Dataset` of `steps_per_epoch` batches for each epoch, fewer
        for the first by `first_step`. The column `offset` is the example's
        number: places mean nothing here.

    Raises:
        ConnectionError: if there is no dispatcher.
    """
    check_address(address)
    example = Example(
        source=source,
        policy=policies.build(augname, magnitude=magnitude),
        **treatment,
    )
    total = source.num_examples
    first, end = (
        total * index // num_hosts for index in (host_index, host_index + 1)
    )
    reader = source.graph_reader(first, end)
    used = first_step * batch_size * reader.num_blocks // (end - first)
    treat = _treat(example, reader)

    def served(epoch, begin):
        chunks = _references(
            reader,
            tf.data.Dataset.range(begin, reader.num_blocks),
            epoch,
            seed=example.seed,
            memory_bytes=shuffle_memory_mb << 20,
        ).batch(_CHUNK)
        chunks = chunks.interleave(
            treat, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False
        )
        distribute = tf.data.experimental.service.distribute(
            "distributed_epoch", address, compression=None
        )
        return chunks.apply(distribute).map(_account(note))

    def epoch_batches(epoch):
        is_first = tf.cast(tf.equal(epoch, first_epoch), tf.int64)

        def round_rows(number):
            begins_late = is_first * tf.cast(tf.equal(number, 0), tf.int64)
            return served(epoch, used * begins_late)

        rows = tf.data.Dataset.range(_rounds(max_bad_fraction)).flat_map(
            round_rows
        )
        batches = rows.rebatch(batch_size, drop_remainder=True)
        if example.mixes:
            batches = batches.map(example.mix)
        batches = batches.concatenate(
            pipeline.failure(batches, source, max_bad_fraction)
        )
        return batches.take(steps_per_epoch - first_step * is_first)

    epochs = tf.data.Dataset.range(first_epoch, end_epoch)
    with warnings.catch_warnings():
        # Of a dataset made inside another's function the options are not
        # known; the service asks for them, and does without.
        warnings.filterwarnings("ignore", "To make it possible to preserve")
        return epochs.flat_map(epoch_batches).prefetch(2)
