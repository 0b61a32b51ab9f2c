"""Splits by name, and that no example is on both sides."""

import numpy as np
import pytest
import small_data

from efficientnetv2 import config
from efficientnetv2.data import sources
from efficientnetv2.data.sources import splits

pytestmark = pytest.mark.usefixtures("cache")


class TestSplits:
    def _numbers(self, split, **counts):
        return [
            (name, rows.tolist())
            for name, rows in splits.select(split, counts.get)
        ]

    def test_parts_in_percent_and_numbers(self):
        assert self._numbers("train[:30%]", train=10) == [("train", [0, 1, 2])]
        assert self._numbers("train[8:]+test[-1:]", train=10, test=3) == [
            ("train", [8, 9]),
            ("test", [2]),
        ]

    def test_parts_of_one_split_do_not_overlap(self):
        for count in (1, 7, 99, 3670):
            (_, low), (_, high) = self._numbers(
                "train[:80%]+train[80%:]", train=count
            )
            assert low + high == list(range(count))

    def test_minival_and_minitrain_divide_train(self):
        (_, held_out), (_, rest) = self._numbers(
            "minival+minitrain", train=1281167
        )
        assert len(held_out) == 10009
        assert sorted(held_out + rest) == list(range(1281167))

    def test_a_split_that_cannot_be_read_is_shown(self):
        with pytest.raises(ValueError, match=r"Received: 'train\[80\]'"):
            splits.select("train[80]", {}.get)

    def test_parts_of_records_hold_different_pictures(self, records):
        low, high = (
            small_data.open_source(records, split)
            for split in ("train[:25%]", "train[25%:]")
        )
        assert (low.num_examples, high.num_examples) == (10, 30)
        payloads = low.read(np.arange(10)) + high.read(np.arange(30))
        assert payloads == small_data.open_source(records).read(np.arange(40))
        assert high.place(12).endswith("train-00001-of-00002, record 2")

    def test_an_empty_split_is_an_error(self, records):
        with pytest.raises(ValueError, match="split must hold an example"):
            small_data.open_source(records, "minival")


class TestDisjoint:
    def test_minival_is_no_part_of_minitrain(self, tmp_path):
        folder = small_data.write_data_set(tmp_path / "data", count=300)
        minitrain, minival, train = (
            small_data.open_source(folder, split)
            for split in ("minitrain", "minival", "train")
        )
        assert (minitrain.num_examples, minival.num_examples) == (298, 2)
        sources.check_disjoint(minitrain, minival)
        with pytest.raises(ValueError, match="minitrain .* 2 in both"):
            sources.check_disjoint(train, minival)

    def test_parts_are_told_from_parts_that_overlap(self, records):
        low = small_data.open_source(records, "train[:80%]", cache="memory")
        sources.check_disjoint(
            low, small_data.open_source(records, "train[80%:]")
        )
        with pytest.raises(ValueError, match="Received: mine/train"):
            sources.check_disjoint(
                low, small_data.open_source(records, "train[75%:]")
            )

    @pytest.mark.parametrize("dataset", config.list_datasets())
    def test_no_recipe_evaluates_on_what_it_trains_on(self, dataset):
        recipe = config.load("efficientnetv2-b0", dataset)
        counts = {"train": 3670, "validation": 500, "test": 500, "eval": 500}
        sides = [
            {
                (name, number)
                for name, rows in splits.select(split, counts.get)
                for number in rows.tolist()
            }
            for split in (recipe.train.split, recipe.eval.split)
        ]
        assert sides[0] and sides[1] and not sides[0] & sides[1]

    def test_folders_and_lists_too(self, tmp_path):
        small_data.write_pictures(
            tmp_path / "cat", [f"{n}.jpg" for n in range(60)]
        )
        train, held_out = (
            small_data.open_source(tmp_path, split, ds_name="folder")
            for split in ("train", "eval")
        )
        sources.check_disjoint(train, held_out)
        with pytest.raises(ValueError, match="54 in both|5[0-9] in both"):
            sources.check_disjoint(train, train)
