"""
Members of the cluster: take a dead one out, let a freshly installed one join.

Part of the execution module ``pvecm`` (Salt joins the files of one virtual name). ``pvecm add`` ends with
status 0 when it fails, too (measured); its last line and what can be read back afterwards count.

:depends: pvecm (pve-cluster), openssh-client
:configuration: ``pve_corosync: {root: /some/dir}`` in the minion configuration puts every path below that
    directory. It is there for tests.

.. versionadded:: 0.1.0
"""

import contextlib
import os
import re
import socket
import time

import salt.utils.path
from pve_corosync import addresses, link_options
from pve_corosync import conf as corosync_conf
from pve_corosync.node import children, etc_pve, etc_pve_client, files
from pve_corosync.ports import salt_module as shell
from pve_corosync.run import join
from pve_corosync.tools import pve
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "pvecm"

ADD_TIMEOUT = 240.0
DELNODE_TIMEOUT = 90.0
RESUME_TIMEOUT = 90.0
#: seconds for a look into ``/etc/pve``, and the most that a caller may wait.
READ_TIMEOUT = 5.0
MAX_WAIT = 1800.0
AUTHKEY = "/etc/corosync/authkey"
CLUSTER_CONF = "/etc/pve/corosync.conf"
DATABASE = "/var/lib/pve-cluster/config.db"
ROOT_KEY = "/root/.ssh/id_rsa"
HOST_KEY = "/etc/ssh/ssh_host_rsa_key.pub"
KNOWN_HOSTS = "/root/.ssh/known_hosts"
AUTHORIZED = "/root/.ssh/authorized_keys"
KEY = re.compile(r"ssh-(rsa|ed25519) [A-Za-z0-9+/=]+( [\w.@-]+)?\Z")


def __virtual__():
    if salt.utils.path.which("pvecm"):
        return __virtualname__
    return (False, "pvecm is not installed: this is not a Proxmox VE node (package pve-cluster)")


def joinable():
    """
    Tell whether this node is freshly installed, so that it can join a cluster.

    Returns ``{"name", "reasons": [text], "half": bool}``; no reasons: it can. ``half``: what is in the way
    can be what a join left that was cut off: the key came, and every guest here is one of the cluster.

    CLI Example:

    .. code-block:: bash

        salt pve2 pvecm.joinable
    """
    seen = _seen()
    there = {path: os.path.exists(_path(path)) for path in (files.LOCAL_CONF, AUTHKEY)}
    there[CLUSTER_CONF] = seen["files"][etc_pve.CONF] is not None
    reasons = [f"{path} exists" for path, found in there.items() if found]
    state = __salt__["corosync.unit"]()["state"]
    if state in ("active", "activating", "reloading"):
        reasons.append("corosync runs")
    found = guests() if seen["mounted"] and _is_folder("/etc/pve/nodes") else {}
    reasons += [f"it has the guest {path}" for path in found]
    half = there[AUTHKEY] and (not found or there[CLUSTER_CONF])
    return {"name": socket.gethostname().split(".")[0], "reasons": reasons, "half": half}


def guests():
    """
    Return ``{path below /etc/pve/nodes: sha256}`` of the configurations of all guests of the cluster.

    CLI Example:

    .. code-block:: bash

        salt pve1 pvecm.guests
    """
    base = _path("/etc/pve/nodes")
    argv = [
        "find",
        base,
        "-type",
        "f",
        "-name",
        "*.conf",
        "(",
        "-path",
        "*/qemu-server/*",
        "-o",
        "-path",
        "*/lxc/*",
        ")",
        "-exec",
        "sha256sum",
        "{}",
        "+",
    ]
    result = children.run(argv, timeout=20.0)
    if result["late"] or result["rc"]:
        raise CommandExecutionError(f"/etc/pve/nodes: {children.complaint(result)}")
    rows = (line.partition("  ") for line in children.text(result).splitlines())
    return {path.removeprefix(f"{base}/"): digest.lstrip("\\") for digest, _, path in rows}


