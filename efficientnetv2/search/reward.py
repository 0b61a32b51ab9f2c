"""The reward of a trial: accuracy, step time and parameters in one number."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Parts:
    """What was measured of a model.

    Args:
        accuracy: Top-1 after the short training, 0 to 1.
        step_ratio: Time of a training step by that of the backbone, > 0.
        step_seconds: Time of a training step, seconds, > 0.
        parameters: Trainable parameters, > 0.
        multiply_adds: Of a picture of the evaluation size.
    """

    accuracy: float
    step_ratio: float
    step_seconds: float
    parameters: int
    multiply_adds: int


@dataclasses.dataclass(frozen=True)
class StepTime:
    """A training step beside the backbone's, timed in turn.

    Args:
        ratio: Median of the ratios of the pairs.
        low: Their first quartile.
        high: Their third quartile.
        seconds: Median of the model's own steps, seconds.
    """

    ratio: float
    low: float
    high: float
    seconds: float


def step_time(seconds, reference):
    """Compares steps that were timed in turn, pair by pair.

    What else the machine does falls on both of a pair, so that the ratio
    keeps still where the seconds do not.

    Args:
        seconds: Of each step of the model, a list.
        reference: Of each step of the backbone, a list as long.

    Returns:
        A `StepTime`.
    """
    low, middle, high = np.percentile(
        np.divide(seconds, reference), (25, 50, 75)
    ).tolist()
    return StepTime(middle, low, high, float(np.median(seconds)))


def factor(settings, *, step_ratio, parameters):
    """What the accuracy is multiplied with: S^w * P^v.

    Args:
        settings: The config's `search` section.
        step_ratio: S, a step's time by the backbone's, > 0.
        parameters: P, trainable parameters; counted in millions.

    Returns:
        A float.
    """
    millions = parameters / 1e6
    return (
        step_ratio**settings.time_weight * millions**settings.parameters_weight
    )


def reward(settings, parts):
    """A * S^w * P^v (arXiv 2104.00298, section 3.2).

    Args:
        settings: The config's `search` section.
        parts: A `Parts`.

    Returns:
        A float, larger is better.
    """
    return parts.accuracy * factor(
        settings, step_ratio=parts.step_ratio, parameters=parts.parameters
    )
