"""One optimisation step, compiled, on any number of replicas."""

import dataclasses

import keras
import tensorflow as tf

from efficientnetv2 import losses, noise
from efficientnetv2.data import mixing, preprocess


@dataclasses.dataclass(frozen=True)
class StepSettings:
    """What a step needs of a recipe.

    Args:
        global_batch: Examples in a step over all replicas.
        num_classes: Classes of the labels.
        style: Normalisation, a style of `data.preprocess`.
        loss_type: 'softmax' or 'sigmoid'.
        label_smoothing: In [0, 1).
        weight_decay: Factor of the L2 loss of `kernels`, >= 0.
        weight_decay_exclude: Regex; variables whose path matches have none.
        mixup_alpha: Whether batches carry mixing weights (> 0).
        cutmix_alpha: The same for boxes.
        seed: The run's seed.
        jit_compile: XLA for the whole step: faster on GPU and TPU, up to ten
            times slower on CPU.
    """

    global_batch: int
    num_classes: int
    style: str
    loss_type: str = "softmax"
    label_smoothing: float = 0.1
    weight_decay: float = 1e-5
    weight_decay_exclude: str = ".*(bias|gamma|beta).*"
    seed: int = 0
    jit_compile: bool = False


def dense_labels(labels, num_classes):
    """Labels as float32 [batch, classes], from ints or multi-label rows."""
    if labels.dtype.is_integer:
        return tf.one_hot(labels, num_classes)
    return tf.cast(labels, tf.float32)


class TrainStep:
    """Forward, backward, optimizer and moving averages as one call.

    Args:
        model: The Keras model, built under `strategy`'s scope.
        optimizer: A Keras optimizer, built on `variables`.
        averages: An `ema.ExponentialMovingAverage`, or None.
        strategy: A `tf.distribute.Strategy`.
        settings: A `StepSettings`.
        variables: Trained variables; None: all that are trainable.
    """

    def __init__(
        self, model, optimizer, averages, *, strategy, settings, variables=None
    ):
        self.model = model
        self.optimizer = optimizer
        self.averages = averages
        self.strategy = strategy
        self.settings = settings
        self.variables = list(variables or model.trainable_variables)
        self.decayed = losses.decayed_variables(
            self.variables, settings.weight_decay_exclude
        )
        self._call = tf.function(self._distributed)

    def __call__(self, iterator, step, dropout_rate):
        """Takes the next batch and runs one step.

        Args:
            iterator: Iterator of training batches, distributed over the
                replicas. Its element specification decides what is traced:
                batches of unknown image size share one trace.
            step: Global step before this one, a Python int.
            dropout_rate: Dropout of the present stage, in [0, 1).

        Returns:
            `(figures, offsets)`: float32 scalar tensors over the global
            batch, `loss` (with L2) and `accuracy` in [0, 1]; and the places
            in the epoch's stream of this host's examples, int64 [rows].
        """
        return self._call(
            iterator,
            tf.constant(step, tf.int64),
            tf.constant(dropout_rate, tf.float32),
        )

    def _distributed(self, iterator, step, dropout_rate):
        batch = next(iterator)
        results = self.strategy.run(
            self._replica, args=(batch, step, dropout_rate)
        )
        figures = {
            key: self.strategy.reduce(
                tf.distribute.ReduceOp.SUM, value, axis=None
            )
            for key, value in results.items()
        }
        offsets = self.strategy.experimental_local_results(batch["offset"])
        return figures, tf.concat(offsets, 0)

    def _replica(self, batch, step, dropout_rate):
        settings = self.settings
        images, labels = self._inputs(batch)
        with tf.GradientTape() as tape:
            seed = noise.fold(settings.seed, step)
            with noise.training_noise(
                seed, batch["index"], dropout_rate=dropout_rate
            ):
                logits = self.model(images, training=True)
            per_example = losses.cross_entropy(
                labels,
                logits,
                label_smoothing=settings.label_smoothing,
                loss_type=settings.loss_type,
            )
            # A sum over replicas of these is the mean over the batch.
            loss = tf.reduce_sum(per_example) / settings.global_batch
            if settings.weight_decay:
                decay = settings.weight_decay * losses.l2(self.decayed)
                loss += decay / self.strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, [v.value for v in self.variables])
        self.optimizer.apply(gradients, self.variables)
        if self.averages is not None:
            self.averages.update(step)
        hits = tf.equal(tf.argmax(logits, -1), tf.argmax(labels, -1))
        hits = tf.reduce_sum(tf.cast(hits, tf.float32))
        return {"loss": loss, "accuracy": hits / settings.global_batch}

    def _inputs(self, batch):
        """Normalised and mixed images, labels [batch, classes]."""
        images = preprocess.normalize(batch["image"], self.settings.style)
        labels = dense_labels(batch["label"], self.settings.num_classes)
        if "mix_lambda" in batch:
            images, labels = mixing.apply(
                images,
                labels,
                mix_lambda=batch["mix_lambda"],
                mix_box=batch["mix_box"],
            )
        return keras.ops.cast(images, self.model.compute_dtype), labels
