"""EfficientNetV2 for Keras 3: models, training, progressive learning, export.

Names are imported when they are first used, so `import efficientnetv2` is
quick and needs neither Keras nor TensorFlow.
"""

import importlib

from efficientnetv2 import registration

__version__ = "0.1.0"

# Exported name -> module that holds it; None: the name is the module itself.
_EXPORTS = {
    "HubLayer": "hub_layer",
    "block_spec": None,
    "config": None,
    "get_model": "zoo",
    "list_models": "zoo",
    "progressive": None,
    "weights": None,
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_EXPORTS[name] or name}")
    value = module if _EXPORTS[name] is None else getattr(module, name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(_EXPORTS))


registration.install()
