"""Choosing a strategy, and what of a batch each replica takes."""

import json
import types

import pytest
import tensorflow as tf

from efficientnetv2 import distribute


def _message(function, *args, **kwargs):
    with pytest.raises(ValueError) as caught:
        function(*args, **kwargs)
    line = str(caught.value)
    assert "\n" not in line
    return line


def _replicas(count):
    return types.SimpleNamespace(num_replicas_in_sync=count)


def test_each_replica_takes_its_share_of_the_batch():
    assert distribute.per_replica_batch(24, _replicas(1)) == 24
    assert distribute.per_replica_batch(24, _replicas(4)) == 6
    assert distribute.per_replica_batch(24, _replicas(4), in_pairs=True) == 6


@pytest.mark.parametrize(
    "batch_size, in_pairs, rule",
    [
        (20, False, "must be a multiple of the 8 replicas. Received: 20"),
        (24, True, "must be a multiple of 16"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_one_line(batch_size, in_pairs, rule):
    line = _message(
        distribute.per_replica_batch,
        batch_size,
        _replicas(8),
        in_pairs=in_pairs,
    )
    assert line.startswith("train.batch_size") and rule in line


def test_without_gpus_workers_and_tpu_there_is_one_device(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    found = distribute.strategy()
    assert found.num_replicas_in_sync == 1
    assert not distribute.is_tpu(found) and not distribute.wants_xla(found)
    assert isinstance(
        distribute.strategy("mirrored"), tf.distribute.MirroredStrategy
    )


@pytest.mark.parametrize(
    "name, part",
    [
        ("miror", "nearest: 'mirrored'"),
        ("gpu", "one, mirrored, multiworker, tpu"),
        ("multiworker", "needs TF_CONFIG"),
    ],
)
def test_a_strategy_that_cannot_be_is_one_line(name, part, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert part in _message(distribute.strategy, name)


@pytest.mark.parametrize(
    "text, part",
    [
        ("{", "must be JSON with the key 'cluster'"),
        ("[]", "must be JSON with the key 'cluster'"),
        ('{"task": {}}', "must be JSON with the key 'cluster'"),
        (
            json.dumps(
                {
                    "cluster": {"worker": ["a:1", "b:2"]},
                    "task": {"type": "worker", "index": 2},
                }
            ),
            "worker 2 of {'chief': 0, 'worker': 2}",
        ),
        (
            json.dumps({"cluster": {"worker": ["a:1", "b:2"]}}),
            "must hold a task of its cluster",
        ),
    ],
)
def test_a_damaged_tf_config_is_one_line(text, part, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    assert part in _message(distribute.strategy)


def test_an_evaluator_and_a_worker_alone_have_one_device(monkeypatch):
    cluster = {"worker": ["a:1", "b:2"], "evaluator": ["c:3"]}
    for config in (
        {"cluster": cluster, "task": {"type": "evaluator", "index": 0}},
        {"cluster": {"worker": ["a:1"]}, "task": {}},
    ):
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        assert distribute.strategy() is tf.distribute.get_strategy()


def test_the_cpu_cannot_be_split_any_more():
    tf.zeros([])
    line = _message(distribute.split_cpu, 2)
    assert "before TensorFlow's first operation" in line
