"""Batches: the same stream for any number of threads, hosts and restarts."""

import os

import numpy as np
import pytest
import small_data
import small_runs
import tensorflow as tf

from efficientnetv2.data import pipeline, preprocess, sources
from efficientnetv2.data.broken import BrokenExamples

BROKEN = (3, 17, 30)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EFFICIENTNETV2_CACHE", str(folder))


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """40 examples, three of them broken."""
    folder = tmp_path_factory.mktemp("damaged") / "data"
    return small_data.write_data_set(folder, broken=BROKEN)


def _open(folder, split="train", **values):
    return sources.open_source(
        small_data.settings(data_dir=folder, **values), split
    )


def _train(source, **values):
    settings = {
        "batch_size": 4,
        "steps_per_epoch": 10,
        "image_size": 16,
        "max_bad_fraction": 0.1,
        "seed": 5,
        **values,
    }
    batches = pipeline.train_batches(source, **settings)
    return list(batches.as_numpy_iterator())


def _assert_equal(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], name)


def _column(batches, name):
    return np.concatenate([batch[name] for batch in batches])


class TestStream:
    def test_a_batch_is_what_the_step_expects(self, damaged):
        batch = _train(_open(damaged), steps_per_epoch=1)[0]
        assert {
            name: (value.dtype.name, value.shape)
            for name, value in batch.items()
        } == {
            "image": ("uint8", (4, 16, 16, 3)),
            "label": ("int32", (4,)),
            "index": ("int64", (4,)),
            "epoch": ("int64", (4,)),
            "offset": ("int64", (4,)),
        }

    @pytest.mark.parametrize("threads", [1, 2, 8])
    def test_threads_do_not_change_the_stream(self, damaged, threads):
        source = _open(damaged)
        augmented = {"augname": "randaug", "magnitude": 5.0, "end_epoch": 2}
        _assert_equal(
            _train(source, **augmented),
            _train(source, **augmented, num_threads=threads),
        )

    def test_label_and_picture_belong_to_the_index(self, damaged):
        batches = _train(_open(damaged), end_epoch=2)
        indices = _column(batches, "index")
        np.testing.assert_array_equal(_column(batches, "label"), indices % 4)
        means = _column(batches, "image").mean((1, 2, 3))
        np.testing.assert_allclose(means, indices + 20, atol=3)

    def test_every_good_example_comes_and_no_broken_one(self, damaged):
        batches = _train(_open(damaged))
        indices = _column(batches, "index")
        assert set(indices.tolist()) == set(range(40)) - set(BROKEN)

    def test_an_epoch_left_short_goes_round_again(self, damaged):
        batches = _train(_open(damaged), end_epoch=2)
        assert len(batches) == 20
        for epoch in (0, 1):
            rows = batches[10 * epoch : 10 * epoch + 10]
            assert set(_column(rows, "epoch").tolist()) == {epoch}
            offsets, indices = _column(rows, "offset"), _column(rows, "index")
            assert np.all(np.diff(offsets) > 0)
            assert offsets[-1] >= 42  # 40 rows and three broken ones
            again = np.flatnonzero(offsets >= 40)
            np.testing.assert_array_equal(indices[again], indices[: len(again)])

    def test_epochs_differ_in_order_and_crops(self, damaged):
        batches = _train(_open(damaged), end_epoch=2)
        first, second = batches[:10], batches[10:]
        order = [_column(rows, "index") for rows in (first, second)]
        assert np.any(order[0] != order[1])
        images = []
        for rows, indices in zip((first, second), order, strict=True):
            place = indices.tolist().index(20)
            images.append(_column(rows, "image")[place])
        assert np.any(images[0] != images[1])

    def test_an_example_looks_the_same_in_any_company(self, damaged):
        source = _open(damaged)
        by_four = _train(source, augname="randaug", magnitude=9.0)
        by_ten = _train(
            source,
            augname="randaug",
            magnitude=9.0,
            batch_size=10,
            steps_per_epoch=4,
        )
        for name in ("index", "image"):
            np.testing.assert_array_equal(
                _column(by_four, name), _column(by_ten, name)
            )

    def test_mixing_is_drawn_for_each_pair(self, damaged):
        batches = _train(
            _open(damaged), mixup_alpha=0.4, cutmix_alpha=1.0, end_epoch=2
        )
        shares = _column(batches, "mix_lambda").reshape(-1, 2)
        boxes = _column(batches, "mix_box").reshape(-1, 2, 4)
        np.testing.assert_array_equal(shares[:, 0], shares[:, 1])
        np.testing.assert_array_equal(boxes[:, 0], boxes[:, 1])
        assert len(np.unique(shares)) > 10
        assert boxes.max() <= 16

    def test_several_labels_can_be_divided_by_their_number(self, tmp_path):
        small_data.write_records(
            tmp_path / "train-0",
            [small_data.example(small_data.jpeg(n), 0, 2) for n in range(4)],
        )
        source = _open(tmp_path, num_classes=3, label_offset=0, multiclass=True)
        for divides, value in ((False, 1.0), (True, 0.5)):
            (batch,) = _train(
                source, steps_per_epoch=1, normalize_labels=divides
            )
            np.testing.assert_array_equal(
                batch["label"], [[value, 0, value]] * 4
            )


