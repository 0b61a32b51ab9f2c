"""`python -m export.speed`: exported models timed against the first of them."""

import pathlib
import sys

import numpy as np

from efficientnetv2 import entry_point, turns

from . import check

_ABOUT = """\
Times exported models against the first one: calls in turn, the ratios of each
round, their median and quartiles. Files (.tflite, .onnx, .keras) and folders
(a SavedModel with the signature serving_default, also of other programs).

  python -m export.speed model_float32.tflite model_int8.tflite
  python -m export.speed theirs ours --image_size=384"""
_RUNNERS = {".tflite": "tflite", ".onnx": "onnx", ".keras": "keras"}


def _parser():
    parser = entry_point.FlagParser(
        usage="python -m export.speed MODEL MODEL ... [flags]",
        description=_ABOUT,
    )
    add = parser.add_argument
    add("models", metavar="MODEL", nargs="+", help="at least two")
    add(
        "--image_size",
        metavar="PX",
        type=int,
        default=224,
        help="side of the pictures [224]; TFLite files have their own",
    )
    add("--batch_size", metavar="N", type=int, default=1, help="[1]")
    add("--pairs", metavar="N", type=int, default=31, help="rounds [31]")
    add("--debug", action="store_true", help="print the traceback of an error")
    return parser


def _load(path, *, batch_size, image_size):
    """A function that runs a model on a batch once."""
    path = pathlib.Path(path)
    runner = _RUNNERS.get(path.suffix)
    if runner is None and (path / "saved_model.pb").is_file():
        runner = "signature"
    if runner is None or not path.exists():
        raise ValueError(
            "a model must be a .tflite, .onnx or .keras file or the folder of "
            f"a SavedModel. Received: {str(path)!r}"
        )
    loaded = check.RUNNERS[runner](str(path), "serving_default")
    size = loaded.image_size or image_size
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (batch_size, size, size, 3))
    batch = loaded.prepare(pixels.astype(np.float32))
    return lambda: loaded.run(batch)


def measure(models, *, image_size=224, batch_size=1, pairs=31):
    """Times exported models in turn.

    Args:
        models: Paths of files or folders, the first is the baseline.
        image_size: Side of the pictures, pixels, where a model does not
            decide it.
        batch_size: Pictures a call, >= 1.
        pairs: Number of rounds, >= 1.

    Returns:
        Seconds of the calls, float64 [models, pairs].

    Raises:
        ValueError: for what is no exported model.
    """
    sizes = {"image_size": image_size, "batch_size": batch_size}
    calls = [_load(path, **sizes) for path in models]
    return np.array(turns.seconds(calls, pairs))


def _run(argv):
    values = _parser().parse_args(argv[1:])
    for name in ("image_size", "batch_size", "pairs"):
        if getattr(values, name) < 1:
            raise ValueError(
                f"{name} must be >= 1. Received: {getattr(values, name)}"
            )
    if len(values.models) < 2:
        raise ValueError("name at least two models, the first is the baseline")
    seconds = measure(
        values.models,
        image_size=values.image_size,
        batch_size=values.batch_size,
        pairs=values.pairs,
    )
    print(f"{'ms':>9}  times as fast as the first (quartiles)")
    for path, row in zip(values.models, seconds, strict=True):
        ratios = seconds[0] / row
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        line = f"{1e3 * np.median(row):9.2f}  "
        line += f"{middle:5.2f} ({low:.2f} to {high:.2f})  {path}"
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(entry_point.run(_run, sys.argv))
