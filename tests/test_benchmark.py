"""The benchmark: what is measured, how pairs are formed, what is printed."""

import json
import os

import keras
import numpy as np
import pytest

from efficientnetv2 import (
    app,
    benchmark,
    benchmark_sides,
    benchmark_table,
    benchmark_timing,
    config,
    multiply_adds,
    train_step,
    turns,
    zoo,
)
from efficientnetv2.benchmark_table import Row, Side

TINY = "r1_k3_s2_e4_i8_o8_se0.25"
SMALL_HEAD = "data.num_classes=5,model.feature_size=16"


@pytest.fixture(scope="module")
def settled():
    """Settings of a tiny model for the benchmark."""
    return benchmark._settle(
        config.load(TINY, "imagenet", SMALL_HEAD),
        benchmark.Settings(batch_size=4, image_size=32),
    )


def _twin(*, weights, classes, classifier_activation, input_shape):
    """As keras.applications builds a model, but tiny."""
    return keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(classes, activation=classifier_activation),
        ]
    )


def _row(*, twin=True):
    def side(factor):
        return Side(
            batch_size=8,
            parameters=1_234_567,
            multiply_adds=2_340_000_000,
            inference_seconds=[1 * factor, 2 * factor, 3 * factor],
            training_seconds=[2 * factor, 2 * factor, 8],
            step_seconds=[4 * factor] * 3,
            first_step_seconds=[10 * factor],
            peak_memory_mib=[100 * factor],
        )

    return Row("a-model", 224, side(1), side(2) if twin else None)


def test_multiply_adds_are_kernels_times_places():
    settings = {"feature_size": 16}
    model = zoo.get_model(TINY, num_classes=5, model_config=settings)
    # 33 px: 17 after the stem, 9 after the block; squeeze-excite sees one.
    stem = 17 * 17 * 9 * 3 * 8
    block = 17 * 17 * 8 * 32 + 9 * 9 * 9 * 32 + 2 * 32 * 2 + 9 * 9 * 32 * 8
    head = 9 * 9 * 8 * 16 + 16 * 5
    assert multiply_adds.count(model, 33) == stem + block + head
    settings["data_format"] = "channels_first"
    first = zoo.get_model(TINY, num_classes=5, model_config=settings)
    assert multiply_adds.count(first, 33) == multiply_adds.count(model, 33)


def test_sides_take_turns_in_going_first():
    calls = []
    seconds = turns.seconds(
        [lambda: calls.append("a"), lambda: calls.append("b")], rounds=4
    )
    timed = "".join(calls)[-8:]
    assert timed == "abbaabba"
    assert len(calls) == 8 + 2 * 3  # after warming up
    assert [len(row) for row in seconds] == [4, 4]


def test_our_side_is_the_trainers_step_and_learns(settled):
    side = benchmark_sides.Ours(settled)
    assert isinstance(side._step, train_step.TrainStep)
    before = side.model.get_layer("stem_conv").kernel.numpy()
    losses = [side.train() for _ in range(30)]
    assert side._step.traces == 1
    assert np.abs(side.model.get_layer("stem_conv").kernel - before).max() > 0
    assert np.isfinite(losses).all() and losses[-1] != losses[0]
    assert side._step.averages.decay == settled.train.ema_decay
    assert side._step.settings.weight_decay == settled.train.weight_decay > 0
    assert side.infer().shape == (4, 5)


def test_without_extras_the_step_has_neither_l2_nor_averages(settled):
    side = benchmark_sides.Ours(benchmark_sides.without_extras(settled))
    assert side._step.averages is None
    assert side._step.settings.weight_decay == 0


@pytest.mark.parametrize("optimizer", sorted(benchmark_sides._OPTIMIZERS))
def test_their_side_takes_the_recipes_optimizer(
    optimizer, settled, monkeypatch
):
    monkeypatch.setattr(benchmark_sides, "find_twin", lambda _: _twin)
    changed = config.override(settled, {"train.optimizer": optimizer})
    side = benchmark_sides.Theirs(changed)
    before = side.model.get_weights()
    losses = [side.train() for _ in range(3)]
    assert np.isfinite(losses).all()
    assert np.abs(side.model.get_weights()[0] - before[0]).max() > 0
    assert side.infer().shape == (4, 5)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_both_sides_take_the_recipes_precision(precision, settled, monkeypatch):
    monkeypatch.setattr(benchmark_sides, "find_twin", lambda _: _twin)
    changed = config.override(settled, {"runtime.mixed_precision": precision})
    for build in (benchmark_sides.Ours, benchmark_sides.Theirs):
        side = build(changed)
        kinds = {layer.compute_dtype for layer in side.model.layers}
        assert precision in kinds
        assert np.isfinite(side.train())
        assert side.infer().dtype in ("float32", precision)
    assert keras.config.dtype_policy().name == "float32"


