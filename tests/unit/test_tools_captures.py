"""Every parser against every recorded output of its tool (tests/captures, real PVE 9 tools)."""

import re
from pathlib import Path

import pytest
from pve_corosync.tools import corosync, pve

FOLDER = Path(__file__).parents[1] / "captures"


def read(path):
    """Return (command, rc, stdout, stderr) of a capture."""
    match = re.fullmatch(
        r"node: \S+\ncommand: (.*)\nexit: (\d+)\nwall: \S+\n--stdout--\n(.*)--stderr--\n(.*)--end--\n",
        path.read_text(),
        re.DOTALL,
    )
    assert match, f"{path} is no capture"
    return match[1], int(match[2]), match[3], match[4]


def of(command):
    """Return the captures of one command as pytest parameters."""
    found = [
        pytest.param(*read(path)[1:], id=path.stem)
        for path in sorted(FOLDER.glob("*.txt"))
        if re.fullmatch(command, read(path)[0])
    ]
    assert found, f"no capture of {command}"
    return found


@pytest.mark.parametrize("rc, out, err", of("pvecm status"))
def test_pvecm_status(rc, out, err):
    seen = pve.pvecm_status(out, err, rc)
    expected = {
        0: "quorate",
        1: "corosync-stopped",
        111: "pmxcfs-stopped",
        2: "no-quorum" if out else "not-in-cluster",
    }[rc]
    assert seen["state"] == expected
    if seen["quorum"]:
        assert seen["quorum"]["quorate"] == (rc == 0)
        assert len(seen["quorum"]["members"]) == int(re.search(r"Nodes: +(\d+)", out)[1])
        assert seen["quorum"]["nodeid"] in seen["quorum"]["members"]
        assert seen["quorum"]["total"] == sum(seen["quorum"]["votes"].values())
        assert seen["quorum"]["ring_id"] == re.search(r"Ring ID: +(\S+)", out)[1]
        assert ("Quorate" in seen["quorum"]["flags"]) == (rc == 0)
    if out:
        assert seen["cluster"]["version"] == int(re.search(r"Config Version: +(\d+)", out)[1])
        assert seen["cluster"]["transport"] == "knet" and seen["cluster"]["secauth"] == "on"
        assert seen["cluster"]["name"] in ("lab2", "lab3")
    else:
        assert seen["cluster"] is None


@pytest.mark.parametrize("rc, out, err", of("pvecm nodes"))
def test_pvecm_nodes(rc, out, err):
    seen = pve.pvecm_nodes(out, err, rc)
    assert seen["state"] == {0: "ok", 1: "corosync-stopped", 2: "not-in-cluster", 111: "pmxcfs-stopped"}[rc]
    assert len(seen["nodes"]) == len(re.findall(r"qve\d", out))
    assert all(
        node["name"] == f"qve{nodeid}" and node["votes"] == 1 for nodeid, node in seen["nodes"].items()
    )
    assert sum(node["local"] for node in seen["nodes"].values()) == (1 if rc == 0 else 0)


@pytest.mark.parametrize("rc, out, err", of("cat /etc/pve/.members"))
def test_members(rc, out, err):
    seen = pve.pmxcfs_members(out)
    assert seen["nodename"] in out
    if seen["cluster"] is None:
        assert seen["nodelist"] == {} and "nodelist" not in out
    else:
        assert seen["nodelist"]["qve1"] == {"id": 1, "online": True, "ip": "198.51.101.10"}
        assert seen["nodelist"]["qve2"]["online"] == ('"id": 2, "online": 1' in out)
        assert seen["cluster"]["quorate"] == ('"quorate": 1' in out)


@pytest.mark.parametrize("rc, out, err", of("pvesr list"))
def test_pvesr_list(rc, out, err):
    seen = pve.pvesr_list(out)
    if "100-0" in out:
        enabled = out.rstrip().endswith("yes")
        assert seen == {"100-0": {"target": "qve2", "schedule": "*/15", "rate": None, "enabled": enabled}}
    else:
        assert seen == {}


@pytest.mark.parametrize("rc, out, err", of("pvesr status"))
def test_pvesr_status(rc, out, err):
    if rc:
        with pytest.raises(corosync.OutputError, match="no quorum!" if rc == 13 else "Connection refused"):
            pve.pvesr_status(out, err, rc)
        assert pve.pve_state(err) == {13: "no-quorum", 111: "pmxcfs-stopped"}[rc]
        return
    seen = pve.pvesr_status(out, err, rc)
    assert list(seen) == (["100-0"] if "100-0" in out else [])
    for job in seen.values():
        assert job["target"] == "qve2" and job["enabled"] == (" Yes " in out)
        assert (job["state"] == "OK") == (job["fail_count"] == 0)
        if job["fail_count"]:
            assert (
                job["state"].startswith("command '/usr/bin/ssh -e none") and "exit code 255" in job["state"]
            )
            assert job["duration_s"] > 0
        assert (job["last_sync"] is None) == (" pending " in out)


@pytest.mark.parametrize("rc, out, err", of("ha-manager status( --verbose)?"))
def test_ha_status(rc, out, err):
    if rc:
        with pytest.raises(corosync.OutputError, match="Connection refused"):
            pve.ha_status(out, err, rc)
        return
    seen = pve.ha_status(out, err, rc)
    assert seen["quorate"] == out.startswith("quorum OK\n")
    assert seen["fencing"] == ("armed" if "fencing armed" in out else "standby")
    assert list(seen["lrms"]) == re.findall(r"^lrm (\S+)", out, re.MULTILINE)
    assert seen["configured"] == ("master" in out or "service" in out)
    assert {node for node, lrm in seen["lrms"].items() if lrm["watchdog"] == "active"} == set(
        re.findall(r"lrm (\S+) \(\w+, watchdog active", out)
    )
    assert len(seen["services"]) == out.count("service ")
    if "watchdog active" in out:
        assert seen["armed"] and seen["certain"]
    elif "dead?" in out:
        assert seen["armed"] and not seen["certain"]
    else:
        assert not seen["armed"]
