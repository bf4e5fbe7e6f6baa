"""Salt extension: keep the Corosync quorum of a Proxmox VE cluster."""

from importlib import import_module
from pathlib import Path


def loader_dirs():
    """Return the folders Salt's loader searches, by loader type; works for wheels and editable installs."""
    kinds = ("modules", "states", "runners", "beacons", "output", "utils")
    return {kind: [str(Path(import_module(f"{__name__}.{kind}").__file__).parent)] for kind in kinds}