def identity():
    """
    Return root's public ssh key of this node and the key of its sshd; root's is made if there is none.

    Returns ``{"public": "ssh-rsa … root@pve2", "host_key": "ssh-rsa …", "keys": ["SHA256:…"], "host_keys":
    ["SHA256:…"]}``: the last two are the fingerprints of all keys of root, and of all of sshd.

    CLI Example:

    .. code-block:: bash

        salt pve2 pvecm.identity
    """
    path = _path(ROOT_KEY)
    if not os.path.exists(path):
        files.ensure_folder(os.path.dirname(path), 0o700)
        name = f"root@{socket.gethostname().split('.')[0]}"
        argv = ["ssh-keygen", "-q", "-t", "rsa", "-b", "4096", "-N", "", "-C", name, "-f", path]
        result = children.run(argv, timeout=60.0)
        if result["rc"]:
            raise CommandExecutionError(f"ssh-keygen: {children.complaint(result)}")
    told = {}
    for key, name in (("public", f"{ROOT_KEY}.pub"), ("host_key", HOST_KEY)):
        data = files.read(_path(name))
        if not data:
            raise CommandExecutionError(f"{name} does not exist: is openssh installed?")
        told[key] = data.decode("ascii", "replace").strip()
    told["host_key"] = " ".join(told["host_key"].split()[:2])
    told["keys"] = __salt__["pvecm.own_keys"](f"{os.path.dirname(ROOT_KEY)}/*.pub")
    told["host_keys"] = __salt__["pvecm.own_keys"](f"{os.path.dirname(HOST_KEY)}/ssh_host_*_key.pub")
    return told


def admit(public):
    """
    Let the owner of a public ssh key log in as root on the nodes of this cluster; return whether that is new.

    public
        One line, as ``pvecm.identity`` returns it. It goes to ``/root/.ssh/authorized_keys``, which is the
        cluster's own file on a member.

    CLI Example:

    .. code-block:: bash

        salt pve1 pvecm.admit 'ssh-rsa AAAA… root@pve2'
    """
    shell.check("pvecm.admit", locals())
    public = _key(public)
    path = _path(AUTHORIZED)
    result = children.run(["cat", path], timeout=5.0)
    text = children.text(result) if not result["rc"] else ""
    if public.split()[1] in text.split():
        return False
    start = "\n" if text and not text.endswith("\n") else ""
    result = children.run(["tee", "-a", path], timeout=10.0, data=f"{start}{public}\n".encode())
    if result["rc"] or result["late"]:
        raise CommandExecutionError(f"{AUTHORIZED}: {children.complaint(result)}")
    return True


def know(host, key):
    """
    Have this node's ssh trust a host, by the key that Salt brought from there; return whether that is new.

    host
        The address that ssh will be given.

    key
        ``ssh-rsa AAAA…``, as ``pvecm.identity`` returns it on that host.

    CLI Example:

    .. code-block:: bash

        salt pve2 pvecm.know 10.66.0.1 'ssh-rsa AAAA…'
    """
    shell.check("pvecm.know", locals())
    host, key = _address(host), _key(key)
    path = _path(KNOWN_HOSTS)
    lines = (files.read(path) or b"").decode("latin-1").splitlines()
    line = f"{host} {key}"
    if line in lines:
        return False
    kept = [old for old in lines if host not in old.split(" ")[0].split(",")]
    files.ensure_folder(os.path.dirname(path), 0o700)
    files.replace(path, ("\n".join([*kept, line]) + "\n").encode("latin-1"), mode=0o600)
    return True


def delnode(name):
    """
    Take a node that is off out of the cluster with ``pvecm delnode``, and return what was seen.

    name
        The node's name in corosync.

    Refused for this node itself, without quorum, and for a node that is a member now: PVE would stop its
    corosync. Its folder in ``/etc/pve/nodes`` stays, with the configurations of its guests.

    Returns ``{"changed": bool, "version": number, "text": what pvecm said}``.

    CLI Example:

    .. code-block:: bash

        salt pve1 pvecm.delnode pve2
    """
    shell.check("pvecm.delnode", locals())
    name = _name(name)
    told = __salt__["corosync.facts"]()
    if name == told["node"]:
        raise SaltInvocationError(f"{name} is this node: call it on another one")
    nodes = _nodes(__salt__["pmxcfs.conf"]())
    if name not in nodes:
        return {"changed": False, "version": (told["cluster_file"] or {}).get("version"), "text": ""}
    why = __salt__["pmxcfs.why_not"]()
    if why:
        raise CommandExecutionError(f"pvecm delnode needs quorum, and here {why}")
    if nodes[name]["nodeid"] in ((told["quorum"] or {}).get("members") or []):
        raise CommandExecutionError(
            f"{name} is a member now, and pvecm delnode would stop its corosync: power it off"
        )
    result = children.run(["pvecm", "delnode", name], timeout=DELNODE_TIMEOUT)
    said = "; ".join(filter(None, (children.text(result).strip(), children.text(result, "err").strip())))
    end = time.monotonic() + 15.0
    while True:
        copy = __salt__["pmxcfs.conf"]()
        running = __salt__["corosync.running_version"]()
        gone = name not in _nodes(copy)
        if gone and running == copy["version"]:
            return {"changed": True, "version": copy["version"], "text": said}
        if time.monotonic() >= end or (result["rc"] and not gone):
            raise CommandExecutionError(
                f"pvecm delnode {name}: {said or 'no text'}; the cluster file, version {copy['version']},"
                f" {'does not have' if gone else 'still has'} it, the daemon runs version {running}"
            )
        time.sleep(0.3)


