"""
Show a report of the runner ``corosync`` as text.

The runner names this outputter in what it returns; ``--out=json`` and the others of Salt stay possible.
"""

import importlib
import os
import sys

import salt.utils.color

try:
    from pve_corosync import show
except ImportError:  # Salt's loader of outputters does not have the folder of synced utils on the path
    show = None

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
    show_ = _shown()
    if not isinstance(data, dict):
        return show_.clean(str(data))
    colours = salt.utils.color.get_colors(__opts__.get("color"), __opts__.get("color_theme"))

    def render(report):
        return show_.coloured(show_.render(report), colours)

    if "do" in data:
        return "\n".join(render(data))
    parts = []
    for name, report in data.items():
        lines = render(report) if isinstance(report, dict) and "do" in report else [show_.clean(str(report))]
        parts += lines if name == "local" else [show_.clean(f"{name}:"), *lines]
    return "\n".join(parts)


def _shown():
    """
    Return show, from the synced utils if the loader did not have it.
    """
    if show is not None:
        return show
    folder = os.path.join(__opts__["extension_modules"], "utils")
    sys.path.append(folder)
    try:
        return importlib.import_module("pve_corosync.show")
    finally:
        sys.path.remove(folder)
