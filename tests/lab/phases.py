"""What the lab tests of the phases after the links share."""

import json

from lab.cluster import wait_for

PUBLIC = {"pve1": "198.51.101.10", "pve2": "198.51.102.10"}
VRACK = {"pve1": "10.66.0.1", "pve2": "10.66.0.2"}
SERVICES = ("pve-cluster", "corosync", "pve-firewall", "pvestatd", "pvedaemon", "pveproxy")


def run(lab, *words):
    """Return exit code and report of a function of the runner."""
    done = lab.salt_run("--out=json", *words, timeout=300)
    assert done.stdout.startswith("{"), done
    print(done.stderr)
    return done.returncode, json.loads(done.stdout)


def orchestrate(lab, name):
    """Return exit code and what an operator sees of an orchestration, without the breaks of its lines."""
    done = lab.salt_run("state.orchestrate", f"orch.{name}", timeout=400)
    print(done.stderr)
    print(done.stdout)
    return done.returncode, flat(done.stdout)


def flat(text):
    """Return a text with its lines joined: a phrase may go on in the next line of a screen."""
    return " ".join(text.split())


def heal(lab):
    """Repair every network, and wait until Corosync has every link of every pair back, in both directions."""
    lab.heal()
    wait_for(lambda: all(map(lab.connected, lab.nodes)), 60, every=0.5, what="all links to come back")


def codes(report, severity="error"):
    """Return the codes of a report's findings; of all severities with None."""
    return [item["code"] for item in report["findings"] if severity in (None, item["severity"])]


def texts(report):
    return " | ".join(item["text"] for item in report["findings"])


def failing(report):
    """Return the items of an exit checklist that are not true."""
    return [item["item"] for item in report["checklist"] if not item["ok"]]


def starts(lab, *services):
    """Return when each service of each node was started last."""
    ask = ["systemctl", "show", "-p", "Id,ActiveEnterTimestampMonotonic", *(services or SERVICES)]
    return {node: lab.exec(node, ask, check=True).stdout for node in lab.nodes}


def members(lab, node):
    """Return the addresses in `.members` of a node."""
    return {
        name: row.get("ip")
        for name, row in json.loads(lab.read(node, "/etc/pve/.members"))["nodelist"].items()
    }


def logins(lab, node):
    """Return from where root has logged in on a node, oldest first."""
    said = lab.exec(
        node, ["journalctl", "--no-pager", "-o", "cat", "-t", "sshd", "-t", "sshd-session"]
    ).stdout
    return [line.split(" from ")[1].split()[0] for line in said.splitlines() if line.startswith("Accepted ")]


def guest(lab, ran=True):
    """Give pve1 a guest with a disk and a replication job to pve2."""
    lab.exec("pve1", ["mkdir", "-p", "/etc/pve/nodes/pve1/qemu-server"], check=True)
    lab.write("pve1", "/etc/pve/nodes/pve1/qemu-server/100.conf", "scsi0: tank:vm-100-disk-0,size=1G\n")
    lab.exec("pve1", ["pvesr", "create-local-job", "100-0", "pve2"], check=True)
    if ran:
        lab.exec("pve1", ["pvesr", "run", "--id", "100-0"], check=True)


def calls(lab, node):
    """Return what the HA programs of a node did, oldest first, without its status questions."""
    said = lab.exec(node, ["cat", "/var/log/ha-manager-calls.log"]).stdout
    rows = [(float(line.split()[0]), line.split(maxsplit=2)[2]) for line in said.splitlines()]
    return [row for row in rows if row[1] not in ("ha-manager status", "ha-manager help")]