def add(host, links, nodeid=None, votes=None, timeout=ADD_TIMEOUT):
    """
    Have this freshly installed node join a cluster with ``pvecm add --use_ssh``, and return what was seen.

    host
        An address of a member. This node's ssh must get in there as root without being asked
        (``pvecm.identity``, ``pvecm.admit``, ``pvecm.know``).

    links
        ``{link number: address of this node}``, for every link that the cluster has.

    nodeid, votes
        For a node that the cluster does not list; PVE would give the lowest free id, and one vote. An entry
        that is there keeps both by itself, and other ones are refused.

    timeout
        Seconds; 10 to 12 are usual.

    ``pvecm`` restarts pve-cluster and starts corosync here. Its exit status is 0 whatever happens, so its
    last line must be ``successfully added node``, the file must have this node on these links, and quorum
    must be there.

    Returns ``{"node", "version", "links", "seconds", "quorate", "writable"}``. Raises CommandExecutionError
    with what pvecm said.

    CLI Example:

    .. code-block:: bash

        salt pve2 pvecm.add 10.66.0.1 '{0: 10.66.0.2}' nodeid=2
    """
    shell.check("pvecm.add", locals())
    host = _address(host)
    if not isinstance(links, dict) or not links:
        raise SaltInvocationError(
            "links: {link number: address of this node} with at least one entry is needed"
        )
    wanted = {_link(number): _address(address) for number, address in links.items()}
    given = []
    for key, value in (("nodeid", nodeid), ("votes", votes)):
        given += [] if value is None else [f"--{key}", str(_number(key, value))]
    before = joinable()
    if before["reasons"]:
        raise CommandExecutionError(f"this node cannot join: {'; '.join(before['reasons'])}")
    # ssh-copy-id looks for ~/.ssh, and a system service has no HOME (measured: it fails without a word)
    argv = ["env", "HOME=/root", "pvecm", "add", host, "--use_ssh"]
    for number, address in sorted(wanted.items()):
        argv += [f"--link{number}", address]
    argv += given
    start = time.monotonic()
    result = children.run(argv, timeout=shell.seconds(timeout, most=MAX_WAIT))
    lines = [line.strip() for line in children.text(result).splitlines() if line.strip()]
    name = before["name"]
    if result["late"] or not lines or lines[-1] != f"successfully added node '{name}' to cluster.":
        said = "; ".join(filter(None, [*lines[-3:], children.text(result, "err").strip()]))
        raise CommandExecutionError(
            f"pvecm add {host} did not add {name}{' in time' if result['late'] else ''}:"
            f" {said or 'it said nothing'}"
        )
    __salt__["corosync.secure_authkey"](AUTHKEY)  # pvecm leaves it with mode 0644
    seen = __salt__["corosync.wait"](quorate=True, writable=True, deadline=60)
    copy = __salt__["pmxcfs.conf"]() if seen["seen"]["writable"] else None
    have = (_nodes(copy).get(name) or {}).get("addresses") or {}
    missing = list(seen["missing"])
    if {number: addresses.canonical(address) for number, address in have.items()} != wanted:
        missing.append(f"the cluster file gives {name} {have or 'no links'}, wanted {wanted}")
    has = (_nodes(copy).get(name) or {}).get("nodeid")
    if nodeid is not None and has != int(nodeid):
        missing.append(f"the cluster file gives {name} the id {has}, wanted {nodeid}")
    if missing:
        raise CommandExecutionError(f"pvecm says that {name} was added, but: {'; '.join(missing)}")
    return {
        "node": name,
        "version": copy["version"],
        "links": have,
        "seconds": round(time.monotonic() - start, 1),
        "quorate": True,
        "writable": True,
    }


