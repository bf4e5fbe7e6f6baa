"""Salt extension: keep the Corosync quorum of a Proxmox VE cluster."""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path

KINDS = ("modules", "states", "runners", "beacons", "output", "wrapper", "utils")
CORE = "pve_corosync"


class Core(MetaPathFinder):
    """Finds the package ``pve_corosync`` of this extension where nothing else on the path has it.

    Salt puts the folder of synced utils on ``sys.path`` while it loads a file, at the end of it
    (salt/loader/lazy.py), and never that of an extension. A finder that is asked after ``sys.path`` lets
    synced code win, also over a newer package; an entry of ``sys.path`` would not.

    :param folder: the folder in which the package lies.
    """

    def __init__(self, folder):
        self.folder = folder

    def find_spec(self, fullname, path=None, target=None):
        """Return where the package is, None for any other name (importlib.abc.MetaPathFinder)."""
        return PathFinder.find_spec(fullname, [self.folder]) if fullname == CORE and path is None else None


def loader_dirs():
    """Return the folders Salt's loader searches, by loader type; works for wheels and editable installs."""
    found = {kind: str(Path(import_module(f"{__name__}.{kind}").__file__).parent) for kind in KINDS}
    if not any(isinstance(finder, Core) for finder in sys.meta_path):
        sys.meta_path.append(Core(found["utils"]))
    return {kind: [folder] for kind, folder in found.items()}
