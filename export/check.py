"""Runs exported models in a process of its own: python -P check.py JOB.

JOB is a JSON file. It imports nothing of this project, as whoever gets the
files will not have it.

    inputs    npz: `normalized` and `raw`, float32 [pictures, size, size, 3];
              `bytes`, uint8 [all files' bytes], and `lengths`, int64 [pictures]
    outputs   npz to write: `<artefact>.<output>` for each picture
    times     JSON to write: milliseconds by artefact and batch size
    artefacts list of path, runner, feed, signature
"""

import dataclasses
import json
import os
import sys
import time
import typing

import numpy as np

BATCHES = (1, 32)
_CHUNK = 8  # pictures at a time when outputs are compared
_MAX_RUNS = 9
_MAX_SECONDS = 3.0

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model ready to run.

    Args:
        run: Function from a batch to a list of arrays.
        prepare: Function from float32 images to the type that `run` takes.
        image_size: The only one that it takes, pixels, or None.
        keeps: What must live as long as `run`.
    """

    run: typing.Callable
    prepare: typing.Callable = np.asarray
    image_size: int | None = None
    keeps: object = None


def _signature(path, name):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    function = loaded.signatures[name]
    (argument,) = function.structured_input_signature[1]

    def run(batch):
        answer = function(**{argument: tf.constant(batch)})
        # Models that others exported have one output, of any name.
        first = next(iter(answer))
        return [answer.get("probabilities", answer[first]).numpy()]

    # The functions do not keep the variables alive.
    return Loaded(run, keeps=loaded)


def _module(path, _):
    import tensorflow as tf

    module = tf.saved_model.load(path)

    def run(batch):
        answer = module(tf.constant(batch))
        values = tf.nest.flatten(answer)  # of a dict: in the order of its keys
        return [value.numpy() for value in values]

    return Loaded(run)


def _keras(path, _):
    import keras

    model = keras.models.load_model(path)
    return Loaded(lambda batch: [np.asarray(model.predict_on_batch(batch))])


def _tflite(path, _):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=os.cpu_count())
    (inputs,) = interpreter.get_input_details()
    (outputs,) = interpreter.get_output_details()
    kind = inputs["dtype"]
    scale, zero = inputs["quantization"]

    shape = None

    def prepare(batch):
        if kind == np.float32:
            return batch
        limits = np.iinfo(kind)
        batch = np.round(batch / scale + zero)
        return np.clip(batch, limits.min, limits.max).astype(kind)

    def run(batch):
        nonlocal shape
        if batch.shape != shape:  # weights are packed anew
            interpreter.resize_tensor_input(inputs["index"], batch.shape)
            interpreter.allocate_tensors()
            shape = batch.shape
        interpreter.set_tensor(inputs["index"], batch)
        interpreter.invoke()
        return [interpreter.get_tensor(outputs["index"])]

    return Loaded(run, prepare, int(inputs["shape"][1]))


def _onnx(path, _):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        path, providers=["CPUExecutionProvider"]
    )
    (inputs,) = session.get_inputs()
    return Loaded(lambda batch: session.run(None, {inputs.name: batch}))


RUNNERS = {
    "signature": _signature,
    "module": _module,
    "keras": _keras,
    "tflite": _tflite,
    "onnx": _onnx,
}


def _feeds(path):
    """Every way to give the pictures, by name."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    ends = np.cumsum(arrays["lengths"])
    starts = ends - arrays["lengths"]
    files = [
        arrays["bytes"][start:end].tobytes()
        for start, end in zip(starts, ends, strict=True)
    ]
    return {
        "normalized": arrays["normalized"],
        "raw": arrays["raw"],
        "unit": arrays["raw"] / np.float32(255.0),
        "bytes": np.array(files, object),
    }


def _outputs(run, feed):
    parts = [
        run(feed[start : start + _CHUNK])
        for start in range(0, len(feed), _CHUNK)
    ]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _milliseconds(run, feed, batch_size):
    """Median time of a call with a batch."""
    batch = feed[np.arange(batch_size) % len(feed)]
    run(batch)
    times = []
    while len(times) < _MAX_RUNS and sum(times) < _MAX_SECONDS:
        start = time.perf_counter()
        run(batch)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def main(job_path):
    """Runs a job.

    Args:
        job_path: Path of the JSON file.
    """
    with open(job_path, encoding="utf-8") as file:
        job = json.load(file)
    feeds = _feeds(job["inputs"])
    outputs, times = {}, []
    for index, artefact in enumerate(job["artefacts"]):
        load = RUNNERS[artefact["runner"]]
        loaded = load(artefact["path"], artefact["signature"])
        feed = loaded.prepare(feeds[artefact["feed"]])
        for number, value in enumerate(_outputs(loaded.run, feed)):
            outputs[f"{index}.{number}"] = value
        times.append(
            [_milliseconds(loaded.run, feed, size) for size in BATCHES]
        )
    np.savez(job["outputs"], **outputs)
    with open(job["times"], "w", encoding="utf-8") as file:
        json.dump(times, file)


if __name__ == "__main__":
    main(sys.argv[1])
