"""
Show a report of the runner ``corosync`` as text.

The runner names this outputter in what it returns; ``--out=json`` and the others of Salt stay possible.
"""

import os
import sys

try:
    import ring_show
except ImportError:
    try:  # installed as a Salt extension
        from saltext.pve_corosync.utils import ring_show
    except ImportError:
        ring_show = None  # synced: the loader of outputters knows no utils; output() finds it

__virtualname__ = "corosync_table"


def __virtual__():
    return __virtualname__


def output(data, **kwargs):  # pylint: disable=unused-argument
    """
    Return the text of a report.

    data
        What a function of the runner ``corosync`` returned, or ``{minion: report}`` from a node.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.status --out=corosync_table
    """
    if not isinstance(data, dict):
        return str(data)
    if "do" in data:
        return "\n".join(_shown().render(data))
    parts = []
    for name, report in data.items():
        lines = _shown().render(report) if isinstance(report, dict) and "do" in report else [str(report)]
        parts += lines if name == "local" else [f"{name}:", *lines]
    return "\n".join(parts)


def _shown():
    """
    Return ring_show, from the synced utils if the loader did not have it.
    """
    if ring_show is not None:
        return ring_show
    folder = os.path.join(__opts__["extension_modules"], "utils")
    sys.path.append(folder)
    try:
        import ring_show as found  # pylint: disable=import-outside-toplevel,redefined-outer-name
    finally:
        sys.path.remove(folder)
    return found
