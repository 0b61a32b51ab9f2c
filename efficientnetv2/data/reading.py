"""The part of the pipeline that every use shares: from places to payloads."""

import numpy as np
import tensorflow as tf

_AT_ONCE = 16  # examples a call from the graph to Python


def parallel_calls(num_threads):
    """`num_parallel_calls` of a dataset's steps; None: tuned as it runs."""
    return tf.data.AUTOTUNE if num_threads is None else num_threads


def options(num_threads):
    """Options of a dataset: the order is kept, threads are as asked for.

    Args:
        num_threads: Threads of its own; None: TensorFlow's, shared.

    Returns:
        A `tf.data.Options`.
    """
    result = tf.data.Options()
    result.deterministic = True
    # Hosts are dealt their part by `order`, not by the strategy.
    result.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    if num_threads is not None:
        result.threading.private_threadpool_size = num_threads
    return result


def read(source, places, locate, *, num_threads=None):
    """Reads the examples at some places.

    Args:
        source: A `sources.Source`.
        places: A dataset of int64 scalars, or of tuples of them.
        locate: Function of int64 arrays, as many as the tuples have items, to
            two: the examples' numbers and offsets.
        num_threads: Calls at once; None: tuned as it runs.

    Returns:
        A dataset of (payload, number, offset), undecoded.
    """

    def read_arrays(*chunk):
        numbers, offsets = locate(*chunk)
        return np.array(source.read(numbers), object), numbers, offsets

    def read_chunk(*chunk):
        results = tf.numpy_function(
            read_arrays, chunk, [tf.string, tf.int64, tf.int64], stateful=False
        )
        for result in results:
            result.set_shape([None])
        return tuple(results)

    chunks = places.batch(_AT_ONCE)
    return chunks.map(
        read_chunk, num_parallel_calls=parallel_calls(num_threads)
    ).unbatch()
