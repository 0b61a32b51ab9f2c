"""Lets Keras load saved models after a mere `import efficientnetv2`.

Keras looks up custom layers in a registry that their modules fill. Importing
them here would import Keras, and its backend, before anyone needs it; so they
are imported as soon as somebody imports Keras.
"""

import importlib
import importlib.abc
import importlib.util
import sys

MODULES = (
    "convolution",
    "layers",
    "normalization",
    "hub_layer",
    "schedules",
    "optimizers",
)


def _register():
    for module in MODULES:
        importlib.import_module(f"efficientnetv2.{module}")


class _KerasFinder(importlib.abc.MetaPathFinder):
    """Finds Keras as Python would, and registers once it is imported."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)  # the search below must not end here
        try:
            spec = importlib.util.find_spec(fullname)
        finally:  # it may have been a mere look whether Keras is there
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):
                sys.meta_path.remove(self)  # it is imported once
                execute(module)
                _register()

            # Of this loader alone.
            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def install():
    """Registers the layers now if Keras is imported, else when it will be."""
    if "keras" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _KerasFinder())
