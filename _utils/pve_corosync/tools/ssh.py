"""Replication and PVE's own ssh: the command line, its sockets, the peer's sshd log, the reason of a failed
job.

Sources: PVE/SSHInfo.pm (options), PVE/CLI/pvesr.pm (texts), proc(5) ``/proc/net/tcp``, sshd auth.c and
auth2.c.
"""

from __future__ import annotations

import ipaddress
import json
import re

SSH_PORT = 22
#: the unit's processes write under these names; sshd-session since OpenSSH 9.8.
SSHD_NAMES = ("sshd", "sshd-session")
_STATES = {"01": "ESTABLISHED", "02": "SYN_SENT"}

_ACCEPTED = re.compile(r"Accepted (\S+) for (\S+) from (\S+) port (\d+)")
_REASON = re.compile(
    r"^(?:\(remote_\w+\) )?(ssh: .+|Host key verification failed\.?|.*Permission denied.*|"
    r"Connection closed by .+|kex_exchange_identification: .+|client_loop: .+|can't lock file .+)$"
)
_LOCKED = re.compile(r"^trying to acquire ")
_LOCK_FAILED = re.compile(r"can't lock file '[^']*/pvesr\.lck'")


def ssh_command(
    node: str,
    address: str,
    remote: list[str],
    *,
    known_hosts: bool = True,
    connect_timeout: int | None = None,
) -> list[str]:
    """Return the ssh command that PVE uses towards a node.

    :param node: its name; the host key is looked up under it. :param address: where to connect. :param
    remote: command and arguments for the peer. :param known_hosts: whether
    ``/etc/pve/nodes/<node>/ssh_known_hosts`` exists; PVE uses it then, and only it. :param connect_timeout:
    seconds; PVE sets none, so a dead address blocks it for 2 minutes.
    """
    options = ["BatchMode=yes", f"HostKeyAlias={node}"]
    if known_hosts:
        options += [f"UserKnownHostsFile=/etc/pve/nodes/{node}/ssh_known_hosts", "GlobalKnownHostsFile=none"]
    if connect_timeout:
        options.append(f"ConnectTimeout={connect_timeout}")
    command = ["ssh", "-e", "none"]
    for option in options:
        command += ["-o", option]
    return command + [f"root@{address}", "--", *remote]


def ssh_target(cmdline: bytes) -> dict | None:
    """Return ``{"node", "address"}`` of a running ssh that PVE started, None for any other process.

    :param cmdline: the bytes of ``/proc/<pid>/cmdline``.
    """
    arguments = cmdline.decode("latin-1").split("\0")
    if arguments[0].rsplit("/", 1)[-1] != "ssh":
        return None
    alias = next((a.partition("=")[2] for a in arguments if a.startswith("HostKeyAlias=")), None)
    address = next((a.removeprefix("root@") for a in arguments if a.startswith("root@")), None)
    return {"node": alias, "address": address.strip("[]")} if alias and address else None


def sockets(text: str) -> list[dict]:
    """Parse ``/proc/net/tcp`` or ``tcp6``: ``[{"local", "local_port", "remote", "remote_port", "state",
    "inode"}]``.

    Only connections that are established or being made are returned. IPv4 in IPv6 is given as IPv4.

    :param text: the file.
    """
    found = []
    for line in text.splitlines():
        parts = line.split()
        if len(parts) < 10 or parts[3] not in _STATES:
            continue
        local, local_port = _endpoint(parts[1])
        remote, remote_port = _endpoint(parts[2])
        found.append(
            {
                "local": local,
                "local_port": local_port,
                "remote": remote,
                "remote_port": remote_port,
                "state": _STATES[parts[3]],
                "inode": parts[9],
            }
        )
    return found


def _endpoint(text):
    digits, _colon, port = text.partition(":")
    # words of 32 bits in the byte order of the machine, which is little-endian wherever PVE runs
    raw = b"".join(bytes.fromhex(digits[i : i + 8])[::-1] for i in range(0, len(digits), 8))
    address = ipaddress.ip_address(raw)
    return str(getattr(address, "ipv4_mapped", None) or address), int(port, 16)


def accepted(lines: str) -> list[dict]:
    """Return the logins in sshd's journal: ``[{"time": epoch, "user", "method", "from", "port"}]``, oldest
    first.

    :param lines: ``journalctl -o json`` output, one object a line; other messages are left out.
    """
    found = []
    for line in lines.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        message = entry.get("MESSAGE") if isinstance(entry, dict) else None
        match = _ACCEPTED.match(message) if isinstance(message, str) else None
        if match:
            found.append(
                {
                    "time": int(entry.get("__REALTIME_TIMESTAMP", 0)) / 1e6,
                    "method": match[1],
                    "user": match[2],
                    "from": match[3],
                    "port": int(match[4]),
                }
            )
    return sorted(found, key=lambda login: login["time"])


def connection(text: str) -> dict | None:
    """Return ``{"from", "from_port", "to", "to_port"}`` out of the peer's SSH_CONNECTION, None if it is not
    one.
    """
    parts = text.split()
    if len(parts) != 4 or not (parts[1].isdigit() and parts[3].isdigit()):
        return None
    return {"from": parts[0], "from_port": int(parts[1]), "to": parts[2], "to_port": int(parts[3])}


def locked(said: str) -> bool:
    """Tell whether a job failed because another run holds the lock of all replication of this node.

    :param said: what :func:`reason` returned.
    """
    return bool(_LOCK_FAILED.search(said))


def reason(stdout: str, stderr: str, rc: int | None) -> str:
    """Return why a ``pvesr run --id`` failed, in one line: what ssh said, then the last line of the tool.

    :param stdout: its output; :param stderr: its error output; :param rc: its exit code, None if it was late.
    """
    lines = [line.strip() for line in (stdout + "\n" + stderr).splitlines() if line.strip()]
    causes = [match[1] for line in lines if (match := _REASON.match(line))]
    errors = [
        line.strip() for line in stderr.splitlines() if line.strip() and not _LOCKED.match(line.strip())
    ]
    said = causes[:1] + errors[-1:] or lines[-1:] or [f"exit code {rc}, no text"]
    return "; ".join(dict.fromkeys(said))
