"""Evaluation: every example once, on any number of replicas."""

import math

import numpy as np
import tensorflow as tf
from absl import logging

from efficientnetv2 import losses
from efficientnetv2.data import pipeline
from efficientnetv2.train_step import dense_labels

_NAMED = 5  # broken examples, in the log


class Evaluator:
    """Loss and accuracy of a model over a split.

    Args:
        model: Keras model; takes normalised images, gives logits.
        config: The `Config`.
        source: The split, a source of `data.sources`.
        strategy: A `tf.distribute.Strategy`.
        workers: Its `workers.Workers`; each evaluates its part.
        style: Normalisation, a style of `data.preprocess`; None: the config's.
    """

    def __init__(self, model, config, source, *, strategy, workers, style=None):
        self.model = model
        self.config = config
        self.source = source
        self.strategy = strategy
        self.workers = workers
        self.style = style or config.data.preprocessing
        self._sums = tf.function(self._distributed, reduce_retracing=True)

    def run(self, *, stop=None):
        """Evaluates once.

        Args:
            stop: Function without arguments, asked between the batches; True
                breaks off.

        Returns:
            A dict: `loss` (without L2 and label smoothing), `accuracy` and
            `top5_accuracy` in [0, 1], `examples`, `broken` (examples that
            could not be read; the first ones are named in the log). None if
            it was broken off.

        Raises:
            ValueError: if no example could be read.
        """
        limit = self.config.eval.steps
        totals, read = None, []
        for batch in _distribute(
            _noting(self._batches(), read),
            self.strategy,
            replicas=self.workers.replicas,
            limit=limit,
        ):
            sums = self._sums(batch)
            totals = sums if totals is None else totals + sums
            if stop is not None and stop():
                return None
        if totals is None or totals[0] == 0:
            raise ValueError(f"no example of {self.source.name} can be read")
        examples, loss, top1, top5 = totals.numpy().tolist()
        broken = 0
        if limit is None:
            self._name_broken(read)
            broken = self.source.num_examples - int(examples)
        return {
            "loss": loss / examples,
            "accuracy": top1 / examples,
            "top5_accuracy": top5 / examples,
            "examples": int(examples),
            "broken": broken,
        }

    def _batches(self):
        replicas = self.strategy.num_replicas_in_sync
        return pipeline.eval_batches(
            self.source,
            batch_size=math.ceil(self.config.eval.batch_size / replicas),
            image_size=self.config.eval.isize,
            style=self.style,
            host_index=self.workers.index,
            num_hosts=self.workers.count,
        )

    def _name_broken(self, read):
        """Names the first examples of this worker that were not read."""
        total, workers = self.source.num_examples, self.workers
        own = np.arange(
            total * workers.index // workers.count,
            total * (workers.index + 1) // workers.count,
        )
        broken = np.setdiff1d(own, np.concatenate(read))
        for number in broken[:_NAMED].tolist():
            reason = self.source.explain(number) or "fails in preprocessing"
            place = self.source.place(number)
            logging.warning("left out, %s: %s", place, reason)

    def _distributed(self, batch):
        sums = self.strategy.run(self._replica, args=(batch,))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _replica(self, batch):
        """Sums over a batch: float64 [examples, loss, top-1, top-5]."""
        labels = dense_labels(batch["label"], self.config.data.num_classes)
        logits = self.model(batch["image"], training=False)
        loss_type = self.config.train.loss_type
        share = labels
        if loss_type == "softmax":  # several labels share one unit, as trained
            share = tf.math.divide_no_nan(
                labels, tf.reduce_sum(labels, -1, keepdims=True)
            )
        loss = losses.cross_entropy(
            share, logits, label_smoothing=0.0, loss_type=loss_type
        )
        _, best = tf.math.top_k(logits, min(5, logits.shape[-1]))
        # Of several labels any one counts as a hit.
        hits = tf.gather(labels, best, batch_dims=1) > 0  # [batch, 5]
        weight = batch["weight"]
        rows = [
            weight,
            tf.where(weight > 0, loss, 0.0),
            weight * tf.cast(hits[:, 0], tf.float32),
            weight * tf.cast(tf.reduce_any(hits, -1), tf.float32),
        ]
        return tf.cast(tf.reduce_sum(tf.stack(rows), -1), tf.float64)


def _noting(batches, read):
    """Passes batches on and notes the numbers of their good examples."""
    for batch in batches:
        read.append(batch["index"].numpy())
        yield batch


def _distribute(batches, strategy, *, replicas, limit=None):
    """Deals batches to a worker's replicas; a missing one weighs nothing."""
    group = []

    def value(context):
        return group[context.replica_id_in_sync_group % replicas]

    for batch in batches:
        group.append(batch)
        if len(group) == replicas:
            yield strategy.experimental_distribute_values_from_function(value)
            group.clear()
            limit = None if limit is None else limit - 1
            if limit == 0:
                return
    if group:
        blank = {**group[0], "weight": tf.zeros_like(group[0]["weight"])}
        group.extend([blank] * (replicas - len(group)))
        yield strategy.experimental_distribute_values_from_function(value)


def describe(figures):
    """One line for a person: `top-1 93.21 %, top-5 ...`."""
    line = (
        f"top-1 {100 * figures['accuracy']:.2f} %, "
        f"top-5 {100 * figures['top5_accuracy']:.2f} %, "
        f"loss {figures['loss']:.4f} on {figures['examples']} examples"
    )
    if figures["broken"]:
        line += f" ({figures['broken']} broken ones left out)"
    return line
