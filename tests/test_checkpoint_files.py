"""Checkpoint files: whole, found again, torn ones passed over."""

import json
import logging
import os
import pathlib

import numpy as np
import pytest

from efficientnetv2 import checkpoint
from efficientnetv2.checkpoint import CheckpointError

ARRAYS = {
    "model/a/kernel": np.arange(6, dtype="float32").reshape(2, 3),
    "optimizer/iteration": np.array(7),
    "ema/a/kernel": np.zeros((0, 3), "float32"),
}


def _steps(folder):
    return [step for step, _ in checkpoint.saved(folder)]


def test_arrays_and_meta_come_back_bit_for_bit(tmp_path):
    meta = {"offset": 5, "class_names": ["fish", "Hündin"]}
    path = checkpoint.save(tmp_path / "new", 12, ARRAYS, meta)
    assert path == tmp_path / "new" / "ckpt-0000000012.npz"
    arrays, found = checkpoint.read(path)
    assert found == {**meta, "step": 12, "format": 1}
    assert list(arrays) == list(ARRAYS)
    for key, array in ARRAYS.items():
        assert arrays[key].dtype == array.dtype
        np.testing.assert_array_equal(arrays[key], array)


def test_a_remote_folder_works_alike():
    folder = f"ram://{os.getpid()}/run/checkpoints"
    for step in (1, 2, 3):
        path = checkpoint.save(folder, step, ARRAYS, {}, keep=2)
    checkpoint.mark_best(folder, path)
    assert _steps(folder) == [2, 3]
    arrays, meta, path = checkpoint.latest(folder)
    assert (meta["step"], path) == (3, f"{folder}/ckpt-0000000003.npz")
    np.testing.assert_array_equal(
        arrays["model/a/kernel"], ARRAYS["model/a/kernel"]
    )


def test_only_the_newest_are_kept_and_the_best_one(tmp_path):
    for step in range(0, 50, 10):
        path = checkpoint.save(tmp_path, step, ARRAYS, {}, keep=2)
        if step == 10:
            checkpoint.mark_best(tmp_path, path)
    assert _steps(tmp_path) == [30, 40]
    assert checkpoint.read(tmp_path / checkpoint.BEST)[1]["step"] == 10


def test_steps_of_any_length_are_in_order(tmp_path):
    for step in (9_999_999_999, 10_000_000_000, 5):
        checkpoint.save(tmp_path, step, ARRAYS, {})
    assert _steps(tmp_path) == [5, 9_999_999_999, 10_000_000_000]


def test_the_one_just_written_stays_though_torn_ones_are_newer(tmp_path):
    (tmp_path / "ckpt-0000000100.npz").write_bytes(b"torn")
    checkpoint.save(tmp_path, 60, ARRAYS, {}, keep=1)
    checkpoint.save(tmp_path, 70, ARRAYS, {}, keep=1)
    assert checkpoint.latest(tmp_path)[1]["step"] == 70


