"""The study: its samplers, storages, failures and results, without training.

What a trial measures comes from its size here; trials that are trained are in
test_search_run.py.
"""

import csv

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from efficientnetv2 import config, variants
from efficientnetv2.search import (
    leaderboard,
    objective,
    pictures,
    results,
    run,
    samplers,
    space_config,
    study,
    trial_process,
)

BACKBONE = "r1_k3_s1_e1_i8_o8_c1;r2_k3_s2_e4_i8_o16_se0.25"
SMALL = "search.ops=fused,search.kernels=3,search.layers=1|2,search.pruner=none"
SAMPLERS = ["random", "evolution", "nsga2", "tpe"]


def settings(overrides=""):
    both = ",".join(part for part in (SMALL, overrides) if part)
    given = dict(item.split("=", 1) for item in both.split(","))
    return config.load(BACKBONE, "shapes", given)


def measured(size):
    """Accuracy and ratio of a made-up machine: larger is better and slower."""
    return size.parameters / 1e6, size.multiply_adds / 1e6


def make_run(space, *, epochs=1, failing=()):
    calls = []

    def fake(trial_config, folder, *, backbone, on_step, on_evaluation):
        calls.append(trial_config.model.blocks)
        if len(calls) - 1 in failing:
            raise trial_process.TrialFailedError("out of memory. Full")
        model = space.read(list(trial_config.model.blocks))
        accuracy, seconds = measured(space.size(model))
        on_step([seconds, seconds], [1.0, 1.0])
        for epoch in range(epochs):
            on_evaluation(epoch, accuracy * (epoch + 1) / epochs)
        return accuracy

    fake.calls = calls
    return fake


def search(folder, overrides="", *, trials=12, **kwargs):
    """Runs trials; returns (study, space, the models that were measured)."""
    made = settings(overrides)
    space = space_config.build(made, num_classes=10)
    the_study = study.open_study(made, folder, space)
    runner = make_run(space, **kwargs)
    the_study.optimize(
        objective.Objective(made, folder, space, run=runner),
        n_trials=trials,
        catch=(trial_process.TrialFailedError,),
    )
    return the_study, space, runner.calls


