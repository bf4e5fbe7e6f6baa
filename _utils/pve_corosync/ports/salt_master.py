"""What a Salt master offers to the files of the runner ``corosync``: client, event bus, keys, pillar.

The part of ``ports`` that needs Salt's own code; only a runner imports it.
"""

from __future__ import annotations

import salt.client
import salt.utils.event
import salt.utils.jid
import salt.utils.minions
from pve_corosync import arguments
from pve_corosync.findings import finding
from pve_corosync.node import code
from pve_corosync.ports import master, salt_pillar
from salt.exceptions import CommandExecutionError, SaltException


def of(runner: dict) -> master.Master:
    """Return what the master of a runner's file offers.

    :param runner: ``globals()`` of the file, in which Salt's loader has put ``__opts__``, ``__salt__`` and,
        for a job, ``__jid__`` and ``__user__``.
    """
    opts = runner["__opts__"]
    orchestrated = (runner.get("__context__") or {}).get(master.ORCHESTRATED) or {}

    def fire(data, tag):
        with salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=False) as bus:
            bus.fire_event(data, tag)

    return master.Master(
        opts,
        client=lambda: salt.client.get_local_client(mopts=opts),
        bus=lambda: salt.utils.event.get_event("master", sock_dir=opts["sock_dir"], opts=opts, listen=True),
        accepted=lambda target, kind: set(
            salt.utils.minions.CkMinions(opts).check_minions(target, tgt_type=kind)["minions"]
        ),
        pillar=lambda minion: salt_pillar.compiled(opts, minion),
        fire=fire,
        jid=orchestrated.get("jid") or runner.get("__jid__") or salt.utils.jid.gen_jid(opts),
        user=orchestrated.get("user") or runner.get("__user__") or "",
        code=code.digest(code.beside(runner["__file__"])),
    )


def guarded(do, unknown, allowed, brief, work, context, given=None) -> dict:  # pylint: disable=too-many-arguments
    """Run a public function of the runner: see ``ports.master.guarded``, which this wraps.

    A master that takes no jobs, or is killed meanwhile, is a finding: Salt would print a traceback.

    :raises CommandExecutionError: the function has a defect.
    """

    def told():
        try:
            return work()
        except CommandExecutionError:
            raise
        except (SaltException, OSError) as exc:
            where = f"{exc.filename}: " if getattr(exc, "filename", None) else ""
            raise arguments.RunError(
                finding(
                    "master-failed",
                    f"the Salt master could not go on: {where}{exc}",
                    remedy="systemctl status salt-master; what a run did: salt-run corosync.journal; "
                    "without a master, on a node: salt-call --local corosync.status",
                ),
                arguments.FAILED,
            ) from exc

    try:
        return master.guarded(do, unknown, allowed, brief, told, context, given)
    except TypeError as exc:  # Salt turns it into success
        raise CommandExecutionError(f"corosync.{do} has a defect: {exc!r}") from exc
