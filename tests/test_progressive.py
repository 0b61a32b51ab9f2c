"""Tests of `progressive`: the law of the stages, at its ends and between."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efficientnetv2 import config, progressive


def stages_of(name, overrides="", **rest):
    return progressive.plan(config.load(name, "imagenet", overrides), **rest)


def column(stages, field):
    return [getattr(stage, field) for stage in stages]


def test_s_grows_as_table_6_says():
    stages = stages_of("efficientnetv2-s")
    assert column(stages, "image_size") == [128, 185, 243, 300]
    assert column(stages, "randaug_magnitude") == pytest.approx(
        [5, 25 / 3, 35 / 3, 15]
    )
    assert column(stages, "mixup_alpha") == [0, 0, 0, 0]
    assert column(stages, "cutmix_alpha") == [0, 0, 0, 0]
    assert column(stages, "dropout_rate") == pytest.approx(
        [0.1, 0.5 / 3, 0.7 / 3, 0.3]
    )
    assert column(stages, "first_epoch") == [0, 87, 175, 262]
    assert column(stages, "end_epoch") == [87, 175, 262, 350]
    assert column(stages, "index") == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["l", "xl"])
def test_l_and_xl_grow_as_table_6_says(name):
    stages = stages_of(f"efficientnetv2-{name}")
    assert column(stages, "image_size") == [128, 212, 296, 380]
    assert column(stages, "mixup_alpha") == pytest.approx(
        [0, 0.5 / 3, 1 / 3, 0.5]
    )
    assert (stages[0].randaug_magnitude, stages[-1].randaug_magnitude) == (
        5,
        25,
    )
    assert (stages[0].dropout_rate, stages[-1].dropout_rate) == (0.1, 0.5)


def test_m_grows_as_table_6_says():
    stages = stages_of("efficientnetv2-m")
    assert column(stages, "randaug_magnitude") == pytest.approx([5, 10, 15, 20])
    assert column(stages, "dropout_rate") == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert stages[-1].mixup_alpha == 0.2


@pytest.mark.parametrize(
    "name, last, dropout",
    [("b0", 192, 0.2), ("b1", 192, 0.2), ("b2", 208, 0.3), ("b3", 240, 0.3)],
)
def test_b_variants_grow_in_size_alone(name, last, dropout):
    stages = stages_of(f"efficientnetv2-{name}")
    assert (stages[0].image_size, stages[-1].image_size) == (128, last)
    assert column(stages, "dropout_rate") == [dropout] * 4
    assert column(stages, "randaug_magnitude") == [0.0] * 4


def test_v1_has_one_stage():
    (stage,) = stages_of("efficientnet-b4")
    assert (stage.image_size, stage.first_epoch, stage.end_epoch) == (
        380,
        0,
        350,
    )


def test_released_schedule_has_the_released_laws():
    stages = stages_of(
        "efficientnetv2-s",
        "train.schedule=released,data.mixup_alpha=0.3,data.cutmix_alpha=0.6",
    )
    assert column(stages, "image_size") == [171, 214, 257, 300]
    assert column(stages, "randaug_magnitude") == pytest.approx(
        [5, 25 / 3, 35 / 3, 15]
    )
    assert column(stages, "mixup_alpha") == pytest.approx([0, 0.1, 0.2, 0.3])
    assert column(stages, "cutmix_alpha") == pytest.approx([0, 0.2, 0.4, 0.6])
    assert column(stages, "dropout_rate") == [0.3] * 4


@pytest.mark.parametrize("schedule", ["paper", "released"])
@pytest.mark.parametrize("count", [0, 1])
def test_a_single_stage_has_the_last_values(schedule, count):
    (stage,) = stages_of(
        "efficientnetv2-l",
        f"train.stages={count},train.schedule={schedule}",
    )
    assert stage == progressive.Stage(
        index=0,
        first_epoch=0,
        end_epoch=350,
        image_size=380,
        randaug_magnitude=25.0,
        mixup_alpha=0.5,
        cutmix_alpha=0.0,
        dropout_rate=0.5,
    )


def test_without_a_start_dropout_is_the_same_at_every_stage():
    stages = stages_of("efficientnetv2-s", "train.dropout_rate_start=none")
    assert column(stages, "dropout_rate") == [0.3] * 4


def test_a_size_halfway_between_two_pixels_is_rounded_up():
    stages = stages_of(
        "efficientnetv2-s", "train.stages=3,data.ibase=100,train.isize=201"
    )
    assert column(stages, "image_size") == [100, 151, 201]


def test_planning_changes_nothing_and_repeats_itself():
    settings_of_run = config.load("efficientnetv2-m", "imagenet")
    before = config.to_dict(settings_of_run)
    first = progressive.plan(settings_of_run)
    assert progressive.plan(settings_of_run) == first
    assert config.to_dict(settings_of_run) == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        first[0].image_size = 1


def test_every_epoch_of_a_run_has_the_stage_of_algorithm_1():
    stages = stages_of("efficientnetv2-s")
    for epoch in range(350):
        stage = progressive.stage_at(stages, epoch)
        expected = max(i for i in range(4) if int(i * 350 / 4) <= epoch)
        assert stage.index == expected


@pytest.mark.parametrize("epoch", [-1, 350])
def test_an_epoch_outside_the_run_has_no_stage(epoch):
    with pytest.raises(ValueError, match=rf"< 350. Received: {epoch}"):
        progressive.stage_at(stages_of("efficientnetv2-s"), epoch)


@st.composite
def runs(draw):
    count = draw(st.integers(1, 9))
    first = draw(st.integers(1, 600))
    return {
        "train.stages": count,
        "train.epochs": draw(st.integers(count, 400)),
        "train.lr_warmup_epoch": 0,
        "train.schedule": draw(st.sampled_from(["paper", "released"])),
        "data.ibase": first,
        "train.isize": draw(st.integers(first, 700)),
        "data.ram": draw(st.floats(5, 40)),
        "data.mixup_alpha": draw(st.floats(0, 2)),
        "model.dropout_rate": draw(st.floats(0.1, 0.9)),
    }


@settings(max_examples=60, deadline=None)
@given(runs())
def test_stages_cover_any_run_and_never_weaken(values):
    stages = stages_of("efficientnetv2-s", values)
    last = stages[-1]
    assert len(stages) == values["train.stages"]
    assert (stages[0].first_epoch, last.end_epoch) == (
        0,
        values["train.epochs"],
    )
    assert last.image_size == values["train.isize"]
    assert last.randaug_magnitude == values["data.ram"]
    assert last.mixup_alpha == values["data.mixup_alpha"]
    assert last.dropout_rate == values["model.dropout_rate"]
    for before, after in zip(stages, stages[1:], strict=False):
        assert before.first_epoch < before.end_epoch == after.first_epoch
        for field in (
            "image_size",
            "randaug_magnitude",
            "mixup_alpha",
            "cutmix_alpha",
            "dropout_rate",
        ):
            assert getattr(before, field) <= getattr(after, field) + 1e-12
    if len(stages) > 1 and values["train.schedule"] == "paper":
        assert stages[0].image_size == values["data.ibase"]
        assert stages[0].dropout_rate == 0.1


@settings(max_examples=30, deadline=None)
@given(runs(), st.data())
def test_a_resumed_run_goes_on_with_the_stages_it_would_have_had(values, data):
    """Killed at any epoch: all that is kept is the epoch and the config."""
    epochs = values["train.epochs"]
    stop = data.draw(st.integers(0, epochs - 1))
    stages = stages_of("efficientnetv2-s", values)
    undisturbed = [progressive.stage_at(stages, e) for e in range(epochs)]
    again = config.from_dict(
        config.to_dict(config.load("efficientnetv2-s", "imagenet", values))
    )
    stages = progressive.plan(again)
    resumed = [progressive.stage_at(stages, e) for e in range(stop, epochs)]
    assert undisturbed[:stop] + resumed == undisturbed


def test_min_steps_lengthens_the_run_by_whole_epochs():
    run = config.load("efficientnetv2-s", "cifar10Ft")
    assert progressive.run_epochs(run, steps_per_epoch=97) == 104
    assert progressive.run_epochs(run, steps_per_epoch=5000) == 2
    assert stages_of("efficientnetv2-s", epochs=104)[-1].end_epoch == 104


def test_epochs_count_where_they_are_longer_than_min_steps():
    run = config.load("efficientnetv2-s", "imagenet", "train.min_steps=50")
    assert progressive.run_epochs(run, steps_per_epoch=10) == 350


def test_a_run_too_short_for_its_warm_up_or_stages_is_refused():
    run = config.load("efficientnetv2-s", "cifar10Ft")
    with pytest.raises(ValueError, match="train.lr_warmup_epoch must be <"):
        progressive.run_epochs(run, steps_per_epoch=10_000)
    with pytest.raises(ValueError, match="epochs must be >= train.stages"):
        stages_of("efficientnetv2-s", epochs=3)
    with pytest.raises(ValueError, match="steps_per_epoch must be >= 1"):
        progressive.run_epochs(run, steps_per_epoch=0)
