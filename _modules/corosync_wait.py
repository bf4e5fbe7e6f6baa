"""
The acts on the running corosync that a change is made of: reload it, and wait until an effect is seen.

Part of the execution module ``corosync`` (Salt joins the files of one virtual name). Nothing is believed
because of an exit code: ``corosync-cfgtool -R`` ends with 0 for a refused reload from 3.1.9 on, and answers
for this node only.

:depends: corosync

.. versionadded:: 0.1.0
"""

import time

import salt.utils.path
from pve_corosync.node import children, etc_pve, etc_pve_client
from pve_corosync.ports import salt_module as shell
from pve_corosync.tools import corosync, pve
from salt.exceptions import SaltInvocationError

__virtualname__ = "corosync"

RELOAD_TIMEOUT = 30.0
#: for one look at the daemon: cmapctl alone retries for 10 s while the daemon starts.
LOOK_TIMEOUT = 3.0
#: for ``/etc/pve`` where nobody waits for it: the answer only helps to choose the next writer.
EVIDENCE_TIMEOUT = 1.0
#: between two looks: short while the effect is due, longer when it is late.
PAUSES = ((3.0, 0.05), (10.0, 0.15), (float("inf"), 0.4))

MAX_DEADLINE = 600.0


def __virtual__():
    if salt.utils.path.which("corosync-cfgtool"):
        return __virtualname__
    return (False, "corosync-cfgtool is not installed (package corosync)")


def reload(timeout=RELOAD_TIMEOUT):
    """
    Have every node of this partition read its own local file again, and return what the tool said.

    timeout
        Seconds; the tool itself waits without end. A reload that was sent is not taken back when the tool is
        ended.

    Returns ``{"accepted": bool, "refused": bool, "running": bool, "text": text, "seconds": float}``.
    ``accepted`` is what this node's daemon answered, nothing more: wait for the version with
    ``corosync.wait``. A ``refused`` reload leaves the running links as they are, but damages cmap (no
    ``nodelist.local_node_pos``) until a good one follows. Neither is true if no answer came.

    CLI Example:

    .. code-block:: bash

        salt pve1 corosync.reload
    """
    shell.check("corosync.reload", locals())
    timeout = shell.seconds(timeout, "timeout")
    result = children.run(["corosync-cfgtool", "-R"], timeout=timeout)
    answer = {"accepted": False, "refused": False, "running": True, "text": "", "seconds": result["seconds"]}
    if result["late"]:
        return dict(answer, text=f"corosync-cfgtool -R did not end within {timeout:g} s")
    told = corosync.reload_result(children.text(result), children.text(result, "err"), result["rc"])
    answer.update(
        accepted=told["ok"],
        refused="Could not reload configuration" in told["error"],
        running="Could not initialize" not in told["error"],
        text=told["error"],
    )
    return answer


def wait(
    version=None,
    connected=None,
    gone=(),
    quorate=False,
    writable=False,
    deadline=20.0,
):  # pylint: disable=too-many-arguments
    """
    Wait until everything asked for is seen at the same time on this node, and return the evidence.

    version
        The ``totem.config_version`` that the running daemon is to have.

    connected
        ``{link number: [names of other nodes]}`` that are to be connected.

    gone
        Link numbers that no other node may have any more in the running daemon.

    quorate
        Whether this partition is to be quorate.

    writable
        Whether ``/etc/pve`` is to be writable; a write of its own proves it, once all else is there.

    deadline
        Seconds from the call, at most 600.

    Returns ``{"ok": bool, "seen": {"version", "connected": {link: {node: bool}}, "quorate", "ring_id",
    "writable"}, "missing": [text], "seconds": {"version", "connected", "gone", "quorate", "writable"}}``;
    ``seconds`` has, for what was asked, when it was first seen, from the start of the call.

    CLI Example:

    .. code-block:: bash

        salt 'pve*' corosync.wait version=7 quorate=true deadline=10
    """
    shell.check("corosync.wait", locals())
    wanted = _wanted(version, connected, gone, quorate, writable)
    start = time.monotonic()
    end = start + min(shell.seconds(deadline, "deadline"), MAX_DEADLINE)
    first = {}
    versioned = wanted["version"] is None
    while True:
        last = time.monotonic() >= end
        seen = _look(everything=versioned or last, writable=wanted["writable"])
        if not versioned and seen["version"] == wanted["version"]:
            # the rest is worth its processes only now
            versioned, seen = True, _look(everything=True, writable=wanted["writable"])
        passed = time.monotonic() - start
        missing = _missing(wanted, seen, first, passed)
        if wanted["writable"] and not missing:
            # asked for last: a write that is under way while quorum is lost makes the outage longer
            missing = _prove(seen, first, max(LOOK_TIMEOUT, end - time.monotonic()))
        if not missing or last:
            if seen["writable"] is None:
                seen["writable"] = etc_pve_client.look(_path(etc_pve.BASE), EVIDENCE_TIMEOUT)["writable"]
            seen.pop("pve", None)
            return {
                "ok": not missing,
                "seen": seen,
                "missing": missing,
                "seconds": {part: round(s, 4) for part, s in first.items()},
            }
        time.sleep(
            min(next(pause for limit, pause in PAUSES if passed < limit), max(0.0, end - time.monotonic()))
        )


