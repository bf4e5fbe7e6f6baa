"""Proxmox VE's own programs on the nodes: the files of a real one, and stand-ins for what they lack."""

import os
from pathlib import Path

from lab import host
from lab.shell import LabError, run

STANDINS = host.REPO / "lab/standins"
PROGRAMS = ("pmxcfs", "pvecm", "pvesr", "ha-manager")
UNITS = ("pve-cluster", "pve-firewall", "pvestatd", "pvedaemon", "pveproxy", "pve-ha-lrm", "pve-ha-crm")
#: Started where the folder has it; the stand-ins of HA hold a watchdog of their own.
MORE_UNITS = ("watchdog-mux",)
#: Folders that are links into /usr on a Debian of today, and may be folders in what dpkg-deb -x leaves.
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


def provide(record, folder):
    """Copy a folder with the files of Proxmox VE to where all nodes of a lab can have it below their disks.

    folder
        such as `dpkg-deb -x` fills, with usr/bin/pmxcfs and others, their libraries and Perl modules

    Returns the copy, in which /bin, /lib and the like are part of /usr, as they are on the nodes.
    """
    source, copy = Path(folder), record.folder / "pve"
    if not source.is_dir():
        raise LabError(f"--pve names {source}, and there is no such folder")
    if not any(find(source, f"usr/bin/{name}") for name in PROGRAMS):
        raise LabError(
            f"{source} has none of usr/bin/{', usr/bin/'.join(PROGRAMS)}: name the folder that a real"
            " Proxmox VE's packages were unpacked in (dpkg-deb -x PACKAGE.deb FOLDER)"
        )
    (copy / "usr").mkdir(parents=True, exist_ok=True)
    for entry in sorted(source.iterdir()):
        target = copy / "usr" / entry.name if entry.name in MERGED else copy / entry.name
        if entry.name in MERGED and entry.is_symlink():
            continue  # the nodes have this link too
        if entry.is_dir() and not entry.is_symlink():
            target.mkdir(exist_ok=True)
            run(["cp", "-a", f"{entry}/.", target], timeout=300)
        else:
            run(["cp", "-a", entry, target])
    return copy


def find(root, path):
    """Return a file of a folder of Proxmox VE's, which may be in /lib or /usr/lib, or None."""
    root = Path(root)
    for place in (root / path, root / path.removeprefix("usr/")):
        if place.is_file():
            return place
    return None


def real_programs(root):
    """Return the names of the programs that a folder has; of none where there is no folder."""
    return [name for name in PROGRAMS if root and find(root, f"usr/bin/{name}")]


def real_units(root):
    """Return the names of the units that a folder has; of none where there is no folder."""
    return [
        name
        for name in (*UNITS, *MORE_UNITS)
        if root and find(root, f"usr/lib/systemd/system/{name}.service")
    ]


def needs_storage(root):
    """Tell whether replication needs a ZFS, which no node has: with the real pvesr and its modules."""
    return bool(root and find(root, "usr/share/perl5/PVE/Replication.pm"))


def programs():
    """Return {program: file} of what is put on every disk: that of LAB_PMXCFS=/path …, else the stand-in."""
    found = {}
    for program in PROGRAMS:
        variable = f"LAB_{program.upper().replace('-', '_')}"
        path = Path(os.environ.get(variable) or STANDINS / program)
        if path.is_file():
            found[program] = path
        elif os.environ.get(variable):
            raise LabError(f"{variable} names {path}, and there is no such file")
    return found


def describe(root):
    """Return one line: which of Proxmox VE's programs and daemons are real in a lab, and which stand in."""
    named = [name for name in PROGRAMS if os.environ.get(f"LAB_{name.upper().replace('-', '_')}")]
    real = [name for name in PROGRAMS if name in named or name in real_programs(root)]
    daemons = [name for name in UNITS if name.startswith("pve-ha") or name == "pve-cluster"]
    real += [f"{name}.service" for name in (*daemons, *MORE_UNITS) if name in real_units(root)]
    rest = [name for name in PROGRAMS if name not in real]
    rest += [f"{name}.service" for name in daemons if f"{name}.service" not in real]
    return f"real: {', '.join(real) or 'none'}; stand-ins: {', '.join(rest) or 'none'}"


def seed(disk, root):
    """Put stand-ins and units on a node's disk, but for what the folder below that disk has."""
    own = real_programs(root)
    for program, source in programs().items():
        if program not in own:
            disk.copy(source, f"/usr/bin/{program}", 0o755)
    for source in sorted(STANDINS.glob("*_lib/**/*.py")):
        disk.copy(source, f"/usr/lib/pve-standins/{source.relative_to(STANDINS)}", 0o644)
    # What the units of the HA stand-ins run, whoever has the name ha-manager.
    disk.copy(STANDINS / "ha-manager", "/usr/lib/pve-standins/ha-daemon", 0o755)
    given = real_units(root)
    for unit in UNITS:
        if unit not in given:
            disk.unit(unit)
    for unit in given:
        disk.link(
            f"/etc/systemd/system/multi-user.target.wants/{unit}.service",
            f"/usr/lib/systemd/system/{unit}.service",
        )
