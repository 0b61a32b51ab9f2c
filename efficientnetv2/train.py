"""Training, from the start or from where an earlier run stopped."""

import contextlib

from efficientnetv2 import (
    checkpoint,
    config_schema,
    evaluate,
    metrics_log,
    report,
    run_summary,
    train_setup,
    train_state,
)
from efficientnetv2.data import sources
from efficientnetv2.stop_signals import StopSignals
from efficientnetv2.train_loop import Loop


def _evaluator(setup, state):
    source = sources.open_source(setup.config.data, setup.config.eval.split)
    sources.check_disjoint(setup.source, source)
    return evaluate.Evaluator(
        state.model,
        setup.config,
        source,
        strategy=setup.strategy,
        workers=setup.workers,
    )


def _newest(setup):
    """The newest whole checkpoint, the same on all workers, or None."""
    found = checkpoint.latest(setup.checkpoints)
    step = found[1]["step"] if found else 0
    steps = setup.workers.share(step)[:, 0].tolist()
    if len(set(steps)) > 1:
        raise ValueError(
            "model_dir must be the same folder on all workers. Received: "
            f"newest checkpoints of the steps {steps} in {str(setup.folder)!r}"
        )
    return found


def _is_finished(setup, found, *, evaluates):
    if found is None or found[1]["step"] < setup.end_step:
        return False
    return not evaluates or found[1]["evaluated_step"] == setup.end_step


def _state(setup, found):
    """The state to train from, a checkpoint's or a new one."""
    state = train_state.build(
        setup, pretrained=None if found else setup.config.train.ft_init_ckpt
    )
    if found:
        arrays, meta, _ = found
        train_state.restore(setup, state, arrays, meta)
    return state


def _log(setup, state, found):
    log = metrics_log.MetricsLog(
        setup.folder if setup.workers.is_first else None,
        first_step=state.step,
        end_step=setup.end_step,
        every=setup.config.runtime.log_step_count_steps,
    )
    log.settings(config_schema.flatten(setup.config), state.step)
    if found:
        log.say(f"Going on from step {state.step} ({found[2]})")
    return log


def _writer(setup):
    """What writes the checkpoints: on the first worker."""
    if not setup.workers.is_first:
        return contextlib.nullcontext()
    return checkpoint.Writer(
        setup.checkpoints, keep=setup.config.runtime.keep_checkpoint_max
    )


def _run(setup, found, *, evaluates):
    """Trains; returns the exit code."""
    state = _state(setup, found)
    evaluator = _evaluator(setup, state) if evaluates else None
    with (
        StopSignals() as stop,
        _writer(setup) as writer,
        _log(setup, state, found) as log,
        setup.workers.watched(),
    ):
        loop = Loop(
            setup, state, evaluator=evaluator, writer=writer, log=log, stop=stop
        )
        is_done = loop.run()
        broken = int(setup.workers.share(loop.broken.total).sum())
    if not setup.workers.is_first:
        return 0 if is_done else stop.exit_code
    if not is_done:
        print(
            f"Stopped at step {state.step} of {setup.end_step}; the same "
            "command goes on",
            flush=True,
        )
        return stop.exit_code
    report.curves(setup.folder)
    summary = run_summary.describe(
        setup.folder, setup.stages, broken=broken, skipped=state.skipped_steps
    )
    print(summary, flush=True)
    return 0


def _train(config, model_dir, *, evaluates, allow_config_change):
    setup = train_setup.prepare(
        config, model_dir, allow_config_change=allow_config_change
    )
    with setup.workers.watched():
        found = _newest(setup)
    if _is_finished(setup, found, evaluates=evaluates):
        print(
            f"This run is finished ({setup.epochs} epochs, {setup.end_step} "
            f"steps); all of it is in {setup.folder}",
            flush=True,
        )
        return 0
    return _run(setup, found, evaluates=evaluates)


def train(config, model_dir, *, allow_config_change=False):
    """`--mode=train`: trains to the end, from where an earlier run stopped.

    Args:
        config: A `Config`.
        model_dir: Folder of the run.
        allow_config_change: Go on although the settings have changed.

    Returns:
        The exit code: 0; 143 after SIGTERM and 130 after ctrl-C, both with
        the state saved.
    """
    return _train(
        config,
        model_dir,
        evaluates=False,
        allow_config_change=allow_config_change,
    )


def train_and_evaluate(config, model_dir, *, allow_config_change=False):
    """`--mode=traineval`: `train`, with evaluations between epochs."""
    return _train(
        config,
        model_dir,
        evaluates=True,
        allow_config_change=allow_config_change,
    )
