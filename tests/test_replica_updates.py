"""Optimizers and averages end alike on one replica and on two."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).with_name("replica_runs.py")
BAD_STEP = 3


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """What `replica_runs` found on one device and on two."""
    folder = tmp_path_factory.mktemp("ends")
    found = {}
    for kind in ("one", "mirrored"):
        path = folder / f"{kind}.npz"
        subprocess.run([sys.executable, SCRIPT, kind, path], check=True)
        with np.load(path) as file:
            found[kind] = dict(file)
    assert (found["one"]["replicas"], found["mirrored"]["replicas"]) == (1, 2)
    return found


def test_both_copies_of_every_variable_are_those_of_one_device(ends):
    copies = [key for key in ends["mirrored"] if "|" in key]
    assert len(copies) == 2 * sum("|" in key for key in ends["one"])
    for key in copies:
        value = ends["one"][f"{key.rpartition('|')[0]}|0"]
        np.testing.assert_allclose(
            ends["mirrored"][key], value, rtol=1e-5, atol=1e-6, err_msg=key
        )


def test_one_bad_replica_keeps_all_from_taking_the_step(ends):
    for kind, found in ends.items():
        rows = {k: v for k, v in found.items() if k.endswith("guarded/taken")}
        assert rows
        for key, taken in rows.items():
            steps = np.flatnonzero(~taken.all(axis=1))
            assert steps.tolist() == [BAD_STEP], (kind, key)
            assert not taken[BAD_STEP].any(), (kind, key)


def test_swapped_averages_and_snapshots_come_back_on_every_copy(ends):
    for found in ends.values():
        assert found["resumed"]
        assert all(v for k, v in found.items() if k.endswith("restored"))
