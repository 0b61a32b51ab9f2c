"""Reads the SavedModels that this project's export writes (TF-Hub modules).

Only the variables are read; no function of the module is loaded or run.
"""

import pathlib

from efficientnetv2.weights import tf1
from efficientnetv2.weights.source import Source, WeightsError

KIND = "a TF-Hub module"


def read(path, layers, *, moving_average=True):
    """Reads the variables of a SavedModel of ours.

    Args:
        path: Folder of the SavedModel.
        layers: See `names`.
        moving_average: Unused: a module holds one value a variable.

    Returns:
        A `Source`.

    Raises:
        WeightsError: if the module is damaged or not one of ours.
    """
    checkpoint = tf1.Checkpoint(pathlib.Path(path) / "variables" / "variables")
    stored = {"/".join(name.split("/")[-2:]): name for name in checkpoint}
    if "stem_conv/kernel" not in stored:
        raise WeightsError(
            f"{str(path)!r} is a SavedModel, but none of this project: no "
            "variable is called 'stem_conv/kernel'"
        )
    arrays = {
        ours: checkpoint[name]
        for ours, name in stored.items()
        if ours.rpartition("/")[2] in tf1.LEAVES
    }
    return Source(KIND, arrays)
