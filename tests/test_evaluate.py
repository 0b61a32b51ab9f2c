"""Evaluation: each example once, whatever the batch; figures by hand."""

import numpy as np
import pytest
import small_data
import small_runs
import tensorflow as tf

from efficientnetv2 import app, config, eval_run, evaluate, weights, workers
from efficientnetv2.data import preprocess, sources

COUNT, BROKEN = 43, (4, 40)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder, settings and model of a run; 43 pictures, two broken."""
    folder = tmp_path_factory.mktemp("run")
    settings = small_runs.settings(
        folder,
        {"data.num_classes": 7},
        split="validation",
        count=COUNT,
        classes=7,
        broken=BROKEN,
    )
    network = small_runs.write_run(folder / "run", settings)
    return folder / "run", settings, network


def _evaluator(run, overrides=""):
    _, settings, network = run
    settings = config.override(settings, overrides)
    source = sources.open_source(settings.data, settings.eval.split)
    strategy = tf.distribute.get_strategy()
    return evaluate.Evaluator(
        network,
        settings,
        source,
        strategy=strategy,
        workers=workers.Workers(strategy),
    )


def _by_hand(network, numbers):
    """Mean loss, top-1 and top-5 of some pictures, one after the other."""
    rows = []
    for number in numbers:
        image = preprocess.preprocess_image(
            small_data.jpeg(number), 24, style="v2"
        )
        logits = network(image[None], training=False).numpy()[0]
        logits = logits.astype("float64")
        truth = number % 7
        loss = np.log(np.sum(np.exp(logits - logits[truth])))
        place = int(np.sum(logits > logits[truth]))
        rows.append([loss, place < 1, place < 5])
    return np.mean(rows, 0)


GOOD = [number for number in range(COUNT) if number not in BROKEN]


@pytest.mark.parametrize("batch_size", [10, 43, 64])
def test_each_example_counts_once_in_batches_of_any_size(run, batch_size):
    figures = _evaluator(run, f"eval.batch_size={batch_size}").run()
    loss, top1, top5 = _by_hand(run[2], GOOD)
    assert figures["examples"] == 41 and figures["broken"] == 2
    assert figures["loss"] == pytest.approx(loss, rel=1e-5)
    assert figures["accuracy"] == pytest.approx(top1)
    assert figures["top5_accuracy"] == pytest.approx(top5)
    assert 0 < top1 < top5 < 1  # else equality would say little


def test_an_evaluation_can_be_run_again(run):
    evaluator = _evaluator(run)
    assert evaluator.run() == evaluator.run()


def test_steps_limit_the_batches(run):
    figures = _evaluator(run, "eval.batch_size=5,eval.steps=3").run()
    loss, top1, _ = _by_hand(run[2], GOOD[:15])
    assert figures["examples"] == 15 and figures["broken"] == 0
    assert figures["loss"] == pytest.approx(loss, rel=1e-5)
    assert figures["accuracy"] == pytest.approx(top1)


def test_without_a_good_example_it_fails(tmp_path):
    settings = small_runs.settings(
        tmp_path, split="validation", count=3, broken=range(3)
    )
    network = small_runs.write_run(tmp_path / "run", settings)
    evaluator = _evaluator((tmp_path, settings, network))
    with pytest.raises(ValueError, match="no example of mine.* can be read"):
        evaluator.run()


def _write_several_labels(folder):
    """Five pictures with the labels of `rows`, from 0."""
    rows = [(0, 2), (1,), (2, 3), (0,), (1, 2, 3)]
    folder.mkdir()
    small_data.write_records(
        folder / "validation-00000-of-00001",
        [
            small_data.example(small_data.jpeg(30 * i), *(n + 1 for n in row))
            for i, row in enumerate(rows)
        ],
    )
    return rows


@pytest.mark.parametrize("loss_type", ["softmax", "sigmoid"])
def test_of_several_labels_any_one_is_a_hit(tmp_path, loss_type):
    rows = _write_several_labels(tmp_path / "data")
    recipe = small_runs.write_recipe(
        tmp_path / "mine.yaml",
        tmp_path / "data",
        {"data.multiclass": True, "train.loss_type": loss_type},
    )
    settings = config.load(small_runs.BLOCKS, recipe)
    network = small_runs.write_run(tmp_path / "run", settings)
    figures = _evaluator((tmp_path, settings, network)).run()
    losses, hits = [], []
    for number, labels in enumerate(rows):
        image = preprocess.preprocess_image(
            small_data.jpeg(30 * number), 24, style="v2"
        )
        logits = network(image[None], training=False).numpy()[0]
        logits = logits.astype("float64")
        truth = np.isin(np.arange(4), labels)
        if loss_type == "softmax":
            each = np.log(np.sum(np.exp(logits))) - logits
            losses.append(np.mean(each[truth]))
        else:
            signs = np.where(truth, -1, 1)
            losses.append(np.sum(np.log1p(np.exp(signs * logits))))
        hits.append(int(np.argmax(logits)) in labels)
    assert figures["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert figures["accuracy"] == pytest.approx(np.mean(hits))
    assert figures["examples"] == 5


def _main(run, *flags):
    folder = f"--model_dir={run[0]}"
    return app.main(["main.py", "--mode=eval", folder, *flags])


def test_a_run_is_evaluated_with_its_averages(run, capsys, caplog):
    assert _main(run) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("moving averages after step 7 of a training run")
    assert first.endswith("mine/validation: 43 examples of 24 px")
    _, top1, top5 = _by_hand(run[2], GOOD)
    assert second.startswith(
        f"top-1 {100 * top1:.2f} %, top-5 {100 * top5:.2f} %, loss "
    )
    assert second.endswith("on 41 examples (2 broken ones left out)")
    assert caplog.text.count("left out, ") == 2
    assert caplog.text.count("not a picture that can be decoded") == 2


@pytest.mark.parametrize("replicas", [2, 3])
def test_each_example_counts_once_on_any_number_of_replicas(
    run, replicas, capsys
):
    """Batches of 10 are no multiple of three, nor the examples of batches."""
    assert _main(run) == 0
    alone = capsys.readouterr().out.splitlines()[1]
    script = small_runs.ROOT / "tests" / "replica_evaluation.py"
    child = small_runs.start(replicas, run[0], script=script)
    out, err = child.communicate()
    assert child.returncode == 0, err
    assert out.splitlines()[-1] == alone


def test_settings_on_the_command_line_hold(run, capsys):
    assert _main(run, "--hparam_str=eval.isize=32,eval.steps=1") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("examples of 32 px")
    assert second.endswith("on 10 examples")


def test_weights_are_evaluated_too(run, tmp_path, capsys):
    folder, settings, network = run
    weights.save(network, tmp_path / "mine.weights.h5")
    own = eval_run.evaluate_run(settings, folder)
    loaded = eval_run.evaluate_run(
        settings, tmp_path, weights=str(tmp_path / "mine.weights.h5")
    )
    assert loaded == pytest.approx(own)
    assert "the weights file mine.weights.h5, on " in capsys.readouterr().out
