"""A model that was found, as a file for --model_name."""

import dataclasses

import pytest

from efficientnetv2 import variants
from efficientnetv2.search import model_file, shared_file

SIZES = {"train_size": 32, "eval_size": 40, "about": ["One.", "Two."]}


@pytest.mark.parametrize("name", ["efficientnetv2-b0", "efficientnet-b4"])
def test_it_is_read_as_the_architecture_that_was_written(tmp_path, name):
    path = tmp_path / "best.yaml"
    architecture = dataclasses.replace(
        variants.VARIANTS[name].architecture, bn_momentum=0.7, headbias=-1.0
    )
    model_file.write(path, architecture, preprocessing="v1", **SIZES)
    found = variants.lookup(str(path))
    assert found.architecture == architecture
    assert (found.train_size, found.eval_size) == (32, 40)
    assert found.preprocessing == "v1"
    assert path.read_text().startswith("# One.\n# Two.\nname: ")


def test_preprocessing_that_only_data_have_is_left_to_them(tmp_path):
    path = tmp_path / "best.yaml"
    architecture = variants.VARIANTS["efficientnetv2-s"].architecture
    model_file.write(path, architecture, preprocessing="ft", **SIZES)
    assert "preprocessing" not in path.read_text()
    assert variants.lookup(str(path)).preprocessing == "v2"


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "best.yaml"
    shared_file.write(path, "old")
    with pytest.raises(TypeError):
        shared_file.write(path, 7)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["best.yaml"]
