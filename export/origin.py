"""Where a model to be exported comes from: a run's folder or weights."""

import dataclasses
import json
import pathlib
import typing

from efficientnetv2 import checkpoint, config, model

_CONFIG = "config.yaml"
_CHECKPOINTS = "checkpoints"
_METRICS = "metrics.jsonl"


@dataclasses.dataclass(frozen=True)
class Origin:
    """A model with its weights and all that an export says about it.

    Args:
        model: Keras model from normalised images to logits, float32.
        config: The `Config` it was trained with, or asked for.
        class_names: A name for each logit.
        style: Normalisation, a style of `data.preprocess`.
        description: Where the weights come from, for the model card.
        accuracy: A line about the accuracy measured in training, or None.
    """

    model: typing.Any
    config: typing.Any
    class_names: tuple[str, ...]
    style: str
    description: str
    accuracy: str | None = None

    @property
    def image_size(self):
        """Evaluation size, pixels."""
        return self.config.eval.isize


def _build(settings):
    return model.build(settings.model, num_classes=settings.data.num_classes)


def _names(settings, class_names):
    count = settings.data.num_classes
    if not class_names:
        return tuple(str(index) for index in range(count))
    if len(class_names) != count:
        raise ValueError(
            f"the labels must be {count}, one for each class of the model. "
            f"Received: {len(class_names)} labels"
        )
    return tuple(class_names)


def _accuracy(path, settings, step):
    """What an evaluation at the checkpoint's step said, or None."""
    if not path.is_file():
        return None
    found = None
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # a run that was killed tears the last line
            continue
        if row.get("kind") == "eval" and row.get("step") == step:
            found = row
    if found is None:
        return None
    return (
        f"top-1 {100 * found['accuracy']:.2f} % on {found['examples']} "
        f"examples of {settings.dataset_cfg}/{settings.eval.split}"
    )


def from_run(model_dir, *, class_names=None, best=False):
    """The newest whole checkpoint of a run, its moving averages first.

    Args:
        model_dir: Folder of a run.
        class_names: Names in place of those of the run.
        best: Take the checkpoint with the best evaluation instead.

    Returns:
        An `Origin`.

    Raises:
        ValueError: if there is no run, no whole checkpoint, or one of another
            model.
    """
    run = pathlib.Path(model_dir)
    if not (run / _CONFIG).is_file():
        raise ValueError(
            f"model_dir must hold a run, with {_CONFIG}. "
            f"Received: {str(model_dir)!r}"
        )
    settings = config.read(run / _CONFIG)
    folder = run / _CHECKPOINTS
    if best:
        path = folder / checkpoint.BEST
        arrays, meta = checkpoint.read(path)
    else:
        found = checkpoint.latest(folder)
        if found is None:
            torn = " whole" if any(folder.glob("ckpt-*")) else ""
            raise ValueError(
                f"model_dir must hold a{torn} checkpoint. "
                f"Received: {str(model_dir)!r}"
            )
        arrays, meta, path = found
    network = _build(settings)
    try:
        checkpoint.restore_for_inference(arrays, network)
    except checkpoint.CheckpointError as error:
        raise ValueError(
            f"{path.name} does not fit {settings.model_name} with "
            f"{settings.data.num_classes} classes: {error}"
        ) from None
    averaged = any(name.startswith("ema/") for name in arrays)
    return Origin(
        network,
        settings,
        _names(settings, class_names or meta.get("class_names")),
        settings.data.preprocessing,
        f"{'moving averages' if averaged else 'weights'} after step "
        f"{meta['step']} of a training run on {settings.dataset_cfg}",
        _accuracy(run / _METRICS, settings, meta["step"]),
    )


def from_weights(settings, weights, *, class_names=None):
    """A model with the weights of a file, or published ones.

    Args:
        settings: A `Config`; decides model, classes and sizes.
        weights: A path or a published name, see `weights.load`.
        class_names: A name for each class.

    Returns:
        An `Origin`.

    Raises:
        ValueError: if the weights do not fit.
    """
    from efficientnetv2 import weights as weights_lib

    network = _build(settings)
    report = weights_lib.load(network, weights)
    names = class_names or weights_lib.class_names(settings.data.num_classes)
    name = pathlib.Path(weights).name
    return Origin(
        network,
        settings,
        _names(settings, names),
        report.preprocessing or settings.data.preprocessing,
        f"published weights {name!r}"
        if name in weights_lib.KINDS
        else f"the weights file {name}",
    )


def read_labels(path):
    """Reads class names from a text file, a name a line.

    Args:
        path: The file, UTF-8.

    Returns:
        A list of strings.

    Raises:
        ValueError: if it is no such file.
    """
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"labels must be a text file: {str(path)!r}") from None
    return [line.strip() for line in lines if line.strip()]
