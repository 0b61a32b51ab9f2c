"""Broken examples: counted, named, and no harm to the rest of the stream."""

import os

import pytest
import small_batches
import small_data
import tensorflow as tf

from efficientnetv2.data.broken import BrokenExamples

pytestmark = pytest.mark.usefixtures("cache")
BROKEN = small_batches.BROKEN


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """40 examples, three of them broken."""
    folder = tmp_path_factory.mktemp("damaged") / "data"
    return small_data.write_data_set(folder, broken=BROKEN)


class TestBroken:
    def _watch(self, source, **values):
        settings = {"seed": 5, "host_rows": 4, "max_bad_fraction": 0.1}
        return BrokenExamples(source, **{**settings, **values})

    def test_each_one_is_counted_and_named_once(self, damaged, caplog):
        source = small_data.open_source(damaged)
        watch = self._watch(source)
        for batch in small_batches.train(source, end_epoch=2):
            watch.observe(int(batch["epoch"][0]), batch["offset"])
        assert watch.count == 3
        assert watch.total == 6
        for number in BROKEN:
            place = source.place(number)
            assert caplog.text.count(f"{place}: not a picture that") == 1

    def test_the_count_goes_on_after_a_restart(self, damaged):
        source = small_data.open_source(damaged)
        batches = small_batches.train(source)
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
        source = small_data.open_source(damaged)
        batches = small_batches.train(source, steps_per_epoch=20)
        assert batches[-1]["offset"][-1] > 80  # more than two rounds
        watch = self._watch(source)
        for batch in batches:
            watch.observe(0, batch["offset"])
        assert watch.count == 3

    def test_hosts_count_their_own(self, damaged):
        source = small_data.open_source(damaged)
        total = 0
        for host in range(2):
            hosts = {"host_index": host, "num_hosts": 2}
            watch = self._watch(
                source, host_rows=2, max_bad_fraction=0.2, **hosts
            )
            for batch in small_batches.train(source, batch_size=2, **hosts):
                watch.observe(0, batch["offset"])
            total += watch.count
        assert total == 3

    def test_too_many_end_the_training_with_a_line(self, damaged):
        source = small_data.open_source(damaged)
        watch = self._watch(source, max_bad_fraction=0.05)
        with pytest.raises(
            ValueError, match="3 of 40 examples of mine/train are broken"
        ):
            for batch in small_batches.train(source):
                watch.observe(0, batch["offset"])

    def test_a_stream_of_broken_ones_ends(self, tmp_path):
        folder = small_data.write_data_set(tmp_path / "data", broken=range(40))
        source = small_data.open_source(folder)
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="max_bad_fraction=0.1"
        ):
            small_batches.train(source)
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
        source = small_data.open_source(tmp_path, ds_name="folder")
        settings = {"batch_size": 1, "steps_per_epoch": 13}
        good = small_batches.train(source, **settings)
        if content is None:
            os.remove(path)
        else:
            path.write_bytes(content)
        left = small_batches.train(source, **settings)
        number = source.paths.index(str(path))
        place = [int(batch["index"][0]) for batch in good].index(number)
        small_batches.assert_equal(left[:-1], good[:place] + good[place + 1 :])
        assert left[-1]["offset"] == 13
        assert source.explain(number)
