"""Archives and remote paths: nothing leaves its folder."""

import io
import tarfile
import zipfile

import pytest
import tensorflow as tf
from random_weights import build, equal, one_line, pair

from efficientnetv2 import weights
from efficientnetv2.weights import local


@pytest.fixture(scope="module")
def first():
    """A tiny model with random weights."""
    return pair()[0]


def tar_with(path, member, content=b"evil", **settings):
    """A tar file with one member."""
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        for key, value in settings.items():
            setattr(info, key, value)
        tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    ("member", "settings"),
    [
        ("../evil", {}),
        ("a/../../evil", {}),
        ("link", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("link", {"type": tarfile.LNKTYPE, "linkname": "../evil"}),
        ("pipe", {"type": tarfile.FIFOTYPE}),
    ],
)
def test_an_unsafe_archive_is_not_unpacked(tmp_path, member, settings):
    content = b"" if settings else b"evil"
    tar_with(tmp_path / "weights.tgz", member, content, **settings)
    folder = tmp_path / "inside" / "folder"
    folder.mkdir(parents=True)
    one_line(
        lambda: local.unpack(tmp_path / "weights.tgz", folder),
        f"weights.tgz' is not unpacked: its member '{member}' is unsafe",
    )
    one_line(lambda: weights.load(build(), tmp_path / "weights.tgz"), "unsafe")
    assert not list(folder.iterdir())
    assert not list(tmp_path.rglob("evil"))


def test_an_absolute_member_stays_inside(tmp_path):
    target = tmp_path / "outside"
    tar_with(tmp_path / "weights.tgz", str(target))
    folder = tmp_path / "folder"
    folder.mkdir()
    local.unpack(tmp_path / "weights.tgz", folder)
    assert not target.exists()


def test_a_truncated_archive_is_told(first, tmp_path):
    path = weights.save(first, tmp_path / "tiny.weights.h5")
    with tarfile.open(tmp_path / "tiny.tgz", "w:gz") as tar:
        tar.add(path, "tiny.weights.h5")
    data = (tmp_path / "tiny.tgz").read_bytes()
    (tmp_path / "tiny.tgz").write_bytes(data[: len(data) // 2])
    one_line(
        lambda: weights.load(build(), tmp_path / "tiny.tgz"), "tiny.tgz.*damag"
    )


def test_a_zip_bomb_of_a_name_is_not_opened(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("../evil", b"x")
    one_line(
        lambda: weights.load(build(), tmp_path / "a.keras"), "without weights"
    )


@pytest.mark.parametrize("what", ["file", "folder", "prefix"])
def test_remote_paths_are_read_through_tensorflow(first, tmp_path, what):
    address = f"ram://weights-{what}"
    if what == "prefix":
        tensors = {f"{v.path}": v.value for v in first.weights}
        tf.raw_ops.SaveV2(
            prefix=f"{address}/model",
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )
        one_line(
            lambda: weights.load(build(), f"{address}/model"),
            "model' holds no EfficientNet",
        )
        return
    path = weights.save(first, tmp_path / "tiny.weights.h5")
    tf.io.gfile.makedirs(address)
    tf.io.gfile.copy(path, f"{address}/tiny.weights.h5", overwrite=True)
    model = build()
    weights.load(
        model, f"{address}/tiny.weights.h5" if what == "file" else address
    )
    assert equal(first, model)


def test_a_remote_path_that_is_not_there_is_told():
    with pytest.raises(FileNotFoundError, match="ram://nothing/here"):
        weights.load(build(), "ram://nothing/here")
