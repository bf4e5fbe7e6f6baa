"""corosync.conf as PVE reads and writes it (PVE/Corosync.pm)."""

import os
import re

from .common import CONF, Die, read_text

MAX_LINK = 7


def parse(text):
    """Return {section: {key: value}}; `node` and `interface` are lists of such."""
    root = {}
    stack = [root]
    for number, raw in enumerate(text.splitlines(), 1):
        line = " ".join(raw.split("#")[0].split())
        if not line:
            continue
        if line == "}":
            if len(stack) == 1:
                raise Die(f"parse error - uncexpected '}}' (line {number})")
            stack.pop()
        elif line.endswith(" {"):
            name = line[:-2]
            section = {}
            if name in ("node", "interface"):
                stack[-1].setdefault(name, []).append(section)
            elif name in stack[-1]:
                raise Die(f"section '{name}' already exists and not marked as array!")
            else:
                stack[-1][name] = section
            stack.append(section)
        else:
            key, _, value = line.partition(" ")
            if not key.endswith(":"):
                raise Die(f"missing ':' after key '{key}'")
            if not value:
                raise Die(f"parse error - no value for '{key[:-1]}'")
            stack[-1][key[:-1]] = value
    return root


def render(root):
    """Return the text: sorted keys, two blanks a level, a blank line after each section of the top."""
    lines = []

    def section(name, content, depth):
        lines.append("  " * depth + f"{name} {{")
        for key in sorted(content):
            value = content[key]
            if isinstance(value, list):
                order = "name" if key == "node" else "linknumber"
                for item in sorted(value, key=lambda item: str(item.get(order, ""))):
                    section(key, item, depth + 1)
            elif isinstance(value, dict):
                section(key, value, depth + 1)
            else:
                lines.append("  " * (depth + 1) + f"{key}: {value}")
        lines.append("  " * depth + "}")

    for name in sorted(root):
        section(name, root[name], 0)
        lines.append("")
    return "\n".join(lines) + "\n"


def load():
    """Return the cluster file, parsed."""
    return parse(read_text(CONF))


def save(root, bump=True):
    """Replace the cluster file, with a version one higher."""
    version = root["totem"].get("config_version", "")
    if not re.fullmatch(r"\d+", version):
        raise Die("invalid corosync config: unable to read config version")
    if bump:
        root["totem"]["config_version"] = str(int(version) + 1)
    with open(f"{CONF}.new", "w", encoding="utf-8") as file:
        file.write(render(root))
    try:
        os.rename(f"{CONF}.new", CONF)
    except OSError as error:
        raise Die(f"activating corosync.conf.new failed - {error.strerror}", error.errno) from error


def nodes(root):
    """Return {name: node section}."""
    return {node.get("name", node.get("ring0_addr", "")): node for node in root["nodelist"]["node"]}


def link_numbers(root):
    """Return the numbers of the links that the nodes have addresses on."""
    return sorted(
        {
            int(match[1])
            for node in root["nodelist"]["node"]
            for key in node
            if (match := re.fullmatch(r"ring(\d)_addr", key))
        }
    )


def verify(root):
    """End when links and interface sections do not match (verify_conf)."""
    errors = []
    sections = root["totem"].get("interface", [])
    interfaces = {int(item["linknumber"]) for item in sections if "linknumber" in item}
    links = link_numbers(root)
    for name, node in sorted(nodes(root).items()):
        own = {number for number in range(MAX_LINK + 1) if f"ring{number}_addr" in node}
        for number in links:
            if interfaces and number in own and number not in interfaces:
                errors.append(
                    f"node '{name}' has 'ring{number}_addr', but there is no interface number "
                    f"{number} configured"
                )
            if not interfaces and number not in own:
                errors.append(f"node '{name}' is missing link {number}, which is configured on other nodes")
        errors += [
            f"node '{name}' is missing address forinterface number {number}"
            for number in sorted(interfaces - own)
        ]
    if errors:
        raise Die("\n".join(errors))
