"""Salt extension: keep the Corosync quorum of a Proxmox VE cluster."""

import sys
from importlib import import_module
from pathlib import Path

KINDS = ("modules", "states", "runners", "beacons", "output", "utils")


def loader_dirs():
    """Return the folders Salt's loader searches, by loader type; works for wheels and editable installs.

    Salt puts the folder of synced utils on ``sys.path``, not that of an extension, so this does. It goes to
    the end: where newer code was synced, that is the one in use.
    """
    found = {kind: str(Path(import_module(f"{__name__}.{kind}").__file__).parent) for kind in KINDS}
    if found["utils"] not in sys.path:
        sys.path.append(found["utils"])
    return {kind: [folder] for kind, folder in found.items()}
