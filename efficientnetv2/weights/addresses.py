"""Where the published weights lie, as data.

Original: the releases of google/automl (efficientnetv2), which state no
hashes; the 21k files of the B variants are named in its issue 1124.
Keras: keras.applications; addresses and MD5 hashes as Keras 3.15 states them
in efficientnet.py and efficientnet_v2.py (WEIGHTS_HASHES, with top).
timm: its model on the Hugging Face hub; trained by the original's authors
with RandAugment, ported by timm, no hash stated.

The 21k weights of all variants expect (x - 128) / 128, those of B0 to B3 and
V1 after ImageNet-1k alone ImageNet mean and deviation. Source for the B
variants: timm's model configurations (tf_efficientnetv2_b3.in21k and
.in21k_ft_in1k have mean 0.5, tf_efficientnetv2_b3.in1k ImageNet's).
"""

import dataclasses

from efficientnetv2 import spelling
from efficientnetv2.weights.source import WeightsError

KINDS = ("imagenet", "imagenet21k", "imagenet21k-ft1k")
"""What published weights were trained on."""

_ORIGINAL = (
    "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientnet/v2/"
)
_KERAS_V1 = "https://storage.googleapis.com/keras-applications/"
_KERAS_V2 = (
    "https://storage.googleapis.com/tensorflow/keras-applications/"
    "efficientnet_v2/"
)
_TIMM = "https://huggingface.co/timm/"

_KERAS_MD5 = {
    "efficientnetv2-b0": "21ecbf6da12460d5c40bb2f29ceb2188",
    "efficientnetv2-b1": "069f0534ff22adf035c89e2d9547a9dc",
    "efficientnetv2-b2": "424e49f28180edbde1e94797771950a7",
    "efficientnetv2-b3": "1f1fc43bd98a6e4fd8fdfd551e02c7a0",
    "efficientnetv2-s": "e1d88a8495beba45748fedd0cecbe016",
    "efficientnetv2-m": "a3bf6aa3276309f4fc6a34aa114c95cd",
    "efficientnetv2-l": "27e6d408b53c7ebc868fefa357689935",
    "efficientnet-b0": "902e53a9f72be733fc0bcb005b3ebbac",
    "efficientnet-b1": "1d254153d4ab51201f1646940f018540",
    "efficientnet-b2": "b15cce36ff4dcbd00b6dd88e7857a6ad",
    "efficientnet-b3": "ffd1fdc53d0ce67064dc6a9c7960ede0",
    "efficientnet-b4": "18c95ad55216b8f92d7e70b3a046e2fc",
    "efficientnet-b5": "ace28f2a6363774853a83a0b21b9421a",
    "efficientnet-b6": "165f6e37dce68623721b423839de8be5",
    "efficientnet-b7": "8c03f828fec3ef71311cd463b6759d99",
}
_CLASSES = {"imagenet": 1000, "imagenet21k": 21843, "imagenet21k-ft1k": 1000}


@dataclasses.dataclass(frozen=True)
class Published:
    """A published weights file.

    Args:
        address: Where it lies.
        file_name: Its name in the cache.
        num_classes: Classes of its head.
        preprocessing: Style of `data.preprocess` it expects.
        md5: Its MD5 hash in hexadecimal, or None where nobody states one.
    """

    address: str
    file_name: str
    num_classes: int
    preprocessing: str
    md5: str | None = None


def _imagenet(name):
    style = "v2" if name[-1] in "sml" else "v1"
    family, _, size = name.partition("-")
    # V1's file is called efficientnetb0.h5, V2's efficientnetv2-b0.h5.
    file_name = f"{name if family == 'efficientnetv2' else family + size}.h5"
    base = _KERAS_V2 if family == "efficientnetv2" else _KERAS_V1
    return Published(base + file_name, file_name, 1000, style, _KERAS_MD5[name])


def _imagenet21k(name, kind):
    file_name = f"{name}{kind.removeprefix('imagenet').join(('-', ''))}.tgz"
    return Published(_ORIGINAL + file_name, file_name, _CLASSES[kind], "v2")


PUBLISHED = {
    **{(name, "imagenet"): _imagenet(name) for name in _KERAS_MD5},
    **{
        (f"efficientnetv2-{size}", kind): _imagenet21k(
            f"efficientnetv2-{size}", kind
        )
        for size in ("b0", "b1", "b2", "b3", "s", "m", "l", "xl")
        for kind in KINDS[1:]
    },
    ("efficientnet-b8", "imagenet"): Published(
        f"{_TIMM}tf_efficientnet_b8.ra_in1k/resolve/main/model.safetensors",
        "tf_efficientnet_b8.ra_in1k.safetensors",
        1000,
        "v1",
    ),
}
"""(name of a variant, kind) -> `Published`."""


def lookup(name: str, kind: str) -> Published:
    """Finds the published file of a variant.

    Args:
        name: Name of a variant, as 'efficientnetv2-s'.
        kind: One of `KINDS`.

    Returns:
        A `Published`.

    Raises:
        WeightsError: if there is none; says what there is.
    """
    if kind not in KINDS:
        raise WeightsError(
            f"weights must be one of {', '.join(KINDS)}. "
            f"Received: {kind!r}{spelling.nearest(kind, KINDS)}"
        )
    if (name, kind) not in PUBLISHED:
        there = [k for n, k in PUBLISHED if n == name]
        raise WeightsError(
            f"nobody published {kind!r} weights of {name}; there are: "
            f"{', '.join(there) or 'none'}"
        )
    return PUBLISHED[name, kind]
