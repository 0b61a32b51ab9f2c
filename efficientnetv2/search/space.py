"""The search space as data: what may stand in each stage of a backbone.

A model of the space is a tuple of `Choice`, one a stage (arXiv 2104.00298,
section 3.2). Channels and strides stay the backbone's.
"""

import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

from efficientnetv2 import block_spec, scaling
from efficientnetv2.architecture import Architecture
from efficientnetv2.search import size as size_lib

MBCONV, FUSED = "mbconv", "fused"
_SE_RATIO = 0.25  # of MBConv, where the backbone has none
_DRAWS = 2000  # before a walk is taken instead
_STEPS_A_STAGE = 100  # of that walk


class Choice(NamedTuple):
    """What stands in one stage.

    Args:
        op: 'mbconv' or 'fused'.
        kernel: Side of the kernel, pixels, odd.
        expansion: Inner channels over input channels.
        layers: Number of blocks.
    """

    op: str
    kernel: int
    expansion: int
    layers: int


class Options(NamedTuple):
    """For each field of `Choice` the values that it may have, in order."""

    op: tuple[str, ...]
    kernel: tuple[int, ...]
    expansion: tuple[int, ...]
    layers: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Space:
    """All models that may be tried.

    Args:
        backbone: An `Architecture`; gives channels, strides and all else.
        options: The values that each gene may have.
        image_size: Side of the pictures of multiply-adds, pixels.
        num_classes: Classes of the models that are counted.
        max_parameters: Largest number of trainable parameters.
        max_multiply_adds: Largest number of multiply-adds.
    """

    backbone: Architecture
    options: Options
    image_size: int
    num_classes: int
    max_parameters: float = math.inf
    max_multiply_adds: float = math.inf

    @functools.cached_property
    def stages(self):
        """The backbone's stages with their real channels and repeats."""
        return scaling.scale_stages(self.backbone)

    @functools.cached_property
    def choices(self):
        """Every `Choice` of a stage, a tuple."""
        return tuple(map(Choice._make, itertools.product(*self.options)))

    @property
    def count(self):
        """Number of models, those beyond the bounds too."""
        return len(self.choices) ** len(self.stages)

    @property
    def is_bounded(self):
        """Whether some models of the space are too large to be tried."""
        return math.inf > min(self.max_parameters, self.max_multiply_adds)

    @functools.cached_property
    def _sizes(self):
        """For each stage a dict from choice to `Size`."""
        inputs = size_lib.stage_sizes(self.backbone, self.image_size)
        return [
            {
                choice: size_lib.of_stage(self._spec(index, choice), pixels)
                for choice in self.choices
            }
            for index, pixels in enumerate(inputs)
        ]

    @functools.cached_property
    def _ends(self):
        return size_lib.of_ends(
            self.backbone, self.image_size, self.num_classes
        )

    @functools.cached_property
    def _se_ratio(self):
        found = [s.se_ratio for s in self.stages if s.se_ratio is not None]
        return found[0] if found else _SE_RATIO

    def _spec(self, index, choice):
        """The stage `index` with what was chosen for it."""
        return dataclasses.replace(
            self.stages[index],
            num_repeat=choice.layers,
            kernel_size=choice.kernel,
            expand_ratio=choice.expansion,
            fused=choice.op == FUSED,
            # As in the paper's models: with a depthwise convolution only.
            se_ratio=None if choice.op == FUSED else self._se_ratio,
        )

    def blocks(self, model):
        """Block strings of a model of the space, a tuple."""
        specs = [self._spec(i, choice) for i, choice in enumerate(model)]
        return tuple(block_spec.encode(specs))

    def key(self, model):
        """Text that two models share only if they are the same."""
        return ";".join(self.blocks(model))

    def read(self, blocks):
        """The model whose block strings these are; the inverse of `blocks`."""
        return tuple(
            Choice(
                FUSED if spec.fused else MBCONV,
                spec.kernel_size,
                spec.expand_ratio,
                spec.num_repeat,
            )
            for spec in block_spec.decode(blocks)
        )

    def architecture(self, model, *, name="candidate"):
        """The `Architecture` of a model of the space."""
        features = scaling.scale_filters(
            self.backbone, self.backbone.feature_size
        )
        return dataclasses.replace(
            self.backbone,
            name=name,
            blocks=self.blocks(model),
            feature_size=features,
            width_coefficient=1.0,
            depth_coefficient=1.0,
        )

    def size(self, model):
        """`Size` of a model of the space."""
        stages = (self._sizes[i][choice] for i, choice in enumerate(model))
        return sum(stages, self._ends)

    def _fits(self, size):
        return (
            size.parameters <= self.max_parameters
            and size.multiply_adds <= self.max_multiply_adds
        )

    def holds(self, model):
        """Whether a model belongs to the space and is within its bounds."""
        return (
            len(model) == len(self.stages)
            and all(choice in self._sizes[0] for choice in model)
            and self._fits(self.size(model))
        )

    @functools.cached_property
    def smallest(self):
        """A model within the bounds, (model, size); None if there is none.

        Stage by stage only what nothing beats in both figures is kept, so
        that the answer is exact.
        """
        front: list[tuple[tuple[Choice, ...], size_lib.Size]]
        front = [((), self._ends)]
        for sizes in self._sizes:
            grown = [
                ((*model, choice), total + own)
                for model, total in front
                for choice, own in sizes.items()
            ]
            grown.sort(key=lambda pair: pair[1])
            front, least = [], math.inf
            for model, total in grown:
                if total.multiply_adds < least:
                    front.append((model, total))
                    least = total.multiply_adds
        fitting = [pair for pair in front if self._fits(pair[1])]
        return fitting[0] if fitting else None

    def sample(self, rng):
        """Draws a model, each within the bounds as likely as any other.

        Args:
            rng: A `random.Random`.

        Returns:
            A tuple of `Choice`.
        """
        for _ in range(_DRAWS):
            model = tuple(rng.choice(self.choices) for _ in self.stages)
            if self._fits(self.size(model)):
                return model
        # Few are within the bounds. A walk whose steps are as likely back as
        # forth ends anywhere it can get to with the same probability.
        model, _ = self.smallest
        for _ in range(_STEPS_A_STAGE * len(self.stages)):
            step = self._replace(
                model, rng.randrange(len(model)), rng.choice(self.choices)
            )
            if self._fits(self.size(step)):
                model = step
        return model

    @staticmethod
    def _replace(model, index, choice):
        return (*model[:index], choice, *model[index + 1 :])

    def neighbours(self, model):
        """Models within the bounds that differ in one gene, a list."""
        found = []
        for index, choice in enumerate(model):
            for gene, values in self.options._asdict().items():
                for value in values:
                    if value != getattr(choice, gene):
                        other = choice._replace(**{gene: value})
                        found.append(self._replace(model, index, other))
        return [other for other in found if self._fits(self.size(other))]

    def mutate(self, model, rng):
        """Changes one gene; draws a new model where none can be changed."""
        found = self.neighbours(model)
        return rng.choice(found) if found else self.sample(rng)

    def cross(self, one, other, rng):
        """Takes each stage from one of two parents.

        Args:
            one: A model within the bounds.
            other: Another.
            rng: A `random.Random`.

        Returns:
            A model within the bounds; `one` itself where no mixture is.
        """
        for _ in range(2 ** len(one)):
            child = tuple(map(rng.choice, zip(one, other, strict=True)))
            if self._fits(self.size(child)):
                return child
        return one

    def __iter__(self):
        """All models within the bounds, in a fixed order."""
        for model in itertools.product(self.choices, repeat=len(self.stages)):
            if self._fits(self.size(model)):
                yield model
