"""Scaling: S comes near the published M and L; bounds and targets hold."""

import pytest

from efficientnetv2 import app, block_spec, scaling, variants
from efficientnetv2.search import scale, size

S = variants.VARIANTS["efficientnetv2-s"].architecture
SETTINGS = {"image_size": 384, "max_image_size": 480, "classes": 1000}


def _published(name):
    variant = variants.VARIANTS[name]
    return size.of_architecture(
        variant.architecture, image_size=variant.eval_size
    )


@pytest.mark.parametrize("name", ["efficientnetv2-m", "efficientnetv2-l"])
class TestSScaledToAPublishedSize:
    def test_multiply_adds_at_its_parameters_are_within_4_percent(self, name):
        known = _published(name)
        found = scale.to_target(
            S, figure="parameters", target=known.parameters, **SETTINGS
        )
        assert found.size.parameters == pytest.approx(
            known.parameters, rel=0.035
        )
        assert found.size.multiply_adds == pytest.approx(
            known.multiply_adds, rel=0.04
        )

    def test_parameters_at_its_multiply_adds_are_within_6_percent(self, name):
        known = _published(name)
        found = scale.to_target(
            S, figure="multiply_adds", target=known.multiply_adds, **SETTINGS
        )
        assert found.size.multiply_adds == pytest.approx(
            known.multiply_adds, rel=0.035
        )
        assert found.size.parameters == pytest.approx(
            known.parameters, rel=0.06
        )

    def test_stages_are_nearly_the_published_ones(self, name):
        known = variants.VARIANTS[name]
        found = scale.to_target(
            S,
            figure="parameters",
            target=_published(name).parameters,
            **SETTINGS,
        )
        pairs = zip(
            block_spec.decode(list(found.architecture.blocks)),
            block_spec.decode(list(known.architecture.blocks)),
            strict=True,  # the stage that S does not have is there
        )
        for own, theirs in pairs:
            assert abs(own.num_repeat - theirs.num_repeat) <= 4
            assert own.output_filters == pytest.approx(
                theirs.output_filters, rel=0.17
            )
        assert abs(found.image_size - known.eval_size) <= 10


class TestApply:
    def test_coefficient_0_changes_nothing(self):
        found = scale.apply(S, 0.0, **SETTINGS)
        assert found.architecture == S
        assert found.image_size == 384

    @pytest.mark.parametrize("coefficient", [2.0, 6.0])
    def test_image_size_stays_below_its_bound(self, coefficient):
        assert scale.apply(S, coefficient, **SETTINGS).image_size == 480

    def test_a_bound_below_the_base_model_shrinks_nothing(self):
        settings = SETTINGS | {"max_image_size": 100}
        assert scale.apply(S, 1.0, **settings).image_size == 384

    def test_layers_are_added_bit_by_bit_at_the_end(self):
        def added(coefficient):
            found = scale.apply(S, coefficient, **SETTINGS)
            stages = block_spec.decode(list(found.architecture.blocks))
            return sum(stage.num_repeat for stage in stages[6:])

        assert [added(c) for c in (0.1, 0.5, 1.0, 1.5)] == [0, 2, 4, 6]

    def test_every_stage_takes_what_the_one_before_gives(self):
        for step in range(30):
            found = scale.apply(S, step / 5, **SETTINGS).architecture
            scaling.scale_stages(found)  # raises where it does not


def test_a_target_below_the_base_model_is_one_line():
    with pytest.raises(ValueError, match="not be below the 21,458,488 param"):
        scale.to_target(S, figure="parameters", target=1e6, **SETTINGS)


class TestTheCommand:
    def _run(self, folder, hparams):
        return app.main(
            [
                "main.py",
                "--mode=search",
                "--what=scale",
                "--model_name=efficientnetv2-s",
                f"--model_dir={folder}",
                f"--hparam_str={hparams}",
            ]
        )

    def test_it_writes_a_model_that_can_be_named(self, tmp_path, capsys):
        code = self._run(tmp_path, "search.target_billion_multiply_adds=24.6")
        assert code == 0
        path = tmp_path / "efficientnetv2-s-scaled.yaml"
        found = variants.lookup(str(path))
        assert found.eval_size == 466 and found.train_size == 364
        assert str(path) in capsys.readouterr().out

    @pytest.mark.parametrize(
        "hparams",
        [
            "",
            "search.target_million_parameters=50,"
            "search.target_billion_multiply_adds=24",
        ],
    )
    def test_it_needs_one_target(self, tmp_path, hparams, capsys):
        assert self._run(tmp_path, hparams) == 1
        assert "needs one of search.target" in capsys.readouterr().err

    def test_a_model_for_small_pictures_can_be_scaled_too(
        self, tmp_path, capsys
    ):
        blocks = list(S.blocks)
        path = tmp_path / "best.yaml"
        path.write_text(f"blocks: {blocks}\ntrain_size: 32\neval_size: 40\n")
        code = app.main(
            [
                "main.py",
                "--mode=search",
                "--what=scale",
                f"--model_name={path}",
                f"--model_dir={tmp_path}",
                "--hparam_str=search.target_million_parameters=30",
            ]
        )
        assert code == 0, capsys.readouterr().err
        found = variants.lookup(str(tmp_path / "best-scaled.yaml"))
        assert 40 < found.eval_size < 60
