"""
The certificate and the SSH host keys by which the nodes of a cluster know this node.

Everything is read from the files themselves: ``pvecm updatecerts`` prints nothing reliable, and without
``--force`` it leaves a certificate as it is, also when the node's address changed.

:depends: pmxcfs, pvecm, cryptography (part of Salt)
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path of this module
    below that directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import datetime
import logging
import socket

import salt.utils.path
from pve_corosync.ports import salt_module as shell
from salt.exceptions import CommandExecutionError

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    HAS_CRYPTOGRAPHY = True
except ImportError:
    HAS_CRYPTOGRAPHY = False

from pve_corosync import addresses
from pve_corosync.node import files as node_files
from pve_corosync.tools import known_hosts

log = logging.getLogger(__name__)

__virtualname__ = "pve_certs"

HOST_KEY = "/etc/ssh/ssh_host_rsa_key.pub"


def __virtual__():
    if not salt.utils.path.which("pmxcfs"):
        return (False, "pmxcfs is not installed: this is not a Proxmox VE node (package pve-cluster)")
    if not HAS_CRYPTOGRAPHY:
        return (False, "the Python library cryptography is not there; Salt's own packages bring it")
    return __virtualname__


def facts(address=None):
    """
    Return what this node's certificate and the cluster's host key files hold, and what is wrong with them.

    address
        The address that the certificate is to cover; default the one in ``/etc/pve/.members``.

    Returns ``{"node", "address", "certificate": {"subject", "sans": [text], "not_after":
    "2027-11-18T10:00:00Z", "days_left": int, "fingerprint": "AA:BB:…", "covers_name": bool, "covers_address":
    bool} | None, "damaged": text, "host_key": {"type", "fingerprint"} | None, "known_hosts": {node:
    {"present", "ok", "fingerprints", "why"}}, "problems": [text]}``. ``damaged`` says why the file is no
    certificate. The fingerprint is the SHA-256 one that PVE shows. A
    peer's file is compared with the key of its sshd on that peer, where ``known_hosts[<itself>]`` does it.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_certs.facts
    """
    shell.check("pve_certs.facts", locals())
    node, nodes, known = _cluster()
    address = addresses.canonical(address) if address else known
    names = {peer: f"nodes/{peer}/ssh_known_hosts" for peer in nodes}
    pem = f"nodes/{node}/pve-ssl.pem"
    files = __salt__["pmxcfs.files"](pem, *names.values())
    own = _host_key()
    certificate, damaged = _certificate(files[pem], node, address)
    found = {
        "node": node,
        "address": address,
        "certificate": certificate,
        "damaged": damaged,
        "host_key": own,
        "known_hosts": {
            peer: known_hosts.check(peer, files[name], own if peer == node else None)
            for peer, name in names.items()
        },
    }
    found["problems"] = _problems(found)
    return found


def update(force=None):
    """
    Have PVE write this node's certificate (where needed) and host key file, and read both back.

    force
        Make a new certificate; default only when the present one is damaged, has ended, or lacks the node's
        name or its address in ``/etc/pve/.members``. A new one has a new fingerprint: pveproxy takes it with
        its next reload (``pve_node.reload_services``), and clients that pin it (backup servers, API scripts)
        must be told.

    Refused at once without quorum, where the tool would block for 80 s. Returns ``{"changed", "forced",
    "before": fingerprint|None, "after": fingerprint, "facts": …}``; raises CommandExecutionError if the files
    still have a problem afterwards.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' pve_certs.update
    """
    shell.check("pve_certs.update", locals())
    why = __salt__["pmxcfs.why_not"]()
    if why:
        raise CommandExecutionError(f"pvecm updatecerts would block for 80 s: {why}")
    before = facts()
    certificate = before["certificate"]
    if force is None:
        force = bool(before["damaged"]) or (bool(certificate) and not _good(certificate))
    __salt__["pvecm.updatecerts"](force=bool(force))
    after = facts()
    own = after["known_hosts"].get(after["node"])
    left = [text for text in after["problems"] if "certificate" in text]
    left += [own["why"]] if own and not own["ok"] else []
    if left:
        raise CommandExecutionError("after pvecm updatecerts: " + "; ".join(left))
    old = certificate["fingerprint"] if certificate else None
    new = after["certificate"]["fingerprint"]
    log.info("updatecerts done%s: certificate %s", " with --force" if force else "", new)
    return {"changed": old != new, "forced": bool(force), "before": old, "after": new, "facts": after}


def _path(path):
    return shell.path(__opts__, path)


def _cluster():
    """
    Return this node's name, all node names, and this node's address, from ``.members``.
    """
    told = __salt__["pmxcfs.members"]()
    node = told.get("nodename") or socket.gethostname().split(".")[0]
    nodes = told.get("nodelist") or {}
    address = (nodes.get(node) or {}).get("ip")
    return node, sorted(set(nodes) | {node}), addresses.canonical(address) if address else None


def _host_key():
    data = node_files.read(_path(HOST_KEY))
    return known_hosts.public_key(data.decode("latin-1")) if data else None


def _certificate(text, node, address):
    """
    Return what a certificate's text says and "", or None and why it is none; both empty if there is no file.
    """
    if text is None:
        return None, ""
    try:
        told = x509.load_pem_x509_certificate(text.encode("latin-1"))
        sans = _sans(told)
    except ValueError as exc:
        return None, f"it is empty or damaged: {exc}"
    end = _not_after(told)
    return {
        "subject": told.subject.rfc4514_string(),
        "sans": sans,
        "not_after": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "days_left": (end - datetime.datetime.now(datetime.timezone.utc)).days,
        "fingerprint": told.fingerprint(hashes.SHA256()).hex(":").upper(),
        "covers_name": node in sans,
        "covers_address": address is not None and address in sans,
    }, ""


def _sans(certificate):
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName) + [
        str(ip) for ip in names.get_values_for_type(x509.IPAddress)
    ]


def _not_after(certificate):
    try:
        return certificate.not_valid_after_utc
    except AttributeError:  # cryptography before 42
        return certificate.not_valid_after.replace(tzinfo=datetime.timezone.utc)


def _good(certificate):
    return certificate["covers_name"] and certificate["covers_address"] and certificate["days_left"] >= 0


def _problems(found):
    problems = []
    certificate = found["certificate"]
    if found["damaged"]:
        problems.append(f"certificate: /etc/pve/nodes/{found['node']}/pve-ssl.pem: {found['damaged']}")
    elif certificate is None:
        problems.append(f"certificate: /etc/pve/nodes/{found['node']}/pve-ssl.pem does not exist")
    else:
        if not certificate["covers_name"]:
            problems.append(
                f"certificate: the name {found['node']} is not among {', '.join(certificate['sans'])}"
            )
        if not certificate["covers_address"]:
            address = found["address"] or "of this node (.members has none)"
            problems.append(
                f"certificate: the address {address} is not among {', '.join(certificate['sans'])}"
            )
        if certificate["days_left"] < 0:
            problems.append(f"certificate: it ended at {certificate['not_after']}")
    if found["host_key"] is None:
        problems.append(f"host key: {HOST_KEY} does not exist or is no key")
    problems += [entry["why"] for entry in found["known_hosts"].values() if not entry["ok"]]
    return problems
