"""
The pillar of a living cluster, ready to commit.

Part of the runner ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.1.0
"""

import salt.utils.yaml
from pve_corosync import arguments
from pve_corosync.judge import situation
from pve_corosync.pillar import layouts
from pve_corosync.ports import salt_master
from pve_corosync.run import adopt

__virtualname__ = "corosync"


def __virtual__():
    return __virtualname__


def pillar(tgt=None, tgt_type="glob", timeout=10):
    """
    Print the pillar ``corosync`` of a living cluster as YAML, so that this tool can be put to work on it.

    tgt, tgt_type
        The minions of the cluster's nodes; default the ones of ``pve_corosync: {minions: …}``, or all.

    timeout
        Seconds to wait for their facts; one that is slower has not answered.

    Every node of the cluster must answer, and no other, since an incomplete pillar would be a wrong one. The
    comment above it says what its first plan would do: nothing, unless something is in force that the pillar
    does not express, such as a host name as a link's address.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.pillar 'pve*' > pillar/corosync.sls
    """
    __context__["retcode"] = arguments.FAILED
    try:
        arguments.checked("runner.pillar", locals())
        tgt = tgt or arguments.settings(__opts__.get("pve_corosync"))["minions"]
        timeout = arguments.seconds(timeout, "timeout", 600)
        master = salt_master.of(globals())
        call = {"timeout": arguments.facts_timeout(timeout)}
        asked = master.accepted(tgt, tgt_type)
        told = master.publish(asked, "corosync.facts", call, timeout)[1] if asked else {}
        answers = {minion: situation.answer_error(event) or event["return"] for minion, event in told.items()}
        exported, head = adopt.adopt(answers, str(tgt))
    except (arguments.RunError, layouts.LayoutError) as exc:
        __context__["retcode"] = getattr(exc, "retcode", arguments.FAILED)
        return {
            "do": "pillar",
            "findings": exc.findings,
            "result": "refused",
            "summary": "no pillar",
            "retcode": __context__["retcode"],
            "outputter": "corosync_table",
        }
    __context__["retcode"] = arguments.OK
    text = salt.utils.yaml.safe_dump({"corosync": exported}, default_flow_style=False, sort_keys=False)
    return {"data": "\n".join([*head, text]), "outputter": "txt"}
