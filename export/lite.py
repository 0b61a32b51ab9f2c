"""TFLite in four precisions, batch normalisation folded."""

import contextlib
import importlib.util
import os
import pathlib
import tempfile
import typing
import warnings
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from . import artefact, fold, inputs, pictures, publish

PRECISIONS = ("float32", "float16", "dynamic", "int8")
# Pictures that int8 takes its ranges from. More of them bring more outliers,
# which widen the ranges: of B0 on ImageNet the logits' error was 0.27 with 25
# pictures, 0.32 with 100 and 0.34 with 200.
CALIBRATION = 32


def check_installed() -> None:
    """Raises ValueError where nothing can run what is written."""
    if not importlib.util.find_spec("ai_edge_litert"):
        raise ValueError(
            "the format tflite needs ai-edge-litert: "
            "pip install 'efficientnetv2[tflite]'"
        )


@contextlib.contextmanager
def prepared(
    model: keras.Model,
    *,
    image_size: int,
    style: str,
    include_preprocessing: bool = True,
) -> Iterator[str]:
    """Gives a SavedModel for `convert`, in a folder that goes away.

    Args:
        model: Functional model of `efficientnetv2.get_model`, float32.
        image_size: Pixels; TFLite files have one size.
        style: A style of `data.preprocess`.
        include_preprocessing: True: it takes RGB in 0..255.

    Yields:
        The folder.
    """
    folded = fold.fold(model, style=style if include_preprocessing else None)
    shape = [None, image_size, image_size, 3]

    @tf.function(input_signature=[tf.TensorSpec(shape, name="image")])
    def forward(image):
        return {"logits": folded(image, training=False)}

    root = tf.train.Checkpoint()
    root.weights = [v.value for v in folded.weights]
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(root, folder, signatures=forward)
        yield folder


def convert(
    folder: str | os.PathLike[str],
    precision: str,
    *,
    calibration: np.ndarray | None = None,
    integer_input: str = "int8",
) -> bytes:
    """Converts what `prepared` gave.

    Args:
        folder: Folder of the SavedModel.
        precision: One of `PRECISIONS`.
        calibration: For int8: float32 [pictures, size, size, 3], as the
            SavedModel takes them.
        integer_input: For int8: type of its input, 'uint8' or 'int8'.

    Returns:
        The file's bytes.

    Raises:
        ValueError: for int8 without calibration.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(
        folder, signature_keys=["serving_default"]
    )
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        if calibration is None:
            raise ValueError(
                "calibration must be given for int8. Received: None"
            )
        converter.representative_dataset = lambda: (
            {"image": row[np.newaxis]} for row in calibration
        )
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        ]
        # Pixels are bytes already; logits are for people.
        converter.inference_input_type = tf.dtypes.as_dtype(integer_input)
    with warnings.catch_warnings():
        # It calibrates by an interpreter of its own that is to move.
        warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecat")
        return converter.convert()


def _pixels(raw):
    """Whole pixel values with a black and a white one in each picture.

    The range of the input is then 0..255 to the letter, so that its bytes
    are the pixels.
    """
    pixels = np.clip(np.round(raw), 0, 255)
    pixels[:, 0, 0], pixels[:, 0, 1] = 0, 255
    return pixels


def check_precision(precision: str, files: Sequence[bytes] | None) -> None:
    """Raises ValueError for an unknown precision, or int8 without pictures."""
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision must be one of {', '.join(PRECISIONS)}. "
            f"Received: {precision!r}"
        )
    if precision == "int8" and not files:
        raise ValueError(
            "int8 needs pictures such as the model will see, to take its "
            "ranges from: --pictures=FOLDER"
        )


def write(
    model: keras.Model,
    paths: Mapping[str, str | os.PathLike[str]],
    *,
    files: Sequence[bytes] | None = None,
    image_size: int | None = None,
    style: str | None = None,
    include_preprocessing: bool = True,
) -> list[artefact.Artefact]:
    """Writes one file or several.

    Args:
        model: As `export`.
        paths: Dict from some of `PRECISIONS` to the file to write.
        files: Pictures for int8, a list of files' bytes.
        image_size: As `export`.
        style: As `export`.
        include_preprocessing: As `export`.

    Returns:
        A list of `artefact.Artefact`.
    """
    check_installed()
    for precision in paths:
        check_precision(precision, files)
    style = inputs.resolve_style(model, style)
    size = inputs.resolve_size(model, image_size)
    calibration = None
    if "int8" in paths:
        some = pictures.spread(files, CALIBRATION)
        raw, normalized = pictures.decode(some, size, style)
        calibration = _pixels(raw) if include_preprocessing else normalized
    with prepared(
        model,
        image_size=size,
        style=style,
        include_preprocessing=include_preprocessing,
    ) as folder:
        for precision, path in paths.items():
            content = convert(
                folder,
                precision,
                calibration=calibration,
                integer_input="uint8" if include_preprocessing else "int8",
            )
            pathlib.Path(path).write_bytes(content)
    feed = "raw" if include_preprocessing else "normalized"
    return [
        artefact.Artefact(
            f"tflite {precision}",
            str(path),
            "tflite",
            feed,
            "logits",
            precision=precision,
        )
        for precision, path in paths.items()
    ]


def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    precision: str = "float32",
    files: Sequence[bytes] | None = None,
    overwrite: bool = False,
    verify: bool = True,
    **settings: typing.Any,
) -> str:
    """Writes a TFLite file.

    Input `image`, [batch, size, size, 3]: float32, or of int8 uint8 with the
    preprocessing inside; output `logits`, float32 [batch, classes].

    Args:
        model: Functional model of `efficientnetv2.get_model`, float32.
        path: File to write.
        precision: 'float32'; 'float16' weights; 'dynamic': 8-bit weights;
            'int8': all in 8 bits.
        files: Pictures such as the model will see, a list of files' bytes:
            int8 takes its ranges from them, and they are compared on. None:
            compared on drawn ones.
        overwrite: Replace `path` where it exists.
        verify: Run it in a process of its own and compare it with `model`.
        **settings: `image_size`: pixels; None: the variant's evaluation size.
            `style`: normalisation of the model's input, 'v2', 'v1', 'ft' or
            None: the variant's. `include_preprocessing`: True: the file takes
            RGB in 0..255.

    Returns:
        The path.

    Raises:
        ValueError: for an unknown precision, int8 without pictures, if `path`
            exists, or if the file does not do what the model does.
    """
    check_precision(precision, files)

    return publish.publish(
        lambda temporary: write(
            model, {precision: temporary}, files=files, **settings
        ),
        path,
        model=model if verify else None,
        style=settings.get("style"),
        image_size=settings.get("image_size"),
        files=files,
        overwrite=overwrite,
    )
