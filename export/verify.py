"""Compares exported models with the trained one, in processes of their own."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from . import artefact, endpoints, pictures

_CHECK = pathlib.Path(__file__).with_name("check.py")
_CHUNK = 8  # pictures at a time
DRAWN = 16  # pictures drawn where none are given


class VerificationError(ValueError):
    """An exported model does not do what the trained one does."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of an artefact.

    Args:
        name: Its name.
        megabytes: Size of its files, 10^6 bytes.
        difference: Largest difference of an output, as a share of the
            largest output.
        agreement: Share of pictures with the same first class, or None.
        milliseconds: Time of a call by batch size, `check.BATCHES`.
        problem: What is out of tolerance, or None.
    """

    name: str
    megabytes: float
    difference: float
    agreement: float | None
    milliseconds: tuple[float, ...]
    problem: str | None


@dataclasses.dataclass(frozen=True)
class Expected:
    """Pictures, and what the trained model makes of them.

    Args:
        files: List of files' bytes.
        raw: float32 [pictures, size, size, 3], RGB in 0..255.
        normalized: The same as the model takes it.
        outputs: Dict from 'logits', 'probabilities', 'features' and 'maps' to
            a list of arrays [pictures, ...].
    """

    files: Sequence[bytes]
    raw: np.ndarray
    normalized: np.ndarray
    outputs: dict


def expect(
    model: keras.Model,
    *,
    image_size: int,
    style: str,
    files: Sequence[bytes] | None = None,
    loss_type: str = "softmax",
) -> Expected:
    """Runs the trained model on pictures.

    Args:
        model: Keras model of `efficientnetv2.get_model`.
        image_size: Pixels.
        style: A style of `data.preprocess`.
        files: List of files' bytes; None: drawn ones.
        loss_type: 'softmax', or 'sigmoid' for several labels a picture.

    Returns:
        An `Expected`.
    """
    files = files or pictures.drawn(DRAWN, size=image_size)
    raw, normalized = pictures.decode(files, image_size, style)
    own = any(layer.name == "preprocessing" for layer in model.layers)
    feed = raw if own else normalized
    everything = keras.Model(
        model.inputs,
        [
            model.outputs[0],
            model.get_layer("avg_pool").output,
            *endpoints.endpoints(model),
        ],
    )
    forward = tf.function(
        lambda images: everything(images, training=False),
        reduce_retracing=True,
    )
    parts = [
        [value.numpy() for value in forward(feed[start : start + _CHUNK])]
        for start in range(0, len(feed), _CHUNK)
    ]
    logits, features, *maps = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    scores = tf.sigmoid if loss_type == "sigmoid" else tf.nn.softmax
    outputs = {
        "logits": [logits],
        "probabilities": [scores(logits).numpy()],
        "features": [features],
        "maps": maps,
    }
    return Expected(files, raw, normalized, outputs)


def _size(path):
    path = pathlib.Path(path)
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _run(artefacts, expected, folder):
    """Outputs and times of artefacts, out of a fresh process."""
    folder = pathlib.Path(folder)
    data, lengths = pictures.pack(expected.files)
    np.savez(
        folder / "inputs.npz",
        normalized=expected.normalized,
        raw=expected.raw,
        bytes=data,
        lengths=lengths,
    )
    paths = {
        "inputs": str(folder / "inputs.npz"),
        "outputs": str(folder / "outputs.npz"),
        "times": str(folder / "times.json"),
    }
    jobs = [dataclasses.asdict(artefact) for artefact in artefacts]
    job = folder / "job.json"
    job.write_text(json.dumps({**paths, "artefacts": jobs}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-P", str(_CHECK), str(job)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    names = ", ".join(artefact.name for artefact in artefacts)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
        raise VerificationError(f"{names} cannot be run: {reason}")
    with np.load(paths["outputs"]) as file:
        outputs = [_outputs_of(file, index) for index in range(len(jobs))]
    times = json.loads((folder / "times.json").read_text(encoding="utf-8"))
    return zip(artefacts, outputs, times, strict=True)


def _outputs_of(file, index):
    """The outputs `<index>.0`, `<index>.1`, ... of an npz file, a list."""
    outputs = []
    while (name := f"{index}.{len(outputs)}") in file.files:
        outputs.append(file[name])
    return outputs


def _judge(artefact, found, wanted, *, size, times):
    if [x.shape for x in found] != [x.shape for x in wanted]:
        raise VerificationError(
            f"{artefact.name} gives outputs of other shapes than the model"
        )
    difference = max(
        float(np.max(np.abs(x - y)) / max(np.max(np.abs(y)), 1e-9))
        for x, y in zip(found, wanted, strict=True)
    )
    agreement = None
    if artefact.output in ("logits", "probabilities"):
        same = np.argmax(found[0], -1) == np.argmax(wanted[0], -1)
        agreement = float(np.mean(same))
    tolerance = artefact.tolerance
    problem = None
    if not np.isfinite(difference):
        problem = "its outputs are not finite"
    elif tolerance.difference is not None and difference > tolerance.difference:
        problem = (
            f"its outputs differ by {difference:.1e}, above "
            f"{tolerance.difference:.0e}"
        )
    elif agreement is not None and agreement < tolerance.agreement:
        problem = (
            f"it agrees with the model on {100 * agreement:.1f} % of the "
            f"pictures, below {100 * tolerance.agreement:.0f} %"
        )
    return Row(
        artefact.name, size / 1e6, difference, agreement, tuple(times), problem
    )


def verify(
    artefacts: Sequence[artefact.Artefact], expected: Expected
) -> list[Row]:
    """Loads and runs artefacts in fresh processes, one for each runner.

    Args:
        artefacts: List of `artefact.Artefact`.
        expected: An `Expected`.

    Returns:
        A list of `Row`, in the order of the artefacts.

    Raises:
        VerificationError: if one cannot be run.
    """
    rows = {}
    runners = dict.fromkeys(artefact.runner for artefact in artefacts)
    for runner in runners:
        group = [a for a in artefacts if a.runner == runner]
        with tempfile.TemporaryDirectory() as folder:
            for artefact, found, times in _run(group, expected, folder):
                rows[artefact.name] = _judge(
                    artefact,
                    found,
                    expected.outputs[artefact.output],
                    size=_size(artefact.path),
                    times=times,
                )
    return [rows[artefact.name] for artefact in artefacts]


def require(rows: Iterable[Row]) -> None:
    """Raises for the first artefact out of tolerance.

    Args:
        rows: List of `Row`.

    Raises:
        VerificationError: names it and says why.
    """
    for row in rows:
        if row.problem is not None:
            raise VerificationError(f"{row.name}: {row.problem}")
