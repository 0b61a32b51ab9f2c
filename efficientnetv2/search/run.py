"""`--mode=search`: trials until there are enough of them, and their report."""

import contextlib
import os
import pathlib
import signal
import sys
import time

import optuna
from optuna.trial import TrialState

from efficientnetv2 import config as config_lib
from efficientnetv2.search import (
    leaderboard,
    model_file,
    pictures,
    results,
    samplers,
    space_config,
    study,
    trial_process,
)
from efficientnetv2.search.objective import Objective

BEST = "best.yaml"
CONFIG = "config.yaml"
_WAIT_SECONDS = 5  # from one look at the study to the next
_TERMINATED = 143  # 128 + SIGTERM


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM, which Optuna then takes as it does ctrl-C."""


@contextlib.contextmanager
def _sigterm_raises():
    def stop(*_):
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_watched(the_study):
    """Whether the storage knows which trials' workers are alive."""
    heartbeat = getattr(the_study._storage, "get_heartbeat_interval", None)
    return heartbeat is not None and heartbeat() is not None


def _left(the_study, settings):
    """(trials still to begin, trials that other workers are at)."""
    optuna.storages.fail_stale_trials(the_study)
    ended = running = 0
    for trial in the_study.get_trials(deepcopy=False):
        running += trial.state == TrialState.RUNNING
        ended += trial.state.is_finished() and not samplers.is_dead(trial)
    if not _is_watched(the_study):
        running = 0  # a journal file would count those of killed workers
    return settings.trials - ended - running, running


def _say(text):
    print(text, flush=True)


def _progress(row, found, settings):
    """A line about a trial that has just ended, with the best so far."""
    done = sum(r.state != results.RUNNING for r in found)
    parts = [f"[{done}/{settings.trials}] trial {row.trial} {row.state}"]
    if row.reason:
        parts.append(row.reason)
    if row.reward is not None:
        parts.append(
            f"reward {row.reward:.4f}, accuracy {100 * row.accuracy:.2f} %, "
            f"step {row.step_ratio:.2f} x the backbone's, "
            f"{row.parameters / 1e6:.2f} M parameters"
        )
    best = results.best(found)
    if best is not None:
        parts.append(f"best so far {best.reward:.4f} (trial {best.trial})")
    return "; ".join(parts)


def _write_best(config, model_dir, space, found):
    """Writes best.yaml."""
    best = results.best(found)
    if best is None:
        return
    stages = best.blocks.split(";")
    architecture = space.architecture(space.read(stages), name="searched")
    model_file.write_trained(
        pathlib.Path(model_dir) / BEST,
        architecture,
        config,
        about=[
            f"Best of an architecture search: trial {best.trial}, reward "
            f"{best.reward:.4f},",
            f"accuracy {100 * best.accuracy:.2f} %, step "
            f"{best.step_ratio:.2f} x the backbone's, "
            f"{best.parameters / 1e6:.2f} M parameters.",
        ],
    )


def _report(config, model_dir, space, the_study):
    """Best model, leaderboard and pictures; prints where they are."""
    found = results.rows(the_study)
    _write_best(config, model_dir, space, found)
    leaderboard.write(found, model_dir)
    _say(leaderboard.text(found))
    names = [leaderboard.CSV, leaderboard.MARKDOWN]
    try:
        names += pictures.draw(
            the_study,
            model_dir,
            title=f"{config.search.sampler} search on {config.dataset_cfg}",
        )
    except ModuleNotFoundError as error:
        print(
            f"no pictures: they need {error.name}: "
            "pip install 'efficientnetv2[report]'",
            file=sys.stderr,
        )
    if results.best(found) is not None:
        names.insert(0, BEST)
    _say(f"all in {model_dir}: {', '.join(names)}")
    return found


def _work(config, model_dir, space, the_study):
    """Trials until there are enough, also those of other workers."""
    objective = Objective(config, model_dir, space, run=trial_process.run)

    def after(a_study, trial):
        found = results.rows(a_study)
        if not samplers.is_dead(trial):
            row = results.row(trial)
            _say(_progress(row, found, config.search))
            _write_best(config, model_dir, space, found)
            leaderboard.write(found, model_dir)

    is_waiting = False
    while True:
        left, others = _left(the_study, config.search)
        if left <= 0 and not others:
            return
        if left <= 0:  # one of them may die, and its trial be tried here
            if not is_waiting:
                _say(f"Waiting for the trials of {others} other worker(s)")
            is_waiting = True
            time.sleep(min(_WAIT_SECONDS, config.search.heartbeat_secs))
            continue
        if len(samplers.tried(the_study, space)) >= space.count:
            _say(f"All {space.count} models of the space have been tried")
            return
        the_study.optimize(
            objective,
            n_trials=1,
            catch=(trial_process.TrialFailedError,),
            callbacks=[after],
        )


def search(config, model_dir):
    """`--mode=search`: searches until the study has `search.trials` trials.

    The same command goes on after a stop; given several times at once, also
    on several machines with one `search.storage`, its workers share a study.

    Args:
        config: A `Config`; its model is the backbone.
        model_dir: Folder of the search.

    Returns:
        The exit code: 0; 1 if no trial has a result; 143 after SIGTERM.

    Raises:
        ValueError: for an empty space, a study of another space, data that
            cannot be read or a storage that is gone.
    """
    study.quiet()
    space_config.build(config, num_classes=config.data.num_classes or 2)
    classes = trial_process.count_classes(config)
    space = space_config.build(config, num_classes=classes)
    where = study.describe_storage(config.search, model_dir)
    the_study = study.open_study(config, model_dir, space)
    config_lib.save(config, pathlib.Path(model_dir) / CONFIG)
    _say(
        f"{space.count:,} models in the space"
        f"{' (before its bounds)' if space.is_bounded else ''}; study "
        f"{config.search.study!r} in {where}"
    )
    try:
        with study.storage_errors(where), _sigterm_raises():
            _work(config, model_dir, space, the_study)
    except KeyboardInterrupt as signal_:
        _say("Stopped; its trial is tried again, the same command goes on")
        if isinstance(signal_, _TerminatedError):
            return _TERMINATED
        raise
    with study.storage_errors(where):
        found = _report(config, model_dir, space, the_study)
    return 0 if results.best(found) is not None else 1


def report(config, model_dir):
    """`--mode=report --what=search`: what a search has found, again.

    Args:
        config: The search's `Config`.
        model_dir: Its folder.
    """
    study.quiet()
    where = study.describe_storage(config.search, model_dir)
    if config.search.storage is None and not os.path.exists(where):
        raise ValueError(
            f"model_dir must hold a search, with {study.DATABASE}. "
            f"Received: {os.fspath(model_dir)!r}"
        )
    the_study = study.open_study(config, model_dir)
    # The number of classes decides only what is within the bounds.
    space = space_config.build(config, num_classes=config.data.num_classes or 2)
    with study.storage_errors(where):
        _report(config, model_dir, space, the_study)
