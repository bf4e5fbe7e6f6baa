"""Two halves that were quorate apart: the first line says so, its command joins them, and nothing is lost."""

import shlex

from phases import flat, heal, orchestrate, run

from lab.cluster import wait_for
from lab.seed import MASTER

NOTES = "/etc/pve/notes.cfg"


def test_what_the_first_screen_says_joins_two_quorate_halves_and_keeps_what_each_wrote(lab):
    lab.wait_minions()
    lab.cut("vrack")
    wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 30, what="the nodes to lose quorum")
    for node in lab.nodes:  # as an operator does on each side who sees its neighbour gone
        lab.exec(node, ["corosync-quorumtool", "-e", "1"], check=True)
    wait_for(lambda: all(map(lab.writable, lab.nodes)), 40, what="each half to write")
    for node in lab.nodes:
        wait_for(lambda node=node: _wrote(lab, node), 20, what=f"{node} to write to /etc/pve")

    code, report = run(lab, "corosync.status")
    told = report["verdict"]
    assert (code, told["kind"]) == (1, "halves"), report
    assert "EACH PART HAS QUORUM" in told["text"] and "notes.cfg" in told["text"]
    code, said = orchestrate(lab, "failover")
    assert code == 1 and "EACH PART HAS QUORUM" in said, "without the force it is refused, and says so, too"

    done = lab.exec(MASTER, shlex.split(told["command"]), timeout=400)
    assert done.returncode == 0, done.stdout
    said = flat(done.stdout)
    (kept,) = {lab.read(node, NOTES) for node in lab.nodes}
    (lost,) = set(lab.nodes) - {kept.strip()}
    assert f"of {lost} was dropped for the /etc/pve of {kept.strip()}: notes.cfg" in said, said
    copies = ["sh", "-c", "cat /var/lib/pve-corosync/halves/*/pve/notes.cfg"]
    assert lab.exec(lost, copies, check=True).stdout.strip() == lost
    heal(lab)


def _wrote(lab, node):
    return lab.exec(node, ["sh", "-c", f"echo {node} >{NOTES}"]).returncode == 0
