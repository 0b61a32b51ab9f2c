"""The demo: what it makes of pictures, and its page in a real browser."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import efficientnetv2
from efficientnetv2.demo import classifier, heat
from export import saved_model

BLOCKS = "r1_k3_s1_e1_i8_o8_c1;r2_k3_s2_e4_i8_o16_se0.25"
NAMES = ["ant", "bee", "crane", "crane", "deer"]
ROOT = pathlib.Path(__file__).resolve().parent.parent
SECONDS = 60  # that a page may take on a busy machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model, and pictures."""
    folder = tmp_path_factory.mktemp("demo")
    keras.utils.set_random_seed(1)
    saved_model.export(
        efficientnetv2.get_model(BLOCKS, num_classes=5),
        folder / "saved_model",
        class_names=NAMES,
        image_size=64,
        style="v2",
        verify=False,
    )
    Image.radial_gradient("L").convert("RGB").save(folder / "light.jpg")
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.mark.parametrize("place", ["", "saved_model"])
def test_an_export_of_one_format_or_of_all_is_classified(folder, place):
    model = classifier.Classifier(folder / place)
    answer = model.classify((folder / "light.jpg").read_bytes())
    assert sum(answer.probabilities) == pytest.approx(1, abs=1e-5)
    assert list(answer.probabilities) == sorted(answer.probabilities)[::-1]
    assert sorted(answer.classes) == [
        "ant", "bee", "crane (1)", "crane (2)", "deer",
    ]  # fmt: skip
    assert answer.picture.shape == (64, 64, 3)
    assert len(answer.heat_maps) == 5
    assert max(np.max(x) for x in answer.heat_maps) == 1


def test_a_broken_picture_is_one_line(folder):
    model = classifier.Classifier(folder)
    with pytest.raises(ValueError, match="not a picture that can be decoded"):
        model.classify(b"no picture")


def test_a_torn_model_is_one_line(folder, tmp_path):
    shutil.copytree(folder / "saved_model", tmp_path / "torn")
    (tmp_path / "torn" / "saved_model.pb").write_bytes(b"torn")
    with pytest.raises(ValueError, match="cannot be loaded"):
        classifier.Classifier(tmp_path / "torn")


def test_heat_colours_a_grey_picture_where_it_is_hot():
    picture = np.full((30, 30, 3), [200, 100, 50], np.uint8)
    hot_right = np.zeros((4, 6), np.float32)
    hot_right[:, 4:] = 1
    seen = heat.overlay(picture, hot_right, side=60).astype(int)
    assert seen.shape == (60, 60, 3)
    cold, hot = seen[:, :25], seen[:, 55:]
    assert np.all(cold.max(-1) == cold.min(-1))  # grey
    assert np.all(hot[..., 0] - hot[..., 2] > 40)  # yellow


def start(*arguments, **environment):
    environment = {**os.environ, **environment}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # as a user starts it
    return subprocess.Popen(
        [sys.executable, "-m", "efficientnetv2.demo", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A job in the background hands on that ctrl-C is to be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--export_dir"),
        (["--export_dir=.", "--prot=1"], "--port"),
        (["--export_dir=.", "--port=0"], "between 1 and 65535. Received: 0"),
        (["--export_dir=docs"], "must hold a model that `python -m export"),
    ],
)
def test_what_it_cannot_show_is_one_line(flags, message):
    ended = start(*flags)
    _, error = ended.communicate(timeout=SECONDS)
    assert ended.returncode == 1
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error


@pytest.fixture(scope="module")
def address(folder, tmp_path_factory):
    """Address of the page of a running demo."""
    pytest.importorskip("gradio", reason="the extra demo")
    temporary = tmp_path_factory.mktemp("temporary")
    demo = start(f"--export_dir={folder}", TMPDIR=str(temporary))
    said = demo.stdout.readline()
    found = re.match(r"open (http://127\.0\.0\.1:\d+/) in a browser", said)
    if not found:
        demo.kill()
        raise AssertionError(demo.communicate())
    yield found[1]
    demo.send_signal(signal.SIGINT)
    output, error = demo.communicate(timeout=SECONDS)
    assert (demo.returncode, output) == (130, ""), error
    assert error.strip() == "Interrupted"
    # The pictures that were dropped go with it.
    assert not list(temporary.rglob("*.jpg"))
    assert not list(temporary.glob("demo-*"))


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage",
        "--window-size=1100,1150", f"--user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(flag)
    service = webdriver.ChromeService(executable_path=driver)
    found = webdriver.Chrome(options=options, service=service)
    yield found
    found.quit()


def wait(browser, condition):
    from selenium.common import exceptions
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(
        browser,
        SECONDS,
        ignored_exceptions=[exceptions.WebDriverException],
    ).until(condition)


def find(browser, selector):
    return browser.find_elements("css selector", selector)


def drop(browser, path):
    field = wait(browser, lambda b: find(b, "#picture input[type=file]"))[0]
    field.send_keys(str(path))


def heat_map(browser):
    """(label, address) of the heat map, or None while there is none."""
    images = find(browser, "#heat_map img")
    if not images or not images[0].get_property("naturalWidth"):
        return None
    (label,) = find(browser, "#heat_map label")
    return label.text, images[0].get_attribute("src")


def test_a_browser_shows_classes_with_bars_and_heat_maps(
    folder, address, browser, tmp_path
):
    model = classifier.Classifier(folder)
    answer = model.classify((folder / "light.jpg").read_bytes())
    browser.get(address)
    drop(browser, folder / "light.jpg")
    first = wait(browser, heat_map)
    assert answer.classes[0] in first[0]
    rows = find(browser, "#classes button")
    shown = [row.text.split("\n") for row in rows]
    for words, name, share in zip(
        shown, answer.classes, answer.probabilities, strict=True
    ):
        assert words[0] == name
        assert f"{round(100 * share)}%" in words
    rows[1].click()
    wait(browser, lambda b: answer.classes[1] in heat_map(b)[0])
    assert heat_map(browser)[1] != first[1]
    browser.save_screenshot(str(tmp_path / "page.png"))
    assert (tmp_path / "page.png").stat().st_size > 10_000
    asked = browser.execute_script(
        "return performance.getEntriesByType('resource').map(x => x.name)"
    )
    assert asked
    assert [x for x in asked if not x.startswith((address, "data:"))] == []


def test_a_browser_says_that_a_file_is_no_picture(folder, address, browser):
    browser.get(address)
    drop(browser, folder / "broken.jpg")
    toast = wait(browser, lambda b: find(b, ".toast-body"))[0]
    assert "not a picture" in toast.text
    with contextlib.suppress(IndexError):
        assert not find(browser, "#heat_map img")[0].is_displayed()
