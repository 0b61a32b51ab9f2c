"""Compares our image ops and group normalisation with tensorflow-addons' own.

`make parity` runs it on what `addons_figures` wrote. It prints a table and ends
with exit code 1 where they disagree by more than a rounding.
"""

import collections
import dataclasses
import sys

import numpy as np
import tensorflow as tf

import efficientnetv2
from efficientnetv2.data import image_ops

# Parts of the values that may be off: a cosine's last bit decides a tie.
MOST_OFF = {"rotate": 1e-4}
TOLERANCE = 1e-5  # of the largest output, of group normalisation
BLOCKS = "r1_k3_s1_e1_i16_o16_c1"


@dataclasses.dataclass
class _Count:
    """What was compared of an op in one way."""

    cases: int = 0
    values: int = 0
    off: int = 0
    most: float = 0.0

    def add(self, ours, theirs):
        distance = np.abs(ours.astype(float) - theirs.astype(float))
        self.cases += 1
        self.values += distance.size
        self.off += int(np.sum(distance > 0))
        self.most = max(self.most, float(distance.max()))


def _cutout(image, argument):
    return image_ops.cutout_at(
        image, argument[0], row=argument[1], column=argument[2]
    )


def _op(name):
    """Our op as a function of an image and its argument."""
    if name == "cutout":
        return _cutout
    if name == "equalize":
        return lambda image, none: image_ops.equalize(image)
    return getattr(image_ops, name)


def _argument(text):
    """A number, or several."""
    parts = [float(part) for part in text.split(",")]
    return parts[0] if len(parts) == 1 else [int(part) for part in parts]


def _image_counts(figures):
    """(op, way) -> `_Count`, over all of the library's pictures."""
    counts = collections.defaultdict(_Count)
    compiled = {}
    pictures = _take(figures, "picture")
    for key, theirs in figures.items():
        name, text, picture = key.split("|")
        image = tf.constant(pictures[picture,])
        argument = _argument(text)
        op = _op(name)
        counts[name, "plain"].add(op(image, argument).numpy(), theirs)
        if name not in compiled:
            compiled[name] = tf.function(op, jit_compile=True)
        ours = compiled[name](image, tf.constant(argument)).numpy()
        counts[name, "compiled"].add(ours, theirs)
    return counts


def _take(figures, head):
    """Takes the figures of one kind out: the rest of their keys -> array."""
    keys = [key for key in figures if key.startswith(f"{head}|")]
    return {tuple(key.split("|")[1:]): figures.pop(key) for key in keys}


def _group_norm_distance(groups, inputs, gamma, beta, outputs):
    """Largest difference of a model's layer, as a part of the outputs."""
    model = efficientnetv2.get_model(
        BLOCKS,
        num_classes=2,
        model_config={"bn_type": "gn", "gn_groups": groups},
    )
    layer = next(
        layer
        for layer in model.layers
        if layer.name.endswith("_bn") and layer.gamma.shape == gamma.shape
    )
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    ours = layer(inputs).numpy()
    return float(np.abs(ours - outputs).max() / np.abs(outputs).max())


def main(path):
    """Prints the table; returns the exit code."""
    with np.load(path) as file:
        figures = dict(file)
    norms = _take(figures, "group_norm")
    counts = _image_counts(figures)
    wrong = [
        key
        for key, count in counts.items()
        if count.off > MOST_OFF.get(key[0], 0) * count.values
    ]
    print(f"{'op':12} {'way':9} {'cases':>5} {'values':>11} {'off':>6}  most")
    for (name, way), count in sorted(counts.items()):
        print(
            f"{name:12} {way:9} {count.cases:5} {count.values:11,} "
            f"{count.off:6,}  {count.most:g}"
        )
    print()
    for groups in sorted({key[0] for key in norms}, key=int):
        parts = ("inputs", "gamma", "beta", "outputs")
        arrays = [norms[groups, part] for part in parts]
        distance = _group_norm_distance(int(groups), *arrays)
        print(f"group normalisation, {groups} groups: {distance:.1e}")
        if distance > TOLERANCE:
            wrong.append(("group normalisation", groups))
    cases = sum(count.cases for count in counts.values())
    print(f"\n{cases + len(norms) // 4} cases, {len(wrong)} ops disagree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
