"""What a node keeps on its disk for its next highstate: the last look at all nodes, and what was proved."""

from __future__ import annotations

import logging
import os

from pve_corosync.node import files

log = logging.getLogger(__name__)

LOOK = f"{files.STATE_DIR}/proof.json"
PROVED = f"{files.STATE_DIR}/proved.json"


def look(root: str | None):
    """Return what was noted of the last look at all nodes that found nothing to do (``cluster.memory.note``).

    :param root: stands in front of every path.
    """
    return files.read_json(files.under(root, LOOK))


def keep_look(root: str | None, note: dict) -> None:
    """Note a look at all nodes that found nothing to do.

    :param root: as there. :param note: what ``cluster.memory.note`` returned.
    """
    _write(root, LOOK, note)


def proved(root: str | None) -> str:
    """Return the digest of what was proved last (``cluster.memory.mark``), "" if nothing was.

    :param root: as there.
    """
    kept = files.read_json(files.under(root, PROVED))
    return str(kept.get("mark") or "") if isinstance(kept, dict) else ""


def keep_proved(root: str | None, mark: str) -> None:
    """Note what was proved.

    :param root: as there. :param mark: what ``cluster.memory.mark`` returned.
    """
    _write(root, PROVED, {"mark": mark})


def _write(root, name, data):
    path = files.under(root, name)
    try:
        files.ensure_folder(os.path.dirname(path))
        files.write_json(path, data)
    except OSError as exc:  # the next highstate looks again
        log.warning("%s: %s", path, exc)
