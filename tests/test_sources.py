"""Opening a source, and what is said of data that are none."""

import numpy as np
import pytest
import small_data
import tensorflow as tf

from efficientnetv2.data import sources

pytestmark = pytest.mark.usefixtures("cache")


class TestOpening:
    def test_a_folder_without_data_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match="must hold TFRecords called tr"):
            small_data.open_source(tmp_path)

    def test_a_missing_folder_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match="data_dir must be a folder"):
            small_data.open_source(tmp_path / "none")

    def test_a_mistyped_name_is_met_by_the_nearest(self):
        with pytest.raises(ValueError, match="nearest: 'shapes'"):
            sources.open_source(small_data.settings(ds_name="shpaes"), "train")

    def test_a_folder_is_not_passed_over_for_shapes(self, records):
        with pytest.raises(ValueError, match="data.ds_name must be folder, cs"):
            small_data.open_source(records, ds_name="shapes")

    def test_shapes_need_no_folder(self):
        source = sources.open_source(
            small_data.settings(ds_name="shapes"), "validation"
        )
        assert source.num_examples == 1000
        assert source.class_names[0] == "blue plain triangle"
        assert small_data.labels(source, 3) == [
            source.class_names.index(text) for text in _texts(source, 3)
        ]


def _texts(source, count):
    for payload in source.read(np.arange(count)):
        feature = tf.train.Example.FromString(payload).features.feature
        yield feature["image/class/text"].bytes_list.value[0].decode()
