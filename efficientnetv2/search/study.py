"""The study: where it lies, and that it is the same search's."""

import contextlib
import pathlib
import threading
import time
import warnings

import optuna
import yaml
from optuna.storages import journal

from efficientnetv2 import config_schema
from efficientnetv2.search import samplers
from efficientnetv2.spelling import nearest

DATABASE = "study.db"
_JOURNAL = ".log"
_MAX_RETRIES = 3  # of a trial whose workers were killed
_WRITE_SECONDS = 60  # that SQLite waits for another worker
_OPEN_TRIES = 5
_SIGNATURE = "settings"
# What must be equal for figures of two trials to be comparable.
_SECTIONS = ("model.", "train.", "eval.", "data.")
_KEYS = (
    "search.ops",
    "search.kernels",
    "search.expansions",
    "search.layers",
    "search.max_million_parameters",
    "search.max_billion_multiply_adds",
    "search.time_weight",
    "search.parameters_weight",
)
_FREE = ("data.cache", "data.data_dir", "data.shuffle_memory_mb")


def has_several_objectives(settings):
    """Whether accuracy, time and parameters are three values, not one."""
    return settings.sampler == "nsga2"


def quiet():
    """Keeps Optuna's own lines away: what a person sees is ours."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", module="optuna")


def _is_journal(storage):
    return storage.endswith(_JOURNAL) and "://" not in storage


def describe_storage(settings, model_dir):
    """Where a study lies, as a person writes it."""
    return settings.storage or str(pathlib.Path(model_dir) / DATABASE)


def _storages_own(error, where):
    """The storage's error that led to this one, or None."""
    import sqlalchemy

    kinds = [
        optuna.exceptions.StorageInternalError,
        sqlalchemy.exc.SQLAlchemyError,
    ]
    if _is_journal(where):  # of others an OSError is not the storage's
        kinds.append(OSError)
    while error is not None and not isinstance(error, tuple(kinds)):
        error = error.__context__
    return error


@contextlib.contextmanager
def storage_errors(where):
    """Makes one line of whatever a storage that is gone raises.

    Args:
        where: As `describe_storage` says.

    Raises:
        ValueError: in place of these errors.
    """
    default = threading.excepthook

    def hook(args):  # the thread of the heartbeats would print a traceback
        if _storages_own(args.exc_value, where) is None:
            default(args)

    threading.excepthook = hook
    try:
        yield
    except Exception as error:
        # Optuna stumbles over its own cleaning up, so the cause lies deeper.
        own = _storages_own(error, where)
        if own is None:
            raise
        cause = str(own.__cause__ or own).splitlines()[0]
        raise ValueError(
            f"the study's storage {where!r} cannot be used: {cause}. The same "
            "command goes on when it is back"
        ) from None
    finally:
        threading.excepthook = default


def _url(settings, model_dir):
    if settings.storage is None:
        path = pathlib.Path(model_dir).absolute() / DATABASE
        return f"sqlite:///{path}"
    if "://" not in settings.storage:
        raise ValueError(
            "search.storage must be a URL such as sqlite:///FILE or "
            "postgresql://USER@HOST/NAME, or the path of a journal file that "
            f"ends in {_JOURNAL}. Received: {settings.storage!r}"
        )
    return settings.storage


def _storage(settings, model_dir):
    pathlib.Path(model_dir).mkdir(parents=True, exist_ok=True)
    if settings.storage and _is_journal(settings.storage):
        pathlib.Path(settings.storage).parent.mkdir(parents=True, exist_ok=True)
        return optuna.storages.JournalStorage(
            journal.JournalFileBackend(settings.storage)
        )
    import sqlalchemy

    url = _url(settings, model_dir)
    engine = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        engine = {"connect_args": {"timeout": _WRITE_SECONDS}}
    retry = optuna.storages.RetryHeartbeatStaleTrialCallback(
        max_retry=_MAX_RETRIES
    )
    for number in range(_OPEN_TRIES):
        try:
            return optuna.storages.RDBStorage(
                url,
                engine_kwargs=engine,
                heartbeat_interval=settings.heartbeat_secs,
                heartbeat_stale_trial_callback=retry,
            )
        except (sqlalchemy.exc.ArgumentError, ImportError) as error:
            raise ValueError(
                f"search.storage cannot be opened: {error}. "
                f"Received: {settings.storage!r}"
            ) from None
        except sqlalchemy.exc.SQLAlchemyError:
            # Two workers that start at once make the same tables.
            if number == _OPEN_TRIES - 1:
                raise
            time.sleep(1 + number)


def _signature(config):
    values = config_schema.flatten(config)
    kept = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in values.items()
        if (key.startswith(_SECTIONS) or key in _KEYS) and key not in _FREE
    }
    kept["objectives"] = 3 if has_several_objectives(config.search) else 1
    return kept


def _check_same(study, config, where):
    """Makes a new study this search's; another one's is an error."""
    wanted = _signature(config)
    text = study.user_attrs.get(_SIGNATURE)
    if text is None:
        if study.get_trials(deepcopy=False):
            raise ValueError(
                f"the study {study.study_name!r} in {where!r} was not made by "
                "--mode=search; give search.study another name"
            )
        study.set_user_attr(_SIGNATURE, yaml.safe_dump(wanted))
        return
    own = yaml.safe_load(text)
    changed = [
        f"{key}: {own.get(key)} -> {wanted.get(key)}"
        for key in {**own, **wanted}
        if own.get(key) != wanted.get(key)
    ]
    if changed:
        raise ValueError(
            f"the study {study.study_name!r} in {where!r} was made with "
            f"another space or other settings: {'; '.join(changed)}. Give "
            "another --model_dir or search.study"
        )


def _check_there(name, storage, where):
    """A study that is only looked at is not made."""
    names = optuna.get_all_study_names(storage)
    if name not in names:
        raise ValueError(
            f"search.study must be a study in {where!r}. "
            f"Received: {name!r}{nearest(name, names)}"
        )


def open_study(config, model_dir, space=None):
    """Opens a study, or makes it.

    Args:
        config: A `Config`.
        model_dir: Folder of the search.
        space: The `Space` to draw from; None: only to look at.

    Returns:
        An Optuna study.

    Raises:
        ValueError: if the storage cannot be used, holds a study of this
            name that was made with another space, other data or training, or
            holds none that could be looked at.
    """
    settings = config.search
    where = describe_storage(settings, model_dir)
    several = has_several_objectives(settings)
    directions = ["maximize", "minimize", "minimize"]
    sampler = None
    if space is not None:
        sampler = samplers.make(settings, space, seed=config.train.seed)
    with storage_errors(where):
        storage = _storage(settings, model_dir)
        if space is None:
            _check_there(settings.study, storage, where)
        study = optuna.create_study(
            study_name=settings.study,
            storage=storage,
            directions=directions if several else directions[:1],
            sampler=sampler,
            pruner=_pruner(settings),
            load_if_exists=True,
        )
        _check_same(study, config, where)
    return study


def _pruner(settings):
    if settings.pruner == "none" or has_several_objectives(settings):
        return optuna.pruners.NopPruner()
    if settings.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner()
    return optuna.pruners.MedianPruner()
