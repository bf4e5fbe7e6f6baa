import base64
import datetime
import ipaddress

import pytest
from _pve_world import World
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from salt.exceptions import CommandExecutionError

KEY = "ssh-rsa " + base64.b64encode(b"\0\0\0\x07ssh-rsa one").decode()
OTHER = "ssh-rsa " + base64.b64encode(b"\0\0\0\x07ssh-rsa two").decode()
MEMBERS = """{
"nodename": "pve1",
"version": 14,
"cluster": { "name": "prod", "version": 5, "nodes": 2, "quorate": 1 },
"nodelist": {
  "pve1": { "id": 1, "online": 1, "ip": "198.51.100.10"},
  "pve2": { "id": 2, "online": 1, "ip": "203.0.113.20"}
  }
}
"""


def certificate(*names, days=100):
    """Return the PEM text of a new certificate with these names and addresses in its SAN."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pve1.example")])
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days, minutes=5)
    sans = []
    for name in names:
        try:
            sans.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            sans.append(x509.DNSName(name))
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(days=400))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(sans), False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def node(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch)
    monkeypatch.setattr("socket.gethostname", lambda: "pve1")
    world.mount()
    world.path = tmp_path
    world.file("etc/pve/.members", MEMBERS)
    world.file("etc/ssh/ssh_host_rsa_key.pub", f"{KEY} root@pve1\n")
    world.file("etc/pve/nodes/pve1/ssh_known_hosts", f"pve1 {KEY}")
    world.file("etc/pve/nodes/pve2/ssh_known_hosts", f"pve2 {OTHER}")
    world.file("etc/pve/nodes/pve1/pve-ssl.pem", certificate("127.0.0.1", "localhost", "10.66.0.1", "pve1"))
    world.file("forced.pem", certificate("127.0.0.1", "localhost", "198.51.100.10", "pve1"))
    world.tool(
        "pvecm",
        """
        [ "$*" = "updatecerts --force" ] || exit 0
        cp "$WORLD/root/forced.pem" "$WORLD/root/etc/pve/nodes/pve1/pve-ssl.pem"
        """,
    )
    return world


def test_facts_of_a_moved_node_name_the_missing_address(node):
    facts = node.salt["pve_certs.facts"]()
    told = facts["certificate"]
    assert told["sans"] == ["localhost", "pve1", "127.0.0.1", "10.66.0.1"]
    assert told["covers_name"] and not told["covers_address"]
    assert told["days_left"] == 100 and told["not_after"].endswith("Z")
    assert len(told["fingerprint"]) == 95 and told["fingerprint"].isupper()
    assert facts["address"] == "198.51.100.10"
    assert facts["known_hosts"]["pve1"]["ok"] and facts["known_hosts"]["pve2"]["ok"]
    (problem,) = facts["problems"]
    assert "198.51.100.10" in problem and "10.66.0.1" in problem


def test_facts_for_an_address_to_come(node):
    assert node.salt["pve_certs.facts"]("10.66.0.1")["certificate"]["covers_address"] is True


def test_facts_name_every_fault_at_once(node):
    (node.pve / "nodes/pve2/ssh_known_hosts").unlink()
    (node.pve / "nodes/pve1/ssh_known_hosts").write_text(f"pve1 {OTHER}")
    (node.pve / "nodes/pve1/pve-ssl.pem").write_text(certificate("pve9", days=-1))
    text = "\n".join(node.salt["pve_certs.facts"]()["problems"])
    for part in (
        "the name pve1",
        "the address 198.51.100.10",
        "it ended",
        "pve1/ssh_known_hosts has another key",
        "pve2/ssh_known_hosts does not exist",
    ):
        assert part in text
    (node.root / "etc/ssh/ssh_host_rsa_key.pub").unlink()
    (node.pve / "nodes/pve1/pve-ssl.pem").unlink()
    text = "\n".join(node.salt["pve_certs.facts"]()["problems"])
    assert "host key" in text and "pve-ssl.pem does not exist" in text


@pytest.mark.parametrize(
    "text", ["", "oops", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"]
)
@pytest.mark.parametrize("force", [None, True])
def test_a_damaged_certificate_is_named_and_made_anew(node, text, force):
    pem = node.pve / "nodes/pve1/pve-ssl.pem"
    pem.write_text(text)
    facts = node.salt["pve_certs.facts"]()
    assert facts["certificate"] is None and facts["damaged"]
    assert "pve-ssl.pem: it is empty or damaged" in facts["problems"][0]
    with pytest.raises(CommandExecutionError, match="empty or damaged"):
        node.salt["pve_certs.update"](force=False)
    done = node.salt["pve_certs.update"](force=force)
    assert done["changed"] and done["forced"] and done["before"] is None
    assert done["facts"]["problems"] == []


def test_update_forces_only_where_the_address_is_missing(node):
    done = node.salt["pve_certs.update"]()
    assert done["changed"] and done["forced"] and done["before"] != done["after"]
    assert done["facts"]["problems"] == []
    again = node.salt["pve_certs.update"]()
    assert not again["changed"] and not again["forced"] and again["before"] == done["after"]
    assert node.calls("pvecm") == ["pvecm updatecerts --force", "pvecm updatecerts"]


def test_update_reads_back_instead_of_trusting_the_exit_code(node):
    with pytest.raises(CommandExecutionError, match="address 198.51.100.10 is not among"):
        node.salt["pve_certs.update"](force=False)


def test_update_is_refused_without_quorum(node):
    node.mount(writable=False)
    with pytest.raises(CommandExecutionError, match="not quorate"):
        node.salt["pve_certs.update"]()
    assert node.calls("pvecm") == []


def test_update_waits_for_an_etc_pve_that_is_slow_after_a_restart(node):
    """3 s, as long as the facts wait, were too short on a busy node."""
    stat = (node.bin / "stat").read_text()
    (node.bin / "stat").write_text(stat.replace("\n", "\nsleep 4\n", 1))
    assert node.salt["pve_certs.update"]()["facts"]["problems"] == []


def test_update_beside_a_hung_etc_pve_does_not_speak_of_quorum(node):
    node.tool("stat", "exec sleep 60")
    with pytest.raises(CommandExecutionError, match="pmxcfs hangs"):
        node.salt["pve_certs.update"]()
    assert node.calls("pvecm") == []
