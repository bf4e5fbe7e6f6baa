"""
The layout of a cluster's links, and the files around it, as states.

:depends: the execution module ``corosync``

.. code-block:: yaml

    links:
      corosync.ring_layout:
        - layout: nominal      # default: the one that the pillar wants

.. versionadded:: 0.1.0
"""

import time

from pve_corosync import show_tables
from pve_corosync.ports import salt_module as shell
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "corosync"

#: seconds for a node to come back into its cluster: pvecm add takes 10 to 12, and an ssh key is made.
REBUILD_WAIT = 240
#: seconds for the master to answer at all: its reactor starts a runner, which looks for the pillar.
#: how long an unanswered question waits before it is asked again, in seconds.
ASK_AGAIN = 15.0
ANSWER_WAIT = 60


def __virtual__():
    if "corosync.apply" in __salt__:
        return __virtualname__
    return (
        False,
        "the execution module corosync is not there: corosync is not installed, or nothing was synced",
    )


def ring_layout(
    name,
    layout=None,
    degraded=False,
    skip=None,
    force=None,
    wait=300,
    patience=30,
    rebuild=REBUILD_WAIT,
):  # pylint: disable=too-many-arguments
    """
    Hold a layout of the pillar: links, options and versions, on all nodes, by the run of whichever node comes
    first.

    name
        Any text.

    layout
        A layout of the pillar; default the one that the pillar wants.

    degraded
        Without quorum the state fails and touches nothing. With this, it does this node's part of the
        degraded path; so does a quorate node that others are cut off from.

    skip, force
        Nodes to go on without, and codes of findings to go on in spite of.

    wait
        Seconds to wait while another node makes the change; this node then reports no change.

    patience
        Seconds to wait for the quorum after this node's part of the degraded path.

    rebuild
        A freshly installed node cannot join by itself, since the others do not know its ssh key. So it asks
        the master by the event ``corosync/<cluster>/rebuild/<node>``, which ``states/reactor/rebuild.sls`` is
        for, and waits this many seconds until the rebuild has ended, but 60 at most for the master to answer
        at all.
        0: it does not ask.

    Where this node can prove by itself that there is nothing to do, no other node is asked
    (docs/highstate.md).

    The change goes through the cluster file, live and step by step, and each step is read back on all nodes.
    With ``test=True`` the same steps and diffs are reported, and nothing is touched.

    .. code-block:: yaml

        links:
          corosync.ring_layout: []
    """
    ret = {"name": name, "changes": {}, "result": False, "comment": ""}
    how = {"degraded": degraded, "skip": skip, "force": force, "wait": wait, "patience": patience}
    try:
        shell.check("state.ring_layout", locals())
        known = {} if degraded or skip else __salt__["corosync.proved"](layout)
        if known and not known["unproved"]:
            return ret | {"result": True, "comment": f"reached already, version {known['version']}"}
        report = __salt__["corosync.apply"](layout, test=__opts__["test"], **how)
        if known and report["result"] == "already" and not __opts__["test"]:
            __salt__["corosync.keep_proof"](known["note"])
        joined, said = _rebuilt(report, rebuild)
        if joined and not __opts__["test"]:
            report = __salt__["corosync.apply"](layout, **how)
    except (CommandExecutionError, SaltInvocationError) as exc:
        ret["comment"] = show_tables.for_state(str(exc))
        return ret
    ret["changes"] = joined | _changes(report)
    told = filter(None, [said, "" if joined and __opts__["test"] else _comment(report)])
    ret["comment"] = show_tables.for_state("\n".join(told))
    result = report["result"]
    would = __opts__["test"] and (joined or result == "test")
    ret["result"] = None if would else result in ("already", "reached")
    return ret


