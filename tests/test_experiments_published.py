"""The table and the picture of the models, as the README shows them."""

import pytest
from conftest import ROOT

from efficientnetv2 import variants
from efficientnetv2.experiments import published


@pytest.fixture(scope="module")
def table():
    return published.table()


def test_the_readme_holds_the_table_as_the_code_counts_it(table):
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_variant_is_a_line(table):
    names = [line.split(" | ")[0][2:] for line in table.splitlines()[2:]]
    assert names == list(variants.VARIANTS)


def test_a_line_has_the_published_figures(table):
    [line] = [x for x in table.splitlines() if "efficientnetv2-s " in x]
    assert line == (
        "| efficientnetv2-s | 21.5 | 8.37 | 128 to 300 | 384 | 83.9 | 84.9 "
        "| 1k, 21k, 21k-ft1k |"
    )


def test_counted_multiply_adds_are_the_published_ones():
    for name, variant in variants.VARIANTS.items():
        if variant.billions_multiply_adds is not None:
            assert published.count(name).multiply_adds / 1e9 == pytest.approx(
                variant.billions_multiply_adds, rel=0.05
            )


def test_the_picture_is_drawn_and_small(tmp_path):
    published.draw(tmp_path / "models.png")
    size = (tmp_path / "models.png").stat().st_size
    assert 10_000 < size < 200_000
    assert (ROOT / "docs/models.png").stat().st_size < 200_000


def test_labels_stand_on_the_side_away_from_the_other_curve():
    line = [(1, 70.0, "a"), (100, 80.0, "b")]
    assert published._is_above(10, 75.1, line)  # on a log axis it is half way
    assert not published._is_above(10, 74.9, line)
