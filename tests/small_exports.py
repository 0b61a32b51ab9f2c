"""Small trained models and pictures for the tests of exports."""

import importlib.util
import io

import keras
import numpy as np
from PIL import Image

from efficientnetv2 import config, model, model_dir

BLOCKS = "r1_k3_s1_e1_i8_o8_c1;r2_k3_s2_e4_i8_o16_se0.25"
NAMES = tuple("abcde")


def have(*packages):
    """Whether the packages of an extra are installed."""
    return all(importlib.util.find_spec(name) for name in packages)


def trained(network, *, seed=1):
    """Gives a model scales and moving statistics that are not 0 and 1."""
    rng = np.random.default_rng(seed)
    for v in network.weights:
        if "moving_mean" in v.path or "beta" in v.path:
            v.assign(rng.normal(0, 0.3, v.shape))
        elif "moving_variance" in v.path or "gamma" in v.path:
            v.assign(rng.uniform(0.5, 1.5, v.shape))
    return network


def small_trained(overrides=""):
    """A `model_dir.Trained` with five classes, at 32 pixels."""
    settings = config.load(
        BLOCKS,
        "shapes",
        "data.num_classes=5,eval.isize=32,data.preprocessing=v1" + overrides,
    )
    keras.utils.set_random_seed(1)
    network = trained(model.build(settings.model, num_classes=5))
    # Classes far enough apart that eight bits tell them.
    head = network.get_layer("predictions")
    rng = np.random.default_rng(1)
    head.kernel.assign(rng.normal(0, 1, head.kernel.shape))
    return model_dir.Trained(network, settings, NAMES, "v1", "a test")


def picture(seed, size=(48, 40), kind="JPEG"):
    """The bytes of a file with a few coloured clouds."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), np.uint8))
    file = io.BytesIO()
    coarse.resize(size).save(file, kind)
    return file.getvalue()


FILES = [picture(seed) for seed in range(12)]
