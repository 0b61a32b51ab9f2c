"""What is done to each training example, from its payload to a batch."""

import dataclasses
import typing

import tensorflow as tf

from efficientnetv2.data import (
    decoding,
    mixing,
    policies,
    preprocess,
    seeds,
)

# Random integers of an example: window, flip, mixing, then the policy's.
_WINDOW, _FLIP, _MIX, _POLICY = 0, 2, 3, 5


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Example:
    """What is done to each training example and to each batch of them.

    `decode` may fail, of a broken example; then come `augment` and, of a
    batch, `mix`.

    Args:
        source: A `sources.Source`.
        image_size: Height and width, pixels.
        style: How pictures are cropped, see `preprocess`.
        min_area: Smallest share of a picture a crop takes; None: the style's.
        policy: A `policies.Policy`.
        mixup_alpha: See `mixing`; 0 for none.
        cutmix_alpha: The same.
        normalize_labels: Divide several labels by their number, for softmax.
        seed: The run's seed, int >= 0.
    """

    source: typing.Any
    image_size: int
    style: str
    min_area: float | None
    policy: policies.Policy
    mixup_alpha: float
    cutmix_alpha: float
    normalize_labels: bool
    seed: int

    @property
    def mixes(self):
        """Whether `mix` is needed."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    def draw(self, index, epoch):
        """All that is random about an example: int32 [k]."""
        count = _POLICY + self.policy.num_draws
        return seeds.of_example(self.seed, epoch, index, count)

    def window(self, shape, draws):
        """The part of a picture of shape [3] that is taken: int32 [4]."""
        return preprocess.random_window(
            shape,
            self.image_size,
            seed=draws[_WINDOW:_FLIP],
            style=self.style,
            min_area=self.min_area,
        )

    def flip(self, draws):
        """Whether the picture is flipped: bool scalar."""
        return draws[_FLIP] < 0

    def ops(self, draws):
        """Names of the policy's ops that an example's draws stand for."""
        return self.policy.ops(draws[_POLICY:])

    def cut(self, payload, index, offset, epoch):
        """Reads the label and decodes the window of the picture."""
        encoded, label = self.source.parse(payload, index)
        if self.normalize_labels and not label.dtype.is_integer:
            label /= tf.reduce_sum(label)
        draws = self.draw(index, epoch)
        window = decoding.decode(
            encoded, lambda shape: self.window(shape, draws)
        )
        return {
            "image": window,
            "label": label,
            "index": index,
            "epoch": epoch,
            "offset": offset,
            "draws": draws,
        }

    def stretch(self, example):
        """Makes the window a square, flipped by chance."""
        image = preprocess.stretch_for_training(
            example["image"],
            self.image_size,
            flip=self.flip(example["draws"]),
            style=self.style,
        )
        return {**example, "image": image}

    def decode(self, payload, index, offset, epoch):
        """Everything up to the square picture."""
        return self.stretch(self.cut(payload, index, offset, epoch))

    def augment(self, example):
        """Applies the policy."""
        example = dict(example)
        draws = example.pop("draws")
        example["image"] = self.policy(example["image"], draws[_POLICY:])
        if self.mixes:
            example["mix_seed"] = draws[_MIX:_POLICY]
        return example

    def mix(self, batch):
        """Draws how the batch is to be mixed; the train step mixes it."""
        batch = dict(batch)
        batch["mix_lambda"], batch["mix_box"] = mixing.draw(
            batch.pop("mix_seed"),
            places=batch.get("offset"),
            mixup_alpha=self.mixup_alpha,
            cutmix_alpha=self.cutmix_alpha,
            image_size=self.image_size,
        )
        return batch