def _wanted(version, connected, gone, quorate, writable):
    try:
        return {
            "version": None if version is None else int(version),
            "connected": {int(link): list(peers) for link, peers in (connected or {}).items()},
            "gone": [int(link) for link in gone],
            "quorate": bool(quorate),
            "writable": bool(writable),
        }
    except (TypeError, ValueError, AttributeError) as exc:
        raise SaltInvocationError(
            f"corosync.wait: version is a number, connected {{link: [names]}}, gone a list of links: {exc}"
        ) from None


def _look(everything, writable):
    """
    Look at the daemon once. Without ``everything`` only the version is read: one short process.

    ``writable`` asks ``/etc/pve`` too, whose answer may take all of the time: a look for quorum does not wait
    for it where nobody wants to know.
    """
    commands = {"cmap": ["corosync-cmapctl", "totem.config_version", "nodelist.", "runtime.votequorum."]}
    if everything:
        commands["stats"] = ["corosync-cmapctl", "-m", "stats", "stats.knet."]
        commands["quorum"] = ["corosync-quorumtool", "-siH"]
        if writable:
            commands["pve"] = etc_pve_client.look_command(_path(etc_pve.BASE))
    results = children.run_all(commands, timeout=LOOK_TIMEOUT)
    said = {key: children.text(result) for key, result in results.items()}
    cmap = _parsed(corosync.cmap, said["cmap"]) or {}
    seen = {"version": cmap.get("totem.config_version"), "connected": {}, "quorate": None, "ring_id": None}
    seen["writable"] = None
    if not everything:
        return seen
    stats = _parsed(corosync.cmap, said["stats"]) or {}
    for peer, links in corosync.link_stats(stats, corosync.runtime(cmap)).items():
        for number, state in links.items():
            seen["connected"].setdefault(number, {})[peer] = bool(state["connected"])
    quorum = _parsed(corosync.quorum, said["quorum"]) or {}
    seen.update(quorate=quorum.get("quorate"), ring_id=quorum.get("ring_id"))
    if writable:
        seen["pve"] = etc_pve_client.looked(results["pve"])
        seen["writable"] = seen["pve"]["writable"]
    return seen


def _prove(seen, first, timeout):
    """
    Return what is missing for ``/etc/pve`` to take a write, as texts; none if one went through.
    """
    start = time.monotonic()
    why = etc_pve_client.why_no_write(_path(etc_pve.BASE), timeout)
    seen["writable"] = not why
    if why:
        first.pop("writable", None)
        return [why]
    first["writable"] = first.get("writable", 0.0) + time.monotonic() - start
    return []


def _path(path):
    return shell.path(__opts__, path)


def _parsed(parse, text):
    """
    Return what a tool printed, or None: a daemon that just starts or stops leaves half an answer, so look
    again.
    """
    try:
        return parse(text)
    except corosync.OutputError:
        return None


def _missing(wanted, seen, first, passed):
    """
    Return what is not there yet as texts, and note in ``first`` when each part was first there.
    """
    missing = {"version": [], "connected": [], "gone": [], "quorate": [], "writable": []}
    if wanted["version"] is not None and seen["version"] != wanted["version"]:
        has = "not running" if seen["version"] is None else f"at version {seen['version']}"
        missing["version"].append(f"runtime {has}, version {wanted['version']} wanted")
    for link, peers in sorted(wanted["connected"].items()):
        states = seen["connected"].get(link, {})
        for peer in peers:
            if not states.get(peer):
                why = "not connected" if peer in states else "not configured in the running daemon"
                missing["connected"].append(f"link {link} to {peer} {why}")
    for link in wanted["gone"]:
        if seen["connected"].get(link):
            missing["gone"].append(f"link {link} is still configured in the running daemon")
    if wanted["quorate"] and not seen["quorate"]:
        missing["quorate"].append("not quorate")
    if wanted["writable"] and not seen["writable"]:
        why = pve.why_not(seen["pve"]) if "pve" in seen else "/etc/pve was not asked"
        missing["writable"].append(why)
    for part, texts in missing.items():
        if wanted[part] not in (None, {}, [], False) and not texts:
            first.setdefault(part, passed)
    return [text for texts in missing.values() for text in texts]
