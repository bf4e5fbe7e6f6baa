"""
Ask :mod:`.node.etc_pve`, the program that touches ``/etc/pve``; say what is wrong where it gives no answer.

This file does I/O on purpose: it starts child processes. A child that is late is left behind, since a call
into pmxcfs can hang for good.
"""

import base64
import contextlib
import json
import os

from pve_corosync.node import children, etc_pve, etc_pve_lock, files
from pve_corosync.tools import pve

#: seconds for one look: it is answered from memory, without the network.
LOOK_TIMEOUT = 3.0


class NoAnswer(Exception):
    """
    The program gave no answer (``late``), or refused (``errno``, if that is what it met); the text says why
    and what to do.
    """

    def __init__(self, text, late=False, errno=None):
        self.late, self.errno = late, errno
        super().__init__(text)


#: requests that take or give locks: a process that is late gives them back by itself, if it is left alone.
WITH_LOCKS = ("replace", "take", "renew", "drop", "give_back")


def ask(request, base, timeout):
    """
    Have the program answer a request, and return its answer.

    :param request: dict, see the program.
    :param base: where ``/etc/pve`` is.
    :param timeout: seconds.
    :raises NoAnswer: it is late, broken, or says no.
    """
    data = json.dumps(dict(request, base=str(base))).encode()
    kill = request["do"] not in WITH_LOCKS
    result = children.run(etc_pve.command(), timeout=timeout, data=data, kill=kill)
    return answered(result, timeout)


def answered(result, timeout):
    """
    Return the answer of the program from the result of its process.

    :param result: of :func:`.node.children.run`.
    :param timeout: seconds that it had.
    :raises NoAnswer: it is late, broken, or says no.
    """
    if result["late"]:
        raise NoAnswer(pve.hung(timeout), late=True)
    try:
        answer = json.loads(result["out"])
    except ValueError:
        raise NoAnswer(f"/etc/pve could not be asked: {children.complaint(result)}") from None
    if not answer["ok"]:
        raise NoAnswer(answer["error"], errno=answer.get("errno"))
    return answer


def coded(data):
    """
    Return bytes as the text that a request carries; None stays None.
    """
    return None if data is None else base64.b64encode(data).decode()


def notes(root):
    """
    Return the folder of the notes on locks.

    :param root: for tests.
    """
    return files.under(root, etc_pve_lock.NOTES)


def give_back(root, timeout=LOOK_TIMEOUT):
    """
    Have the locks given back that a dead process of this node left in ``/etc/pve``; nothing is asked where
    there are no notes of any.

    :param root: for tests.
    :param timeout: seconds to wait for that; it goes on without the caller.
    """
    folder = notes(root)
    if not os.path.isdir(folder) or not os.listdir(folder):
        return
    with contextlib.suppress(NoAnswer):
        ask({"do": "give_back", "notes": folder}, files.under(root, etc_pve.BASE), timeout)


def look_command(base):
    """
    Return the command that reads the mode of the link ``local``, past the attribute cache of 1 s.

    :param base: where ``/etc/pve`` is.
    """
    return ["stat", "--cached=never", "-c", "%f", f"{base}/local"]


def looked(result):
    """
    Return ``{"mounted", "writable", "said", "hung"}`` from the result of :func:`look_command`.

    A mount that does not answer is there: ``mounted`` is true for it, as ``hung`` is. ``said`` is what came
    instead of an answer, empty where there is no such file.
    """
    if result["late"]:
        return {"mounted": True, "writable": False, "said": "", "hung": True}
    text = children.complaint(result) if result["rc"] else children.text(result)
    return dict(pve.local_link(text), hung=False)


def look(base, timeout=LOOK_TIMEOUT):
    """
    Return what :func:`looked` does, asked now.

    :param base: where ``/etc/pve`` is.
    :param timeout: seconds.
    """
    return looked(children.run(look_command(base), timeout=timeout))


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
