"""docs/paper.md says of every setting what the recipes hold."""

import re

import documents
import pytest

from efficientnetv2 import config, config_schema, config_types

TRANSFER = ("cifar10Ft", "cifar100Ft", "flowersFt", "carsFt")
_SIZES = ("S", "M", "L", "XL")


def _cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def tables(text):
    """The tables of a page: (header, rows), each a list of cells."""
    found = []
    for chunk in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        header, _, *rows = map(_cells, chunk.splitlines())
        found.append((header, rows))
    return found


TABLES = tables(documents.pages()["docs/paper.md"])


def _of_header(header):
    """(model, data set) of the recipes that a table's last column is of."""
    if header[-1] == "here" and "key" in header:
        return [(f"efficientnetv2-{x}", "imagenet") for x in "sml"]
    if header[-1] == "the four recipes":
        return [("efficientnetv2-l", name) for name in TRANSFER]
    named = re.fullmatch(r"`(\w+)`", header[-1])
    if named and "key" in header:
        return [("efficientnetv2-s", named[1])]
    return []


def _statements():
    """(model, data set, key, value as text) of all that the page says."""
    for header, rows in TABLES:
        if tuple(header[2:]) == _SIZES:
            for row in rows:
                for size, value in zip(_SIZES, row[2:], strict=True):
                    name = f"efficientnetv2-{size.lower()}"
                    yield name, "imagenet", row[1].strip("`"), value
            continue
        for model, dataset in _of_header(header):
            for row in rows:
                key = row[header.index("key")].strip("`")
                value = re.match(r"`([^`]+)`", row[-1])
                if key in config_schema.TYPES and value:
                    yield model, dataset, key, value[1]


STATEMENTS = list(_statements())


@pytest.mark.parametrize("model, dataset, key, value", STATEMENTS)
def test_the_recipe_holds_what_the_page_says(model, dataset, key, value):
    settings = config.load(model, dataset)
    wanted = config_types.coerce(key, value, config_schema.TYPES[key])
    assert config_schema.flatten(settings)[key] == wanted


def test_all_tables_of_settings_are_read():
    said = {(dataset, key) for _, dataset, key, _ in STATEMENTS}
    keys = {key for dataset, key in said if dataset == "imagenet"}
    assert len(keys) == 24
    for dataset, count in (("imagenet21k", 5), ("imagenetFt", 5)):
        assert sum(name == dataset for name, _ in said) == count
    for dataset in TRANSFER:
        assert sum(name == dataset for name, _ in said) == 8


def test_the_data_sets_have_the_classes_that_the_page_says():
    [rows] = [rows for header, rows in TABLES if header[-1] == "recipe"]
    assert len(rows) == len(TRANSFER)
    for row in rows:
        settings = config.load("efficientnetv2-s", row[-1].strip("`"))
        assert settings.data.num_classes == int(row[-2])


def test_the_sizes_of_the_stages_are_those_of_the_code():
    from efficientnetv2 import progressive

    def sizes(schedule):
        settings = config.load(
            "efficientnetv2-s", "imagenet", f"train.schedule={schedule}"
        )
        stages = progressive.plan(settings)
        return ", ".join(str(stage.image_size) for stage in stages)

    page = documents.pages()["docs/paper.md"]
    assert sizes("paper").replace(", 300", " and 300") in page
    assert sizes("released") in page
