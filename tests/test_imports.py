"""The plan of the house, read from the sources: who may import whom."""

import ast
import functools
import pathlib
import subprocess
import sys

import pytest

from efficientnetv2 import registration

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "efficientnetv2"

# Floors from the ground up, and on a floor from the first room to the last. A
# room imports rooms before it in this list, never a later one. A package that
# stands here by its own name is one room. A new module needs a line here.
FLOORS = {
    "L0, plain Python": """
        registration startup spelling block_spec architecture variants scaling
        config_types config_rules config_schema config_layers config
        entry_point progressive stop_signals turns
    """,
    "L1, leaves": """
        storage saved_config noise normalization convolution layers hub_layer
        schedules replica_updates optimizers frozen_values ema losses
        data.seeds data.geometry data.stretching data.image_ops data.operations
        data.decoding data.policies data.mixing data.preprocess
        data.examples data.picture_files
    """,
    "L2, assemblies": """
        model multiply_adds checkpoint_files checkpoint_writer checkpoint
        weights zoo distribute workers data.cache_folder data.drawing
        data.record_example data.shapes data.order data.broken data.sources
        data.reading data.prefixes data.pipeline data.convert data.service
    """,
    "L3, the work": """
        event_file metrics_file metrics_log run_summary report model_dir
        train_step evaluate eval_run train_setup train_state treatment
        train_data train_loop train predict augment_rows augment_picture
        data_benchmark
        benchmark_sides benchmark_timing benchmark_table benchmark search
        experiments demo command_line modes app
    """,
}
ROOMS = [room for rooms in FLOORS.values() for room in rooms.split()]
ORDER = {room: place for place, room in enumerate(ROOMS)}
L0 = set(FLOORS["L0, plain Python"].split())
L3 = set(FLOORS["L3, the work"].split())
# It runs on every backend of Keras, also where TensorFlow is not installed.
MODEL_SIDE = {"noise", "normalization", "layers", "model"}
EXPORTS_DATA = {"data.picture_files", "data.preprocess", "data.sources"}
READS_FLAGS = {"command_line", "app"}
BAD_NAMES = {"util", "utils", "misc", "helper", "helpers", "common", "manager"}
MAX_LINES = 300


def _sources(*folders):
    found = []
    for folder in folders:
        found += sorted((ROOT / folder).rglob("*.py"))
    return [p for p in found if "__pycache__" not in p.parts]


LIBRARY = [ROOT / "main.py", ROOT / "setup.py"] + _sources(PACKAGE, "export")
PACKAGE_FILES = _sources(PACKAGE)
ALL_FILES = LIBRARY + _sources("hparams", "tests")


def _name(path):
    """'data/image_ops.py' in the package is 'data.image_ops'."""
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def _parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


MODULES = {_name(path): path for path in PACKAGE_FILES}


def _is_ours(full):
    name = full.removeprefix(f"{PACKAGE}.")
    return name != full and (name in MODULES or name in ORDER)


def _imported(tree):
    """(dotted name, line) of every import: of a module, else of what it has."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = _is_ours(full) or not _is_ours(node.module)
                yield (full if is_module else node.module), node.lineno


def _own_imports(path):
    """(module of the package, line) pairs, without the version's."""
    for full, line in _imported(_parse(path)):
        if full.startswith(f"{PACKAGE}.") and not full.endswith("__version__"):
            yield full.removeprefix(f"{PACKAGE}."), line


def _room(module):
    """The room a module lies in, or None."""
    while module and module not in ORDER:
        module = module.rpartition(".")[0]
    return module or None


def _is_door(module):
    """__init__ of the package and of data, and `python -m` entry points."""
    return module in ("", "data") or module.split(".")[-1] == "__main__"


ROOMY = {name: path for name, path in MODULES.items() if not _is_door(name)}


def test_every_module_has_its_place_on_the_plan():
    lost = [name for name in ROOMY if _room(name) is None]
    assert not lost, f"give these a place in FLOORS of this file: {lost}"


def test_keras_finds_the_class_of_whatever_it_saves():
    sign = "@keras.saving.register_keras_serializable("
    found = {
        name
        for name, path in MODULES.items()
        if f"\n{sign}" in path.read_text(encoding="utf-8")
    }
    assert found == set(registration.MODULES)


