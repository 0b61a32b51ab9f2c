"""What tensorflow-addons 0.23.0 computes, written for `addons_parity`.

`python tests/addons_figures.py FILE.npz`, under tensorflow 2.15.1; nothing of
this project is imported. `make parity` makes the environment and runs both.
"""

import math
import sys
import warnings

import numpy as np

warnings.filterwarnings("ignore", module="tensorflow_addons")

import tensorflow as tf  # noqa: E402
import tensorflow_addons as tfa  # noqa: E402

FILL = 128
# Numbers of float32, so that both sides get the same.
DEGREES = (-45, -30, -7.25, -3, 0, 0.5, 1, 13, 15, 17, 30, 33.125, 45, 90, 180)
SHEARS = (-0.45, -0.3, -0.17, -0.03, 0, 0.01, 0.1, 0.25, 0.3, 0.45)
PIXELS = (-150, -31, -2.5, -1, -0.5, 0, 0.5, 1, 7.375, 10, 40.5, 100, 150)
PLACES = ((0, 0), (20, 30), (33, 8), (47, 47))  # row, column
PAD_SIZES = (1, 12, 40)
GROUPS = (1, 2, 4, 8)
EPSILON = 1e-3


def _pictures():
    """Name -> uint8 [height, width, 3]; noise tells each pixel's source."""
    rng = np.random.default_rng(0)

    def noise(height, width):
        return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)

    y, x, channel = np.mgrid[:64, :96, :3]
    smooth = 128 + 90 * np.sin(x / 17 + channel) * np.cos(y / 11)
    return {
        "odd": noise(61, 83),
        "square": noise(128, 128),
        "stage": noise(300, 300),
        "smooth": smooth.astype(np.uint8),
        "dark": noise(48, 48) // 6 + 3,
        "two values": np.where(noise(50, 70) < 40, 9, 201).astype(np.uint8),
    }


def _transforms(image):
    """(op, argument, result) of the ops that move pixels."""
    for degrees in DEGREES:
        yield (
            "rotate",
            degrees,
            tfa.image.rotate(
                image,
                degrees * math.pi / 180,
                interpolation="nearest",
                fill_mode="constant",
                fill_value=FILL,
            ),
        )
    for level in SHEARS:
        yield "shear_x", level, tfa.image.shear_x(image, level, FILL)
        yield "shear_y", level, tfa.image.shear_y(image, level, FILL)
    for pixels in PIXELS:
        for op, way in (("translate_x", (1, 0)), ("translate_y", (0, 1))):
            # The library moves the picture, the ops of the paper the window.
            way = [-pixels * part for part in way]
            yield op, pixels, tfa.image.translate_xy(image, way, FILL)


def _others(image):
    """The same of equalize and cutout."""
    yield "equalize", 0, tfa.image.equalize(image)
    for pad_size in PAD_SIZES:
        for place in PLACES:
            yield (
                "cutout",
                f"{pad_size},{place[0]},{place[1]}",
                tfa.image.cutout(image[None], 2 * pad_size, place, FILL)[0],
            )


def _group_norms():
    """(groups, arrays by name) of the layer on features of 16 channels."""
    rng = np.random.default_rng(1)
    for groups in GROUPS:
        inputs = rng.normal(0.5, 2.0, (3, 9, 7, 16)).astype(np.float32)
        gamma, beta = rng.uniform(-2, 2, (2, 16)).astype(np.float32)
        layer = tfa.layers.GroupNormalization(groups, epsilon=EPSILON)
        layer.build(inputs.shape)
        layer.set_weights([gamma, beta])
        outputs = layer(inputs).numpy()
        yield (
            groups,
            {
                "inputs": inputs,
                "gamma": gamma,
                "beta": beta,
                "outputs": outputs,
            },
        )


def main(path):
    """Writes picture|<name>, <op>|<argument>|<name>, group_norm|<groups>|..."""
    tf.get_logger().setLevel("ERROR")  # it speaks of retracing
    arrays = {}
    for name, image in _pictures().items():
        arrays[f"picture|{name}"] = image
        image = tf.constant(image)
        for found in (_transforms, _others):
            for op, argument, result in found(image):
                arrays[f"{op}|{argument}|{name}"] = result.numpy()
    for groups, parts in _group_norms():
        for name, part in parts.items():
            arrays[f"group_norm|{groups}|{name}"] = part
    np.savez_compressed(path, **arrays)
    print(
        f"tensorflow {tf.__version__}, tensorflow-addons {tfa.__version__}: "
        f"{len(arrays)} arrays"
    )


if __name__ == "__main__":
    main(sys.argv[1])
