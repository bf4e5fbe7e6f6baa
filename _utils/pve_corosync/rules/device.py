"""Rules about a quorum device: what counts is the vote that it casts, not that it is in the file."""

from __future__ import annotations

from pve_corosync.findings import finding

_LOOK = "corosync-qdevice-tool -s; systemctl status corosync-qdevice"


def device(context):
    """A quorum device that is in the file gives its vote on every node."""
    view = context.base.view if context.base else None
    if not view or not view["qdevice"]:
        return
    yield finding(
        "qdevice",
        f"{context.base.where()}: a quorum device is set up; the votes that it casts count",
        remedy="nothing; its votes are seen with: pvecm status",
    )
    mute = [node for node, votes in cast(context).items() if not votes]
    if mute:
        yield finding(
            "qdevice-mute",
            f"the quorum device gives no vote on {', '.join(mute)}",
            data={"nodes": mute},
            remedy=f"on {mute[0]}: {_LOOK}; until it votes, one failure more may take the quorum",
        )


def leftover(context):
    """No node has a quorum device that the file does not have: it was removed half way."""
    view = context.base.view if context.base else None
    if not view or view["qdevice"]:
        return
    have = [node for node, votes in cast(context).items() if votes is not None]
    if have:
        yield finding(
            "qdevice-leftover",
            f"{', '.join(have)}: a quorum device is registered, and {context.base.where()} has none: it was "
            "removed half way",
            data={"nodes": have},
            remedy=f"on {', '.join(have)}: systemctl disable --now corosync-qdevice; or set it up again: "
            "pvecm qdevice setup <address>",
        )


def cast(context) -> dict[str, int | None]:
    """Return the votes that a device casts, by node; None where none is registered.

    Nodes that did not tell are left out.
    """
    return {
        node: facts["quorum"]["qdevice_votes"]
        for node, facts in context.nodes.items()
        if "qdevice_votes" in (facts.get("quorum") or {})
    }


RULES = (device, leftover)
