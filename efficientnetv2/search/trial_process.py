"""One trial in a process of its own: its step is timed, then it is trained.

Memory that a model leaves behind, and a death for want of it, are then the
trial's alone; and a trial that is pruned can be ended at any moment.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import signal
import threading
import traceback

import tqdm

from efficientnetv2 import metrics_file

LOG = "log.txt"
_POLL_SECONDS = 0.5
_STOP_SECONDS = 10  # for a process to end by itself


class TrialFailedError(Exception):
    """A trial has no result; its text is the reason, one line."""


def _one_line(error):
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "ResourceExhausted" in repr(error):
        text = f"out of memory. {text}"
    if isinstance(error, (ValueError, OSError)):
        return text
    return f"{type(error).__name__}: {text}"


def _end_with_parent():
    """Ends this process with its parent, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(process):
    process.join()
    os._exit(1)


@contextlib.contextmanager
def _output_into(path):
    """Sends what this process prints into a file, also what C++ prints.

    The traceback of an error goes there too.
    """
    with open(path, "ab", buffering=0) as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
        try:
            yield
        except BaseException:
            traceback.print_exc()
            raise


def _with_classes(config):
    """The config with the number of classes that its data have."""
    from efficientnetv2.data import sources

    source = sources.open_source(config.data, config.train.split)
    classes = config.data.num_classes or source.num_classes
    data = dataclasses.replace(config.data, num_classes=classes)
    return dataclasses.replace(config, data=data)


def _time_steps(config, backbone):
    """Seconds of each step of a model and of the backbone, two lists."""
    import keras

    from efficientnetv2 import benchmark_sides, turns

    one_device = dataclasses.replace(config.runtime, strategy="one")
    sides = [
        benchmark_sides.Ours(
            dataclasses.replace(config, model=model, runtime=one_device)
        )
        for model in (config.model, backbone)
    ]
    seconds = turns.seconds(
        [side.train for side in sides], config.search.step_pairs
    )
    del sides
    keras.backend.clear_session()
    return seconds


def _work(pipe, task, config, *args):
    """What the process does; sends ('step' | 'done' | 'error', value)."""
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker ends it
    # The bars' own lock is one of processes: where this one is killed, Python
    # would warn of it at the end of the search.
    tqdm.tqdm.set_lock(threading.RLock())
    try:
        pipe.send(("done", task(pipe, config, *args)))
    except BaseException as error:
        pipe.send(("error", _one_line(error)))


def _train(pipe, config, folder, backbone):
    from efficientnetv2 import startup

    with _output_into(folder / LOG):
        with startup.quiet():
            from efficientnetv2 import train
        timed = _time_steps(_with_classes(config), backbone)
        pipe.send(("step", timed))
        code = train.train_and_evaluate(config, folder)
        if code:
            raise ValueError(f"training ended with the exit code {code}")


def _look_at_data(_, config):
    from efficientnetv2 import startup

    with startup.quiet():
        from efficientnetv2.data import sources
    sources.open_source(config.data, config.eval.split)
    return _with_classes(config).data.num_classes


def _end(process):
    process.terminate()
    process.join(_STOP_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()


def _messages(task, *args):
    """Runs `_work`; yields what it sends, and None while it does not.

    Raises:
        TrialFailedError: where it ends without a last word, or with an error.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, task, *args))
    process.start()
    theirs.close()
    try:
        while True:
            if not ours.poll(_POLL_SECONDS):
                yield "wait", None
                continue
            try:
                kind, value = ours.recv()
            except EOFError:
                process.join()
                raise TrialFailedError(
                    "its process was ended (exit code "
                    f"{process.exitcode}), as happens when the memory is full"
                ) from None
            if kind == "error":
                raise TrialFailedError(value)
            yield kind, value
            if kind == "done":
                process.join()
                return
    finally:
        _end(process)


def count_classes(config):
    """Opens the data of a config, in a process of its own.

    Args:
        config: A `Config`.

    Returns:
        Number of classes.

    Raises:
        ValueError: if the data cannot be read.
    """
    try:
        *_, (_, classes) = _messages(_look_at_data, config)
    except TrialFailedError as error:
        raise ValueError(str(error)) from None
    return classes


def _evaluations(folder):
    """(epoch, accuracy) of each evaluation until now, a list."""
    return [
        (row["epoch"], row["accuracy"])
        for row in metrics_file.read_run(folder)
        if row["kind"] == "eval" and row["accuracy"] is not None
    ]


def run(config, folder, *, backbone, on_step, on_evaluation):
    """Times and trains a model.

    Args:
        config: The trial's `Config`.
        folder: Its model_dir, there already.
        backbone: `Architecture` that the step is timed beside.
        on_step: Called with the seconds of both (two lists).
        on_evaluation: Called with epoch and accuracy of each evaluation
            before the training has ended; what it raises ends the process.

    Returns:
        The accuracy at the end, 0 to 1.

    Raises:
        TrialFailedError: if it fails, with the reason.
    """
    folder = pathlib.Path(folder)
    seen = 0
    messages = _messages(_train, config, folder, backbone)
    with contextlib.closing(messages):  # ends the process, whatever is raised
        for kind, value in messages:
            if kind == "step":
                on_step(*value)
            if kind == "wait":
                for epoch, accuracy in _evaluations(folder)[seen:]:
                    seen += 1
                    on_evaluation(epoch, accuracy)
    found = _evaluations(folder)
    if not found:
        raise TrialFailedError("there is no accuracy that is a number")
    return found[-1][1]
