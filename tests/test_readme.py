"""README and docs/ name every operation and parameter, and no other, and lead nowhere in vain."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from odml import config
from odml.config import SSDConfiguration
from odml.errors import ConfigurationError

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
}
TEXT = "\n".join(PAGES.values())
LINKS = sorted({(page, link) for page, text in PAGES.items() for link in re.findall(r"\]\(([^):]+)\)", text)})
# YAML that extends a model, as long as it is indented.
MODEL_FILES = re.findall(r"(?:^    .*\n)*^ +extends: .*\n(?:^    .*\n)*", TEXT, re.MULTILINE)
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]


def shown_default(declared) -> str:
    """Give a parameter's default as the table shows it."""
    if isinstance(declared, str):
        return "required"
    return str(declared["default"]) if declared["default"] != "" else ""


def rows_of(operation: str) -> dict[str, str]:
    """Give the parameters and defaults of an operation's rows in the table."""
    section = PAGES["docs/operations.md"].split(f"**{operation}**", 1)[1].split("\n\n**", 1)[0].split("\n## ", 1)[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\|", section, re.MULTILINE))


def anchors_of(text: str) -> set[str]:
    """Give the anchors that a page's headings have on GitHub."""
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_link_leads_to_a_page_and_a_heading_of_it(page, link):
    name, _, anchor = link.partition("#")
    target = (ROOT / page).parent / name if name else ROOT / page
    assert target.is_file()
    assert not anchor or anchor in anchors_of(target.read_text())


@pytest.mark.parametrize("operation", ENTRY_POINTS)
def test_table_has_the_parameters_of(operation):
    declared = ENTRY_POINTS[operation].get("parameters", {})
    assert rows_of(operation) == {name: shown_default(value) for name, value in declared.items()}


@pytest.mark.parametrize("command", sorted(set(re.findall(r"mlflow run \. .*", TEXT))))
def test_command_names_an_operation_and_its_parameters(command):
    operation = (re.findall(r"-e (\w+)", command) or ["main"])[0]
    if operation == "NAME":
        return
    assert set(re.findall(r"-P (\w+)=", command)) <= set(ENTRY_POINTS[operation].get("parameters", {}))
    assert "--env-manager" in command


@pytest.mark.parametrize("lines", MODEL_FILES)
def test_model_file_is_one_that_can_be_trained(tmp_path, lines):
    path = tmp_path / "mine.yml"
    path.write_text(textwrap.dedent(lines))
    assert isinstance(config.load(str(path)), SSDConfiguration)


def test_explained_model_file_has_what_is_said_of_it(tmp_path):
    lines = next(each for each in MODEL_FILES if "schedule" in each)
    path = tmp_path / "mine.yml"
    path.write_text(textwrap.dedent(lines))
    mine = config.load(str(path))
    assert isinstance(mine, SSDConfiguration)
    assert (mine.image_size, mine.anchors.min_scale, mine.training.schedule) == ((512, 512), 0.1, "steps")
    path.write_text(path.read_text().replace("aspect_ratios", "ratios"))
    with pytest.raises(ConfigurationError) as raised:
        config.load(str(path))
    assert f"    Error: {raised.value}\n".replace(str(path), "/data/mine.yml") in PAGES["docs/models.md"]


def test_table_has_the_models_that_come_with_odml():
    section = PAGES["docs/models.md"].split("\n## Models and their configuration\n", 1)[1].split("\n## ", 1)[0]
    assert sorted(re.findall(r"^\| `((?:ssd|faster)\w+)` \|", section, re.MULTILINE)) == config.shipped_models()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake (\w+)", TEXT))))
def test_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
