"""Pictures of a search: the Pareto front, and what Optuna draws itself."""

import io
import pathlib
import typing

from efficientnetv2.search import results, samplers, shared_file

PARETO = "pareto.png"
HISTORY = "history.png"
IMPORTANCES = "importances.png"
SLICES = "slices.png"
_DOT_AREA = (30, 400)  # of the smallest and the largest model, points^2
_DONE_COLOR, _FRONT_COLOR, _PRUNED_COLOR = "#1f6fb4", "#c8502d", "#b8c4d0"
_DPI = 110
_SHOWN_GENES = 8  # in Optuna's pictures
_LEAST_TRIALS = 4  # from which on importances mean anything


def _save(figure, path, **settings):
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI, **settings)
    shared_file.write(path, picture.getvalue())


def _areas(found):
    parameters = [row.parameters for row in found]
    least, most = min(parameters), max(parameters)
    low, high = _DOT_AREA
    scale = (high - low) / (most - least or 1)
    return {row.trial: low + scale * (row.parameters - least) for row in found}


def _draw_legend(axes, shown, areas):
    ends = [
        min(shown, key=lambda row: row.parameters),
        max(shown, key=lambda row: row.parameters),
    ]
    if any(row.state == results.PRUNED for row in shown):
        axes.scatter(
            [], [], s=_DOT_AREA[0], color=_PRUNED_COLOR, label="pruned"
        )
    for row in ends:
        axes.scatter(
            [],
            [],
            s=areas[row.trial],
            color="#888888",
            label=f"{row.parameters / 1e6:.3g} M parameters",
        )
    axes.get_figure().legend(loc="outside lower center", ncols=4, frameon=False)


def _pareto(found, title):
    """Accuracy against step time; None where no trial has both."""
    from matplotlib.figure import Figure  # without pyplot: no global state

    shown = [
        row
        for row in found
        if row.state in (results.DONE, results.PRUNED)
        and None not in (row.accuracy, row.step_ratio)
    ]
    if not shown:
        return None
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    areas = _areas(shown)
    for state, color in (
        (results.PRUNED, _PRUNED_COLOR),
        (results.DONE, _DONE_COLOR),
    ):
        rows = [row for row in shown if row.state == state]
        axes.scatter(
            [row.step_ratio for row in rows],
            [100 * row.accuracy for row in rows],
            s=[areas[row.trial] for row in rows],
            color=color,
            alpha=0.7,
            linewidths=0,
        )
    front = results.front(found)
    axes.plot(
        [row.step_ratio for row in front],
        [100 * row.accuracy for row in front],
        color=_FRONT_COLOR,
        drawstyle="steps-post",
        label="front: nothing is both faster and better",
    )
    for row in front:
        axes.annotate(
            str(row.trial),
            (row.step_ratio, 100 * row.accuracy),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=_FRONT_COLOR,
        )
    axes.set_title(title, loc="left")
    axes.set_xlabel("time of a training step, by the backbone's")
    axes.set_ylabel("top-1 accuracy after the short training, %")
    axes.grid(color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.1)
    _draw_legend(axes, shown, areas)
    return figure


def _optunas(study):
    """(name, function that draws it) of Optuna's own pictures."""
    import optuna
    from optuna.visualization import matplotlib as plots

    def target(trial):
        return trial.user_attrs[samplers.REWARD]

    chosen: dict[str, typing.Any] = {"target_name": "reward"}
    if len(study.directions) > 1:
        chosen["target"] = target
    yield HISTORY, lambda: plots.plot_optimization_history(study, **chosen)
    done = study.get_trials(
        deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)
    )
    values = {target(trial) for trial in done}
    if len(done) >= _LEAST_TRIALS and len(values) > 1:
        # The default needs scikit-learn.
        judge = optuna.importance.PedAnovaImportanceEvaluator()
        known = optuna.importance.get_param_importances(
            study, evaluator=judge, target=target
        )
        names = list(known)[:_SHOWN_GENES]  # most important first
        yield (
            IMPORTANCES,
            lambda: plots.plot_param_importances(
                study, evaluator=judge, params=names, **chosen
            ),
        )
        yield SLICES, lambda: plots.plot_slice(study, params=names, **chosen)


def draw(study, model_dir, *, title):
    """Draws all pictures of a study into a folder.

    Args:
        study: An Optuna study of `search.study`.
        model_dir: Folder of the search.
        title: Heading of the Pareto front.

    Returns:
        Names of the pictures, a list; empty where no trial is done.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.
    """
    import matplotlib

    folder = pathlib.Path(model_dir)
    found = results.rows(study)
    if results.best(found) is None:
        return []
    _save(_pareto(found, title), folder / PARETO)
    names = [PARETO]
    matplotlib.use("Agg")  # Optuna draws by pyplot
    from matplotlib import pyplot

    with pyplot.rc_context():
        for name, plot in _optunas(study):
            axes = plot()
            axes = getattr(axes, "flat", [axes])[0]
            figure = axes.get_figure()
            # Its layout cuts off long names.
            _save(figure, folder / name, bbox_inches="tight")
            pyplot.close("all")
            names.append(name)
    return names
