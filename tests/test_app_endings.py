"""How the app ends: exit codes, one line for an error, signals, log noise."""

import errno
import os
import pathlib
import signal
import subprocess
import sys
import types

import pytest

from efficientnetv2 import app, startup

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A mode that says when it runs and then does what the test asks for.
_PROGRAM = """
import signal, sys, types
# As on a terminal; a background job inherits that ctrl-C is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {root!r})
from efficientnetv2 import app
def run(config, model_dir, **flags):
    print('running', flush=True)
    {body}
sys.modules['efficientnetv2.fake'] = types.SimpleNamespace(run=run)
app.MODES['train'] = app.Mode('fake', 'run', '')
sys.exit(app.main(['main.py', '--mode=train']))
"""


def _start(body, folder, **options):
    """Starts the app with a mode that does `body`."""
    program = _PROGRAM.format(root=str(ROOT), body=body)
    return _python(program, folder, **options)


def _python(program, folder, **options):
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def _wait_until_it_runs(child):
    while child.stdout.readline().strip() != "running":
        pass


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("a  rule\n was broken"), "error: a rule was broken"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/disk/x"),
            "error: No space left on device: /disk/x",
        ),
        (FileNotFoundError("no run there"), "error: no run there"),
        (
            ModuleNotFoundError("No module named 'x'", name="x.y"),
            "error: the package 'x' is not installed",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, line, monkeypatch, capsys):
    def fail(argv):
        raise error

    monkeypatch.setattr(app, "_run", fail)
    assert app.main(["main.py"]) == 1
    assert capsys.readouterr().err == line + "\n"
    with pytest.raises(type(error)):
        app.main(["main.py", "--debug"])


def test_an_error_of_tensorflow_is_one_line(monkeypatch, capsys):
    from tensorflow.errors import NotFoundError

    def fail(argv):
        raise NotFoundError(None, None, "gs://bucket/x; No such\n object")

    monkeypatch.setattr(app, "_run", fail)
    assert app.main(["main.py"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: gs://bucket/x; No such object")


def test_an_error_of_ours_keeps_its_traceback(monkeypatch):
    def fail(argv):
        raise KeyError("bug")

    monkeypatch.setattr(app, "_run", fail)
    with pytest.raises(KeyError):
        app.main(["main.py"])


@pytest.mark.parametrize("result, code", [(None, 0), (1, 1), (143, 143)])
def test_the_exit_code_is_the_modes(result, code, tmp_path):
    child = _start(f"return {result}", tmp_path)
    child.communicate()
    assert child.returncode == code


def test_ctrl_c_ends_with_a_short_line_and_code_130(tmp_path):
    child = _start("import time; time.sleep(60)", tmp_path)
    _wait_until_it_runs(child)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate()
    assert child.returncode == 130
    assert err.strip() == "Interrupted"


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    body = "[print('x' * 1000, flush=True) for _ in range(10_000)]"
    child = _start(body, tmp_path)
    _wait_until_it_runs(child)
    child.stdout.close()
    assert child.stderr.read() == ""
    assert child.wait() == 141


def test_tensorflow_is_quiet_and_the_backend_is_set(tmp_path):
    names = ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "GRPC_VERBOSITY")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    (tmp_path / "trainer.py").write_text(
        "import os, sys, tensorflow as tf\n"
        "print('kept', file=sys.stderr)\n"
        "def run(config, model_dir):\n"
        "    ones = tf.ones([2, 2])\n"
        "    print(tf.reduce_sum(ones @ ones).numpy())\n"
        "    print(os.environ['KERAS_BACKEND'])\n"
    )
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r});"
        "import efficientnetv2; efficientnetv2.__path__.append('.');"
        "from efficientnetv2 import app;"
        "app.MODES['train'] = app.Mode('trainer', 'run', '');"
        "app.main(['main.py', '--mode=train'])"
    )
    child = _python(program, tmp_path, env=environment)
    out, err = child.communicate()
    assert out.splitlines()[-2:] == ["8.0", "tensorflow"]
    assert err == "kept\n"


@pytest.mark.parametrize(
    "nodes, devices, says",
    [([], ["CPU"], False), (["x"], ["CPU"], True), (["x"], ["GPU"], False)],
)
def test_a_gpu_that_is_not_used_is_named(
    nodes, devices, says, monkeypatch, capsys
):
    found = [types.SimpleNamespace(device_type=kind) for kind in devices]
    fake = types.SimpleNamespace(
        config=types.SimpleNamespace(list_physical_devices=lambda: found)
    )
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    monkeypatch.setattr(startup.glob, "glob", lambda _: nodes)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    with startup.quiet():
        pass
    assert ("There is a GPU" in capsys.readouterr().err) is says


def test_the_users_log_level_stays(tmp_path):
    body = "import os; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
    child = _start(body, tmp_path, env=environment)
    assert child.communicate()[0].splitlines()[-1] == "0"


def test_another_backend_of_keras_is_one_line(tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    child = _start("pass", tmp_path, env=environment)
    out, err = child.communicate()
    assert child.returncode == 1
    assert err.count("\n") == 1 and "KERAS_BACKEND" in err and "'jax'" in err
