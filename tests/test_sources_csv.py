"""Pictures named in a CSV."""

import numpy as np
import pytest
import small_data

pytestmark = pytest.mark.usefixtures("cache")


class TestCsv:
    @pytest.fixture
    def lists(self, tmp_path):
        small_data.write_pictures(
            tmp_path / "pictures", ["a.jpg", "b.jpg", "c, d.jpg"]
        )
        (tmp_path / "train.csv").write_text(
            'path,label\npictures/a.jpg,10\n"pictures/c, d.jpg",9\n\n'
        )
        (tmp_path / "eval.csv").write_text("pictures/b.jpg,10\n")
        return tmp_path

    def test_labels_of_train_csv_are_the_classes(self, lists):
        source = small_data.open_source(lists, ds_name="csv")
        assert source.class_names == ("9", "10")
        assert source.labels.tolist() == [1, 0]
        assert source.read(np.array([1])) == [small_data.jpeg(2)]
        assert small_data.open_source(
            lists, "eval", ds_name="csv"
        ).labels.tolist() == [1]

    def test_an_unknown_label_is_an_error(self, lists):
        (lists / "eval.csv").write_text("pictures/b.jpg,11\n")
        with pytest.raises(ValueError, match="'11' for 'pictures/b.jpg'"):
            small_data.open_source(lists, "eval", ds_name="csv")

    def test_a_line_without_label_is_an_error(self, lists):
        (lists / "train.csv").write_text("pictures/a.jpg\n")
        with pytest.raises(ValueError, match="in line 1"):
            small_data.open_source(lists, ds_name="csv")

    def test_a_missing_list_is_an_error(self, lists):
        with pytest.raises(ValueError, match="must hold validation.csv"):
            small_data.open_source(lists, "validation", ds_name="csv")
