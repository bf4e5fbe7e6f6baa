"""
Ask :mod:`.node.etc_pve`, the program that touches ``/etc/pve``; say what is wrong where it gives no answer.

This file does I/O on purpose: it starts child processes. A child that is late is left behind, since a call
into pmxcfs can hang for good.
"""

import json

from pve_corosync.node import children, etc_pve

#: seconds for one look: it is answered from memory, without the network.
LOOK_TIMEOUT = 3.0


class NoAnswer(Exception):
    """
    The program gave no answer, or refused; the text says why and what to do. ``late`` tells which.
    """

    def __init__(self, text, late=False):
        self.late = late
        super().__init__(text)


def ask(request, base, timeout):
    """
    Have the program answer a request, and return its answer.

    :param request: dict, see the program.
    :param base: where ``/etc/pve`` is.
    :param timeout: seconds.
    :raises NoAnswer: it is late, broken, or says no.
    """
    data = json.dumps(dict(request, base=str(base))).encode()
    result = children.run(etc_pve.command(), timeout=timeout, data=data)
    if result["late"]:
        raise NoAnswer(hung(timeout), late=True)
    try:
        answer = json.loads(result["out"])
    except ValueError:
        raise NoAnswer(f"reading /etc/pve failed: {children.complaint(result)}") from None
    if not answer["ok"]:
        raise NoAnswer(answer["error"])
    return answer


def look_command(base):
    """
    Return the command that reads the mode of the link ``local``, past the attribute cache of 1 s.

    :param base: where ``/etc/pve`` is.
    """
    return ["stat", "--cached=never", "-c", "%f", f"{base}/local"]


def looked(result):
    """
    Return ``{"mounted", "writable", "hung"}`` from the result of :func:`look_command`.

    A mount that does not answer is there: ``mounted`` is true for it, as ``hung`` is.
    """
    if result["late"]:
        return {"mounted": True, "writable": False, "hung": True}
    mode = 0 if result["rc"] else int(result["out"], 16)
    return {"mounted": etc_pve.is_link(mode), "writable": etc_pve.is_writable(mode), "hung": False}


def look(base, timeout=LOOK_TIMEOUT):
    """
    Return what :func:`looked` does, asked now.

    :param base: where ``/etc/pve`` is.
    :param timeout: seconds.
    """
    return looked(children.run(look_command(base), timeout=timeout))


def why_not(state):
    """
    Return why the mode bits say that ``/etc/pve`` cannot be written, "" if they do not.

    :param state: what :func:`looked` returned.
    """
    if state["hung"]:
        return hung()
    if not state["mounted"]:
        return "/etc/pve is not mounted: systemctl start pve-cluster"
    return "" if state["writable"] else "/etc/pve is read-only: this partition is not quorate"


def why_no_write(base, timeout=LOOK_TIMEOUT):
    """
    Have a write of our own go through, and return why it did not, "" if it did.

    :param base: where ``/etc/pve`` is.
    :param timeout: seconds.
    """
    try:
        answer = ask({"do": "prove"}, base, timeout)
    except NoAnswer as exc:
        return str(exc)
    return "" if answer["writable"] else answer["why"]


def hung(timeout=None):
    """
    Return the words for a pmxcfs that gives no answer.

    :param timeout: seconds that it had; None if that does not matter.
    """
    after = "" if timeout is None else f" within {timeout:g} s"
    return (
        f"/etc/pve did not answer{after}: pmxcfs hangs, see journalctl -u pve-cluster (a resync may be slow)"
    )