@pytest.fixture(autouse=True)
def _quiet():
    study.quiet()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(folder, study, space, models) of a search with a failed trial."""
    folder = tmp_path_factory.mktemp("search")
    study.quiet()
    return folder, *search(folder, trials=8, failing=[3])


class TestSamplers:
    @pytest.mark.parametrize("name", SAMPLERS)
    def test_no_model_is_tried_twice(self, tmp_path, name):
        _, space, calls = search(
            tmp_path, f"search.sampler={name},search.population=4", trials=20
        )
        assert len(set(calls)) == len(calls) == 20

    def test_all_of_a_space_is_tried_and_then_no_more(self, tmp_path):
        found, space, calls = search(
            tmp_path, "search.expansions=1|4", trials=17
        )
        assert len(set(calls)) == space.count == 16
        last = found.get_trials()[-1]
        assert last.state == TrialState.FAIL
        assert "every model of the search space" in last.user_attrs["reason"]

    @pytest.mark.parametrize("name", SAMPLERS)
    def test_bounds_hold_for_every_sampler(self, tmp_path, name):
        _, space, calls = search(
            tmp_path,
            f"search.sampler={name},search.population=3,"
            "search.max_million_parameters=0.045",
            trials=8,
        )
        assert all(space.holds(space.read(list(call))) for call in calls)

    def test_a_search_is_the_same_again(self, tmp_path):
        name = "search.sampler=evolution,search.population=3"
        whole = search(tmp_path / "a", name, trials=10)[2]
        first = search(tmp_path / "b", name, trials=6)[2]
        rest = search(tmp_path / "b", name, trials=4)[2]
        other = search(tmp_path / "c", f"{name},train.seed=5", trials=10)[2]
        assert first + rest == whole != other

    def test_evolution_is_better_than_chance(self, tmp_path):
        wide = "search.ops=mbconv|fused,search.layers=1|2|3|4"
        reward = {}
        for sampler in ("random", "evolution"):
            rewards = []
            for seed in range(2):
                found, _, _ = search(
                    tmp_path / f"{sampler}{seed}",
                    f"search.sampler={sampler},search.population=5,{wide},"
                    f"train.seed={seed},search.time_weight=0,"
                    "search.parameters_weight=0",
                    trials=20,
                )
                last = [t.value for t in found.get_trials()[-8:]]
                rewards.append(sum(last) / len(last))
            reward[sampler] = sum(rewards) / len(rewards)
        assert reward["evolution"] > 1.1 * reward["random"]

    def test_parameters_and_models_are_the_same_thing(self):
        space = space_config.build(settings(), num_classes=10)
        for model in space:
            assert samplers.from_params(samplers.to_params(model), 2) == model


class TestTrials:
    def test_value_is_the_reward_of_the_measured_parts(self, tmp_path):
        found, space, _ = search(tmp_path, trials=3)
        for trial in found.get_trials():
            attrs = trial.user_attrs
            size = space.size(space.read(attrs["blocks"].split(";")))
            accuracy, ratio = measured(size)
            assert attrs["parameters"] == size.parameters
            assert attrs["step_ratio"] == pytest.approx(ratio)
            millions = size.parameters / 1e6
            assert trial.value == pytest.approx(
                accuracy * ratio**-0.07 * millions**-0.05
            )

    def test_nsga2_has_three_values(self, tmp_path):
        found, _, _ = search(
            tmp_path, "search.sampler=nsga2,search.population=3", trials=5
        )
        assert [d.name for d in found.directions] == [
            "MAXIMIZE",
            "MINIMIZE",
            "MINIMIZE",
        ]
        for trial in found.get_trials():
            accuracy, ratio, parameters = trial.values
            assert accuracy == pytest.approx(parameters / 1e6)
            assert ratio == trial.user_attrs["step_ratio"]

    def test_a_failed_trial_is_kept_with_its_reason(self, tmp_path):
        found, _, calls = search(tmp_path, trials=3, failing=[1])
        states = [trial.state.name for trial in found.get_trials()]
        assert states == ["COMPLETE", "FAIL", "COMPLETE"]
        rows = results.rows(found)
        assert rows[-1].reason == "out of memory. Full"
        assert "out of memory. Full" in leaderboard.text(rows)

    def test_bad_trials_are_pruned_with_one_objective(self, tmp_path):
        found, _, _ = search(
            tmp_path, "search.pruner=median", trials=20, epochs=3
        )
        pruned = [r for r in results.rows(found) if r.state == "pruned"]
        done = [r for r in results.rows(found) if r.state == "done"]
        assert pruned and len(done) >= 5
        worst = sorted(row.parameters for row in done)
        assert max(row.parameters for row in pruned) < worst[-1]
        assert results.best(results.rows(found)).state == "done"

    def test_nothing_is_pruned_with_several(self, tmp_path):
        found, _, _ = search(
            tmp_path,
            "search.pruner=median,search.sampler=nsga2",
            trials=15,
            epochs=3,
        )
        assert {t.state for t in found.get_trials()} == {TrialState.COMPLETE}

    def test_an_interrupted_trial_is_tried_again(self, tmp_path):
        made = settings()
        space = space_config.build(made, num_classes=10)
        the_study = study.open_study(made, tmp_path, space)

        def interrupted(*args, **kwargs):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            the_study.optimize(
                objective.Objective(made, tmp_path, space, run=interrupted),
                n_trials=1,
            )
        assert run._left(the_study, made.search) == (made.search.trials, 0)
        found, _, _ = search(tmp_path, trials=1)
        first, second = found.get_trials()
        assert first.state == TrialState.FAIL
        assert second.state == TrialState.COMPLETE
        assert first.params == second.params
        assert [row.trial for row in results.rows(found)] == [1]

    def test_each_trial_has_a_folder_with_its_model(self, tmp_path):
        found, space, calls = search(tmp_path, trials=2)
        for row in results.rows(found):
            path = tmp_path / "trials" / f"{row.trial:04d}" / "model.yaml"
            assert row.model_dir == str(path.parent)
            blocks = variants.lookup(str(path)).architecture.blocks
            assert ";".join(blocks) == row.blocks


class TestOneModelDrawnByTwoWorkers:
    def test_the_second_does_not_train_it(self, tmp_path):
        found, space, _ = search(tmp_path, trials=1)
        found.enqueue_trial(found.get_trials()[0].params)
        again, _, calls = search(tmp_path, trials=1)
        assert calls == []
        assert again.get_trials()[1].user_attrs["duplicate_of"] == 0
        assert len(results.rows(again)) == 1


class TestStorages:
    @pytest.mark.parametrize("storage", [None, "journal.log", "sqlite:///{}"])
    def test_a_study_goes_on_in_each(self, tmp_path, storage):
        overrides = ""
        if storage:
            place = tmp_path / "elsewhere"
            storage = storage.replace("journal.log", f"{place}.log")
            overrides = f"search.storage={storage.format(place)}"
        search(tmp_path, overrides, trials=2)
        found, _, _ = search(tmp_path, overrides, trials=1)
        assert len(found.get_trials()) == 3

    @pytest.mark.parametrize(
        "change, message",
        [
            ("search.layers=1|2|3", "search.layers: 1|2 -> 1|2|3"),
            ("train.epochs=99", "train.epochs: 10 -> 99"),
            ("search.sampler=nsga2", "objectives: 1 -> 3"),
        ],
    )
    def test_a_study_of_another_space_is_one_line(
        self, tmp_path, change, message
    ):
        search(tmp_path, trials=1)
        with pytest.raises(ValueError) as error:
            search(tmp_path, change, trials=1)
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    def test_another_sampler_of_one_objective_may_go_on(self, tmp_path):
        search(tmp_path, trials=2)
        found, _, _ = search(tmp_path, "search.sampler=evolution", trials=1)
        assert len(found.get_trials()) == 3

    def test_a_study_of_something_else_is_one_line(self, tmp_path):
        url = f"sqlite:///{tmp_path / 'other.db'}"
        other = optuna.create_study(study_name="search", storage=url)
        other.optimize(lambda trial: trial.suggest_float("x", 0, 1), 1)
        with pytest.raises(ValueError, match="not made by --mode=search"):
            search(tmp_path, f"search.storage={url}", trials=1)

    @pytest.mark.parametrize(
        "storage, message",
        [
            ("study.sqlite", "must be a URL"),
            ("mysqll://host/name", "cannot be"),
            ("sqlite:////no/such/folder/study.db", "unable to open database"),
        ],
    )
    def test_a_storage_that_cannot_be_is_one_line(
        self, tmp_path, storage, message, monkeypatch
    ):
        monkeypatch.setattr(study.time, "sleep", lambda seconds: None)
        with pytest.raises(ValueError, match=message):
            search(tmp_path, f"search.storage={storage}", trials=1)

    def test_a_storage_that_goes_away_is_one_line(self, tmp_path):
        search(tmp_path, trials=1)
        made = settings()
        space = space_config.build(made, num_classes=10)
        the_study = study.open_study(made, tmp_path, space)
        path = tmp_path / study.DATABASE
        path.write_bytes(b"no database any more" * 200)
        with pytest.raises(ValueError, match="goes on when it is back"):
            with study.storage_errors(str(path)):
                the_study.optimize(
                    objective.Objective(
                        made, tmp_path, space, run=make_run(space)
                    ),
                    n_trials=1,
                )


class TestWhatAPersonSees:
    def test_leaderboard_has_the_best_first(self, done):
        folder, found, _, _ = done
        rows = results.rows(found)
        rewards = [row.reward for row in rows if row.state == "done"]
        assert rewards == sorted(rewards, reverse=True) and len(rewards) == 7
        leaderboard.write(rows, folder)
        with open(folder / "leaderboard.csv", newline="") as file:
            table = list(csv.DictReader(file))
        assert [int(line["trial"]) for line in table] == [
            row.trial for row in rows
        ]
        assert float(table[0]["reward"]) == rewards[0]
        lines = (folder / "leaderboard.md").read_text().splitlines()
        assert len(lines) == 2 + 8

    def test_front_has_what_nothing_beats(self, done):
        rows = results.rows(done[1])
        complete = [row for row in rows if row.state == "done"]
        for row in results.front(rows):
            assert not any(
                other.accuracy >= row.accuracy
                and other.step_ratio <= row.step_ratio
                and other != row
                for other in complete
            )

    def test_pictures_are_drawn(self, done):
        folder, found, _, _ = done
        names = pictures.draw(found, folder, title="a search")
        assert names == [
            "pareto.png",
            "history.png",
            "importances.png",
            "slices.png",
        ]
        for name in names:
            assert (folder / name).read_bytes().startswith(b"\x89PNG")

    def test_best_is_a_model_that_can_be_named(self, done):
        folder, found, space, _ = done
        rows = results.rows(found)
        run._write_best(settings(), folder, space, rows)
        loaded = config.load(str(folder / "best.yaml"), "shapes")
        assert ";".join(loaded.model.blocks) == rows[0].blocks
        text = yaml.safe_load((folder / "best.yaml").read_text())
        assert text["eval_size"] == settings().eval.isize

    def test_progress_tells_the_best_so_far(self, done):
        rows = results.rows(done[1])
        line = run._progress(rows[2], rows, settings().search)
        assert line.startswith(f"[8/40] trial {rows[2].trial} done; reward ")
        best = f"best so far {rows[0].reward:.4f} (trial {rows[0].trial})"
        assert line.endswith(best)


def test_studies_in_one_folder_have_trials_of_their_own(tmp_path):
    folders = {
        search(tmp_path, overrides, trials=1)[0]
        .trials[0]
        .user_attrs[objective.FOLDER]
        for overrides in ("", "search.study=other")
    }
    assert len(folders) == 2


def test_looking_at_a_study_that_is_not_there_makes_none(tmp_path):
    search(tmp_path, trials=0)
    for _ in range(2):
        with pytest.raises(ValueError, match="'saerch' .nearest: 'search'"):
            study.open_study(settings("search.study=saerch"), tmp_path)
