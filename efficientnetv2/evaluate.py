"""Evaluation: every example once, on any number of replicas."""

import math

import tensorflow as tf

from efficientnetv2 import losses
from efficientnetv2 import model_dir as model_dir_lib
from efficientnetv2.data import pipeline, sources
from efficientnetv2.train_step import dense_labels


class Evaluator:
    """Loss and accuracy of a model over a split.

    Args:
        model: Keras model; takes normalised images, gives logits.
        config: The `Config`.
        source: The split, a source of `data.sources`.
        strategy: A `tf.distribute.Strategy`.
    """

    def __init__(self, model, config, source, *, strategy):
        self.model = model
        self.config = config
        self.source = source
        self.strategy = strategy
        self._sums = tf.function(self._distributed, reduce_retracing=True)

    def run(self):
        """Evaluates once.

        Returns:
            A dict: `loss` (without L2 and label smoothing), `accuracy` and
            `top5_accuracy` in [0, 1], `examples`, `broken` (examples that
            could not be read).

        Raises:
            ValueError: if no example could be read.
        """
        config = self.config
        replicas = self.strategy.num_replicas_in_sync
        size = math.ceil(config.eval.batch_size / replicas)
        batches = pipeline.eval_batches(
            self.source,
            batch_size=size,
            image_size=config.eval.isize,
            style=config.data.preprocessing,
        )
        totals = None
        for batch in _distribute(
            batches, self.strategy, limit=config.eval.steps
        ):
            sums = self._sums(batch)
            totals = sums if totals is None else totals + sums
        if totals is None or totals[0] == 0:
            raise ValueError(f"no example of {self.source.name} can be read")
        examples, loss, top1, top5 = totals.numpy().tolist()
        return {
            "loss": loss / examples,
            "accuracy": top1 / examples,
            "top5_accuracy": top5 / examples,
            "examples": int(examples),
            "broken": self.source.num_examples - int(examples)
            if config.eval.steps is None
            else 0,
        }

    def _distributed(self, batch):
        sums = self.strategy.run(self._replica, args=(batch,))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def _replica(self, batch):
        """Sums over a batch: float64 [examples, loss, top-1, top-5]."""
        labels = dense_labels(batch["label"], self.config.data.num_classes)
        logits = self.model(batch["image"], training=False)
        loss = losses.cross_entropy(
            labels,
            logits,
            label_smoothing=0.0,
            loss_type=self.config.train.loss_type,
        )
        truth = tf.argmax(labels, -1)
        top5 = tf.math.in_top_k(truth, logits, min(5, logits.shape[-1]))
        top1 = tf.equal(tf.argmax(logits, -1), truth)
        weight = batch["weight"]
        rows = [
            weight,
            tf.where(weight > 0, loss, 0.0),
            weight * tf.cast(top1, tf.float32),
            weight * tf.cast(top5, tf.float32),
        ]
        return tf.cast(tf.reduce_sum(tf.stack(rows), -1), tf.float64)


def _distribute(batches, strategy, *, limit=None):
    """Deals batches out to the replicas; a missing last one weighs nothing."""
    replicas = strategy.num_replicas_in_sync
    group = []

    def value(context):
        return group[context.replica_id_in_sync_group]

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


def evaluate_run(config, model_dir, *, weights=None):
    """`--mode=eval`: evaluates a run's newest checkpoint, or weights.

    Args:
        config: The `Config` of the command; a run's own wins over it.
        model_dir: Folder of a run.
        weights: A weights file or a published name instead of the run's.

    Returns:
        The figures, see `Evaluator.run`; they are printed too.
    """
    if weights:
        trained = model_dir_lib.from_weights(config, weights)
    else:
        trained = model_dir_lib.load(model_dir)
    source = sources.open_source(trained.config.data, trained.config.eval.split)
    evaluator = Evaluator(
        trained.model,
        trained.config,
        source,
        strategy=tf.distribute.get_strategy(),
    )
    figures = evaluator.run()
    print(describe(figures), flush=True)
    return figures


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
