"""Training on data that are partly broken, as a person does it."""

import numpy as np
import pytest
import small_data
import small_runs

from efficientnetv2 import app

pytestmark = pytest.mark.usefixtures("cache")

PICTURES = 40
SETTINGS = (
    "train.epochs=1,train.stages=1,train.isize=16,train.batch_size=8,"
    "train.lr_warmup_epoch=0,data.augname=none,data.max_bad_fraction=0.15"
)


def _noise(data):
    """The head of a picture, and then anything."""
    rng = np.random.default_rng(0)
    return data[:60] + rng.integers(0, 256, len(data) - 60, np.uint8).tobytes()


DAMAGE = {
    "noise": _noise,
    "cut": lambda data: data[: len(data) // 2],
    "nothing": lambda data: b"",
    "text": lambda data: b"this is no picture",
    "head": lambda data: b"\x89PNG\r\n\x1a\n",
}


def _pictures(damage):
    """(name of the class, bytes) pairs; `damage` from number to function."""
    for number in range(PICTURES):
        change = damage.get(number, lambda data: data)
        yield f"class{number % 4}", change(small_data.jpeg(number))


def _write_folder(folder, damage):
    for split in ("train", "eval"):
        for number, (name, data) in enumerate(_pictures(damage)):
            place = folder / split / name
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number:02d}.jpg").write_bytes(data)


def _write_csv(folder, damage):
    folder.mkdir()
    lines = []
    for number, (name, data) in enumerate(_pictures(damage)):
        (folder / f"{number:02d}.jpg").write_bytes(data)
        lines.append(f"{number:02d}.jpg,{name}\n")
    (folder / "train.csv").write_text("".join(lines))


def _write_records(folder, damage):
    folder.mkdir()
    payloads = [
        small_data.example(data, int(name[-1]) + 1)
        for name, data in _pictures(damage)
    ]
    small_data.write_records(folder / "train-00000-of-00001", payloads)
    (folder / "labels.txt").write_text("a\nb\nc\nd\n")


WRITERS = {
    "folder": _write_folder,
    "csv": _write_csv,
    "records": _write_records,
}


def _train(tmp_path, source, damage):
    """Returns the exit code of --mode=train."""
    WRITERS[source](tmp_path / "data", damage)
    return app.main(
        [
            "main.py",
            "--mode=train",
            f"--model_name={small_runs.BLOCKS}",
            f"--dataset_cfg={source}",
            f"--data_dir={tmp_path / 'data'}",
            f"--model_dir={tmp_path / 'run'}",
            f"--hparam_str={SETTINGS}",
        ]
    )


def _name(source, number):
    """What a message calls an example."""
    if source == "records":
        return f"train-00000-of-00001, record {number}: "
    return f"{number:02d}.jpg: "


@pytest.mark.parametrize("source", WRITERS)
def test_each_kind_of_damage_is_left_out_named_and_counted(
    source, tmp_path, capsys, caplog
):
    damage = {3 + 7 * n: change for n, change in enumerate(DAMAGE.values())}
    assert _train(tmp_path, source, damage) == 0
    assert "5 broken" in capsys.readouterr().out
    named = [text for text in caplog.messages if text.startswith("left out, ")]
    assert len(named) == 5
    for number in damage:
        assert sum(_name(source, number) in text for text in named) == 1


def test_too_many_end_the_run_with_a_line_that_names_the_first(
    tmp_path, capsys
):
    damage = dict.fromkeys(range(0, PICTURES, 5), DAMAGE["cut"])
    assert _train(tmp_path, "csv", damage) == 1
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("error: ")
    assert "of 40 examples of csv/train are broken, more than data.max" in err
    assert err.count(".jpg: not a picture that can be decoded") == 5


def test_a_run_without_any_good_picture_says_so(tmp_path, capsys):
    damage = dict.fromkeys(range(PICTURES), DAMAGE["text"])
    assert _train(tmp_path, "folder", damage) == 1
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith(
        "error: more than data.max_bad_fraction=0.15 of the examples of "
        "folder/train are broken; the first: "
    )
    assert err.count(".jpg: not a picture that can be decoded") == 5
