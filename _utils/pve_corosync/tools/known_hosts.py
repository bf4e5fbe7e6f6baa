"""SSH keys: the one-line files ``/etc/pve/nodes/<node>/ssh_known_hosts``, a host's own public key, and the
files of the cluster that let somebody in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib


def parse(text: str) -> list[dict]:
    """Return the keys of a known_hosts file: ``[{"names": ["pve1"], "type": "ssh-rsa", "fingerprint":
    "SHA256:…"}]``.

    :param text: the file; comments, blank and malformed lines are left out (ssh does the same).
    """
    found = []
    for line in text.splitlines():
        parts = line.split()
        if len(parts) >= 3 and not parts[0].startswith(("#", "@")) and fingerprint(parts[2]):
            found.append(
                {"names": parts[0].split(","), "type": parts[1], "fingerprint": fingerprint(parts[2])}
            )
    return found


def public_key(text: str) -> dict | None:
    """Return ``{"type", "fingerprint"}`` of an OpenSSH public key file, None if it holds none.

    :param text: e.g. ``/etc/ssh/ssh_host_rsa_key.pub``.
    """
    parts = text.split()
    if len(parts) < 2 or not fingerprint(parts[1]):
        return None
    return {"type": parts[0], "fingerprint": fingerprint(parts[1])}


def fingerprint(key: str) -> str:
    """Return ``SHA256:…`` of a base64 key blob as ssh-keygen prints it, ``""`` if it is no base64."""
    try:
        blob = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=") if blob else ""


def check(node: str, text: str | None, own: dict | None = None) -> dict:
    """Tell whether PVE's ssh to a node can succeed with its file: ``{"present", "ok", "fingerprints",
    "why"}``.

    PVE connects with ``HostKeyAlias=<node>``, so the line must name the node, whatever its address.

    :param node: the node's name.
    :param text: its ssh_known_hosts, None if there is no such file.
    :param own: the key that its sshd has (:func:`public_key`), None where that is not known.
    """
    keys = [key for key in parse(text or "") if node in key["names"]]
    why = ""
    if text is None:
        why = f"/etc/pve/nodes/{node}/ssh_known_hosts does not exist"
    elif not keys:
        why = f"/etc/pve/nodes/{node}/ssh_known_hosts has no key for the name {node}"
    elif own and own["fingerprint"] not in [key["fingerprint"] for key in keys]:
        why = (
            f"/etc/pve/nodes/{node}/ssh_known_hosts has another key than the node's sshd"
            f" ({own['fingerprint']})"
        )
    return {
        "present": text is not None,
        "ok": not why,
        "fingerprints": [k["fingerprint"] for k in keys],
        "why": why,
    }


def authorized(line: str) -> tuple[str, str, str] | None:
    """Return ``(type, key, comment)`` of a line of authorized_keys, None if it has none (sshd(8)).

    :param line: options may stand before the type; blanks in them are quoted.
    """
    rest = line.strip()
    if not rest or rest.startswith("#"):
        return None
    for attempt in (rest, _behind_options(rest)):
        parts = attempt.split(None, 2)
        if len(parts) >= 2 and fingerprint(parts[1]):
            return parts[0], parts[1], parts[2] if len(parts) > 2 else ""
    return None


def _behind_options(line):
    quoted = False
    for place, char in enumerate(line):
        if char == '"' and line[place - 1 : place] != "\\":
            quoted = not quoted
        if char in " \t" and not quoted:
            return line[place:].strip()
    return ""


def of_root(text: str, node: str, keep) -> list[dict]:
    """Return the keys of authorized_keys that are root's of a node, and none that it has now.

    PVE makes root's key with ``root@<node>`` as its comment, merges it into the file of the whole cluster,
    and never takes one out (PVE/Cluster/Setup.pm ssh_merge_keys, pvecm delnode).

    :param text: the file. :param node: its name. :param keep: fingerprints of the keys that it has.
    """
    rows = filter(None, map(authorized, text.splitlines()))
    return [
        {"fingerprint": fingerprint(key), "type": kind, "name": comment}
        for kind, key, comment in rows
        if comment == f"root@{node}" and fingerprint(key) not in keep
    ]


def of_host(text: str, names, keep) -> list[dict]:
    """Return the keys of known_hosts under any of some names that the host does not have now.

    :param text: the file. :param names: name and addresses.
    :param keep: fingerprints of the keys that it has.
    """
    return [
        {"fingerprint": row["fingerprint"], "type": row["type"], "name": ",".join(row["names"])}
        for row in parse(text)
        if set(row["names"]) & set(names) and row["fingerprint"] not in keep
    ]


def without(text: str, wanted: str) -> str:
    """Return a file of either kind without the lines of one key; every other byte stays.

    :param text: authorized_keys or known_hosts. :param wanted: the key's fingerprint.
    """
    return "".join(line for line in text.splitlines(keepends=True) if not _has(line, wanted))


def _has(line, wanted):
    row = authorized(line)
    return bool(row and fingerprint(row[1]) == wanted) or any(
        key["fingerprint"] == wanted for key in parse(line)
    )