def _cut(data):
    return data[: len(data) // 2]


def _flip(data):
    place = data.index(np.float32(5.0).tobytes())  # within the array
    return data[:place] + b"\x01" + data[place + 1 :]


def _empty(data):
    return b""


def _other(data):
    return b"\x93NUMPY" + data


def _locked(data):
    place = data.index(b"PK\x01\x02") + 8  # the flags in the archive's list
    return data[:place] + b"\x01" + data[place + 1 :]


@pytest.mark.parametrize("damage", [_cut, _flip, _empty, _other, _locked])
def test_a_torn_newest_is_passed_over_and_named(tmp_path, damage, caplog):
    checkpoint.save(tmp_path, 10, ARRAYS, {"offset": 3})
    path = checkpoint.save(tmp_path, 20, ARRAYS, {"offset": 6})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        checkpoint.read(path)
    with caplog.at_level(logging.WARNING):
        _, meta, found = checkpoint.latest(tmp_path)
    assert (meta["step"], meta["offset"]) == (10, 3)
    assert found == tmp_path / "ckpt-0000000010.npz"
    assert str(path) in caplog.text


def test_every_byte_that_a_cut_can_leave_is_no_whole_checkpoint(tmp_path):
    path = checkpoint.save(tmp_path, 1, {"model/a": np.arange(3)}, {})
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            checkpoint.read(path)


def test_without_a_checkpoint_there_is_no_latest(tmp_path):
    assert checkpoint.latest(tmp_path / "nowhere") is None
    (tmp_path / "ckpt-12.npz").write_bytes(b"")  # no name of ours
    (tmp_path / "ckpt-0000000001.npz.tmp").write_bytes(b"")
    assert checkpoint.latest(tmp_path) is None
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        checkpoint.read(tmp_path / "ckpt-0000000001.npz")


def test_other_archives_and_later_formats_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        checkpoint.read(tmp_path / "other.npz")
    meta = json.dumps({"step": 1, "format": 2})
    np.savez(tmp_path / "later.npz", meta=np.array(meta))
    with pytest.raises(CheckpointError, match="has format 2; this program"):
        checkpoint.read(tmp_path / "later.npz")


def _fill_disk(folder, step):
    if not pathlib.Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    os.symlink("/dev/full", folder / f"ckpt-{step:010d}.npz.tmp")


def test_a_full_disk_leaves_the_one_before(tmp_path):
    checkpoint.save(tmp_path, 10, ARRAYS, {}, keep=1)
    _fill_disk(tmp_path, 20)
    message = "No space left on device; the ones before stay good"
    with pytest.raises(CheckpointError, match=message) as error:
        checkpoint.save(tmp_path, 20, ARRAYS, {}, keep=1)
    assert "\n" not in str(error.value)
    assert checkpoint.latest(tmp_path)[1]["step"] == 10
    assert sorted(os.listdir(tmp_path)) == ["ckpt-0000000010.npz"]


def test_the_writer_writes_in_order_and_keeps_the_best(tmp_path):
    with checkpoint.Writer(tmp_path, keep=2) as writer:
        for step in range(1, 6):
            arrays = {"model/a": np.full(1000, step)}
            writer.submit(step, arrays, {"offset": step}, best=step == 2)
    assert _steps(tmp_path) == [4, 5]
    arrays, meta, _ = checkpoint.latest(tmp_path)
    assert arrays["model/a"][0] == meta["offset"] == 5
    assert checkpoint.read(tmp_path / checkpoint.BEST)[1]["step"] == 2


def test_the_writer_tells_a_full_disk_at_the_next_submit_or_at_the_end(
    tmp_path,
):
    writer = checkpoint.Writer(tmp_path)
    _fill_disk(tmp_path, 1)
    writer.submit(1, ARRAYS, {})
    with pytest.raises(CheckpointError, match="No space left"):
        for step in range(2, 10):  # the error may be a submit late
            writer.submit(step, ARRAYS, {})
    writer.close()  # told once; what followed is written
    assert checkpoint.latest(tmp_path)[1]["step"] >= 2
    with (
        pytest.raises(CheckpointError, match="No space left"),
        checkpoint.Writer(tmp_path) as writer,
    ):
        _fill_disk(tmp_path, 20)
        writer.submit(20, ARRAYS, {})


def test_an_error_of_the_run_is_not_hidden_by_one_of_the_disk(tmp_path):
    with pytest.raises(KeyError), checkpoint.Writer(tmp_path) as writer:
        _fill_disk(tmp_path, 1)
        writer.submit(1, ARRAYS, {})
        raise KeyError


def test_the_writer_removes_what_a_killed_run_left(tmp_path):
    (tmp_path / "ckpt-0000000001.npz.tmp").write_bytes(b"half")
    checkpoint.Writer(tmp_path).close()
    assert os.listdir(tmp_path) == []


def test_keeping_none_is_refused(tmp_path):
    for make in (
        lambda: checkpoint.save(tmp_path, 1, ARRAYS, {}, keep=0),
        lambda: checkpoint.Writer(tmp_path, keep=0),
    ):
        with pytest.raises(ValueError, match="keep must be >= 1. Received: 0"):
            make()
