"""How the next model is chosen: what Optuna calls a sampler.

Whatever proposes, no model is tried twice, and every proposal is drawn from
the seed and the trial's number: a search that is started again goes on as it
would have gone, and workers never draw the same numbers.
"""

import random

import optuna
from optuna.trial import TrialState

from efficientnetv2.search.space import Choice

# User attributes of a trial.
KEY, REASON, DUPLICATE, REWARD = "blocks", "reason", "duplicate_of", "reward"
_PROPOSALS = 100  # before the rest of the space is looked through
_LISTED = 100_000  # models of a space that can be looked through
_CROSSED = 0.5  # share of children with two parents, of evolution


def _name(index, gene):
    return f"stage{index + 1}_{gene}"


def distributions(space):
    """Optuna's parameters of a space: a dict from name to distribution."""
    return {
        _name(index, gene): optuna.distributions.CategoricalDistribution(values)
        for index in range(len(space.stages))
        for gene, values in space.options._asdict().items()
    }


def to_params(model):
    """The parameters of a model of the space, a dict."""
    return {
        _name(index, gene): value
        for index, choice in enumerate(model)
        for gene, value in choice._asdict().items()
    }


def from_params(params, stages):
    """The inverse of `to_params`, for a number of stages."""
    return tuple(
        Choice(*(params[_name(index, gene)] for gene in Choice._fields))
        for index in range(stages)
    )


def is_dead(trial):
    """Whether a trial ended without a word about its model.

    So end those of killed workers and interrupted ones, which are tried
    again, and a model that two workers drew at once.
    """
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs


def _is_whole(trial, space):
    """Whether all of a trial's parameters are known."""
    return set(distributions(space)) <= set(trial.params)


def tried(study, space):
    """Keys of the models that need not be tried any more: a set.

    Args:
        study: An Optuna study of the space.
        space: The `Space`.
    """
    names = set(distributions(space))
    keys = set()
    for trial in study.get_trials(deepcopy=False):
        params = trial.params or trial.system_attrs.get("fixed_params", {})
        if names <= set(params) and not is_dead(trial):
            keys.add(space.key(from_params(params, len(space.stages))))
    return keys


class Sampler(optuna.samplers.BaseSampler):
    """Draws each untried model with the same probability.

    Args:
        space: The `Space`.
        seed: Int.
    """

    def __init__(self, space, *, seed):
        self.space = space
        self.seed = seed

    def propose(self, study, trial, rng):
        """A model within the bounds; it may have been tried."""
        return self.space.sample(rng)

    def propose_again(self, model, rng):
        """Another model, after `model` was one that has been tried."""
        return self.space.sample(rng)

    def infer_relative_search_space(self, study, trial):
        return distributions(self.space)

    def sample_relative(self, study, trial, search_space):
        if "fixed_params" in trial.system_attrs or _is_whole(trial, self.space):
            return {}  # one that is tried again
        rng = random.Random(f"{self.seed}/{trial.number}")
        seen = tried(study, self.space)
        model = self.propose(study, trial, rng)
        for _ in range(_PROPOSALS):
            if self.space.key(model) not in seen:
                return to_params(model)
            model = self.propose_again(model, rng)
        left = []
        if self.space.count <= _LISTED:
            left = [m for m in self.space if self.space.key(m) not in seen]
        return to_params(rng.choice(left)) if left else {}

    def sample_independent(self, study, trial, name, distribution):
        raise ValueError("every model of the search space has been tried")


class Evolution(Sampler):
    """Regularised evolution: only the youngest trials have children.

    Source: arXiv 1802.01548, section 3. Differs from it: half of the children
    have two parents, whose stages are mixed before one gene is changed.

    Args:
        space: The `Space`.
        seed: Int.
        population: Finished trials that may be parents, the last ones.
        tournament: How many of them are drawn; the best becomes a parent.
    """

    def __init__(self, space, *, seed, population, tournament):
        super().__init__(space, seed=seed)
        self.population = population
        self.tournament = tournament

    def propose_again(self, model, rng):
        return self.space.mutate(model, rng)

    def _parent(self, trials, rng):
        drawn = rng.sample(trials, min(self.tournament, len(trials)))
        best = max(drawn, key=lambda trial: trial.user_attrs[REWARD])
        return from_params(best.params, len(self.space.stages))

    def propose(self, study, trial, rng):
        finished = study.get_trials(
            deepcopy=False, states=(TrialState.COMPLETE,)
        )
        if len(finished) < self.population:
            return self.space.sample(rng)
        youngest = sorted(finished, key=lambda trial: trial.number)
        youngest = youngest[-self.population :]
        child = self._parent(youngest, rng)
        if rng.random() < _CROSSED:
            other = self._parent(youngest, rng)
            child = self.space.cross(child, other, rng)
        return self.space.mutate(child, rng)


class Library(Sampler):
    """A sampler of Optuna's own, kept within the bounds of the space.

    Args:
        space: The `Space`.
        seed: Int.
        make: Function of a seed that makes Optuna's sampler.
    """

    def __init__(self, space, *, seed, make):
        super().__init__(space, seed=seed)
        self.make = make

    def propose_again(self, model, rng):
        return self.space.mutate(model, rng)

    def propose(self, study, trial, rng):
        params = self.make(rng.randrange(2**31)).sample_relative(
            study, trial, distributions(self.space)
        )
        model = self.space.sample(rng)
        if not params:  # not enough trials yet
            return model
        # What Optuna leaves open is drawn.
        found = from_params(to_params(model) | params, len(model))
        return found if self.space.holds(found) else model


def make(settings, space, *, seed):
    """The sampler that a config names.

    Args:
        settings: The config's `search` section.
        space: The `Space`.
        seed: Int.

    Returns:
        An Optuna sampler.
    """
    if settings.sampler == "evolution":
        return Evolution(
            space,
            seed=seed,
            population=settings.population,
            tournament=settings.tournament,
        )
    if settings.sampler == "nsga2":
        return Library(
            space,
            seed=seed,
            make=lambda number: optuna.samplers.NSGAIISampler(
                population_size=settings.population, seed=number
            ),
        )
    if settings.sampler == "tpe":
        return Library(
            space,
            seed=seed,
            make=lambda number: optuna.samplers.TPESampler(
                multivariate=True, constant_liar=True, seed=number
            ),
        )
    return Sampler(space, seed=seed)
