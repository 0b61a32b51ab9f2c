"""Data sets of TensorFlow Datasets, made here: nothing is loaded."""

import os
import shutil
import sys

import numpy as np
import pytest
import small_data
import tensorflow as tf

from efficientnetv2 import config
from efficientnetv2.data import pipeline, sources

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """A data set of TensorFlow Datasets made here: nothing is loaded."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class FewPictures(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(20, 24, 3)),
                        "label": tfds.features.ClassLabel(
                            names=["cat", "dog", "eel"]
                        ),
                    }
                ),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, _):
            return {
                "train": self._generate_examples(0, 30),
                "test": self._generate_examples(30, 40),
            }

        def _generate_examples(self, first, last):
            for number in range(first, last):
                yield (
                    number,
                    {
                        "image": small_data.picture(number),
                        "label": number % 3,
                    },
                )

    return tmp_path_factory.mktemp("catalogue")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A data set of the catalogue that is none of pictures."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class FewTexts(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "text": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=["good", "bad"]),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("text", "label"),
            )

        def _split_generators(self, _):
            return {"train": iter([(0, {"text": "so", "label": "good"})])}

        def _generate_examples(self):
            raise NotImplementedError

    return tmp_path_factory.mktemp("texts")


class TestTfds:
    def _open(self, folder, split, **values):
        return small_data.open_source(
            folder, split, tfds_name="few_pictures", **values
        )

    def test_pictures_and_labels_are_the_catalogues(self, catalogue):
        source = self._open(catalogue, "train")
        assert source.name == "few_pictures/train"
        assert source.num_examples == 30
        assert source.class_names == ("cat", "dog", "eel")
        for number, payload in enumerate(source.read(np.arange(30))):
            encoded, label = source.parse(payload, tf.constant(number))
            mean = np.mean(tf.io.decode_image(encoded)) - 20
            assert label.numpy() == round(mean) % 3
            assert source.explain(number) is None

    def test_parts_of_its_one_split_are_disjoint(self, catalogue):
        train, held_out = (
            self._open(catalogue, split)
            for split in ("train[:80%]", "train[80%:]")
        )
        assert (train.num_examples, held_out.num_examples) == (24, 6)
        sources.check_disjoint(train, held_out)

    def test_its_name_alone_is_enough(self, catalogue):
        """Without ds_name, whose default is the embedded data set."""
        source = self._open(catalogue, "train", ds_name="shapes")
        assert source.name == "few_pictures/train"

    def test_the_flowers_recipe_trains_and_evaluates_on_different_ones(
        self, catalogue
    ):
        """tf_flowers has one split, as this one's `train`."""
        recipe = config.load("efficientnetv2-b0", "tfflowersFt")
        train, held_out = (
            self._open(catalogue, split)
            for split in (recipe.train.split, recipe.eval.split)
        )
        payloads = [
            set(source.read(np.arange(source.num_examples)))
            for source in (train, held_out)
        ]
        assert [len(some) for some in payloads] == [24, 6]
        assert not payloads[0] & payloads[1]

    def test_a_shard_that_lost_its_tail_is_read_to_there(self, catalogue):
        (path,) = catalogue.glob("few_pictures/1.0.0/*-test.tfrecord-*")
        data = path.read_bytes()
        os.truncate(path, len(data) - 3)
        try:
            assert self._open(catalogue, "test").num_examples == 9
        finally:
            path.write_bytes(data)

    def test_files_of_another_kind_are_an_error(self, catalogue, tmp_path):
        shutil.copytree(catalogue, tmp_path, dirs_exist_ok=True)
        info = tmp_path / "few_pictures" / "1.0.0" / "dataset_info.json"
        text = info.read_text()
        assert '"fileFormat": "tfrecord"' in text
        info.write_text(text.replace('"tfrecord"', '"riegeli"'))
        with pytest.raises(ValueError, match="prepared as tfrecord .* riegeli"):
            self._open(tmp_path, "train")

    def test_records_in_the_folder_come_first(self, catalogue, records):
        assert self._open(records, "train").name == "mine/train"

    def test_its_pictures_are_augmented_and_mixed_as_any_others(
        self, catalogue
    ):
        source = self._open(catalogue, "train")
        (batch,) = pipeline.train_batches(
            source,
            batch_size=8,
            steps_per_epoch=1,
            image_size=16,
            augname="cutout",
            mixup_alpha=0.4,
            cutmix_alpha=1.0,
        )
        labels = np.array(small_data.labels(source))
        np.testing.assert_array_equal(batch["label"], labels[batch["index"]])
        assert np.all(np.any(batch["image"] == 128, axis=(1, 2, 3)))
        assert np.all(batch["mix_lambda"][:2] < 1)  # a pair of mixup
        assert np.all(batch["mix_lambda"][2:4] == 1)  # and one of CutMix

    def test_a_folder_that_is_not_there_is_not_made(self, catalogue):
        folder = catalogue / "nowhere"
        with pytest.raises(ValueError, match="data_dir must be a folder.*now"):
            self._open(folder, "train")
        assert not folder.exists()

    def test_what_cannot_be_prepared_names_the_folder(
        self, catalogue, monkeypatch
    ):
        tfds = pytest.importorskip("tensorflow_datasets")

        def refuse(*args, **kwargs):
            raise AssertionError("There are no archives. Download\nthem.")

        monkeypatch.setattr(
            tfds.core.DatasetBuilder, "download_and_prepare", refuse
        )
        empty = catalogue / "empty"
        empty.mkdir()
        with pytest.raises(ValueError) as error:
            self._open(empty, "train")
        assert str(error.value) == (
            "data_dir holds no TFRecords of few_pictures, and TensorFlow "
            "Datasets cannot prepare it: There are no archives. Received: "
            f"{str(empty)!r}"
        )

    def test_an_unknown_split_is_an_error(self, catalogue):
        with pytest.raises(ValueError, match="split must be one of t"):
            self._open(catalogue, "validation")

    def test_classes_must_be_as_many_as_are_asked_for(self, catalogue):
        with pytest.raises(ValueError, match="num_classes must be 3"):
            self._open(catalogue, "train", num_classes=5)

    def test_a_data_set_without_pictures_is_an_error(self, texts):
        with pytest.raises(ValueError, match="pictures with a label.* 'few_te"):
            small_data.open_source(texts, tfds_name="few_texts")

    def test_a_mistyped_name_is_met_by_the_nearest(self, catalogue):
        with pytest.raises(ValueError, match="nearest: 'few_pictures'"):
            small_data.open_source(catalogue, tfds_name="few_picture")

    def test_without_the_library_it_says_what_to_install(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
        with pytest.raises(ValueError, match=r"efficientnetv2\[datasets\]"):
            self._open(tmp_path, "train")
