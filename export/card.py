"""The model card that lies beside an export, and the table in it."""

from efficientnetv2 import __version__, variants

from . import check
from .artefact import TOLERANCES

_LOADING = {
    "saved_model": """\
```python
import tensorflow as tf

loaded = tf.saved_model.load("{folder}")  # keep it while its signatures run
answer = loaded.signatures["image_bytes"](image_bytes=tf.constant([data]))
answer["top_classes"], answer["top_probabilities"]
```

Signatures: `serving_default` (`images`: float32 [batch, height, width, 3], RGB
in [0, 1]), `image_bytes` (string [batch], JPEG, PNG, GIF, BMP or WebP files of
any sizes) and `tf_example` (`examples` with the key `image/encoded`). Outputs:
`probabilities`, `top_probabilities`, `top_indices`, `top_classes`. `grad_cam`
takes `image_bytes` and also gives `heat_maps` of the top classes over
`pictures`. A file that is no picture gets probabilities of 0, the index -1 and
the class `error: not a picture`; the other rows are not touched.
""",
    "hub": """\
```python
import efficientnetv2, keras                                # Keras 3
layer = efficientnetv2.HubLayer("{folder}/feature_vector")  # or its .tar.gz
model = keras.Sequential([layer, keras.layers.Dense(10)])

import tensorflow_hub as hub                                # tf_keras
layer = hub.KerasLayer("{folder}/feature_vector", trainable=True)

import tensorflow as tf                                     # neither
module = tf.saved_model.load("{folder}/feature_vector")
features = module(images, training=False)
```

`images`: float32 [batch, height, width, 3], RGB in [0, 1], of any size.
`training=True` takes `batch_norm_momentum`. `feature_vector` gives pooled
features, `classification` logits, `feature_maps` a dict of `reduction_1` (half
the size) to `reduction_5`.
""",
    "tflite": """\
```python
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter("{folder}/model_int8.tflite")
```

Input `image` [batch, {size}, {size}, 3]: {pixels}; of the int8 file
{integers}. Output `logits`, float32 [batch, {classes}].
""",
    "onnx": """\
```python
import onnxruntime

session = onnxruntime.InferenceSession("{folder}/model.onnx")
(logits,) = session.run(None, {{"image": images}})
```

Input `image`, float32 [batch, height, width, 3]: {pixels}. The names of the
classes are in the file's metadata, as JSON.
""",
    "keras": """\
```python
import keras

model = keras.models.load_model("{folder}/model.keras")  # on any backend
```

Layers of Keras itself, named as in keras.applications. Input: {pixels};
output: logits.
""",
}


def table(rows):
    """The rows of a verification as a Markdown table.

    Args:
        rows: List of `verify.Row`.

    Returns:
        Text of several lines.
    """
    head = ["format", "MB", "worst difference", "top-1 agreement"]
    head += [f"ms, batch {size}" for size in check.BATCHES]
    cells = [head]
    for row in rows:
        same = row.agreement
        cells.append(
            [
                row.name,
                f"{row.megabytes:.1f}",
                f"{row.difference:.1e}",
                "-" if same is None else f"{100 * same:.1f} %",
                *(f"{value:.1f}" for value in row.milliseconds),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        " | ".join(
            [line[0].ljust(widths[0])]
            + [x.rjust(n) for x, n in zip(line[1:], widths[1:], strict=True)]
        )
        for line in cells
    ]
    rule = [f"{'-' * (n - 1)}:" for n in widths[1:]]
    lines.insert(1, " | ".join(["-" * widths[0], *rule]))
    return "\n".join(f"| {line} |" for line in lines)


def _tolerances():
    lines = []
    for name, row in TOLERANCES.items():
        line = f"* {name}: the same first class for {100 * row.agreement:.0f} %"
        if row.difference is not None:
            line += f", outputs within {row.difference:.0e} of the largest"
        lines.append(line)
    return "\n".join(lines)


def _loading(request, formats):
    inside = request.include_preprocessing
    trained = request.trained
    values = {
        "size": trained.image_size,
        "classes": len(trained.class_names),
        "pixels": (
            "RGB in 0..255, normalised inside"
            if inside
            else f"RGB normalised by the style {trained.style!r}"
        ),
        "integers": "uint8, RGB" if inside else "int8",
    }
    parts = []
    for name in formats:
        folder = "." if len(formats) == 1 else name
        text = _LOADING[name].format(folder=folder, **values)
        parts.append(f"### {name}\n\n{text}")
    return "\n".join(parts)


def card(request, formats, rows, *, pictures):
    """Writes the text of the model card.

    Args:
        request: A `formats.Request`.
        formats: Names of the formats in the folder.
        rows: List of `verify.Row`.
        pictures: Number of pictures that were compared on.

    Returns:
        Markdown.
    """
    trained = request.trained
    name = trained.config.model.name
    labels = trained.class_names
    shown = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
    size = trained.image_size
    kind = "given" if request.files else "drawn"
    published = variants.VARIANTS.get(name)
    figure = published.imagenet_top1 if published else None
    published_line = (
        f"* Published accuracy of the variant: {figure} % top-1 on ImageNet\n"
        if figure
        else ""
    )
    return f"""# {name}

* Weights: {trained.description}
* Accuracy measured: {trained.accuracy or "not known"}
{published_line}* Input: RGB pictures, {size} x {size} pixels in evaluation
* Labels: {len(labels)} classes, `labels.txt`: {shown}
* Made by: efficientnetv2 {__version__}
* Licence: Apache-2.0 for the code; the weights are under the terms of the data
  and of the weights that they come from

## Load

{_loading(request, formats)}
## Verified

Each file was loaded in a process of its own and compared with the trained
model on {pictures} {kind} pictures. The worst difference is a share of the
largest output. The times are medians of calls on the machine that exported.

{table(rows)}

Tolerances:

{_tolerances()}
"""