def authkey_managed(name="/etc/corosync/authkey"):
    """
    Keep the key of the cluster private: mode 0400, owner root:root. The key itself is never touched, read or
    shown.

    name
        The key file; one that does not exist is an error, since only a join brings it.

    .. code-block:: yaml

        /etc/corosync/authkey:
          corosync.authkey_managed: []
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        shell.check("state.authkey_managed", locals())
        told = __salt__["corosync.secure_authkey"](name, test=__opts__["test"])
    except (CommandExecutionError, SaltInvocationError) as exc:
        return ret | {"result": False, "comment": str(exc)}
    ret["changes"] = told["changes"]
    if not told["changes"]:
        ret["comment"] = f"{name} is private already"
    elif __opts__["test"]:
        ret.update(result=None, comment=f"{name} would be made private")
    else:
        ret["comment"] = f"{name} was made private"
    return ret


def _rebuilt(report, seconds):
    """
    Have the master bring this node back into its cluster, if it is freshly installed: ``(changes, text)``.
    """
    fresh = next((item for item in report["findings"] if item["code"] == "alone-not-member"), None)
    if fresh is None or not float(seconds):
        return {}, ""
    cluster, node = report["cluster"], fresh["data"]["node"]
    tag = f"corosync/{cluster}/rebuild/{node}"
    changes = {"rebuild": {"old": "in no cluster", "new": f"member of {cluster}"}}
    if __opts__["test"]:
        return changes, f"{node} is freshly installed; the master would be asked by the event {tag}"
    since, told = time.time(), f"the master was asked by the event {tag}"

    def ask():
        data = {"node": node, "cluster": cluster, "nonce": __salt__["corosync.ask_rebuild"](node)}
        return __salt__["event.send"](tag, data)

    if not ask():
        return {}, f"{node} is freshly installed, and there is no master to bring it back"
    why = _not_joined(node, since, float(seconds), ask)
    return ({}, f"{told}, and {why}") if why else (changes, f"{told}, and {node} has joined")


def _not_joined(node, since, seconds, ask):
    """
    Wait until this node is a member and the master's work on it has ended, and return why not; "" if so.

    A node is quorate for the first time while ``pvecm add`` is still at work on its keys.

    ask
        Asks the master again, as long as it has not answered: in a flood of events one is passed over.
    """
    begin = last = time.monotonic()
    joined = False
    while (passed := time.monotonic() - begin) < seconds:
        facts = __salt__["corosync.facts"]()
        joined = bool((facts["quorum"] or {}).get("quorate") and facts["pmxcfs"]["writable"])
        answer = __salt__["corosync.rebuild_heard"](since)
        if joined and (not answer or answer["result"] != "begun"):  # else the master is still at work here
            return ""
        if answer and answer["result"] in ("failed", "refused"):
            return f"it says: {answer['result']}\n{answer['text']}"
        if not answer and passed >= ANSWER_WAIT:
            return f"nothing answered within {ANSWER_WAIT} s: is its reactor configured (docs/highstate.md)?"
        if not answer and time.monotonic() - last >= ASK_AGAIN:
            last = time.monotonic()
            ask()
        time.sleep(2.0)
    if joined:
        return ""
    return (
        f"{node} did not join within {seconds:g} s: is its reactor configured (docs/highstate.md)? salt-run"
        " corosync.journal shows what it did"
    )


def _changes(report):
    """
    Return what changed, or would: the steps, and one diff for each file. After a run the diffs are of the
    files as they were read back, so that a step that failed and did write is among them.
    """
    diffs = dict(report.get("diffs") or {})
    if report["result"] == "test":
        told = [step["text"] for step in report.get("steps") or ()]
    elif report["result"] in ("already", "refused") and not diffs:
        told = []
    else:
        done = report.get("done") or ()
        told = [row["text"] for row in done if row["ok"]]
        told += [f"{row['text']} (failed)" for row in done if diffs and not row["ok"]]
    return ({"steps": told} if told else {}) | ({"diff": diffs} if diffs else {})


def _comment(report):
    """
    Return the summary, what stands in the way, and the commands that help.
    """
    told = report.get("verdict")
    lines = [report.get("summary", "")]
    lines = (
        [told["text"], f"  {told['command']}" if told["command"] else "", *told["also"], *lines]
        if told
        else lines
    )
    bad = [item for item in report["findings"] if item["severity"] == "error"]
    if report["result"] in ("waiting", "failed", "refused"):
        bad = bad or [item for item in report["findings"] if item["severity"] == "warning"]
        lines += [item["text"] + (f" -> {item['remedy']}" if item["remedy"] else "") for item in bad]
    lines += report.get("next") or [] if report["result"] != "test" else []
    return "\n".join(filter(None, lines))
