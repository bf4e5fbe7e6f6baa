"""
What is installed here, and where.

Part of the runner ``corosync`` (Salt joins the files of one virtual name).

.. versionadded:: 0.2.0
"""

import importlib.util
import pathlib

import pve_corosync
import salt.version

__virtualname__ = "corosync"


def __virtual__():
    return __virtualname__


def about():
    """
    Return the version of this project on the master, the folder of its code, and that of its SLS files.

    ``states`` is the folder to add to ``file_roots`` where the project was installed by pip; it is None where
    it was synced from a checkout, whose folder ``states`` is in ``file_roots`` already.

    CLI Example:

    .. code-block:: bash

        salt-run corosync.about
    """
    folder = pathlib.Path(pve_corosync.__file__).parent
    return {
        "version": pve_corosync.__version__,
        "code": str(folder),
        "states": _states(),
        "salt": salt.version.__version__,
    }


def _states():
    try:
        found = importlib.util.find_spec("saltext.pve_corosync.sls")
    except ModuleNotFoundError:
        return None
    folders = list(found.submodule_search_locations or ()) if found else []
    return folders[0] if folders else None