def test_memory_stays_flat_over_epochs(tmp_path):
    """Two hundred epochs; the first tenth makes what is kept."""
    folder = small_data.write_data_set(tmp_path / "data")
    script = small_runs.ROOT / "tests" / "pipeline_memory.py"
    child = small_runs.start("records", folder, 16, 200, script=script)
    out, err = child.communicate()
    assert child.returncode == 0, err
    resident = [int(line) for line in out.split()]
    assert len(resident) == 10
    assert resident[-1] - resident[0] < 16  # MiB, of some hundreds


class TestResume:
    @pytest.mark.parametrize("step", [1, 4, 9, 10, 13, 19])
    def test_goes_on_as_if_never_stopped(self, damaged, step):
        source = _open(damaged)
        settings = {"augname": "cutout", "magnitude": 5.0, "end_epoch": 2}
        whole = _train(source, **settings)
        epoch, first_step = divmod(step, 10)
        last = whole[step - 1]
        offset = int(last["offset"][-1]) + 1 if first_step else 0
        rest = _train(
            source,
            **settings,
            first_epoch=epoch,
            first_step=first_step,
            first_offset=offset,
        )
        _assert_equal(rest, whole[step:])

    def test_what_is_skipped_is_not_read(self, damaged, monkeypatch):
        source = _open(damaged)
        read, numbers = source.read, []

        def watched(some):
            numbers.extend(some.tolist())
            return read(some)

        monkeypatch.setattr(source, "read", watched)
        _train(source, first_offset=36, first_step=9, num_threads=1)
        order = source.order(5, 0).tolist()
        assert numbers[:16] == (order[36:] + order)[:16]


class TestHosts:
    def test_two_hosts_read_what_one_would(self, tmp_path):
        source = _open(small_data.write_data_set(tmp_path / "data"))
        one = _train(source, batch_size=8, steps_per_epoch=5, end_epoch=2)
        two = [
            _train(
                source,
                batch_size=4,
                steps_per_epoch=5,
                end_epoch=2,
                host_index=host,
                num_hosts=2,
            )
            for host in range(2)
        ]
        joined = [
            {name: np.concatenate([left[name], right[name]]) for name in left}
            for left, right in zip(*two, strict=True)
        ]
        _assert_equal(joined, one)

    def test_a_host_may_cut_its_part_for_replicas(self, tmp_path):
        source = _open(small_data.write_data_set(tmp_path / "data"))
        hosts = {"host_index": 1, "num_hosts": 2, "host_rows": 4}
        whole = _train(source, batch_size=4, steps_per_epoch=5, **hosts)
        halves = _train(source, batch_size=2, steps_per_epoch=10, **hosts)
        for name in ("index", "offset", "image"):
            np.testing.assert_array_equal(
                _column(whole, name), _column(halves, name)
            )


