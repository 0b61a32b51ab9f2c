"""The reward: the paper's product, and a step time that fits the noise."""

import numpy as np
import pytest

from efficientnetv2.config_schema import SearchConfig
from efficientnetv2.search import reward

SETTINGS = SearchConfig()


def parts(**changes):
    values = {
        "accuracy": 0.8,
        "step_ratio": 1.0,
        "step_seconds": 0.01,
        "parameters": 1_000_000,
        "multiply_adds": 1,
    }
    return reward.Parts(**(values | changes))


def test_at_the_backbones_time_and_a_million_it_is_the_accuracy():
    assert reward.reward(SETTINGS, parts()) == pytest.approx(0.8)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"step_ratio": 2.0}, 0.8 * 2**-0.07),
        ({"parameters": 7_000_000}, 0.8 * 7**-0.05),
        (
            {"step_ratio": 0.5, "parameters": 24_000_000},
            0.8 * 0.5**-0.07 * 24**-0.05,
        ),
    ],
)
def test_it_is_the_papers_product(changes, expected):
    assert reward.reward(SETTINGS, parts(**changes)) == pytest.approx(expected)


def test_exponents_are_settings():
    settings = SearchConfig(time_weight=-1.0, parameters_weight=0.0)
    found = reward.reward(settings, parts(step_ratio=2.0, parameters=10**9))
    assert found == pytest.approx(0.4)


class TestStepTime:
    def test_what_slows_both_of_a_pair_does_not_count(self):
        reference = np.array([1.0, 1.1, 9.0, 1.0, 30.0])
        found = reward.step_time(1.5 * reference, reference)
        assert (found.low, found.ratio, found.high) == pytest.approx(
            (1.5, 1.5, 1.5)
        )
        assert found.seconds == pytest.approx(1.65)

    def test_one_slow_step_does_not_count(self):
        found = reward.step_time([2, 2, 2, 2, 50], [1, 1, 1, 1, 1])
        assert found.ratio == 2
