"""Pictures in folders, one folder a class."""

import os

import numpy as np
import pytest
import small_data

pytestmark = pytest.mark.usefixtures("cache")


class TestFolder:
    @pytest.fixture
    def divided(self, tmp_path):
        for split, count in (("train", 3), ("eval", 2)):
            for name in ("dog", "cat"):
                small_data.write_pictures(
                    tmp_path / split / name,
                    [f"{split}{n}.JPG" for n in range(count)],
                )
        return tmp_path

    def test_classes_are_the_folders_in_order(self, divided):
        source = small_data.open_source(divided, ds_name="folder")
        assert source.class_names == ("cat", "dog")
        assert small_data.labels(source) == [0, 0, 0, 1, 1, 1]
        assert source.place(0) == f"{divided}/train/cat/train0.JPG"
        assert (
            small_data.open_source(
                divided, "eval", ds_name="folder"
            ).num_examples
            == 4
        )

    def test_other_names_of_the_evaluation_folder(self, divided):
        (divided / "eval").rename(divided / "val")
        for split in ("eval", "validation", "test"):
            source = small_data.open_source(divided, split, ds_name="folder")
            assert source.place(0).startswith(f"{divided}/val/")

    @pytest.mark.parametrize("inside", ["", "train"])
    def test_without_evaluation_folder_one_name_in_ten_is_kept(
        self, tmp_path, inside
    ):
        for name in ("cat", "dog"):
            small_data.write_pictures(
                tmp_path / inside / name, [f"{n}.png" for n in range(200)]
            )
        parts = [
            set(small_data.open_source(tmp_path, split, ds_name="folder").paths)
            for split in ("train", "eval")
        ]
        assert len(parts[0] | parts[1]) == 400
        assert not parts[0] & parts[1]
        assert 20 < len(parts[1]) < 60

    def test_other_files_are_no_pictures(self, divided):
        (divided / "train" / "cat" / "Thumbs.db").write_bytes(b"x")
        (divided / "train" / "cat" / "._train0.jpg").write_bytes(b"x")
        assert (
            small_data.open_source(divided, ds_name="folder").num_examples == 6
        )

    def test_a_class_without_pictures_is_an_error(self, divided):
        (divided / "train" / "eel").mkdir()
        with pytest.raises(ValueError, match="eel' holds no picture"):
            small_data.open_source(divided, ds_name="folder")

    def test_an_empty_folder_is_an_error_an_absent_one_is_not(self, divided):
        small_data.write_pictures(divided / "train" / "eel", ["1.jpg"])
        source = small_data.open_source(divided, "eval", ds_name="folder")
        assert source.class_names == ("cat", "dog", "eel")
        (divided / "eval" / "eel").mkdir()
        with pytest.raises(ValueError, match="eval/eel' holds no picture"):
            small_data.open_source(divided, "eval", ds_name="folder")

    def test_too_few_pictures_to_keep_one_is_an_error(self, tmp_path):
        small_data.write_pictures(tmp_path / "cat", ["1.jpg", "2.jpg"])
        with pytest.raises(ValueError, match="split 'eval' .* one name in 10"):
            small_data.open_source(tmp_path, "eval", ds_name="folder")

    def test_a_name_that_is_no_utf8_is_read(self, divided):
        name = os.fsdecode(b"\xff.jpg")
        path = divided / "train" / "cat" / name
        path.write_bytes(small_data.jpeg(7))
        (divided / "eval").rename(divided / "other")
        source = small_data.open_source(divided, ds_name="folder")
        assert source.read(np.array([source.paths.index(str(path))])) == [
            small_data.jpeg(7)
        ]

    def test_a_class_that_training_does_not_know_is_an_error(self, divided):
        small_data.write_pictures(divided / "eval" / "eel", ["1.jpg"])
        with pytest.raises(ValueError, match="does not: 'eel'"):
            small_data.open_source(divided, "eval", ds_name="folder")

    def test_a_folder_without_classes_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match="a folder of pictures for each"):
            small_data.open_source(tmp_path, ds_name="folder")
