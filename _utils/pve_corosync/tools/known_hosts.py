"""SSH host keys: the one-line files ``/etc/pve/nodes/<node>/ssh_known_hosts`` and a host's own public key."""

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
