"""
The layout of a cluster's links, and the files around it, as states.

:depends: the execution module ``corosync``

.. code-block:: yaml

    links:
      corosync.ring_layout:
        - layout: nominal      # default: the one that the pillar wants

.. versionadded:: 0.1.0
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "corosync"


def __virtual__():
    if "corosync.apply" in __salt__:
        return __virtualname__
    return (
        False,
        "the execution module corosync is not there: corosync is not installed, or nothing was synced",
    )


def ring_layout(name, layout=None, degraded=False, skip=None, force=None, wait=300, patience=30):
    """
    Hold a layout of the pillar: links, options and versions, on all nodes, by the run of whichever node comes
    first.

    name
        Any text.

    layout
        A layout of the pillar; default the one that the pillar wants.

    degraded
        Without quorum the state fails and touches nothing. With this, it does this node's part of the
        degraded path.

    skip, force
        Nodes to go on without, and codes of findings to go on in spite of.

    wait
        Seconds to wait while another node makes the change; this node then reports no change.

    patience
        Seconds to wait for the quorum after this node's part of the degraded path.

    The change goes through the cluster file, live and step by step, and each step is read back on all nodes.
    With ``test=True`` the same steps and diffs are reported, and nothing is touched.

    .. code-block:: yaml

        links:
          corosync.ring_layout: []
    """
    ret = {"name": name, "changes": {}, "result": False, "comment": ""}
    try:
        report = __salt__["corosync.apply"](
            layout,
            test=__opts__["test"],
            degraded=degraded,
            skip=skip,
            force=force,
            wait=wait,
            patience=patience,
        )
    except CommandExecutionError as exc:
        ret["comment"] = str(exc)
        return ret
    ret["changes"] = _changes(report)
    ret["comment"] = _comment(report)
    result = report["result"]
    ret["result"] = None if result == "test" else result in ("already", "reached")
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
        told = __salt__["corosync.secure_authkey"](name, test=__opts__["test"])
    except CommandExecutionError as exc:
        return ret | {"result": False, "comment": str(exc)}
    ret["changes"] = told["changes"]
    if not told["changes"]:
        ret["comment"] = f"{name} is private already"
    elif __opts__["test"]:
        ret.update(result=None, comment=f"{name} would be made private")
    else:
        ret["comment"] = f"{name} was made private"
    return ret


def _changes(report):
    """
    Return what changed, or would: the steps, and one diff for each file.
    """
    if report["result"] == "test":
        told = [step["text"] for step in report.get("steps") or ()]
    else:
        told = [row["text"] for row in report.get("done") or () if row["ok"]]
    if report["result"] in ("already", "refused") or not told:
        return {}
    changes = {"steps": told}
    if report.get("diffs"):
        changes["diff"] = dict(report["diffs"])
    return changes


def _comment(report):
    """
    Return the summary, what stands in the way, and the commands that help.
    """
    lines = [report.get("summary", "")]
    bad = [item for item in report["findings"] if item["severity"] == "error"]
    if report["result"] in ("waiting", "failed", "refused"):
        bad = bad or [item for item in report["findings"] if item["severity"] == "warning"]
        lines += [item["text"] + (f" -> {item['remedy']}" if item["remedy"] else "") for item in bad]
    lines += report.get("next") or [] if report["result"] != "test" else []
    return "\n".join(filter(None, lines))
