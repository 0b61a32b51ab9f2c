"""Pictures made by the workers of a tf.data service, in other processes."""

import collections

import numpy as np
import pytest
import service_servers
import small_data
import small_runs
import tensorflow as tf

from efficientnetv2.data import pipeline
from efficientnetv2.data.broken import ServedExamples
from efficientnetv2.data.service import batches as service

pytestmark = pytest.mark.usefixtures("cache")

TREATMENT = {
    "image_size": 16,
    "style": "v2",
    "min_area": None,
    "augname": "none",
    "magnitude": 9.0,
    "mixup_alpha": 0.0,
    "cutmix_alpha": 0.0,
    "normalize_labels": False,
    "seed": 3,
}
BROKEN = (3, 17, 30)


@pytest.fixture(scope="module")
def address():
    with service_servers.running(workers=2) as (address, _):
        yield address


def _served(source, address, *, watch=None, **values):
    watch = watch or ServedExamples(source, max_bad_fraction=1)
    found = service.train_batches(
        source,
        address=address,
        note=watch.note,
        **{**TREATMENT, "batch_size": 8, "steps_per_epoch": 12, **values},
    )
    return list(found.as_numpy_iterator())


def _column(batches, name):
    return np.concatenate([batch[name] for batch in batches])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "data"
    small_data.write_data_set(folder, count=96)
    return small_data.open_source(folder, cache="memory")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """40 examples, three of them broken."""
    folder = tmp_path_factory.mktemp("damaged") / "data"
    small_data.write_data_set(folder, broken=BROKEN)
    return small_data.open_source(folder)


@pytest.fixture(scope="module")
def batches(source, address):
    """Two epochs of 96 examples."""
    return _served(source, address, end_epoch=2)


class TestStream:
    def test_each_example_comes_exactly_once_in_an_epoch(self, batches):
        assert len(batches) == 24
        for epoch in (0, 1):
            rows = batches[12 * epoch : 12 * epoch + 12]
            assert set(_column(rows, "epoch").tolist()) == {epoch}
            assert sorted(_column(rows, "index").tolist()) == list(range(96))

    def test_epochs_have_orders_of_their_own(self, batches):
        indices = _column(batches, "index")
        assert np.mean(indices[:96] == indices[96:]) < 0.2
        # Neighbours do not stay together.
        assert np.mean(np.diff(indices) == 1) < 0.2

    def test_pictures_are_those_made_without_it(self, source, address):
        """Crop, flip and augmentation come from seed, epoch and index."""
        randaug = {"augname": "randaug", "first_epoch": 5, "end_epoch": 6}
        batches = _served(source, address, **randaug)
        local = pipeline.train_batches(
            source, **{**TREATMENT, **randaug}, batch_size=8, steps_per_epoch=12
        ).as_numpy_iterator()
        expected, found = (
            {
                (int(epoch), int(index)): (int(label), image.tobytes())
                for batch in rows
                for epoch, index, label, image in zip(
                    *(batch[name] for name in ("epoch", "index", "label")),
                    batch["image"],
                    strict=True,
                )
            }
            for rows in (local, batches)
        )
        assert found == expected and len(found) == 96

    def test_hosts_have_parts_of_their_own(self, source, address):
        seen = [
            _column(
                _served(
                    source,
                    address,
                    host_index=host,
                    num_hosts=2,
                    steps_per_epoch=6,
                ),
                "index",
            )
            for host in range(2)
        ]
        assert [sorted(rows.tolist()) for rows in seen] == [
            list(range(48)),
            list(range(48, 96)),
        ]

    def test_it_goes_on_within_an_epoch(self, source, address):
        batches = _served(
            source, address, first_epoch=4, end_epoch=6, first_step=7
        )
        epochs = _column(batches, "epoch")
        assert collections.Counter(epochs.tolist()) == {4: 40, 5: 96}
        rest = _column(batches, "index")[:40]
        assert len(set(rest.tolist())) == 40

    def test_mixing_is_drawn_for_each_pair(self, source, address):
        batches = _served(source, address, mixup_alpha=0.4, cutmix_alpha=1.0)
        shares = _column(batches, "mix_lambda").reshape(-1, 2)
        np.testing.assert_array_equal(shares[:, 0], shares[:, 1])
        assert len(np.unique(shares)) > 10