def test_both_sides_are_timed_in_one_process(settled, monkeypatch):
    monkeypatch.setattr(benchmark_sides, "find_twin", lambda _: _twin)
    ours, theirs = benchmark_timing.speeds(settled, baseline=True, pairs=3)
    for found in (ours, theirs):
        assert len(found["training_seconds"]) == 3
        assert len(found["step_seconds"]) == 3
        assert min(found["inference_seconds"]) > 0
    assert ours["parameters"] != theirs["parameters"]
    assert ours["step_seconds"] != ours["training_seconds"]
    assert theirs["step_seconds"] == theirs["training_seconds"]
    alone = benchmark_timing.speeds(settled, baseline=False, pairs=1)
    assert len(alone) == 1


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("efficientnetv2-b0", "EfficientNetV2B0"),
        ("efficientnetv2-s", "EfficientNetV2S"),
        ("efficientnet-b7", "EfficientNetB7"),
        ("efficientnetv2-xl", None),
        (TINY, None),
    ],
)
def test_a_twin_is_found_by_name(name, theirs):
    found = benchmark_sides.find_twin(config.load(name, "imagenet"))
    assert (found and found.__name__) == theirs


def test_memory_counts_what_is_allocated():
    before = benchmark_timing.memory("VmRSS")
    block = np.ones(80 * 2**20, np.uint8)
    now = benchmark_timing.memory("VmRSS")
    del block
    assert 70 < now - before < 120
    assert benchmark_timing.memory("VmHWM") >= now - 1


def test_ratios_are_medians_of_pairs_and_quartiles():
    ratios = _row().ratios()
    assert ratios["inference"] == [2, 2, 2]  # images/s
    # 8 / 2 by 8 / 4, twice, and 8 / 8 by 8 / 8.
    np.testing.assert_allclose(ratios["training"], [1.5, 2, 2])
    assert ratios["first_step"] == [0.5, 0.5, 0.5]
    assert ratios["memory"] == [0.5, 0.5, 0.5]
    assert _row(twin=False).ratios() == {}


def test_the_table_states_figures_ratios_and_what_they_mean():
    settings = benchmark.Settings(batch_size=8, pairs=3, baseline=True)
    rows = [_row(), _row(twin=False)]
    text = benchmark_table.text(rows, settings)
    for words in (
        "1.23 M parameters, 2.34 billion multiply-adds at 224 px",
        "2.00 (1.50-2.00)",
        "medians of 3 calls",
        "moving averages",
        "keras.applications does not have a-model.",
    ):
        assert words in text
    assert text.count("ratio ") == 1
    alone = benchmark_table.text(rows[1:], benchmark.Settings())
    assert "keras.applications" not in alone


@pytest.mark.parametrize("suffix", benchmark_table.PICTURE_SUFFIXES)
def test_the_picture_is_drawn(suffix, tmp_path):
    path = tmp_path / f"bench{suffix}"
    settings = benchmark.Settings(baseline=True)
    benchmark_table.draw([_row(), _row(twin=False)], settings, path)
    start = path.read_bytes()[:400]
    sign = {".png": b"\x89PNG", ".svg": b"<svg", ".pdf": b"%PDF"}[suffix]
    assert sign in start


def _main(*arguments):
    return app.main(["main.py", "--mode=benchmark", *arguments])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model_name=efficientnetv2-bs"], "nearest: 'efficientnetv2-s'"),
        (["--model_name=efficientnetv2-b0,"], "model_name must be one of"),
        (["--pairs=0"], "pairs must be >= 1. Received: 0"),
        (["--batch_size=0"], "batch_size must be >= 1. Received: 0"),
        (["--image_size=-3"], "image_size must be >= 1. Received: -3"),
        (["--first_steps=0"], "first_steps must be >= 1. Received: 0"),
        (["--pairs=many"], "--pairs=many is no value"),
        (["--picture=bench.jpeg"], "picture must end in one of .png"),
        (["--picture=no/bench.png"], "in a folder that can be written"),
        (["--hparam_str=train.isize=96"], "takes --image_size"),
        (["--hparam_str=train.batch_size=2"], "takes --batch_size"),
        (["picture.jpg"], "takes nothing but flags"),
    ],
)
def test_bad_input_is_one_line(arguments, words, capsys):
    assert _main(*arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert words in printed.err
    assert printed.err.count("\n") == 1


def test_the_mode_prints_json_of_every_model(capsys, tmp_path):
    path = tmp_path / "bench.png"
    code = _main(
        f"--model_name={TINY}",
        f"--hparam_str={SMALL_HEAD}",
        "--baseline",
        "--pairs=2",
        "--first_steps=1",
        "--batch_size=2",
        "--image_size=32",
        "--format=json",
        f"--picture={path}",
    )
    assert code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["pairs"] == 2
    (row,) = found["models"]
    assert row["model"] == TINY
    assert row["keras_applications"] is None and row["ratio_quartiles"] == {}
    assert [len(values) for values in row["ours"].values()] == [2, 2, 2, 1, 1]
    assert min(min(values) for values in row["ours"].values()) > 0
    assert path.read_bytes().startswith(b"\x89PNG")


def _die(*_, **__):
    os._exit(9)  # as when the system's memory is full


def test_a_process_that_dies_is_one_line_and_the_rows_before_stay(
    monkeypatch, capsys
):
    measure = benchmark.measure

    def first_well(settings, how):
        if settings.model_name == "efficientnetv2-b0":
            return _row(twin=False)
        monkeypatch.setattr(benchmark_timing, "speeds", _die)
        return measure(settings, how)

    monkeypatch.setattr(benchmark, "measure", first_well)
    assert _main("--model_name=efficientnetv2-b0,efficientnetv2-b1") == 1
    printed = capsys.readouterr()
    assert "2.34 billion multiply-adds" in printed.out
    error = printed.err.splitlines()[-1]
    assert error.startswith("error: the process that measures 'efficientnetv2")
