"""timm's models give the same outputs as ours on the same weights."""

import pytest
from parity import OF_TIMM, import_timm, timm_distance

QUICK = ("efficientnetv2-b0", "efficientnetv2-s", "efficientnet-b0")


@pytest.fixture(scope="module")
def timm():
    return import_timm() or pytest.skip("PyTorch and timm are not installed")


@pytest.mark.parametrize("name", QUICK)
def test_timms_model_gives_our_outputs(timm, name, tmp_path):
    assert timm_distance(timm, name, tmp_path) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in OF_TIMM if name not in QUICK]
)
def test_timms_other_models_give_our_outputs(timm, name, tmp_path):
    assert timm_distance(timm, name, tmp_path) < 1e-4
