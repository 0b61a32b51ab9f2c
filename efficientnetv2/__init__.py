"""EfficientNetV2 for Keras 3: models, training, progressive learning, export.

Names are imported when they are first used, so `import efficientnetv2` is
quick and needs neither Keras nor TensorFlow.
"""

import importlib
import typing

from efficientnetv2 import registration

if typing.TYPE_CHECKING:  # what `__getattr__` gives
    from efficientnetv2 import block_spec, config, progressive, weights
    from efficientnetv2.hub_layer import HubLayer
    from efficientnetv2.zoo import get_model, list_models

__version__ = "0.1.0"

__all__ = [
    "HubLayer",
    "__version__",
    "block_spec",
    "config",
    "get_model",
    "list_models",
    "progressive",
    "weights",
]


# Name -> module that holds it; the others are modules.
_HOLDERS = {
    "HubLayer": "hub_layer",
    "get_model": "zoo",
    "list_models": "zoo",
}


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = importlib.import_module(f"{__name__}.{_HOLDERS.get(name, name)}")
    if name in _HOLDERS:
        value = getattr(value, name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(__all__))


registration.install()
