"""Batches: the same stream for any number of threads, hosts and restarts."""

import numpy as np
import pytest
import small_batches
import small_data
import small_runs

from efficientnetv2.data import pipeline, preprocess

BROKEN = small_batches.BROKEN


pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """40 examples, three of them broken."""
    folder = tmp_path_factory.mktemp("damaged") / "data"
    return small_data.write_data_set(folder, broken=BROKEN)


class TestStream:
    def test_a_batch_is_what_the_step_expects(self, damaged):
        batch = small_batches.train(
            small_data.open_source(damaged), steps_per_epoch=1
        )[0]
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
        source = small_data.open_source(damaged)
        augmented = {"augname": "randaug", "magnitude": 5.0, "end_epoch": 2}
        small_batches.assert_equal(
            small_batches.train(source, **augmented),
            small_batches.train(source, **augmented, num_threads=threads),
        )

    def test_label_and_picture_belong_to_the_index(self, damaged):
        batches = small_batches.train(
            small_data.open_source(damaged), end_epoch=2
        )
        indices = small_batches.column(batches, "index")
        np.testing.assert_array_equal(
            small_batches.column(batches, "label"), indices % 4
        )
        means = small_batches.column(batches, "image").mean((1, 2, 3))
        np.testing.assert_allclose(means, indices + 20, atol=3)

    def test_every_good_example_comes_and_no_broken_one(self, damaged):
        batches = small_batches.train(small_data.open_source(damaged))
        indices = small_batches.column(batches, "index")
        assert set(indices.tolist()) == set(range(40)) - set(BROKEN)

    def test_an_epoch_left_short_goes_round_again(self, damaged):
        batches = small_batches.train(
            small_data.open_source(damaged), end_epoch=2
        )
        assert len(batches) == 20
        for epoch in (0, 1):
            rows = batches[10 * epoch : 10 * epoch + 10]
            assert set(small_batches.column(rows, "epoch").tolist()) == {epoch}
            offsets, indices = (
                small_batches.column(rows, "offset"),
                small_batches.column(rows, "index"),
            )
            assert np.all(np.diff(offsets) > 0)
            assert offsets[-1] >= 42  # 40 rows and three broken ones
            again = np.flatnonzero(offsets >= 40)
            np.testing.assert_array_equal(indices[again], indices[: len(again)])

    def test_epochs_differ_in_order_and_crops(self, damaged):
        batches = small_batches.train(
            small_data.open_source(damaged), end_epoch=2
        )
        first, second = batches[:10], batches[10:]
        order = [
            small_batches.column(rows, "index") for rows in (first, second)
        ]
        assert np.any(order[0] != order[1])
        images = []
        for rows, indices in zip((first, second), order, strict=True):
            place = indices.tolist().index(20)
            images.append(small_batches.column(rows, "image")[place])
        assert np.any(images[0] != images[1])

    def test_an_example_looks_the_same_in_any_company(self, damaged):
        source = small_data.open_source(damaged)
        by_four = small_batches.train(source, augname="randaug", magnitude=9.0)
        by_ten = small_batches.train(
            source,
            augname="randaug",
            magnitude=9.0,
            batch_size=10,
            steps_per_epoch=4,
        )
        for name in ("index", "image"):
            np.testing.assert_array_equal(
                small_batches.column(by_four, name),
                small_batches.column(by_ten, name),
            )

    def test_mixing_is_drawn_for_each_pair(self, damaged):
        batches = small_batches.train(
            small_data.open_source(damaged),
            mixup_alpha=0.4,
            cutmix_alpha=1.0,
            end_epoch=2,
        )
        shares = small_batches.column(batches, "mix_lambda").reshape(-1, 2)
        boxes = small_batches.column(batches, "mix_box").reshape(-1, 2, 4)
        np.testing.assert_array_equal(shares[:, 0], shares[:, 1])
        np.testing.assert_array_equal(boxes[:, 0], boxes[:, 1])
        assert len(np.unique(shares)) > 10
        assert boxes.max() <= 16

    def test_several_labels_can_be_divided_by_their_number(self, tmp_path):
        small_data.write_records(
            tmp_path / "train-0",
            [small_data.example(small_data.jpeg(n), 0, 2) for n in range(4)],
        )
        source = small_data.open_source(
            tmp_path, num_classes=3, label_offset=0, multiclass=True
        )
        for divides, value in ((False, 1.0), (True, 0.5)):
            (batch,) = small_batches.train(
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
        source = small_data.open_source(damaged)
        settings = {"augname": "cutout", "magnitude": 5.0, "end_epoch": 2}
        whole = small_batches.train(source, **settings)
        epoch, first_step = divmod(step, 10)
        last = whole[step - 1]
        offset = int(last["offset"][-1]) + 1 if first_step else 0
        rest = small_batches.train(
            source,
            **settings,
            first_epoch=epoch,
            first_step=first_step,
            first_offset=offset,
        )
        small_batches.assert_equal(rest, whole[step:])

    def test_what_is_skipped_is_not_read(self, damaged, monkeypatch):
        source = small_data.open_source(damaged)
        read, numbers = source.read, []

        def watched(some):
            numbers.extend(some.tolist())
            return read(some)

        monkeypatch.setattr(source, "read", watched)
        small_batches.train(
            source, first_offset=36, first_step=9, num_threads=1
        )
        order = source.order(5, 0).tolist()
        assert numbers[:16] == (order[36:] + order)[:16]


class TestHosts:
    def test_two_hosts_read_what_one_would(self, tmp_path):
        source = small_data.open_source(
            small_data.write_data_set(tmp_path / "data")
        )
        one = small_batches.train(
            source, batch_size=8, steps_per_epoch=5, end_epoch=2
        )
        two = [
            small_batches.train(
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
        small_batches.assert_equal(joined, one)

    def test_a_host_may_cut_its_part_for_replicas(self, tmp_path):
        source = small_data.open_source(
            small_data.write_data_set(tmp_path / "data")
        )
        hosts = {"host_index": 1, "num_hosts": 2, "host_rows": 4}
        whole = small_batches.train(
            source, batch_size=4, steps_per_epoch=5, **hosts
        )
        halves = small_batches.train(
            source, batch_size=2, steps_per_epoch=10, **hosts
        )
        for name in ("index", "offset", "image"):
            np.testing.assert_array_equal(
                small_batches.column(whole, name),
                small_batches.column(halves, name),
            )


class TestEvaluation:
    @pytest.mark.parametrize("batch_size", [1, 7, 40, 64])
    def test_each_good_example_comes_once_in_order(self, damaged, batch_size):
        batches = list(
            pipeline.eval_batches(
                small_data.open_source(damaged),
                batch_size=batch_size,
                image_size=16,
            ).as_numpy_iterator()
        )
        assert len(batches) == -(-40 // batch_size)
        weights, indices = (
            small_batches.column(batches, name) for name in ("weight", "index")
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
                    small_data.open_source(damaged),
                    batch_size=4,
                    image_size=16,
                    host_index=host,
                    num_hosts=3,
                ).as_numpy_iterator()
            )
            lengths.add(len(batches))
            indices = small_batches.column(batches, "index")
            seen += indices[
                small_batches.column(batches, "weight") > 0
            ].tolist()
        assert lengths == {4}
        assert seen == [n for n in range(40) if n not in BROKEN]

    @pytest.mark.parametrize("style", ["v1", "v2", "ft"])
    def test_pictures_are_those_of_preprocess_image(self, damaged, style):
        batch = next(
            pipeline.eval_batches(
                small_data.open_source(damaged),
                batch_size=3,
                image_size=16,
                style=style,
            ).as_numpy_iterator()
        )
        for number in range(3):
            np.testing.assert_array_equal(
                batch["image"][number],
                preprocess.preprocess_image(
                    small_data.jpeg(number), 16, style=style
                ),
            )