def test_layers_are_registered_though_somebody_looked_for_keras(tmp_path):
    (tmp_path / "keras.py").write_text("")  # stands in for the real one
    code = (
        "import importlib.util\n"
        "from efficientnetv2 import registration\n"
        "registration._register = lambda: print('registered')\n"
        "importlib.util.find_spec('keras')\n"
        "import keras\n"
        "importlib.reload(keras)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["registered"]


def test_imports_run_downward_or_to_an_earlier_room_of_the_floor():
    wrong = []
    for name, path in ROOMY.items():
        for imported, line in _own_imports(path):
            here, there = _room(name), _room(imported)
            if None in (here, there):
                wrong.append(f"{path}:{line}: {name} or {imported} is no room")
            elif here != there and ORDER[there] > ORDER[here]:
                wrong.append(
                    f"{path}:{line}: {name} imports {imported}, which stands "
                    "on a higher floor or later on the same one"
                )
    assert not wrong, "\n".join(wrong)


def _find_circle(graph):
    """A list of modules that import each other in a circle, or None."""
    done = set()

    def visit(module, path):
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return None
        for imported in sorted(graph.get(module, ())):
            circle = visit(imported, [*path, module])
            if circle:
                return circle
        done.add(module)
        return None

    for module in graph:
        circle = visit(module, [])
        if circle:
            return circle
    return None


def test_a_circle_is_found():
    assert _find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert _find_circle({"a": {"b", "c"}, "b": {"c"}}) is None


def test_no_module_imports_itself_in_a_circle():
    graph = {
        name: {imported for imported, _ in _own_imports(path)} - {name}
        for name, path in ROOMY.items()
    }
    circle = _find_circle(graph)
    assert circle is None, " -> ".join(circle)


def _assert_apart(modules, forbidden, reason):
    wrong = [
        f"{name} imports {imported}: {reason}"
        for name in modules
        for imported, _ in _own_imports(MODULES[name])
        if forbidden(imported)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_model_knows_nothing_of_config_data_or_the_work():
    _assert_apart(
        MODEL_SIDE & set(MODULES),
        lambda name: name.startswith(("data", "config")) or _room(name) in L3,
        "only L3 joins the model with settings and data",
    )


def test_data_knows_nothing_of_the_model():
    _assert_apart(
        [name for name in ROOMY if name.startswith("data.")],
        lambda name: _room(name) in MODEL_SIDE | {"weights", "zoo"},
        "data and model never meet below L3",
    )


def test_export_takes_runs_preprocessing_and_pictures():
    # Of the work only the door to a run's model; of the data, pictures that
    # calibrate and verify an export.
    wrong = [
        f"{path}:{line}: export imports {imported}"
        for path in _sources("export")
        for imported, line in _own_imports(path)
        if _room(imported) in L3 - {"model_dir"}
        or (imported.startswith("data") and imported not in EXPORTS_DATA)
    ]
    assert not wrong, "\n".join(wrong)


def test_export_names_itself_relatively_as_its_name_differs_in_a_wheel():
    wrong = [
        f"{path}:{line}: write `from . import ...`, not {full}"
        for path in _sources("export")
        for full, line in _imported(_parse(path))
        if full.split(".")[0] == "export"
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_app_and_entry_points_read_flags():
    wrong = [
        f"{path}:{line}"
        for path in LIBRARY
        for full, line in _imported(_parse(path))
        if full.startswith(("absl.flags", "absl.app"))
        and path.name != "__main__.py"
        and path.stem not in READS_FLAGS
    ]
    assert not wrong, f"flags are read here: {wrong}"


def _top_level(tree):
    """The file's imports outside functions."""
    body = [node for node in tree.body if not isinstance(node, ast.ClassDef)]
    kept = [n for n in body if not isinstance(n, ast.FunctionDef)]
    return ast.Module(body=kept, type_ignores=[])


@pytest.mark.parametrize(
    "name", sorted(name for name in L0 | MODEL_SIDE | {"zoo", "report"})
)
def test_no_tensorflow_at_import(name):
    if name not in MODULES:
        pytest.skip(f"there is no module {name}")
    banned = {"tensorflow"} | ({"keras"} if name in L0 | {"report"} else set())
    imported = _imported(_top_level(_parse(MODULES[name])))
    assert not banned & {full.split(".")[0] for full, _ in imported}


def test_the_package_and_the_app_import_neither_tensorflow_nor_keras():
    code = (
        "import sys, efficientnetv2, efficientnetv2.app; "
        "efficientnetv2.block_spec, efficientnetv2.config; "
        "efficientnetv2.progressive; "
        "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_exported_names_resolve_and_unknown_ones_are_attribute_errors():
    import efficientnetv2

    for name in ("block_spec", "config", "progressive", "get_model"):
        assert getattr(efficientnetv2, name).__name__.endswith(name)
        assert name in dir(efficientnetv2)
    with pytest.raises(AttributeError, match="no attribute 'get_modle'"):
        efficientnetv2.get_modle  # noqa: B018, the access is the test


def test_no_assert_in_library_code():
    found = [
        f"{path}:{node.lineno}"
        for path in LIBRARY
        for node in ast.walk(_parse(path))
        if isinstance(node, ast.Assert)
    ]
    assert not found, f"python -O removes these checks: {found}"


def test_files_are_short_enough_to_read():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in LIBRARY
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert not long, f"split these, {MAX_LINES} lines at most: {long}"


def test_every_module_says_in_its_first_line_what_it_is_for():
    silent = [
        str(path.relative_to(ROOT))
        for path in ALL_FILES
        if not (ast.get_docstring(_parse(path)) or "").strip()
    ]
    assert not silent, f"no docstring: {silent}"


def test_no_module_has_a_name_that_says_nothing():
    assert not [p for p in ALL_FILES if p.stem in BAD_NAMES]
