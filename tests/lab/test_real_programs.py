"""`lab up --pve`: a real Proxmox VE's files are laid over the nodes; here the stand-ins' own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import host, pve
from lab.cluster import Lab, LabError, wait_for
from lab.state import Record

COMMAND = [sys.executable, str(host.REPO / "lab/lab")]
SUITE = os.environ.get("LAB_SUITES", "bookworm").split()[0]
STANDINS = host.REPO / "lab/standins"
UNIT = """[Unit]
Description={name} of the folder
After=pve-cluster.service
Wants=pve-cluster.service

[Service]
ExecStart=/usr/sbin/{name}
TimeoutStopSec=95

[Install]
WantedBy=multi-user.target
"""


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def folder(tmp_path):
    """What packages leave: programs and Perl modules in /usr, units in /lib, HA's daemons by their names."""
    root = tmp_path / "root"
    for name in pve.PROGRAMS:
        executable(root / "usr/bin" / name, (STANDINS / name).read_text(encoding="utf-8"))
    for library in ("pmxcfs_lib", "pve_lib"):
        shutil.copytree(STANDINS / library, root / "usr/bin" / library)
    for kind in ("lrm", "crm"):
        executable(
            root / f"usr/sbin/pve-ha-{kind}", f"#!/bin/sh\nexec /usr/bin/ha-manager --lab-daemon {kind}\n"
        )
        executable(root / f"lib/systemd/system/pve-ha-{kind}.service", UNIT.format(name=f"pve-ha-{kind}"))
    shutil.copy(host.REPO / "lab/units/pve-cluster.service", root / "lib/systemd/system")
    executable(root / "usr/share/perl5/PVE/Cluster.pm", "1;\n")
    return root


def test_a_folder_with_programs_is_laid_over_the_nodes(lab_prefix, folder):
    """Programs, units and modules of the nodes are those of the folder; a daemon that fails is no success."""
    name = f"{lab_prefix}-pve"
    lab = Lab(name)
    try:
        up = subprocess.run(
            [*COMMAND, "--name", name, "up", "--suite", SUITE, "--pve", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert up.returncode == 0, up.stderr
        real = "pmxcfs, pvecm, pvesr, ha-manager, pve-cluster.service, pve-ha-lrm.service, pve-ha-crm.service"
        assert f"real: {real}; stand-ins: none\n" in up.stdout
        lab = Lab(name)
        for node in lab.nodes:
            assert lab.healthy(node)
            for daemon in ("pve-cluster", "pve-ha-lrm", "pve-ha-crm"):
                shown = lab.exec(node, ["systemctl", "show", "-p", "FragmentPath,ActiveState", daemon]).stdout
                assert "ActiveState=active" in shown
                assert f"FragmentPath=/usr/lib/systemd/system/{daemon}.service" in shown or (
                    f"FragmentPath=/lib/systemd/system/{daemon}.service" in shown
                )
            assert lab.read(node, "/usr/share/perl5/PVE/Cluster.pm") == "1;\n"
            assert lab.exec(node, ["test", "-S", "/dev/log"]).returncode == 0, "Perl's syslog ends without it"
        assert lab.exec("pve1", ["pvecm", "status"]).returncode == 0
        lab.check_units()
        lab.exec("pve2", ["systemctl", "stop", "pve-ha-lrm"], check=True)
        lab.exec("pve2", ["mkdir", "-p", "/run/systemd/system/pve-ha-lrm.service.d"], check=True)
        lab.write(
            "pve2",
            "/run/systemd/system/pve-ha-lrm.service.d/broken.conf",
            "[Service]\nExecStart=\nExecStart=/bin/false\n",
        )
        lab.exec("pve2", ["systemctl", "daemon-reload"], check=True)
        lab.exec("pve2", ["systemctl", "start", "pve-ha-lrm"])
        wait_for(lab.machine("pve2").failed, 20, what="the daemon to end")  # it has begun when start returns
        with pytest.raises(LabError, match=r"units have failed \(pve2: pve-ha-lrm.service\)"):
            lab.check_units()
    finally:
        lab.down()


def test_what_the_folder_lacks_stands_in(folder):
    """One program of a real Proxmox VE is real, and the others are named as what they are."""
    for name in ("pvecm", "pvesr", "ha-manager"):
        (folder / "usr/bin" / name).unlink()
    shutil.rmtree(folder / "lib")
    assert pve.describe(folder) == (
        "real: pmxcfs; stand-ins: pvecm, pvesr, ha-manager, pve-cluster.service, pve-ha-lrm.service, "
        "pve-ha-crm.service"
    )
    assert pve.describe(None).startswith("real: none; stand-ins: pmxcfs, ")


def test_a_folder_without_any_of_the_programs_is_refused(lab_prefix, tmp_path):
    record = Record(f"{lab_prefix}-none")
    with pytest.raises(LabError, match="there is no such folder"):
        pve.provide(record, tmp_path / "none")
    with pytest.raises(LabError, match="dpkg-deb -x"):
        pve.provide(record, tmp_path)
    assert not Path(record.folder).exists()
