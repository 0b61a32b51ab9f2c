"""Pictures named in a CSV."""

import numpy as np
import pytest
import small_data
import tensorflow as tf

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

    def test_labels_txt_names_the_classes_and_their_order(self, lists):
        (lists / "train.csv").unlink()
        (lists / "labels.txt").write_text("11\n10\n9\n")
        source = small_data.open_source(lists, "eval", ds_name="csv")
        assert source.class_names == ("11", "10", "9")
        assert source.labels.tolist() == [1]
        (lists / "labels.txt").write_text("11\n9\n")
        with pytest.raises(ValueError, match="must have labels of .*labels.tx"):
            small_data.open_source(lists, "eval", ds_name="csv")

    def test_paths_may_lead_anywhere(self, lists, tmp_path_factory):
        far = tmp_path_factory.mktemp("far") / "e.jpg"
        far.write_bytes(small_data.jpeg(5))
        remote = "ram://csv/f.jpg"
        with tf.io.gfile.GFile(remote, "wb") as file:
            file.write(small_data.jpeg(6))
        (lists / "train.csv").write_text(
            f"pictures/a.jpg,x\n{far},y\n{remote},y\n"
        )
        source = small_data.open_source(lists, ds_name="csv")
        assert source.read(np.arange(3)) == [
            small_data.jpeg(n) for n in (0, 5, 6)
        ]
        assert source.place(2) == remote

    def test_files_of_spreadsheets_are_read(self, lists):
        # A mark at the start, spaces, a capital, DOS lines, a break in quotes.
        (lists / "train.csv").write_bytes(
            b"\xef\xbb\xbfPath, Label\r\npictures/a.jpg , cat\r\n,\r\n"
            b'pictures/b.jpg,"two\nwords"\r\n'
        )
        source = small_data.open_source(lists, ds_name="csv")
        assert source.class_names == ("cat", "two\nwords")

    @pytest.mark.parametrize(
        "content, words",
        [
            (b"\n", "names no picture"),
            (b"path,label\n", "names no picture"),
            (b"\xff\xfea\x00", "must be text in UTF-8; byte 0 is not"),
            (b"a.jpg;3\n", "'a.jpg;3' in line 1"),
            (b"a.jpg,3\n\nb.jpg,\n", "'b.jpg,' in line 3"),
            (b'a.jpg,"' + b"3" * 200_000, "must be a CSV: field larger"),
        ],
    )
    def test_what_is_no_list_is_an_error(self, lists, content, words):
        (lists / "train.csv").write_bytes(content)
        with pytest.raises(ValueError, match=words):
            small_data.open_source(lists, ds_name="csv")

    def test_names_of_the_evaluation_list_stand_for_each_other(self, lists):
        for split in ("validation", "test"):
            source = small_data.open_source(lists, split, ds_name="csv")
            assert source.num_examples == 1

    def test_an_unknown_label_is_an_error(self, lists):
        (lists / "eval.csv").write_text("pictures/b.jpg,11\n")
        with pytest.raises(ValueError, match="'11' for 'pictures/b.jpg'"):
            small_data.open_source(lists, "eval", ds_name="csv")

    def test_a_line_without_label_is_an_error(self, lists):
        (lists / "train.csv").write_text("pictures/a.jpg\n")
        with pytest.raises(ValueError, match="in line 1"):
            small_data.open_source(lists, ds_name="csv")

    def test_a_missing_list_is_an_error(self, lists):
        (lists / "eval.csv").unlink()
        with pytest.raises(ValueError, match="must hold validation.csv"):
            small_data.open_source(lists, "validation", ds_name="csv")
