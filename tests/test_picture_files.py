"""Which files the commands take for pictures."""

import pytest
import small_data

from efficientnetv2.data import picture_files


@pytest.fixture
def pictures(tmp_path):
    """Five pictures, two of them deeper, and what is none."""
    folder = tmp_path / "pictures"
    (folder / "deep" / "not a picture.jpg").mkdir(parents=True)
    for number, name in enumerate(
        ["b.jpg", "a.JPEG", "c[1].jpg", "deep/d.jpg", "deep/e.jpg"]
    ):
        (folder / name).write_bytes(small_data.jpeg(20 * number))
    (folder / "labels.txt").write_text("cat\n")
    return folder


def _names(paths):
    return [path.name for path in paths]


def test_a_folder_is_searched_all_the_way_down(pictures):
    found = picture_files.find_pictures([str(pictures)])
    assert _names(found) == ["a.JPEG", "b.jpg", "c[1].jpg", "d.jpg", "e.jpg"]


def test_files_and_globs_are_listed_once(pictures):
    inputs = [pictures / "b.jpg", pictures / "*.jpg", pictures / "**" / "e.*"]
    found = picture_files.find_pictures([str(path) for path in inputs])
    assert _names(found) == ["b.jpg", "c[1].jpg", "e.jpg"]


def test_a_name_that_looks_like_a_glob_is_a_file(pictures):
    found = picture_files.find_pictures([str(pictures / "c[1].jpg")])
    assert _names(found) == ["c[1].jpg"]


@pytest.mark.parametrize("name", ["nothing.jpg", "x*.jpg", "deep/*picture*"])
def test_an_argument_that_names_no_picture_is_refused(pictures, name):
    with pytest.raises(ValueError, match=r"no picture found at .*pictures"):
        picture_files.find_pictures(
            [str(pictures / "b.jpg"), str(pictures / name)]
        )


def test_no_argument_at_all_is_refused():
    with pytest.raises(ValueError, match="inputs must name at least one"):
        picture_files.find_pictures([])
