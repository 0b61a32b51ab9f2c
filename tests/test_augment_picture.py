"""augment.png: it shows the very pictures that training sees."""

import dataclasses

import numpy as np
import pytest
import small_data
import small_runs
from PIL import Image

from efficientnetv2 import app, augment_rows, progressive, treatment
from efficientnetv2.data import pipeline

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A recipe of two stages, RandAugment in the second one, mixup in both."""
    folder = tmp_path_factory.mktemp("run")
    return small_runs.settings(
        folder,
        {
            "data.augname": "randaug",
            "data.ram_start": 0,
            "data.mixup_alpha_start": 0,
        },
        broken=(7,),
    )


@pytest.fixture(scope="module")
def source(config):
    return small_data.open_source(config.data.data_dir)


@pytest.fixture(scope="module")
def rows(config, source):
    pictures = augment_rows.of_source(source, seed=config.train.seed)
    return [
        augment_rows.row(config, stage, pictures)
        for stage in progressive.plan(config)
    ]


def _trained_on(config, source, stage):
    """What training makes in a stage's first epoch, by example."""
    batches = pipeline.train_batches(
        source,
        **treatment.of_stage(config, stage),
        batch_size=48,
        steps_per_epoch=1,
        first_epoch=stage.first_epoch,
        end_epoch=stage.first_epoch + 1,
        max_bad_fraction=0.1,
    )
    batch = next(batches.as_numpy_iterator())
    return dict(zip(batch["index"].tolist(), batch["image"], strict=True))


class TestRows:
    def test_pictures_are_those_that_training_makes(self, config, source, rows):
        pictures = augment_rows.of_source(source, seed=config.train.seed)
        assert len(pictures) == 8
        for row in rows:
            trained = _trained_on(config, source, row.stage)
            plain = dataclasses.replace(
                row.stage, mixup_alpha=0.0, cutmix_alpha=0.0
            )
            shown = augment_rows.row(config, plain, pictures)
            for picture, image in zip(pictures, shown.images, strict=True):
                np.testing.assert_array_equal(image, trained[picture.number])

    def test_they_are_the_first_good_ones_of_the_first_epoch(
        self, config, source
    ):
        pictures = augment_rows.of_source(source, seed=config.train.seed)
        numbers = [n for n in source.order(config.train.seed, 0) if n != 7][:8]
        assert [picture.number for picture in pictures] == numbers
        for picture in pictures:
            assert picture.name == f"class {picture.number % 4}"
            assert picture.pixels.shape == (20, 24, 3)

    def test_windows_are_stretched_to_the_picture(self, config, source, rows):
        """Without ops and mixing a picture's mean is about its window's."""
        pictures = augment_rows.of_source(source, seed=config.train.seed)
        still = dataclasses.replace(rows[0].stage, randaug_magnitude=0.0)
        none = dataclasses.replace(
            config, data=dataclasses.replace(config.data, augname="none")
        )
        row = augment_rows.row(none, still, pictures)
        assert row.ops == ((),) * 8
        for picture, window, image in zip(
            pictures, row.windows, row.images, strict=True
        ):
            top, left, height, width = window
            part = picture.pixels[top : top + height, left : left + width]
            assert abs(part.mean() - image.mean()) < 3

    def test_neighbours_are_mixed_as_their_labels_say(
        self, config, source, rows
    ):
        pictures = augment_rows.of_source(source, seed=config.train.seed)
        first, last = rows
        np.testing.assert_array_equal(first.weights, np.eye(8))
        np.testing.assert_allclose(last.weights.sum(1), 1, atol=1e-6)
        plain = augment_rows.row(
            config, dataclasses.replace(last.stage, mixup_alpha=0.0), pictures
        )
        mixed = np.tensordot(last.weights, plain.images.astype(float), 1)
        np.testing.assert_allclose(last.images, mixed, atol=0.51)
        assert np.any(last.weights.diagonal() < 0.99)


def _report(capsys, *arguments):
    """Runs the command; returns its exit code and last line."""
    code = app.main(
        [
            "main.py",
            "--mode=report",
            "--what=augment",
            "--model_name=efficientnetv2-b0",
            *map(str, arguments),
        ]
    )
    printed = capsys.readouterr()
    return code, (printed.err or printed.out).splitlines()[-1]


class TestCommand:
    @pytest.fixture
    def photographs(self, tmp_path):
        """Three pictures and a file that is none."""
        folder = tmp_path / "photographs"
        small_data.write_pictures(folder, ["a.jpg", "b.jpg", "c.jpg"])
        (folder / "d.jpg").write_bytes(b"none")
        return folder

    def test_it_draws_pictures_that_are_named(
        self, photographs, tmp_path, capsys
    ):
        folder = tmp_path / "run"
        code, line = _report(
            capsys,
            "--dataset_cfg=imagenet",
            f"--model_dir={folder}",
            "--hparam_str=train.isize=32,data.ibase=16",
            photographs,
        )
        assert (code, line) == (0, f"augmentation: {folder / 'augment.png'}")
        image = np.asarray(Image.open(folder / "augment.png").convert("RGB"))
        assert image.shape[0] > 400 and image.shape[1] > 600
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 500

    def test_pictures_of_which_none_is_whole_are_an_error(
        self, photographs, tmp_path, capsys
    ):
        code, line = _report(
            capsys,
            "--dataset_cfg=imagenet",
            f"--model_dir={tmp_path}",
            photographs / "d.jpg",
        )
        message = "error: no picture of those named can be decoded"
        assert (code, line) == (1, message)
