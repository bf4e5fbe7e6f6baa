import base64
import subprocess

import pytest
from pve_corosync.tools import known_hosts as kh

KEY = base64.b64encode(b"\0\0\0\x07ssh-rsa one").decode()
OTHER = base64.b64encode(b"\0\0\0\x07ssh-rsa two").decode()


def test_fingerprint_is_the_one_of_ssh_keygen(tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True)
    told = subprocess.run(
        ["ssh-keygen", "-lf", str(tmp_path / "k.pub")], check=True, capture_output=True, text=True
    )
    key = kh.public_key((tmp_path / "k.pub").read_text())
    assert key == {"type": "ssh-ed25519", "fingerprint": told.stdout.split()[1]}


@pytest.mark.parametrize("text", ["", "ssh-rsa", "ssh-rsa !!!"])
def test_no_public_key(text):
    assert kh.public_key(text) is None


def test_parse_leaves_out_what_ssh_leaves_out():
    text = (
        f"# comment\n\npve1 ssh-rsa\npve1 ssh-rsa ???\n@revoked pve1 ssh-rsa {KEY}\npve1,10.0.0.1 ssh-rsa"
        f" {KEY}"
    )
    (key,) = kh.parse(text)
    assert key["names"] == ["pve1", "10.0.0.1"] and key["type"] == "ssh-rsa"


@pytest.mark.parametrize(
    "text, word",
    [
        (None, "does not exist"),
        ("", "no key for the name pve1"),
        (f"pve2 ssh-rsa {KEY}\n", "no key for the name pve1"),
        (f"pve1 ssh-rsa {OTHER}", "another key"),
    ],
)
def test_check_names_the_fault(text, word):
    told = kh.check("pve1", text, kh.public_key(f"ssh-rsa {KEY}"))
    assert not told["ok"] and word in told["why"]
    assert told["present"] is (text is not None)


def test_check_of_a_good_file_without_trailing_newline():
    told = kh.check("pve1", f"pve1 ssh-rsa {KEY}", kh.public_key(f"ssh-rsa {KEY} root@pve1"))
    assert told == {"present": True, "ok": True, "fingerprints": [kh.fingerprint(KEY)], "why": ""}
    assert kh.check("pve1", f"pve1 ssh-rsa {OTHER}")["ok"]
