"""docs/runbook.md followed by somebody who reads nothing else: the vRack is cut, one command is typed."""

import pathlib
import re
import shlex

from phases import codes, run

from lab.cluster import wait_for

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "runbook.md").read_text()


def commands(section):
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^    (.+)$", text, re.M)


def test_quorum_lost_is_one_command(lab):
    (command,) = commands("Quorum lost")
    lab.cut("vrack")
    wait_for(lambda: not any(map(lab.quorate, lab.nodes)), 60, what="the nodes to lose quorum")
    said = lab.salt_run("corosync.status", "--out=corosync_table").stdout
    first = said.split("\n\n")[0]
    assert first.startswith("prod has NO QUORUM" if "prod" in first else first.split()[0]), said
    assert "NO QUORUM" in first and first.splitlines()[-1].strip() == command, said
    assert max(len(line) for line in said.splitlines()) <= 80, said

    words = shlex.split(command)
    dry = lab.salt_run(*words[1:], "test=True", timeout=200)
    assert "ring0_addr" in dry.stdout and not any(map(lab.quorate, lab.nodes)), dry
    done = lab.salt_run(*words[1:], timeout=400)
    assert done.returncode == 0 and "items ok" in done.stdout, done.stdout + done.stderr
    assert all(map(lab.quorate, lab.nodes))
    code, report = run(lab, "corosync.verify", "degraded")
    assert code == 0 and not codes(report), report

    again = lab.salt_run(*words[1:], timeout=400)
    assert again.returncode == 0 and "changed=" not in again.stdout, again.stdout
    code, told = run(lab, "corosync.journal", "last=2")
    assert [row["result"] for row in told["runs"]] == ["already", "reached"], told["runs"]
    code, told = run(lab, "corosync.status")
    assert code == 1 and told["verdict"]["kind"] == "dead-link", told["verdict"]
