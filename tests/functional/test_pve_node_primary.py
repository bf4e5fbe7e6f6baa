"""Names, address, certificate and services of a node, as highstate holds them."""

import pytest
from _pve_world import put
from _two_nodes import Pair, members
from pve_corosync.judge import phases
from test_pve_certs import KEY, certificate


@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "pve1.example")
    pair = Pair(tmp_path, monkeypatch)
    node = pair.one
    names = ("corosync", "pve_cluster", "pve_firewall", "pvestatd", "pvedaemon", "pveproxy")
    node.units(**dict.fromkeys(names, "active"))
    node.tool("getent", "echo 198.51.100.10 STREAM $2")
    (tmp_path / "one/members").write_text(members("198.51.100.10"))
    node.file("etc/ssh/ssh_host_rsa_key.pub", f"{KEY} root@pve1\n")
    node.file("etc/pve/nodes/pve1/ssh_known_hosts", f"pve1 {KEY}")
    node.file("etc/pve/nodes/pve1/pve-ssl.pem", certificate("localhost", "10.66.0.1", "pve1"))
    node.file("forced.pem", certificate("localhost", "198.51.100.10", "pve1"))
    node.tool("pvecm", 'cp "$WORLD/root/forced.pem" "$WORLD/root/etc/pve/nodes/pve1/pve-ssl.pem"')
    pair.pillar["layout"] = "degraded"
    return pair


def due(monkeypatch, text):
    monkeypatch.setattr(phases, "services_due", lambda units, looked: text)


@pytest.fixture
def refreshed(pair):
    """Whether pveproxy was asked to reload: the hook of its unit tells."""
    path = pair.one.bin.parent / "refreshed"
    pair.one.hook(
        "on-start",
        '[ "$1" != pve-cluster ] || cp "$WORLD/members" "$WORLD/root/etc/pve/.members"\n'
        'echo "$1" >>"$WORLD/refreshed"',
    )
    return lambda: path.read_text().split() if path.exists() else []


def test_the_move_is_told_before_done_once_and_then_held(pair, refreshed):
    tested = pair.state("pve_node.primary", "names", test=True)
    assert tested["result"] is None and set(tested["changes"]) == {"hosts", "members"}, tested
    assert refreshed() == []
    done = pair.state("pve_node.primary", "names")
    assert done["result"] is True and done["changes"] == tested["changes"], done
    assert refreshed()[0] == "pve-cluster" and "pveproxy" in refreshed()
    again = pair.state("pve_node.primary", "names")
    assert (again["result"], again["changes"]) == (True, {}), again


def test_services_that_an_earlier_run_left_are_refreshed(pair, refreshed, monkeypatch):
    pair.state("pve_node.primary", "names")
    seen = refreshed()
    due(monkeypatch, "pve-firewall runs since before")
    tested = pair.state("pve_node.primary", "names", test=True)
    assert tested["result"] is None and set(tested["changes"]) == {"services"} and refreshed() == seen
    done = pair.state("pve_node.primary", "names")
    assert done["result"] is True and done["changes"] == tested["changes"], done
    assert "pve-cluster" not in refreshed()[len(seen) :] and "pveproxy" in refreshed()[len(seen) :]


def test_services_that_cannot_be_refreshed_fail_the_state(pair, refreshed, monkeypatch):
    (pair.one.bin.parent / "reload-or-restart-fails").write_text("it is masked\n")
    ret = pair.state("pve_node.primary", "names")
    assert ret["result"] is False and set(ret["changes"]) == {"hosts", "members"}, ret
    assert "pveproxy: it is masked" in ret["comment"]
    due(monkeypatch, "pve-firewall runs since before")
    ret = pair.state("pve_node.primary", "names")
    assert (ret["result"], ret["changes"]) == (False, {}) and "it is masked" in ret["comment"], ret


def test_a_restart_that_fails_does_not_hide_the_changed_names(pair):
    (pair.one.bin.parent / "restart-fails").write_text("it does not start\n")
    told = pair.call("pve_node.hold_primary")
    assert set(told["changes"]) == {"hosts"} and "it does not start" in told["failed"]
    assert pair.context["retcode"] == 1
    assert "198.51.100.10 pve1" in (pair.one.root / "etc/hosts").read_text()
    put(pair.one.root / "etc/hosts", "127.0.0.1 localhost\n10.66.0.1 pve1\n10.66.0.2 pve2\n")
    ret = pair.state("pve_node.primary", "names")
    assert ret["result"] is False and set(ret["changes"]) == {"hosts"}, ret


def test_a_certificate_for_the_address_to_come_is_told_before_and_loaded(pair, refreshed):
    tested = pair.state("pve_node.trusted", "keys", test=True)
    assert tested["result"] is None and "198.51.100.10 is not among" in tested["comment"], tested
    pair.state("pve_node.primary", "names")
    seen = refreshed()
    done = pair.state("pve_node.trusted", "keys")
    assert done["result"] is True and set(done["changes"]) == {"problems", "fingerprint", "services"}, done
    assert {key: done["changes"][key] for key in tested["changes"]} == tested["changes"]
    assert "pveproxy" in refreshed()[len(seen) :]
    again = pair.state("pve_node.trusted", "keys")
    assert (again["result"], again["changes"]) == (True, {}), again


def test_a_certificate_that_was_not_loaded_is_loaded_by_the_next_run(pair, refreshed):
    pair.state("pve_node.primary", "names")
    fails = pair.one.bin.parent / "reload-or-restart-fails"
    fails.write_text("it is masked\n")
    ret = pair.state("pve_node.trusted", "keys")
    assert ret["result"] is False and "fingerprint" in ret["changes"], ret
    fails.unlink()
    seen = refreshed()
    assert pair.state("pve_node.trusted", "keys", test=True)["result"] is None
    ret = pair.state("pve_node.trusted", "keys")
    assert ret["result"] is True and set(ret["changes"]) == {"services"}, ret
    assert "pveproxy" in refreshed()[len(seen) :]
    assert pair.state("pve_node.trusted", "keys")["changes"] == {}
