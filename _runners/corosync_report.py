"""
The account of a run, for who was not there.

Part of the runner ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.2.0
"""

import os

import salt.utils.atomicfile
from pve_corosync import arguments
from pve_corosync.findings import finding
from pve_corosync.ports import journals, salt_master
from pve_corosync.report import account, account_page

__virtualname__ = "corosync"

#: ending of the file -> what makes the page.
FORMS = {".html": account_page.html, ".md": account_page.markdown}


def __virtual__():
    return __virtualname__


def report(run=None, out=None, **kwargs):
    """
    Make the account of a run out of its journal: found, done, seconds without quorum on each node, files,
    checklist, what is open.

    run
        The job of the run; ``salt-run corosync.journal`` lists them. The last one if it is not given.

    out
        The file to write: ``.html`` for a page that needs nothing from outside, ``.md`` for Markdown. Without
        it the Markdown is shown. A file that exists is replaced.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.report
        salt-run corosync.report 20261123140000000000 out=/root/failover.html
    """
    return salt_master.guarded(
        "report", kwargs, ("run", "out"), False, lambda: _report(run, out), __context__, locals()
    )


def _report(run, out):
    form = os.path.splitext(str(out))[1] if out is not None else ".md"
    if form not in FORMS or (
        out is not None and not os.path.isdir(os.path.dirname(os.path.abspath(str(out))))
    ):
        raise arguments.RunError(
            finding(
                "argument-bad",
                f"out={out}: allowed: a file that ends with .html or .md, in a folder that exists",
                data={"argument": "out", "value": str(out)},
                remedy="write out=/root/run.html",
            )
        )
    told = account.account(_notes(run))
    page = FORMS[form](told)
    if out is None:
        return {"text": page, "run": told["run"], "findings": [], "result": "ok", "retcode": arguments.OK}
    with salt.utils.atomicfile.atomic_open(str(out), "w") as file:
        file.write(page)
    return {
        "run": told["run"],
        "file": str(out),
        "findings": [],
        "summary": f"the account of run {told['run']} is in {out}",
        "result": "written",
        "retcode": arguments.OK,
    }


def _notes(run):
    """Return the lines of the journal of a run, of the last one for None."""
    base = os.path.join(__opts__["cachedir"], "pve-corosync")
    for path in journals.everywhere(base):
        wanted = run is None or os.path.basename(path) == f"{run}.jsonl"
        if wanted and (rows := journals.read(path)):
            return rows
    raise arguments.RunError(
        finding(
            "argument-bad",
            f"run={run}: no such run in {base}" if run is not None else f"no run yet in {base}",
            data={"argument": "run", "value": str(run)},
            remedy="salt-run corosync.journal lists them",
        )
    )
