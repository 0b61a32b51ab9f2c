"""The search space: its models are valid, within bounds and counted right."""

import dataclasses
import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efficientnetv2 import block_spec, config, variants
from efficientnetv2.search import size, space_config

BACKBONE = "r1_k3_s1_e1_i8_o8_c1;r2_k3_s2_e4_i8_o16_se0.25;r1_k3_s2_e4_i16_o24"
B0 = "efficientnetv2-b0"


def make(overrides="", model_name=BACKBONE):
    return space_config.build(
        config.load(model_name, "cifar10", overrides), num_classes=10
    )


SPACES = {
    "small": make(),
    "bounded": make("search.max_million_parameters=0.06"),
    # One in five thousand is within this bound.
    "tight": make("search.max_million_parameters=0.04822"),
    "b0": make(model_name=B0),
}
seeds = st.integers(0, 2**31 - 1).map(random.Random)
spaces = st.sampled_from(sorted(SPACES)).map(SPACES.get)


class TestModelsOfTheSpace:
    @settings(max_examples=60, deadline=None)
    @given(spaces, seeds)
    def test_samples_mutants_and_children_are_valid(self, space, rng):
        one, other = space.sample(rng), space.sample(rng)
        for found in (
            one,
            space.mutate(one, rng),
            space.cross(one, other, rng),
        ):
            assert space.holds(found)
            specs = block_spec.decode(list(space.blocks(found)))
            for spec, stage in zip(specs, space.stages, strict=True):
                assert spec.strides == stage.strides
                assert spec.input_filters == stage.input_filters
                assert spec.output_filters == stage.output_filters

    @settings(max_examples=40, deadline=None)
    @given(spaces, seeds)
    def test_mutation_changes_one_gene(self, space, rng):
        one = space.sample(rng)
        other = space.mutate(one, rng)
        genes = zip(sum(one, ()), sum(other, ()), strict=True)
        different = sum(a != b for a, b in genes)
        assert different == 1 or not space.neighbours(one)

    @settings(max_examples=40, deadline=None)
    @given(spaces, seeds)
    def test_a_child_has_each_stage_of_a_parent(self, space, rng):
        one, other = space.sample(rng), space.sample(rng)
        child = space.cross(one, other, rng)
        both = zip(child, one, other, strict=True)
        assert all(own in (left, right) for own, left, right in both)

    @settings(max_examples=40, deadline=None)
    @given(spaces, seeds, seeds)
    def test_equal_keys_are_equal_models(self, space, rng, other_rng):
        one, other = space.sample(rng), space.sample(other_rng)
        assert (space.key(one) == space.key(other)) == (one == other)

    @settings(max_examples=40, deadline=None)
    @given(spaces, seeds)
    def test_size_is_that_of_the_architecture(self, space, rng):
        one = space.sample(rng)
        assert space.size(one) == size.of_architecture(
            space.architecture(one),
            image_size=space.image_size,
            num_classes=space.num_classes,
        )


class TestTheWholeSpace:
    def test_it_is_counted(self):
        # 2 ops, 2 kernels, 3 expansions, 4 lengths, in each stage.
        assert SPACES["small"].count == 48**3
        assert SPACES["b0"].count == 48**6

    def test_going_through_it_gives_each_model_once(self):
        space = make("search.layers=1|2,search.expansions=1,search.kernels=3")
        keys = [space.key(found) for found in space]
        assert len(set(keys)) == len(keys) == space.count == 4**3

    def test_every_model_is_drawn_as_often(self):
        space = make("search.layers=1,search.expansions=1,search.kernels=3")
        rng = random.Random(0)
        drawn = Counter(space.key(space.sample(rng)) for _ in range(800))
        assert len(drawn) == 8
        assert min(drawn.values()) > 70 and max(drawn.values()) < 130

    def test_smallest_is_what_going_through_all_finds(self):
        space = SPACES["small"]
        least = min(space.size(found).parameters for found in space)
        assert space.smallest[1].parameters == least

    def test_tight_bounds_are_drawn_from_by_a_walk(self):
        space = SPACES["tight"]
        within = {space.key(found) for found in space}
        assert 1 < len(within) < space.count / 4000
        rng = random.Random(1)
        drawn = {space.key(space.sample(rng)) for _ in range(10)}
        assert drawn <= within and len(drawn) > 1


class TestSizes:
    @pytest.mark.parametrize(
        "name, parameters",
        [("efficientnetv2-s", 21_458_488), ("efficientnet-b4", 19_341_616)],
    )
    def test_they_are_the_published_models(self, name, parameters):
        found = size.of_architecture(
            variants.VARIANTS[name].architecture, image_size=32
        )
        assert found.parameters == parameters

    @pytest.mark.parametrize("image_size", [32, 41])
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_they_are_those_of_the_model_that_keras_builds(
        self, seed, image_size
    ):
        from efficientnetv2 import model, multiply_adds  # here: TensorFlow

        space = SPACES["small"]
        architecture = space.architecture(space.sample(random.Random(seed)))
        built = model.build(architecture, num_classes=10)
        found = size.of_architecture(
            architecture, image_size=image_size, num_classes=10
        )
        trainable = sum(
            math.prod(variable.shape) for variable in built.trainable_variables
        )
        assert found.parameters == trainable
        assert found.multiply_adds == multiply_adds.count(built, image_size)

    def test_width_and_depth_are_scaled_before_counting(self):
        b2 = variants.VARIANTS["efficientnetv2-b2"]
        found = size.of_architecture(b2.architecture, image_size=260)
        assert found.parameters == 10_096_086


class TestAnArchitecture:
    def test_a_scaled_backbone_keeps_its_channels(self):
        space = make(model_name="efficientnetv2-b2")
        found = space.architecture(space.sample(random.Random(0)))
        assert found.feature_size == 1408
        assert (found.width_coefficient, found.depth_coefficient) == (1, 1)
        last = block_spec.decode(list(found.blocks))[-1]
        assert last.output_filters == 208

    def test_squeeze_excite_goes_with_the_depthwise_convolution(self):
        space = SPACES["b0"]
        for spec in block_spec.decode(
            list(space.blocks(space.sample(random.Random(3))))
        ):
            assert (spec.se_ratio is None) == spec.fused


@pytest.mark.parametrize(
    "overrides, message",
    [
        ("search.ops=mbconv|fuse", "Received: 'fuse' \\(nearest: 'fused'\\)"),
        ("search.ops=|", "search.ops must be some of mbconv|fused"),
        ("search.kernels=3|4", "search.kernels must be odd"),
        ("search.layers=0|1", "search.layers must be whole numbers >= 1"),
        ("search.layers=1|two", "search.layers must be whole numbers >= 1"),
        ("search.expansions=4|4", "must hold each value once"),
        (
            "search.max_million_parameters=0.01",
            "no model of the search space is within "
            "search.max_million_parameters=0.01; the one with fewest "
            "parameters has 0.0476 M and 0.0[0-9]+ billion",
        ),
        (
            "search.max_million_parameters=0.05,"
            "search.max_billion_multiply_adds=0.0001",
            "no model of the search space",
        ),
    ],
)
def test_a_space_that_cannot_be_is_one_line(overrides, message):
    with pytest.raises(ValueError, match=message):
        make(overrides)


def test_a_space_is_a_value():
    assert dataclasses.replace(SPACES["small"]) == SPACES["small"]
