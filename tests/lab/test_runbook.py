"""The sections of docs/runbook.md that are not typed in a story of another file."""

import shlex

from phases import codes, heal, run
from runbook import commands, typed

from lab.cluster import wait_for

CODE = "/var/cache/salt/minion/extmods/modules/corosync_alone.py"


def test_quorum_lost_is_one_command_and_home_another(lab):
    """From the cut to a green checklist: one screen is read, and one command typed; then the way home."""
    (command,) = commands("Quorum lost")
    lab.cut("vrack")
    wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 60, what="the nodes to lose quorum")
    said = lab.salt_run("corosync.status", "--out=corosync_table").stdout
    first = said.split("\n\n")[0]
    assert first.startswith("prod has NO QUORUM"), said
    assert first.splitlines()[-1].strip() == command, said
    assert max(len(line) for line in said.splitlines()) <= 80, said

    dry = lab.salt_run(*shlex.split(command)[1:], "test=True", timeout=200)
    assert "ring0_addr" in dry.stdout and not any(map(lab.quorate, lab.nodes)), dry
    code, said = typed(lab, "Quorum lost", 0)
    assert code == 0 and "items ok" in said
    assert all(map(lab.quorate, lab.nodes))
    code, report = run(lab, "corosync.verify", "degraded")
    assert code == 0 and not codes(report), report

    code, again = typed(lab, "Quorum lost", 0)
    assert code == 0 and "changed=" not in again
    code, told = run(lab, "corosync.journal", "last=2")
    assert [row["result"] for row in told["runs"]] == ["already", "reached"], told["runs"]

    code, said = typed(lab, "One link of two dead", 0)
    assert code == 1 and said.startswith("prod has quorum on degraded since"), said
    assert "one more failure takes the quorum" in said
    heal(lab)
    code, said = typed(lab, "One link of two dead", 1)
    assert code == 0 and "items ok" in said
    code, told = run(lab, "corosync.status")
    assert code == 0 and told["verdict"]["kind"] == "healthy", told["verdict"]


def test_a_lost_card_is_one_command_and_home_another(lab):
    lab.lose_card("pve2", "vrack")
    wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 60, what="the nodes to lose quorum")
    code, said = typed(lab, "Card lost", 0)
    assert code == 0 and "items ok" in said and all(map(lab.quorate, lab.nodes))
    assert "WARNING link-dead: link 1 (vrack) is not connected" in said
    heal(lab)
    code, said = typed(lab, "Card lost", 1)
    assert code == 0 and "items ok" in said and all(map(lab.healthy, lab.nodes))


def test_a_cluster_of_other_code_is_told_how_to_get_the_same(lab):
    """pve2 has another byte, then the master has; the last command goes on without either."""
    lab.wait_minions()
    lab.exec("pve2", ["sh", "-c", 'echo "#" >>"$0"', CODE], check=True)
    lab.salt("pve2", "saltutil.refresh_modules", check=True)
    code, report = run(lab, "corosync.status")
    assert code == 1 and report["verdict"]["command"] == commands("Cluster of other code")[0], report
    code, said = typed(lab, "Cluster of other code", 2)
    assert code == 0 and "items ok" in said and "code-differs" in said
    assert typed(lab, "Cluster of other code", 0)[0] == 0
    assert typed(lab, "Cluster of other code", 1)[0] == 0
    code, report = run(lab, "corosync.status")
    assert "code-differs" not in codes(report, None), report
