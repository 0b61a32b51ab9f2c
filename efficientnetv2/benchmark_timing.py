"""Measures one model in a process of its own; only this imports TensorFlow.

Each function is called in a fresh process: what it measures is then one
model's, not what others before it have left.
"""

import resource
import sys
import time

from efficientnetv2 import turns

_WARM_UP = 2  # calls after the first, which traces
_MIB = 2**20


def _sides():
    """The module of the sides, TensorFlow's chatter kept away."""
    from efficientnetv2 import startup

    with startup.quiet():
        from efficientnetv2 import benchmark_sides
    return benchmark_sides


def memory(key):
    """Memory of this process, MiB.

    Args:
        key: 'VmRSS' (now) or 'VmHWM' (its peak).
    """
    try:
        # The kernel's own figure starts anew with a program; that of getrusage
        # would remember a large parent.
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(key):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (_MIB if sys.platform == "darwin" else 1024)


def _gpu_peak():
    """Peak memory of the first GPU, MiB; None without one."""
    import tensorflow as tf

    if not tf.config.list_logical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / _MIB


def first_step(config, side):
    """Builds a model, takes a training step, and a few more for the memory.

    Args:
        config: A `Config`.
        side: 'Ours' or 'Theirs'.

    Returns:
        A dict: `first_step_seconds` from the start of building the model to
        the end of the first training step, `peak_memory_mib` of these steps
        above what the process had before (on a GPU, of its memory).
    """
    sides = _sides()
    before = memory("VmRSS")
    start = time.perf_counter()
    made = getattr(sides, side)(config)
    made.train()
    seconds = time.perf_counter() - start
    for _ in range(_WARM_UP):
        made.train()
    on_gpu = _gpu_peak()
    peak = memory("VmHWM") - before if on_gpu is None else on_gpu
    return {"first_step_seconds": seconds, "peak_memory_mib": peak}


def speeds(config, *, baseline, pairs):
    """Times inference and training steps, those of both sides in turn.

    Args:
        config: A `Config`.
        baseline: Whether to measure keras.applications too.
        pairs: Number of rounds.

    Returns:
        A list with a dict a side: `parameters`, `multiply_adds` at the
        evaluation size, and lists of a call's seconds: `inference_seconds`,
        `training_seconds` of the work that both sides do, `step_seconds` of
        the trainer's whole step (of the other side the same as before).
    """
    sides = _sides()
    from efficientnetv2 import multiply_adds

    whole = sides.Ours(config)
    made = [sides.Ours(sides.without_extras(config))]
    if baseline and sides.find_twin(config) is not None:
        made.append(sides.Theirs(config))
    inference = turns.seconds([side.infer for side in made], pairs)
    *training, step = turns.seconds(
        [side.train for side in (*made, whole)], pairs
    )
    steps = [step, *training[1:]]
    return [
        {
            "parameters": side.model.count_params(),
            "multiply_adds": multiply_adds.count(side.model, config.eval.isize),
            "inference_seconds": inference[index],
            "training_seconds": training[index],
            "step_seconds": steps[index],
        }
        for index, side in enumerate(made)
    ]