class TestBroken:
    def _watch(self, source, **values):
        settings = {"seed": 5, "host_rows": 4, "max_bad_fraction": 0.1}
        return BrokenExamples(source, **{**settings, **values})

    def test_each_one_is_counted_and_named_once(self, damaged, caplog):
        source = _open(damaged)
        watch = self._watch(source)
        for batch in _train(source, end_epoch=2):
            watch.observe(int(batch["epoch"][0]), batch["offset"])
        assert watch.count == 3
        assert watch.total == 6
        for number in BROKEN:
            place = source.place(number)
            assert caplog.text.count(f"{place}: not a picture that") == 1

    def test_the_count_goes_on_after_a_restart(self, damaged):
        source = _open(damaged)
        batches = _train(source)
        whole = self._watch(source)
        for batch in batches[:5]:
            offset = whole.observe(0, batch["offset"])
        before = whole.count
        rest = self._watch(source, offset=offset)
        for batch in batches[5:]:
            offset = whole.observe(0, batch["offset"])
            assert rest.observe(0, batch["offset"]) == offset
        assert rest.count == whole.count - before > 0

    def test_one_that_comes_again_in_a_second_round_counts_once(self, damaged):
        source = _open(damaged)
        batches = _train(source, steps_per_epoch=20)
        assert batches[-1]["offset"][-1] > 80  # more than two rounds
        watch = self._watch(source)
        for batch in batches:
            watch.observe(0, batch["offset"])
        assert watch.count == 3

    def test_hosts_count_their_own(self, damaged):
        source = _open(damaged)
        total = 0
        for host in range(2):
            hosts = {"host_index": host, "num_hosts": 2}
            watch = self._watch(
                source, host_rows=2, max_bad_fraction=0.2, **hosts
            )
            for batch in _train(source, batch_size=2, **hosts):
                watch.observe(0, batch["offset"])
            total += watch.count
        assert total == 3

    def test_too_many_end_the_training_with_a_line(self, damaged):
        source = _open(damaged)
        watch = self._watch(source, max_bad_fraction=0.05)
        with pytest.raises(
            ValueError, match="3 of 40 examples of mine/train are broken"
        ):
            for batch in _train(source):
                watch.observe(0, batch["offset"])

    def test_a_stream_of_broken_ones_ends(self, tmp_path):
        folder = small_data.write_data_set(tmp_path / "data", broken=range(40))
        source = _open(folder)
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="max_bad_fraction=0.1"
        ):
            _train(source)
        end = self._watch(source).first()
        assert end.startswith("; the first: ")
        assert end.count("not a picture that can be decoded") == 5

    @pytest.mark.parametrize(
        "name, content",
        [
            ("empty.jpg", b""),
            ("cut.jpg", small_data.jpeg(1)[:300]),
            ("text.png", b"not a picture at all"),
            ("head.gif", b"GIF89a"),
            ("gone.jpg", None),
        ],
    )
    def test_a_broken_file_does_not_shift_the_stream(
        self, tmp_path, name, content
    ):
        for number in range(12):
            folder = tmp_path / "train" / f"class{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:02d}.jpg").write_bytes(small_data.jpeg(number))
        path = tmp_path / "train" / "class1" / f"99{name}"
        path.write_bytes(small_data.jpeg(99))
        for number in range(3):  # so that the split by name is not used
            folder = tmp_path / "eval" / f"class{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.jpg").write_bytes(small_data.jpeg(number))
        source = _open(tmp_path, ds_name="folder")
        settings = {"batch_size": 1, "steps_per_epoch": 13}
        good = _train(source, **settings)
        if content is None:
            os.remove(path)
        else:
            path.write_bytes(content)
        left = _train(source, **settings)
        number = source.paths.index(str(path))
        place = [int(batch["index"][0]) for batch in good].index(number)
        _assert_equal(left[:-1], good[:place] + good[place + 1 :])
        assert left[-1]["offset"] == 13
        assert source.explain(number)


class TestEvaluation:
    @pytest.mark.parametrize("batch_size", [1, 7, 40, 64])
    def test_each_good_example_comes_once_in_order(self, damaged, batch_size):
        batches = list(
            pipeline.eval_batches(
                _open(damaged), batch_size=batch_size, image_size=16
            ).as_numpy_iterator()
        )
        assert len(batches) == -(-40 // batch_size)
        weights, indices = (
            _column(batches, name) for name in ("weight", "index")
        )
        assert indices[weights > 0].tolist() == [
            number for number in range(40) if number not in BROKEN
        ]
        assert set(indices[weights == 0].tolist()) <= {-1}

    def test_hosts_have_equally_many_batches_and_all_examples(self, damaged):
        seen, lengths = [], set()
        for host in range(3):
            batches = list(
                pipeline.eval_batches(
                    _open(damaged),
                    batch_size=4,
                    image_size=16,
                    host_index=host,
                    num_hosts=3,
                ).as_numpy_iterator()
            )
            lengths.add(len(batches))
            indices = _column(batches, "index")
            seen += indices[_column(batches, "weight") > 0].tolist()
        assert lengths == {4}
        assert seen == [n for n in range(40) if n not in BROKEN]

    @pytest.mark.parametrize("style", ["v1", "v2", "ft"])
    def test_pictures_are_those_of_preprocess_image(self, damaged, style):
        batch = next(
            pipeline.eval_batches(
                _open(damaged), batch_size=3, image_size=16, style=style
            ).as_numpy_iterator()
        )
        for number in range(3):
            np.testing.assert_array_equal(
                batch["image"][number],
                preprocess.preprocess_image(
                    small_data.jpeg(number), 16, style=style
                ),
            )