class TestBroken:
    def test_each_one_is_counted_and_named_and_others_come_again(
        self, damaged, address, caplog
    ):
        watch = ServedExamples(damaged, max_bad_fraction=0.1)
        batches = _served(
            damaged,
            address,
            watch=watch,
            steps_per_epoch=5,
            end_epoch=2,
            max_bad_fraction=0.1,
        )
        for batch in batches:
            watch.observe(int(batch["epoch"][0]), batch["offset"])
        assert watch.total == 6
        for number in BROKEN:
            assert caplog.text.count(f"{damaged.place(number)}: not a pic") == 1
        for epoch in (0, 1):
            indices = _column(batches[5 * epoch : 5 * epoch + 5], "index")
            assert set(indices.tolist()) == set(range(40)) - set(BROKEN)

    def test_too_many_are_an_error(self, damaged, address):
        watch = ServedExamples(damaged, max_bad_fraction=0.05)
        batches = _served(damaged, address, watch=watch, steps_per_epoch=4)
        with pytest.raises(ValueError, match="3 of 40 examples of mine/train"):
            watch.observe(0, batches[-1]["offset"])

    def test_a_stream_of_broken_ones_ends(self, tmp_path, address):
        source = small_data.open_source(
            small_data.write_data_set(tmp_path / "data", broken=range(40))
        )
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="max_bad_fraction=0.01"
        ):
            _served(source, address, steps_per_epoch=5)


def test_a_run_trains_on_what_the_workers_make(tmp_path, address):
    for split, count in (("train", 24), ("eval", 4)):
        for name in ("cat", "dog"):
            small_data.write_pictures(
                tmp_path / "data" / split / name,
                [f"{n}.jpg" for n in range(count)],
            )
    (tmp_path / "data" / "train" / "cat" / "5.jpg").write_bytes(b"broken")
    process = small_runs.start(
        "--mode=traineval",
        f"--model_name={small_runs.BLOCKS}",
        "--dataset_cfg=folder",
        f"--data_dir={tmp_path / 'data'}",
        f"--data_service={address}",
        f"--model_dir={tmp_path / 'run'}",
        "--hparam_str=train.epochs=2,train.stages=2,train.isize=24,"
        "data.ibase=16,eval.isize=24,train.batch_size=8,data.augname=none,"
        "train.lr_warmup_epoch=0,data.max_bad_fraction=0.1,"
        "model.dropout_rate=0.2",
    )
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "2 broken" in out  # one an epoch
    assert err.count("cat/5.jpg: not a picture") == 1
    arrays, meta = small_runs.end(tmp_path / "run")
    assert meta["step"] == 12
    assert all(np.isfinite(value).all() for value in arrays.values())


@pytest.mark.slow
def test_a_worker_that_dies_may_come_back(source):
    """What it held is lost; others come again for it."""
    with service_servers.running(workers=1) as (address, _):
        port = service_servers.free_port()
        again = (
            "worker",
            f"--dispatcher={address.removeprefix('grpc://')}",
            f"--address=localhost:{port}",
        )
        process, _ = service_servers.start(*again)
        try:
            batches = service.train_batches(
                source,
                address=address,
                note=ServedExamples(source).note,
                **{**TREATMENT, "batch_size": 8, "steps_per_epoch": 12},
                end_epoch=4,
            ).as_numpy_iterator()
            epochs = _column([next(batches) for _ in range(14)], "epoch")
            process.kill()
            process.communicate()
            process, line = service_servers.start(*again)
            assert "Worker of" in line
            rest = _column(batches, "epoch")
        finally:
            process.kill()
            process.communicate()
    counts = collections.Counter([*epochs.tolist(), *rest.tolist()])
    assert counts == dict.fromkeys(range(4), 96)


class TestCommands:
    def test_a_port_that_cannot_be_is_one_line(self):
        with pytest.raises(ConnectionError, match="'grpc://localhost:65536'"):
            service.check_address("grpc://localhost:65536")

    def test_without_a_dispatcher_training_ends_with_a_line(
        self, tmp_path, records
    ):
        process = small_runs.start(
            *small_runs.flags(
                small_runs.write_recipe(tmp_path / "mine.yaml", records),
                tmp_path / "run",
            ),
            "--data_service=grpc://localhost:9",
        )
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1
        (line,) = [x for x in err.splitlines() if x.startswith("error: ")]
        assert "data_service must be a dispatcher that runs" in line
        assert "grpc://localhost:9" in line

    @pytest.mark.parametrize(
        "flags, words",
        [
            ([], ["role"]),
            (["boss"], ["'boss'", "dispatcher"]),
            (["dispatcher", "--prot=3"], ["--prot", "nearest: '--port'"]),
            (["dispatcher", "--port=-1"], ["port must be >= 0", "-1"]),
            (["worker"], ["--dispatcher=HOST:PORT"]),
            (["worker", "--dispatcher=there"], ["HOST:PORT", "'there'"]),
            (["worker", "--dispatcher=there:65536"], ["HOST:PORT"]),
            (
                ["worker", "--dispatcher=localhost:9"],
                ["a dispatcher that runs", "'localhost:9'"],
            ),
        ],
    )
    def test_a_mistake_is_one_line(self, flags, words):
        process, first = service_servers.start(*flags)
        _, err = process.communicate(timeout=120)
        assert (process.returncode, first) == (1, "")
        assert err.startswith("error: ") and err.count("\n") == 1
        for word in words:
            assert word in err

    def test_a_port_that_is_taken_is_one_line(self, address):
        port = address.rpartition(":")[2]
        process, _ = service_servers.start("dispatcher", f"--port={port}")
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1
        assert err == f"error: port {port}: Address already in use\n"
