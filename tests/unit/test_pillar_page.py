"""docs/pillar.md says what the schema takes: every key, no other, and an example without a fault."""

import pathlib
import re

import pytest
import yaml
from pve_corosync import link_options
from pve_corosync.pillar import layouts, schema, watch

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs/pillar.md").read_text(encoding="utf-8")
SECTIONS = {
    "`corosync`": schema.TOP_KEYS,
    "`corosync:nodes:NAME`": schema.NODE_KEYS,
    "`corosync:layouts:NAME`": schema.LAYOUT_KEYS,
    "`corosync:layouts:NAME:links:NUMBER`": schema.LINK_KEYS,
    "`corosync:firewall`": schema.FIREWALL_KEYS,
    "`corosync:watch`": watch.KEYS,
}


@pytest.mark.parametrize("title", SECTIONS)
def test_every_key_has_a_row(title):
    section = PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    keys = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(keys) == sorted(SECTIONS[title])


@pytest.mark.parametrize("key", watch.NUMBERS)
def test_numbers_of_the_watch_are_those_of_the_schema(key):
    default, least, most = watch.NUMBERS[key]
    assert re.search(rf"^\| `{key}` \| {least} to {most}( s)? \| {default} \|", PAGE, re.MULTILINE)


def test_the_ports_are_those_that_a_link_may_have():
    _, least, most, _ = link_options.NUMBERS["port"]
    assert f"| `port` | {least} to {most} |" in PAGE


def test_the_example_is_a_pillar():
    example = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])
    assert set(layouts.load(example["corosync"])["layouts"]) == {"nominal", "degraded"}
