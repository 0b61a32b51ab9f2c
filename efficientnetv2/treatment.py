"""What a stage of a recipe does to its pictures, as the input pipeline says."""


def of_stage(config, stage):
    """The settings of `data.pipeline.train_batches` that make a picture.

    Args:
        config: A `config.Config`.
        stage: A `progressive.Stage`.

    Returns:
        A dict of keyword arguments.
    """
    return {
        "image_size": stage.image_size,
        "style": config.data.preprocessing,
        "min_area": config.data.min_area,
        "augname": config.data.augname,
        "magnitude": stage.randaug_magnitude,
        "mixup_alpha": stage.mixup_alpha,
        "cutmix_alpha": stage.cutmix_alpha,
        "normalize_labels": config.train.loss_type == "softmax",
        "seed": config.train.seed,
    }
