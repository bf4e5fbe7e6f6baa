"""What follows the links: primary network, certificates, services, replication, the restart, the test of a
link's port.

Part of the runner ``corosync`` (Salt joins the files of one virtual name). Each function is one phase, safe
to be run alone and again; ``states/orch/`` has them after each other. Certificates, services and
replication need quorum, and are refused at once without.

:configuration: as in ``corosync.py``, and all optional, times in seconds:

    .. code-block:: yaml

        pve_corosync:
          exit_timeout: 30
          phase_timeout: 20
          certs_timeout: 100
          services_timeout: 120
          replication_timeout: 150
          replication_budget: 580
          ha_timeout: 200

.. versionadded:: 0.1.0
"""

import os

from pve_corosync import arguments
from pve_corosync.judge import situation
from pve_corosync.ports import master, salt_master
from pve_corosync.run import change, follow

__virtualname__ = "corosync"


def __virtual__():
    return __virtualname__


def move_primary(
    layout=None,
    test=False,
    services=True,
    skip=None,
    force=None,
    cluster=None,
    progress=True,
    brief=False,
    **kwargs,
):
    """Have all node names resolve to the layout's primary network, and PVE use it: replication and
    migration follow.

    Names first, on all nodes. Then pve-cluster is restarted on the nodes whose own address moved, one at a
    time, the next one only when ``/etc/pve`` is back, quorate, and ``.members`` shows the new address on
    every node. Then the services that hold on to addresses look again. Where nothing is to do, nothing is
    restarted.

    layout
        A layout of the pillar; default the one that the pillar wants.

    test
        Only tell what would be done.

    services
        False leaves the services for ``corosync.reload_services``.

    skip, force, cluster, progress, brief
        As for ``corosync.apply``.

    Exit code 0 if the primary network is the layout's, 1 if not, 2 if the cluster or an argument is wrong.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.move_primary degraded
    """
    ours = {"test": test, "services": services}
    return _phase("move_primary", kwargs, brief, ours, layout, skip, force, cluster, progress, locals())


def update_certs(
    layout=None, renew=None, skip=None, force=None, cluster=None, progress=True, brief=False, **kwargs
):
    """Have PVE write each node's certificate and host key file, on all nodes at once, and read them back
    everywhere.

    layout
        The layout whose primary addresses the certificates are to cover; default the one that the pillar
        wants.

    renew
        True makes new certificates in any case; default only where one has ended or lacks the name or the
        address. A new one has a new fingerprint, which backup servers and API clients keep.

    skip, force, cluster, progress, brief
        As for ``corosync.apply``.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.update_certs degraded
    """
    return _phase(
        "update_certs", kwargs, brief, {"force": renew}, layout, skip, force, cluster, progress, locals()
    )


def reload_services(
    layout=None, always=False, skip=None, force=None, cluster=None, progress=True, brief=False, **kwargs
):
    """
    Have the services that hold on to addresses look again, where they have not since pve-cluster was started.

    layout
        For the report and its command only.

    always
        Also where they have.

    skip, force, cluster, progress, brief
        As for ``corosync.apply``.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.reload_services
    """
    return _phase(
        "reload_services", kwargs, brief, {"always": always}, layout, skip, force, cluster, progress, locals()
    )


def replicate(
    layout=None, timeout=None, skip=None, force=None, cluster=None, progress=True, brief=False, **kwargs
):
    """
    Run every enabled replication job of the cluster now, and prove which address each took.

    The proof: ``.members`` before, the sockets of the job's ssh while it ran, the login in the peer's sshd
    log. A job that fails is named with its error; a dead address is told after 5 s.

    layout
        The layout whose primary addresses the jobs must take; default the one that the pillar wants.

    timeout
        Seconds to wait for one job, at most 3600; default the setting ``replication_timeout``. A job that is
        at work then is left running and reported so; that is no failure of this phase.

    skip, force, cluster, progress, brief
        As for ``corosync.apply``.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.replicate degraded
    """
    return _phase(
        "replicate", kwargs, brief, {"timeout": timeout}, layout, skip, force, cluster, progress, locals()
    )


def probe(layout=None, skip=None, force=None, cluster=None, progress=True, brief=False, **kwargs):
    """Test the port of every link that a layout adds: both directions, latency, path MTU; corosync is not
    touched.

    layout
        A layout of the pillar; default the one that the pillar wants.

    skip, force, cluster, progress, brief
        As for ``corosync.apply``.

    Exit code 0 if every new link would carry. A filtered port is named with the rule to add.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.probe degraded
    """
    return _phase("probe", kwargs, brief, {}, layout, skip, force, cluster, progress, locals())


def restart(
    layout=None, test=False, skip=None, force=None, cluster=None, progress=True, brief=False, **kwargs
):
    """Restart corosync on all nodes: every node has the same checked file first, HA is released where it
    must be.

    At the same moment where the links differ or nothing carries; node by node behind a quorum gate where an
    unchanged link carries. A node that does not come back is named. A reload does all that a layout needs
    without any of this (``corosync.apply``); it is for a daemon that is stopped or stuck.

    layout
        A layout of the pillar; default the one that is in force, so that only the version changes.

    test
        Show the plan only.

    skip, force, cluster, progress, brief
        As for ``corosync.apply``.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.restart
    """

    def work():
        site, request = master.request(salt_master.of(globals()), layout, "restart", skip, force, cluster)
        observed, findings = site.see()
        if layout is None:
            request.take(situation.in_force(request.layouts(), observed))
        request.again_all = True
        if test:
            report = request.planned(*request.plan(observed, findings), observed)
            return report | {"result": "refused" if report["retcode"] else "test"}
        with site.lock():
            ports = master.Ports(site, bool(progress))
            run = change.Change(request, ports, site.settings, ports.jid)
            return run.carry_out(by=site.master.user, pid=os.getpid())

    return _guarded("restart", kwargs, brief, work, locals())


#: what each public function takes, for the error on an unknown argument.
COMMON = ("skip", "force", "cluster", "progress", "brief")
FUNCTIONS = {
    "move_primary": ("layout", "test", "services", *COMMON),
    "update_certs": ("layout", "renew", *COMMON),
    "reload_services": ("layout", "always", *COMMON),
    "replicate": ("layout", "timeout", *COMMON),
    "probe": ("layout", *COMMON),
    "restart": ("layout", "test", *COMMON),
}


def _phase(do, unknown, brief, ours, layout, skip, force, cluster, progress, given):  # pylint: disable=too-many-arguments
    """
    Run one phase under the cluster's lock.
    """

    def work():
        if ours.get("timeout") is not None:
            ours["timeout"] = arguments.seconds(ours["timeout"], "timeout", 3600)
        site, request = master.request(salt_master.of(globals()), layout, "live", skip, force, cluster)
        with site.lock():
            ports = master.Ports(site, bool(progress))
            return getattr(follow, do)(request, ports, site.settings, **ours)

    return _guarded(do, unknown, brief, work, given)


def _guarded(do, unknown, brief, work, given):  # pylint: disable=too-many-arguments
    return salt_master.guarded(do, unknown, FUNCTIONS[do], brief, work, __context__, given)
