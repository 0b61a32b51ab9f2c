"""The processes that train together: which one this is, what all agree on."""

import contextlib
import re

import numpy as np
import tensorflow as tf

# What collectives end with when another process is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
_ASSERTION = re.compile(r"assertion failed: \[(.*?)\](?=\s|$)")
_NO_REASONS = (
    "Graph execution error",
    "Detected at node",
    "File ",
    "<stack traces unavailable>",
    "Stack trace",
    "The error could be from",
)


def reason(error):
    """The sentence in a TensorFlow error that says what happened.

    Args:
        error: A `tf.errors.OpError`.

    Returns:
        One line.
    """
    assertion = _ASSERTION.search(error.message)
    if assertion:
        return assertion[1]
    lines = [line.strip() for line in error.message.splitlines()]
    told = [x for x in lines if x and not x.startswith(_NO_REASONS)]
    return told[0] if told else str(error).splitlines()[0]


class Workers:
    """The workers of a strategy, each a process with the same program.

    Args:
        strategy: A `tf.distribute.Strategy`.

    Attributes:
        index: Number of this worker, from 0.
        count: Number of workers, 1 unless there is a cluster.
    """

    def __init__(self, strategy):
        self.index, self.count = 0, 1
        self._strategy = strategy
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            jobs = resolver.cluster_spec().as_dict()
            order = [
                (job, task)
                for job in ("chief", "worker")
                for task in range(len(jobs.get(job, ())))
            ]
            self.count = max(len(order), 1)
            if self.count > 1:
                place = resolver.task_type, resolver.task_id
                self.index = order.index(place)

    @property
    def is_first(self):
        """Whether this one writes and speaks for all."""
        return self.index == 0

    @property
    def replicas(self):
        """Replicas of this worker."""
        return self._strategy.num_replicas_in_sync // self.count

    def share(self, *numbers):
        """Tells all workers some numbers; all must call it alike.

        Args:
            *numbers: Integers of this worker.

        Returns:
            int64 array [count, numbers]: those of every worker.
        """
        if self.count == 1:
            return np.array([numbers], np.int64)
        return self._gather(tf.constant(numbers, tf.int64)).numpy()

    @tf.function(autograph=False)
    def _gather(self, numbers):
        def replica():
            context = tf.distribute.get_replica_context()
            # Of several replicas of a worker only the first speaks.
            place = context.replica_id_in_sync_group // self.replicas
            first = context.replica_id_in_sync_group % self.replicas == 0
            row = tf.one_hot(place, self.count, dtype=tf.int64)
            row *= tf.cast(first, tf.int64)
            rows = row[:, tf.newaxis] * numbers  # [count, numbers]
            return context.all_reduce(tf.distribute.ReduceOp.SUM, rows)

        results = self._strategy.run(replica)
        return self._strategy.experimental_local_results(results)[0]

    @contextlib.contextmanager
    def watched(self):
        """Turns the loss of another worker into one clear line.

        Raises:
            ConnectionError: instead of what TensorFlow says of it.
        """
        try:
            yield
        except _LOST as error:
            if self.count == 1:
                raise
            raise ConnectionError(
                "another worker has died or cannot be reached, so this one "
                "stops too; start the same command on all workers again, it "
                "goes on from the newest checkpoint. TensorFlow says: "
                f"{reason(error)}"
            ) from None
