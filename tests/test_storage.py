"""Files that are whole or not there, locally and behind an address."""

import os
import pathlib
import uuid

import pytest

from efficientnetv2 import storage


@pytest.fixture(params=["local", "remote"])
def folder(request, tmp_path):
    if request.param == "local":
        return tmp_path
    return f"ram://{uuid.uuid4().hex}"  # TensorFlow's file system in memory


def _write(path, data=b"whole"):
    storage.write(path, lambda file: file.write(data))


def _read(path):
    with storage.open_bytes(path) as file:
        return file.read()


def test_what_is_written_is_read(folder):
    storage.make_folder(folder)
    path = storage.join(folder, "file")
    _write(path, b"first, longer")
    _write(path, b"second")
    assert _read(path) == b"second"
    assert storage.names(folder) == ["file"]


def test_an_empty_file_is_a_file(folder):
    storage.make_folder(folder)
    _write(storage.join(folder, "file"), b"")
    assert storage.names(folder) == ["file"]
    assert _read(storage.join(folder, "file")) == b""


def test_an_error_while_writing_leaves_what_was_there(folder):
    storage.make_folder(folder)
    path = storage.join(folder, "file")
    _write(path)

    def broken(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        storage.write(path, broken)
    assert _read(path) == b"whole"
    assert storage.names(folder) == ["file"]


def test_a_folder_that_is_not_there_is_empty(folder):
    assert storage.names(storage.join(folder, "nowhere")) == []


def test_reading_or_removing_what_is_not_there(folder):
    storage.make_folder(folder)
    path = storage.join(folder, "file")
    with pytest.raises(FileNotFoundError):
        storage.open_bytes(path)
    storage.remove(path)  # no error: it is gone
    _write(path)
    storage.remove(path)
    assert storage.names(folder) == []


def test_a_duplicate_outlives_the_file_and_replaces_another(folder):
    storage.make_folder(folder)
    one, two, best = (storage.join(folder, n) for n in ("one", "two", "best"))
    _write(one, b"one")
    storage.duplicate(one, best)
    storage.duplicate(one, best)  # again the same
    storage.remove(one)
    assert _read(best) == b"one"
    _write(two, b"two")
    storage.duplicate(two, best)
    assert _read(best) == b"two"
    assert storage.names(folder) == ["best", "two"]


def test_a_duplicate_where_the_file_system_has_no_links(tmp_path, monkeypatch):
    def no_link(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_link)
    _write(tmp_path / "one")
    storage.duplicate(tmp_path / "one", tmp_path / "best")
    assert _read(tmp_path / "best") == b"whole"
    assert storage.names(tmp_path) == ["best", "one"]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    if not pathlib.Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    path = tmp_path / "file"
    os.symlink("/dev/full", f"{path}{storage.TEMPORARY}")
    with pytest.raises(OSError, match="No space left on device"):
        _write(path)
    assert storage.names(tmp_path) == []
