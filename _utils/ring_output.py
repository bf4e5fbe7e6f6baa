"""Parsers of what the tools print, pure functions that return plain data.

The one door to :mod:`ring_output_corosync` (corosync's tools, ``ip``) and :mod:`ring_output_pve` (PVE's
tools).
"""

from __future__ import annotations

try:
    from ring_output_corosync import (
        OutputError,
        cfgtool_nodes,
        cfgtool_status,
        check_result,
        cmap,
        corosync_version,
        ip_addresses,
        ip_cards,
        link_stats,
        members,
        quorum,
        reload_result,
        runtime,
    )
    from ring_output_pve import (
        ha_status,
        pmxcfs_members,
        pve_state,
        pvecm_nodes,
        pvecm_status,
        pvesr_list,
        pvesr_status,
    )
except ImportError:
    from saltext.pve_corosync.utils.ring_output_corosync import (
        OutputError,
        cfgtool_nodes,
        cfgtool_status,
        check_result,
        cmap,
        corosync_version,
        ip_addresses,
        ip_cards,
        link_stats,
        members,
        quorum,
        reload_result,
        runtime,
    )
    from saltext.pve_corosync.utils.ring_output_pve import (
        ha_status,
        pmxcfs_members,
        pve_state,
        pvecm_nodes,
        pvecm_status,
        pvesr_list,
        pvesr_status,
    )

__all__ = [
    "OutputError",
    "cfgtool_nodes",
    "cfgtool_status",
    "check_result",
    "cmap",
    "corosync_version",
    "ha_status",
    "ip_addresses",
    "ip_cards",
    "link_stats",
    "members",
    "pmxcfs_members",
    "pve_state",
    "pvecm_nodes",
    "pvecm_status",
    "pvesr_list",
    "pvesr_status",
    "quorum",
    "reload_result",
    "runtime",
]