def resume(key, timeout=RESUME_TIMEOUT):
    """
    Finish a join that was cut off after the key of the cluster had come, and return how.

    key
        The SHA-256 of the cluster's key, as ``corosync.facts`` on a member tells it; with any other key here
        nothing is done.

    timeout
        Seconds to wait for quorum.

    Where pmxcfs has joined already, or has no database any more and would take the file at its start, the
    services are started, which harms no member. Where only key and file came, they are removed, so that
    ``pvecm.add`` can begin anew.

    Returns ``{"joined": bool}``: whether this node is a member now. Raises CommandExecutionError with the
    commands for a node that keeps nothing.

    CLI Example:

    .. code-block:: bash

        salt pve2 pvecm.resume 5f0c…
    """
    shell.check("pvecm.resume", locals())
    data = files.read(_path(AUTHKEY))
    if data is None or files.sha256(data) != str(key):
        raise CommandExecutionError(f"{AUTHKEY} is not the key of that cluster: nothing was done")
    database, conf = (os.path.exists(_path(path)) for path in (DATABASE, files.LOCAL_CONF))
    if database:
        _systemctl("start", "pve-cluster")  # its own copy of the file tells whether it has joined
    if conf and (not database or _seen()["files"][etc_pve.CONF] is not None):
        _systemctl("start", "corosync", "pve-cluster")
        seen = __salt__["corosync.wait"](
            quorate=True, writable=True, deadline=shell.seconds(timeout, most=MAX_WAIT)
        )
        if seen["missing"]:
            raise CommandExecutionError(
                f"the join does not come to its end: {'; '.join(seen['missing'])}; see journalctl -u corosync"
                f" -u pve-cluster; if nothing on this node is needed: {join.CLEAN}"
            )
        __salt__["corosync.secure_authkey"](AUTHKEY)  # pvecm leaves it with mode 0644
        return {"joined": True}
    if guests():
        raise CommandExecutionError("this node has guests of its own: nothing was removed")
    _systemctl("stop", "corosync")
    for path in (files.LOCAL_CONF, AUTHKEY):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_path(path))
    _systemctl("start", "pve-cluster")
    return {"joined": False}


def _is_folder(path):
    """
    Tell whether a directory of ``/etc/pve`` is there, by a child.
    """
    result = children.run(["test", "-d", _path(path)], timeout=READ_TIMEOUT)
    if result["late"]:
        raise CommandExecutionError(pve.hung(READ_TIMEOUT))
    return result["rc"] == 0


def _seen():
    """
    Return what a child reads in ``/etc/pve``, which can hang: whether it is mounted, and the cluster file.
    """
    request = {"do": "read", "names": [etc_pve.CONF]}
    try:
        return etc_pve_client.ask(request, _path(etc_pve.BASE), READ_TIMEOUT)
    except etc_pve_client.NoAnswer as exc:
        raise CommandExecutionError(str(exc)) from None


def _systemctl(verb, *units):
    result = children.run(["systemctl", verb, *units], timeout=60.0)
    if result["late"] or result["rc"]:
        raise CommandExecutionError(
            f"systemctl {verb} {' '.join(units)}: {children.complaint(result)}; see journalctl -u"
            f" {' -u '.join(units)}; if nothing on this node is needed: {join.CLEAN}"
        )


def _path(path):
    return shell.path(__opts__, path)


def _nodes(copy):
    try:
        return corosync_conf.parse(copy["text"]).nodes() if copy else {}
    except corosync_conf.ConfError as exc:
        raise CommandExecutionError(f"/etc/pve/corosync.conf: {exc}") from exc


def _name(name):
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", str(name)):
        raise SaltInvocationError(f"name {name!r}: a node's name is needed")
    return str(name)


def _number(name, value):
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,5}", str(value)):
        raise SaltInvocationError(f"{name} {value!r}: a whole number is needed")
    return int(value)


def _link(value):
    number = link_options.link_number(value)
    if number is None:
        raise SaltInvocationError(f"links: {value!r} is no link number, 0 to {link_options.MAX_LINK} are")
    return number


def _address(address):
    if addresses.parse(address) is None or addresses.unusable(address):
        raise SaltInvocationError(f"{address!r}: an IP address that other nodes reach is needed")
    return addresses.canonical(address)


def _key(key):
    if not KEY.match(str(key).strip()):
        raise SaltInvocationError("a public ssh key in one line is needed: ssh-rsa AAAA… comment")
    return str(key).strip()
