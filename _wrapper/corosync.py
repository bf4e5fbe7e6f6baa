"""
``corosync.status``, ``plan`` and ``apply`` over salt-ssh: the second door, when no minion answers.

salt-ssh compiles the pillar on the master and gives a node none of it. These wrappers run on the master and
bring its key ``corosync`` along as an argument; commands in the report are the ones for salt-ssh. Needs this
project installed on the master as a Salt extension; ``docs/salt-ssh.md`` has the whole way.

.. versionadded:: 0.2.0
"""

import json

import salt.client.ssh
from pve_corosync.pillar import layouts
from pve_corosync.run import over_ssh

__virtualname__ = "corosync"

#: what a node says that got the modules without the package that they import: Salt 3006 packs it if it is
#: told to.
NO_PACKAGE = ("No module named 'pve_corosync'", "is not available")
PACK = (
    "the node got no code of this project over salt-ssh. Salt 3006 packs it with this\n"
    "line in the master's configuration:\n  thin_extra_mods: pve_corosync\n"
    "After it, and after each upgrade:\n  salt-ssh -t {id} test.ping"
)


def __virtual__():
    return __virtualname__


def status():
    """
    Show a node, and what it can see of the others, with the master's pillar.

    CLI Example:

    .. code-block:: bash

        salt-ssh 'pve*' corosync.status
    """
    return _asked("status")


def plan(layout=None, degraded=False, skip=None, force=None):
    """
    Show what ``corosync.apply`` would do from a node; nothing is changed. The arguments are those of the
    execution module.

    CLI Example:

    .. code-block:: bash

        salt-ssh pve1 corosync.plan degraded
    """
    return _asked("plan", layout=layout, degraded=degraded, skip=skip, force=force)


def apply(layout=None, **more):
    """
    Take the cluster to a layout from a node. The arguments are those of the execution module.

    Without quorum, each node does its own part, all at once: the command for all nodes.

    CLI Example:

    .. code-block:: bash

        salt-ssh -L pve1,pve2 corosync.apply degraded degraded=True
    """
    given = {key: value for key, value in more.items() if not key.startswith("__")}
    return _asked("apply", layout=layout, **given)


def _asked(function, **given):
    """
    Call a function of the execution module on the node, and return what ``salt-call`` printed there.
    """
    pillar = layouts.plain(__pillar__.get("corosync"))
    if pillar is not None:
        given["pillar"] = pillar
    words = [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    single = salt.client.ssh.Single(
        __opts__,
        [f"corosync.{function}", *words],
        mods=__salt__.mods,
        fsclient=__context__["fileclient"],
        minion_opts=__salt__.minion_opts,
        **__salt__.kwargs,
    )
    stdout, stderr, retcode = single.cmd_block()
    try:
        answer = json.loads(stdout)["local"]
    except (ValueError, KeyError, TypeError):
        lines = (stderr or stdout or "").strip().splitlines() or ["the node gave no answer"]
        answer = {"return": lines[-1].strip(), "retcode": retcode or 1}
    __context__["retcode"] = answer.get("retcode") or 0
    if isinstance(answer["return"], str) and any(words in answer["return"] for words in NO_PACKAGE):
        answer["return"] += "\n" + PACK.format(id=__opts__["id"])
    answer["return"] = over_ssh.told(answer["return"], __opts__["id"], over_ssh.minions(pillar))
    return {"local": answer}
