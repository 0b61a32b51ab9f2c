"""The figures of a run as rows in files: metrics.jsonl and eval.jsonl.

    metrics.jsonl      what the training run itself has written
    eval.jsonl         what an evaluation that follows it has written

A row is a dict with `kind` ('train' or 'eval') and `step`; a number that was
not finite is None.
"""

import json
import math

from efficientnetv2 import storage

FILE = "metrics.jsonl"
EVALUATIONS = "eval.jsonl"


def read(path):
    """Reads the rows of a file; a torn last line is left out.

    Args:
        path: The file.

    Returns:
        A list of dicts.

    Raises:
        FileNotFoundError: if there is none.
    """
    with storage.open_bytes(path) as file:
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict) or not {"kind", "step"} <= set(row):
            break
        rows.append(row)
    return rows


def read_run(folder):
    """Reads all rows of a run.

    Args:
        folder: The run's folder.

    Returns:
        A list of dicts in order of `step`; empty where there are none.
    """
    rows = []
    for name in (FILE, EVALUATIONS):
        try:
            rows += read(storage.join(folder, name))
        except FileNotFoundError:
            continue
    return sorted(rows, key=lambda row: row["step"])


def drop_after(path, step):
    """Drops rows after `step`: a resumed run writes them again."""
    try:
        rows = [row for row in read(path) if row["step"] <= step]
    except FileNotFoundError:
        rows = []
    text = "".join(json.dumps(row) + "\n" for row in rows)
    storage.write(path, lambda file: file.write(text.encode()))


class RowFile:
    """A file of rows, open for more at its end.

    Args:
        path: The file; it is made if it is not there.
    """

    def __init__(self, path):
        if storage.is_remote(path):
            import tensorflow as tf

            self._file = tf.io.gfile.GFile(path, "a")
        else:
            self._file = open(path, "a", encoding="utf-8")

    def write(self, row):
        """Writes a dict; it can be read at once."""
        # Not a number is no JSON.
        text = {key: _number_or_none(value) for key, value in row.items()}
        self._file.write(json.dumps(text) + "\n")
        self._file.flush()

    def close(self):
        """Closes the file."""
        self._file.close()


def _number_or_none(value):
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def seconds_by_stage(rows):
    """Training time of each stage, without evaluations.

    Args:
        rows: Rows of `read`.

    Returns:
        A dict from stage (from 0) to seconds.
    """
    seconds = {}
    for row in rows:
        if row["kind"] == "train" and row.get("stage") is not None:
            stage = row["stage"]
            seconds[stage] = seconds.get(stage, 0.0) + row.get("seconds", 0.0)
    return seconds
