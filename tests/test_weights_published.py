"""Published weights: addresses, hashes, the cache, archives."""

import functools
import hashlib
import http.server
import os
import pathlib
import tarfile
import threading

import keras
import numpy as np
import pytest
from random_weights import TINY, build, equal, one_line, pair

import efficientnetv2
from efficientnetv2 import variants, weights
from efficientnetv2.weights import addresses, published

ROOT = pathlib.Path(__file__).resolve().parent.parent
TINY_YAML = "blocks:\n" + "".join(f"  - {b}\n" for b in TINY.split(";"))


@pytest.fixture(scope="module")
def first():
    """A tiny model with random weights."""
    return pair()[0]


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path.startswith("/short/"):  # says more than it sends
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
            return
        super().do_GET()


@pytest.fixture
def site(tmp_path):
    """A folder and its address on a local web server."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(_Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "models"


def publish(monkeypatch, address, *, md5=None, **settings):
    """Puts the tiny model into the table."""
    entry = addresses.Published(
        **{
            "address": address,
            "file_name": address.rpartition("/")[2],
            "num_classes": 5,
            "preprocessing": "v1",
            "md5": md5,
        }
        | settings
    )
    for name in ("custom", "tiny"):
        monkeypatch.setitem(addresses.PUBLISHED, (name, "imagenet"), entry)
    return entry


def md5(path):
    return hashlib.md5(open(path, "rb").read()).hexdigest()


def test_hashes_and_addresses_are_those_that_keras_states():
    from keras.src.applications import efficientnet, efficientnet_v2

    for name in addresses._KERAS_MD5:
        family, _, size = name.partition("-")
        module = efficientnet if family == "efficientnet" else efficientnet_v2
        key = size if size.startswith("b") else f"-{size}"
        entry = weights.lookup(name, "imagenet")
        assert entry.md5 == module.WEIGHTS_HASHES[key][0]
        assert entry.address == module.BASE_WEIGHTS_PATH + entry.file_name
    stated = set(efficientnet.WEIGHTS_HASHES) | set(
        efficientnet_v2.WEIGHTS_HASHES
    )
    assert len(stated) == len({n[-2:] for n in addresses._KERAS_MD5})


@pytest.mark.parametrize(
    ("name", "kind", "file_name", "classes", "style"),
    [
        ("efficientnetv2-b0", "imagenet", "efficientnetv2-b0.h5", 1000, "v1"),
        ("efficientnetv2-s", "imagenet", "efficientnetv2-s.h5", 1000, "v2"),
        ("efficientnet-b3", "imagenet", "efficientnetb3.h5", 1000, "v1"),
        (
            "efficientnetv2-xl",
            "imagenet21k",
            "efficientnetv2-xl-21k.tgz",
            21843,
            "v2",
        ),
        (
            "efficientnetv2-b1",
            "imagenet21k-ft1k",
            "efficientnetv2-b1-21k-ft1k.tgz",
            1000,
            "v2",
        ),
    ],
)
def test_the_table_states(name, kind, file_name, classes, style):
    entry = weights.lookup(name, kind)
    assert entry.file_name == file_name
    assert entry.address.endswith(f"/{file_name}")
    assert (entry.num_classes, entry.preprocessing) == (classes, style)
    assert (entry.md5 is None) == file_name.endswith(".tgz")


def test_the_docs_table_is_the_table():
    text = (ROOT / "docs" / "weights.md").read_text()
    publishers = {"googleapis.com/cloud-tpu": "original", "timm": "timm"}
    rows = []
    for name in variants.VARIANTS:
        cells = []
        for kind in weights.KINDS:
            entry = weights.PUBLISHED.get((name, kind))
            cell = "-" if entry is None else "Keras"
            for part, publisher in publishers.items():
                if entry is not None and part in entry.address:
                    cell = publisher
            cells.append(cell)
        rows.append(f"| {name} | {' | '.join(cells)} |")
    assert "\n".join(rows) in text


def test_every_entry_is_of_a_variant():
    assert {name for name, _ in weights.PUBLISHED} <= set(variants.VARIANTS)
    assert len(weights.PUBLISHED) == 7 + 8 + 1 + 2 * 8


def test_what_nobody_published_is_an_error_that_says_what_there_is():
    with pytest.raises(
        weights.WeightsError, match="xl; there are: imagenet21k, imagenet21k-f"
    ):
        efficientnetv2.get_model("efficientnetv2-xl", weights="imagenet")
    with pytest.raises(weights.WeightsError, match="l2; there are: none"):
        weights.fetch("efficientnet-l2", "imagenet")
    with pytest.raises(weights.WeightsError, match="nearest: 'imagenet21k'"):
        weights.lookup("efficientnetv2-s", "imagenet21")
    with pytest.raises(FileNotFoundError, match="nearest: 'imagenet'"):
        efficientnetv2.get_model(TINY, weights="imagnet")


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_published_weights_are_fetched_once(
    first, site, cache, monkeypatch, scheme
):
    folder, address = site
    path = weights.save(first, folder / "tiny.weights.h5")
    address = address if scheme == "http" else f"file://{folder}/"
    publish(monkeypatch, f"{address}tiny.weights.h5", md5=md5(path))
    model = build()
    report = weights.load(model, "imagenet")
    assert equal(first, model)
    assert report.preprocessing == "v1"
    os.remove(path)
    weights.load(build(), "imagenet")
    (kept,) = cache.iterdir()
    assert kept.name == "tiny.weights.h5"
    assert kept.stat().st_mode & 0o044 == 0o044  # others may read it


def test_get_model_takes_classes_and_preprocessing_of_the_weights(
    first, site, cache, monkeypatch, tmp_path
):
    folder, address = site
    weights.save(first, folder / "tiny.weights.h5")
    publish(monkeypatch, f"{address}tiny.weights.h5")
    (tmp_path / "tiny.yaml").write_text(TINY_YAML)
    model = efficientnetv2.get_model(
        str(tmp_path / "tiny.yaml"),
        weights="imagenet",
        include_preprocessing=True,
    )
    assert model.output_shape == (None, 5)
    offset = model.get_layer("preprocessing").offset
    np.testing.assert_allclose(np.ravel(offset)[0], -0.485 / 0.229)


def test_a_published_archive_is_fetched_and_unpacked(
    first, site, cache, monkeypatch
):
    folder, address = site
    inner = weights.save(first, folder / "tiny.weights.h5")
    with tarfile.open(folder / "tiny.tgz", "w:gz") as tar:
        tar.add(inner, "tiny/tiny.weights.h5")
    publish(monkeypatch, f"{address}tiny.tgz")
    model = build()
    weights.load(model, "imagenet")
    assert equal(first, model)
    assert [p.name for p in cache.iterdir()] == ["tiny.tgz"]


def test_a_hash_that_does_not_fit_is_told_and_nothing_is_kept(
    first, site, cache, monkeypatch
):
    folder, address = site
    weights.save(first, folder / "tiny.weights.h5")
    publish(monkeypatch, f"{address}tiny.weights.h5", md5="0" * 32)
    one_line(
        lambda: weights.load(build(), "imagenet"),
        f"MD5 hash {md5(folder / 'tiny.weights.h5')}, but Keras states 000",
    )
    assert not list(cache.iterdir())


def test_a_damaged_file_in_the_cache_is_fetched_again(
    first, site, cache, monkeypatch
):
    folder, address = site
    path = weights.save(first, folder / "tiny.weights.h5")
    publish(monkeypatch, f"{address}tiny.weights.h5", md5=md5(path))
    cache.mkdir(parents=True)
    (cache / "tiny.weights.h5").write_bytes(b"torn")
    model = build()
    weights.load(model, "imagenet")
    assert equal(first, model)


@pytest.mark.parametrize(
    ("address", "match"),
    [
        ("http://127.0.0.1:9/tiny.h5", "cannot fetch http.*refused.*put the"),
        ("http://nowhere.invalid/tiny.h5", "cannot fetch http://nowhere"),
    ],
)
def test_one_line_without_network(cache, monkeypatch, address, match):
    publish(monkeypatch, address)
    one_line(lambda: weights.load(build(), "imagenet"), match)
    assert not list(cache.iterdir())


def test_one_line_for_a_file_that_is_gone(site, cache, monkeypatch):
    publish(monkeypatch, f"{site[1]}gone.h5")
    one_line(lambda: weights.load(build(), "imagenet"), "gone.h5.*404")


def test_one_line_for_a_download_that_stops(site, cache, monkeypatch):
    publish(monkeypatch, f"{site[1]}short/tiny.h5")
    one_line(
        lambda: weights.load(build(), "imagenet"), "after 10 of 1000 bytes"
    )
    assert not list(cache.iterdir())


def test_class_names_come_in_order_from_keras(monkeypatch, capsys):
    def decode(scores, top):
        print("Downloading data")
        return [
            [(f"n{row.argmax():08d}", f"name {row.argmax()}", 1.0)]
            for row in scores
        ]

    monkeypatch.setattr(
        keras.applications.imagenet_utils, "decode_predictions", decode
    )
    names = weights.class_names(1000)
    assert (len(names), names[0], names[999]) == (1000, "name 0", "name 999")
    assert weights.class_names(21843) is None
    assert capsys.readouterr().out == ""  # it may be JSON that is printed


def test_without_network_there_are_no_class_names(monkeypatch, caplog):
    def fail(*_, **__):
        raise Exception("URL fetch failure on http://x: None\nmore")

    monkeypatch.setattr(
        keras.applications.imagenet_utils, "decode_predictions", fail
    )
    assert published.class_names(1000) is None
    assert "numbers instead: URL fetch failure on http://x: None" in caplog.text
