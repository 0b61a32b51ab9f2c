"""Reads the checkpoints of this project's trainer, moving averages first."""

from efficientnetv2 import checkpoint
from efficientnetv2.weights.source import Source, WeightsError

KIND = "a checkpoint of this project's trainer"


def read(path, layers, *, moving_average=True):
    """Reads a checkpoint of `efficientnetv2.checkpoint`.

    Args:
        path: The `.npz` file.
        layers: Unused: the names are the model's own.
        moving_average: Take the averages where the file has them.

    Returns:
        A `Source`, with the class names of the run.

    Raises:
        WeightsError: if the file is damaged.
    """
    try:
        arrays, meta = checkpoint.read(path)
    except checkpoint.CheckpointError as error:
        raise WeightsError(str(error)) from None
    sections = ("model/", "ema/") if moving_average else ("model/",)
    values = {}
    for section in sections:
        for name, array in arrays.items():
            if name.startswith(section):
                name = "/".join(name.split("/")[-2:])
                values[name] = array
    class_names = meta.get("class_names")
    return Source(
        KIND, values, class_names=tuple(class_names) if class_names else None
    )
