"""Trains a few variables on one or several replicas; not a test by itself.

`python replica_runs.py one|mirrored result.npz`: gradients are a
function of the step, of which each replica has its share, so that both
must end alike. In step 3 the last replica's gradient is not finite.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

from efficientnetv2 import checkpoint, distribute, ema, optimizers

STEPS = 6
SHAPES = {"kernel": (3, 2), "bias": (2,), "large": (70, 70)}
OPTIMIZERS = {
    "rmsprop": {},
    "rmsprop_clipped": {"gclip": 0.5, "dynamic_loss_scale": True},
    "adam": {"gclip": 0.5},
    "adamw": {"weight_decay": 0.1, "weight_decay_exclude": ".*bias"},
    "lamb": {},
    "momentum": {"learning_rate_factors": {"kernel": 0.5}},
}


def _gradients(step):
    rng = np.random.default_rng(step)
    return [rng.normal(size=s).astype("float32") for s in SHAPES.values()]


def _tables():
    """The gradients of all steps, an array [steps, ...] a variable."""
    steps = [_gradients(step) for step in range(STEPS)]
    return [np.stack(column) for column in zip(*steps, strict=True)]


def _share(step, *, bad_step):
    """This replica's part of the gradients of a step."""
    replica = tf.distribute.get_replica_context()
    number, count = (
        replica.replica_id_in_sync_group,
        replica.num_replicas_in_sync,
    )
    number = tf.cast(number, tf.int32)
    share = tf.where(number == 0, 0.25, 0.75) if count == 2 else 1.0
    bad = (step == bad_step) & (number == count - 1)
    share = tf.where(bad, np.nan, share)
    return [share * tf.gather(table, step) for table in _tables()]


def _copies(variable, strategy):
    return strategy.experimental_local_results(variable.value)


def train(name, settings, strategy, *, guarded):
    """Returns what every copy of every variable holds at the end."""
    rng = np.random.default_rng(100)
    with strategy.scope():
        variables = [
            keras.Variable(rng.normal(size=s).astype("float32"), name=n)
            for n, s in SHAPES.items()
        ]
        optimizer = optimizers.build(name.split("_")[0], 0.05, **settings)
        optimizer.build(variables)
        averages = ema.ExponentialMovingAverage(variables, 0.9)

    def replica(step):
        gradients = _share(step, bad_step=3 if guarded else -1)
        scale = optimizer.scale_loss(tf.constant(1.0))
        gradients = [scale * g for g in gradients]
        taken = tf.constant(True)
        if guarded:
            taken = optimizer.apply_if_finite(gradients, variables)
        else:
            optimizer.apply(gradients, variables)
        averages.update(step)
        return taken

    @tf.function
    def call(step):
        return strategy.run(replica, args=(step,))

    taken = []
    for step in range(STEPS):
        results = strategy.experimental_local_results(call(tf.constant(step)))
        taken.append([bool(r) for r in results])
    kept = [*variables, *optimizer.variables]
    kept += [*averages._averages, averages._vector]
    found = {"taken": np.array(taken)}
    for place, variable in enumerate(kept):
        for number, copy in enumerate(_copies(variable, strategy)):
            found[f"{place:02d} {variable.name}|{number}"] = copy.numpy()
    found |= _swap(variables, averages, strategy)
    return found


def _swap(variables, averages, strategy):
    """Each copy while swapped, and whether it is as before afterwards."""
    before = [[c.numpy() for c in _copies(v, strategy)] for v in variables]
    found = {}
    with averages.swapped():
        for variable in variables:
            for number, copy in enumerate(_copies(variable, strategy)):
                found[f"swapped {variable.name}|{number}"] = copy.numpy()
    after = [[c.numpy() for c in _copies(v, strategy)] for v in variables]
    found["restored"] = np.array(
        all(map(np.array_equal, sum(before, []), sum(after, [])))
    )
    return found


def resume(strategy):
    """A snapshot put back into fresh variables, over all copies."""
    ends = []
    for _ in range(2):
        with strategy.scope():
            inputs = keras.Input((4,))
            layer = keras.layers.Dense(3, name="head")
            model = keras.Model(inputs, layer(inputs))
            optimizer = optimizers.build("rmsprop", 0.1)
            optimizer.build(model.trainable_variables)
            averages = ema.ExponentialMovingAverage(model.weights, 0.9)
        state = model, averages, optimizer
        if ends:
            checkpoint.restore(ends[0][0], *state)
        else:
            optimizer.iterations.assign(7)
        copies = [
            copy.numpy()
            for v in [*model.weights, *optimizer.variables]
            for copy in _copies(v, strategy)
        ]
        ends.append((checkpoint.snapshot(*state), copies))
    (first, copies), (second, again) = ends
    same = all(np.array_equal(first[k], second[k]) for k in first)
    return same and all(map(np.array_equal, copies, again))


def main(kind, path):
    if kind == "mirrored":
        distribute.split_cpu(2)
    strategy = distribute.strategy(kind)
    found = {"replicas": np.array(strategy.num_replicas_in_sync)}
    found["resumed"] = np.array(resume(strategy))
    for name, settings in OPTIMIZERS.items():
        for guarded in (True, False):
            if name != "rmsprop" and not guarded and "gclip" not in settings:
                continue
            end = train(name, settings, strategy, guarded=guarded)
            for key, value in end.items():
                found[f"{name}/{'guarded' * guarded}/{key}"] = value
    np.savez(path, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
