"""What is done for a trial, and what is kept of it."""

import dataclasses
import os
import pathlib
import re

import optuna

from efficientnetv2.config_schema import SearchConfig
from efficientnetv2.search import model_file, reward, samplers, trial_process
from efficientnetv2.search.reward import Parts
from efficientnetv2.search.study import has_several_objectives

TRIALS = "trials"
MODEL = "model.yaml"
FOLDER = "model_dir"
_STUDY = SearchConfig.study


def folder_of(model_dir, number, *, study=_STUDY):
    """The trial's model_dir; other studies in one folder have their own."""
    folder = pathlib.Path(model_dir) / TRIALS
    if study != _STUDY:
        folder /= re.sub(r"[^\w.-]+", "-", study)
    return folder / f"{number:04d}"


def _earlier_with(study, trial, key):
    """Number of an earlier trial of the same model that is not dead."""
    for other in study.get_trials(deepcopy=False):
        if (
            other.number < trial.number
            and other.user_attrs.get(samplers.KEY) == key
            and not samplers.is_dead(other)
        ):
            return other.number
    return None


class Objective:
    """Called by Optuna with a trial; returns its value or values.

    Args:
        config: The search's `Config`.
        model_dir: Its folder.
        space: The `Space`.
        run: Times and trains a model, as `trial_process.run` does.
    """

    def __init__(self, config, model_dir, space, *, run):
        self.config = config
        self.model_dir = model_dir
        self.space = space
        self.run = run

    def _draw(self, trial):
        kinds = samplers.distributions(self.space)
        params = {
            name: trial.suggest_categorical(name, kind.choices)
            for name, kind in kinds.items()
        }
        return samplers.from_params(params, len(self.space.stages))

    def _prepare(self, trial, model):
        """The trial's folder, with its model; returns (folder, config)."""
        folder = folder_of(
            self.model_dir, trial.number, study=self.config.search.study
        )
        folder.mkdir(parents=True, exist_ok=True)
        architecture = self.space.architecture(
            model, name=f"{self.config.search.study}-{trial.number}"
        )
        path = folder / MODEL
        model_file.write_trained(
            path,
            architecture,
            self.config,
            about=[f"Trial {trial.number} of an architecture search."],
        )
        return folder, dataclasses.replace(
            self.config, model_name=os.fspath(path), model=architecture
        )

    def _measure(self, trial, model):
        """Trains a model; returns its `Parts`."""
        folder, config = self._prepare(trial, model)
        trial.set_user_attr(FOLDER, os.fspath(folder))
        size = self.space.size(model)
        keep = trial.set_user_attr
        settings = config.search
        several = has_several_objectives(settings)
        parts = size._asdict()
        for name, value in parts.items():
            keep(name, value)

        def on_step(seconds, reference):
            found = reward.step_time(seconds, reference)
            for name, value in dataclasses.asdict(found).items():
                keep(f"step_{name}", value)
            parts["step_ratio"] = found.ratio
            parts["step_seconds"] = found.seconds

        def on_evaluation(epoch, accuracy):
            now = Parts(accuracy=accuracy, **parts)
            if several:
                return
            trial.report(reward.reward(settings, now), epoch)
            if trial.should_prune():
                keep("accuracy", accuracy)
                keep(samplers.REWARD, reward.reward(settings, now))
                raise optuna.TrialPruned(f"after epoch {epoch}")

        accuracy = self.run(
            config,
            folder,
            backbone=self.space.backbone,
            on_step=on_step,
            on_evaluation=on_evaluation,
        )
        return Parts(accuracy=accuracy, **parts)

    def __call__(self, trial):
        settings = self.config.search
        try:
            model = self._draw(trial)
        except ValueError as error:
            trial.set_user_attr(samplers.REASON, str(error))
            raise trial_process.TrialFailedError(str(error)) from None
        key = self.space.key(model)
        trial.set_user_attr(samplers.KEY, key)  # first, so that others see it
        same = _earlier_with(trial.study, trial, key)
        if same is not None:
            trial.set_user_attr(samplers.DUPLICATE, same)
            raise trial_process.TrialFailedError(
                f"another worker has drawn this model too, trial {same}"
            )
        try:
            parts = self._measure(trial, model)
        except KeyboardInterrupt:
            trial.study.enqueue_trial(trial.params)
            raise
        except (trial_process.TrialFailedError, OSError) as error:
            trial.set_user_attr(samplers.REASON, str(error))
            raise trial_process.TrialFailedError(str(error)) from None
        value = reward.reward(settings, parts)
        trial.set_user_attr("accuracy", parts.accuracy)
        trial.set_user_attr(samplers.REWARD, value)
        if has_several_objectives(settings):
            return parts.accuracy, parts.step_ratio, parts.parameters
        return value
