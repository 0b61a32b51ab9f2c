"""One optimisation step, compiled, on any number of replicas."""

import dataclasses

import keras
import tensorflow as tf

from efficientnetv2 import losses, noise
from efficientnetv2.data import mixing, preprocess

NO_REQUESTS = (0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class StepSettings:
    """What a step needs of a recipe.

    Args:
        global_batch: Examples in a step over all replicas.
        num_classes: Classes of the labels.
        style: Normalisation, a style of `data.preprocess`.
        loss_type: 'softmax' or 'sigmoid'.
        label_smoothing: In [0, 1).
        weight_decay: Factor of the L2 loss of the kernels, >= 0.
        weight_decay_exclude: Regex; variables whose path matches have none.
        seed: The run's seed.
        several: Whether calls may ask for more than one step.
        jit_compile: XLA for each replica's part: faster on GPU, up to ten
            times slower on CPU. It needs batches of a static size.
    """

    global_batch: int
    num_classes: int
    style: str
    loss_type: str = "softmax"
    label_smoothing: float = 0.1
    weight_decay: float = 1e-5
    weight_decay_exclude: str = ".*(bias|gamma|beta).*"
    seed: int = 0
    several: bool = False
    jit_compile: bool = False


def dense_labels(labels, num_classes):
    """Labels as float32 [batch, classes], from ints or multi-label rows."""
    if labels.dtype.is_integer:
        return tf.one_hot(labels, num_classes)
    return tf.cast(labels, tf.float32)


def _moving_statistics(model):
    """Variables that the forward pass of a training step changes."""
    return [
        variable
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.trainable
        for variable in (layer.moving_mean, layer.moving_variance)
    ]


class TrainStep:
    """Forward, backward, optimizer and moving averages as one call.

    A step whose gradient is not finite leaves all weights, averages and
    statistics as they were.

    Args:
        model: The Keras model, built under `strategy`'s scope.
        optimizer: An optimizer of `optimizers`, built on `variables`.
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
        self.statistics = _moving_statistics(model)
        self.decayed = losses.decayed_variables(
            self.variables, settings.weight_decay_exclude
        )
        self._replica_call = self._replica
        if settings.jit_compile:
            self._replica_call = tf.function(self._replica, jit_compile=True)
        call = self._several if settings.several else self._single
        self._call = tf.function(call, autograph=False)

    @property
    def traces(self):
        """How often the step was traced, a Python int."""
        return self._call.experimental_get_tracing_count()

    def __call__(
        self, iterator, step, dropout_rate, *, count=1, requests=NO_REQUESTS
    ):
        """Takes the next batches and runs a step on each.

        Args:
            iterator: Iterator of training batches, distributed over the
                replicas. Its element specification decides what is traced:
                batches of unknown image size share one trace.
            step: Global step before the first of these, a Python int.
            dropout_rate: Dropout of the present stage, in [0, 1).
            count: Number of steps, >= 1; 1 unless `settings.several`.
            requests: Two numbers that this worker tells all workers.

        Returns:
            `(figures, offsets)`: float32 tensors [count] over the global
            batch: `loss` (with L2), `accuracy` in [0, 1] and `bad`, 1 where
            the step was skipped; `requests` [count, 2], each number's sum over
            the replicas; and the places in the epoch's stream of this host's
            examples, int64 [count, rows].
        """
        return self._call(
            iterator,
            tf.constant(step, tf.int64),
            tf.constant(dropout_rate, tf.float32),
            tf.constant(requests, tf.float32),
            tf.constant(count, tf.int32),
        )

    def _single(self, iterator, step, dropout_rate, requests, count):
        del count  # one
        row, offsets = self._distributed(iterator, step, dropout_rate, requests)
        return _figures(row[tf.newaxis]), offsets[tf.newaxis]

    def _several(self, iterator, step, dropout_rate, requests, count):
        def body(done, rows, offsets):
            row, places = self._distributed(
                iterator, step + tf.cast(done, tf.int64), dropout_rate, requests
            )
            return done + 1, rows.write(done, row), offsets.write(done, places)

        _, rows, offsets = tf.while_loop(
            lambda done, *_: done < count,
            body,
            (
                tf.constant(0),
                tf.TensorArray(tf.float32, count),
                tf.TensorArray(tf.int64, count),
            ),
            parallel_iterations=1,
        )
        return _figures(rows.stack()), offsets.stack()

    def _distributed(self, iterator, step, dropout_rate, requests):
        """One step: its figures in a row, and this host's offsets [rows]."""
        batch = next(iterator)
        row = self.strategy.reduce(
            tf.distribute.ReduceOp.SUM,
            self.strategy.run(
                self._replica_call, args=(batch, step, dropout_rate, requests)
            ),
            axis=None,
        )
        offsets = self.strategy.experimental_local_results(batch["offset"])
        return row, tf.concat(offsets, 0)

    def _replica(self, batch, step, dropout_rate, requests):
        """This replica's share of [loss, accuracy, skipped, requests]."""
        settings = self.settings
        images, labels = self._inputs(batch)
        statistics = [v.value.read_value() for v in self.statistics]
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
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [v.value for v in self.variables])
        # A loss scale above 1 may be what made the gradient overflow.
        can_shrink = self.optimizer.scale_loss(tf.constant(1.0)) > 1.0
        is_taken = self.optimizer.apply_if_finite(gradients, self.variables)
        self._conclude(is_taken, step, statistics)
        skipped = tf.cast(~(is_taken | can_shrink), tf.float32)
        hits = tf.equal(tf.argmax(logits, -1), tf.argmax(labels, -1))
        hits = tf.reduce_sum(tf.cast(hits, tf.float32))
        row = tf.stack([loss, hits / settings.global_batch, skipped])
        return tf.concat([row, requests], 0)

    def _conclude(self, is_taken, step, statistics):
        """Moves the averages, or puts the moving statistics back."""

        def move():
            if self.averages is not None:
                self.averages.update(step)
            return tf.no_op()

        def put_back():
            for variable, value in zip(
                self.statistics, statistics, strict=True
            ):
                tf.raw_ops.AssignVariableOp(
                    resource=variable.value.handle, value=value
                )
            return tf.no_op()

        tf.cond(is_taken, move, put_back)

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


def _figures(rows):
    """Names the columns of rows [count, 5]."""
    loss, accuracy, skipped = tf.unstack(rows[:, :3], axis=1)
    bad = (skipped > 0) | ~tf.math.is_finite(loss)
    return {
        "loss": loss,
        "accuracy": accuracy,
        "bad": tf.cast(bad, tf.float32),
        "requests": rows[:, 3:],
    }
