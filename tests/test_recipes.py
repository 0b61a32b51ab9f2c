"""Tests of hparams/: the recipes are those of the papers."""

import pytest

from efficientnetv2 import config, variants


@pytest.mark.parametrize("dataset", config.list_datasets())
@pytest.mark.parametrize("model", variants.VARIANTS)
def test_every_model_recipe_loads_with_every_dataset_recipe(model, dataset):
    assert config.load(model, dataset).model.name == model


# From table 6 of arXiv 2104.00298: px, RandAugment, mixup, dropout.
@pytest.mark.parametrize(
    "size, isize, ram, mixup, dropout",
    [
        ("s", 300, 15, 0, 0.3),
        ("m", 380, 20, 0.2, 0.4),
        ("l", 380, 25, 0.5, 0.5),
        ("xl", 380, 25, 0.5, 0.5),
    ],
)
def test_recipes_of_s_to_xl_are_table_6(size, isize, ram, mixup, dropout):
    c = config.load(f"efficientnetv2-{size}", "imagenet")
    assert (c.train.stages, c.data.augname) == (4, "randaug")
    assert (c.data.ibase, c.train.isize) == (128, isize)
    assert (c.data.ram_start, c.data.ram) == (5, ram)
    assert (c.data.mixup_alpha_start, c.data.mixup_alpha) == (0, mixup)
    assert (c.train.dropout_rate_start, c.model.dropout_rate) == (0.1, dropout)


def test_imagenet_recipe_is_section_5_1_of_the_paper():
    c = config.load("efficientnetv2-s", "imagenet")
    assert c.train.lr_base * c.train.batch_size / 256 == pytest.approx(0.256)
    assert (c.train.epochs, c.train.batch_size) == (350, 4096)
    assert (c.train.lr_decay_factor, c.train.lr_decay_epoch) == (0.97, 2.4)
    assert (c.train.ema_decay, c.train.weight_decay) == (0.9999, 1e-5)
    assert (c.model.bn_momentum, c.model.survival_prob) == (0.99, 0.8)


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_model_recipes_agree_with_the_published_variants(name):
    variant = variants.VARIANTS[name]
    c = config.load(name, "imagenet")
    assert c.train.isize == variant.train_size
    assert c.eval.isize == variant.eval_size
    assert c.model.dropout_rate == variant.architecture.dropout_rate
    assert c.data.preprocessing == variant.preprocessing
    assert c.model.blocks == variant.architecture.blocks


@pytest.mark.parametrize(
    "name", ["cifar10Ft", "cifar100Ft", "flowersFt", "tfflowersFt", "carsFt"]
)
def test_transfer_recipes_are_section_5_3_of_the_paper(name):
    c = config.load("efficientnetv2-l", name)
    assert (c.train.min_steps, c.train.batch_size) == (10_000, 512)
    assert c.train.lr_base * c.train.batch_size / 256 == pytest.approx(0.001)
    assert (c.train.lr_sched, c.train.weight_decay) == ("cosine", 0)
    assert (c.data.augname, c.data.mixup_alpha) == ("cutout", 0)


def test_imagenet21k_recipes_are_section_5_2_of_the_paper():
    pretrain, tune = (
        config.load("efficientnetv2-s", "imagenet21k"),
        config.load("efficientnetv2-s", "imagenetFt"),
    )
    assert (pretrain.train.epochs, pretrain.train.lr_sched) == (60, "cosine")
    assert (pretrain.data.num_classes, pretrain.data.multiclass) == (21843, 1)
    assert (tune.train.epochs, tune.train.lr_sched) == (15, "cosine")
