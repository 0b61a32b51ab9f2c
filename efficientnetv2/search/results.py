"""The trials of a study as rows: their figures, best first."""

import dataclasses

from optuna.trial import TrialState

from efficientnetv2.search import samplers

DONE, PRUNED, FAILED, RUNNING = "done", "pruned", "failed", "running"
_STATES = {
    TrialState.COMPLETE: DONE,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
    TrialState.RUNNING: RUNNING,
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A trial.

    Args:
        trial: Its number.
        state: 'done', 'pruned', 'failed' or 'running'.
        reward: A * S^w * P^v, or None.
        accuracy: 0 to 1, of a pruned one its last, or None.
        step_ratio: Time of a step by the backbone's, or None.
        step_seconds: Time of a step, or None.
        parameters: Trainable ones, or None.
        multiply_adds: At the evaluation size, or None.
        model_dir: Its folder, or None.
        blocks: Block strings joined by ';'.
        reason: Why it failed, or None.
    """

    trial: int
    state: str
    reward: float | None
    accuracy: float | None
    step_ratio: float | None
    step_seconds: float | None
    parameters: int | None
    multiply_adds: int | None
    model_dir: str | None
    blocks: str
    reason: str | None = None


def row(trial):
    """The `Row` of an Optuna trial."""
    found = {
        field.name: trial.user_attrs.get(field.name)
        for field in dataclasses.fields(Row)
    }
    found["trial"] = trial.number
    found["state"] = _STATES[trial.state]
    found["blocks"] = found["blocks"] or ""
    return Row(**found)


def rows(study):
    """All trials but those that are tried again.

    Args:
        study: An Optuna study.

    Returns:
        A list of `Row`: done ones first, best reward first.
    """
    order = [DONE, PRUNED, RUNNING, FAILED]
    found = [
        row(trial)
        for trial in study.get_trials(deepcopy=False)
        if trial.state in _STATES and not samplers.is_dead(trial)
    ]
    return sorted(
        found, key=lambda r: (order.index(r.state), -(r.reward or 0), r.trial)
    )


def best(found):
    """The row with the best reward that is done, or None."""
    done = [row for row in found if row.state == DONE]
    return done[0] if done else None


def front(found):
    """Rows that no other beats in both accuracy and step time.

    Args:
        found: Result of `rows`.

    Returns:
        A list of `Row`, fastest first.
    """
    done = [row for row in found if row.state == DONE]
    kept = []
    for one in sorted(done, key=lambda r: (r.step_ratio, -r.accuracy)):
        if not kept or one.accuracy > kept[-1].accuracy:
            kept.append(one)
    return kept
