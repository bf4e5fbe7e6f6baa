"""Rules about keys of corosync.conf that corosync passes over without a word: unknown, or without effect."""

from __future__ import annotations

import difflib

from pve_corosync import link_options
from pve_corosync.conf.grammar import TYPED_KEYS, TYPED_PATHS
from pve_corosync.findings import finding
from pve_corosync.rules import by_hand, totem

#: keys that are text, obsolete ones too (coroparse.c, totemconfig.c, corosync.conf(5)); numbers are typed.
TEXT = {
    "totem": """cluster_name transport ip_version link_mode crypto_model crypto_cipher crypto_hash secauth
        keyfile key knet_compression_model block_unlisted_ips cancel_token_hold_on_retransmit
        rrp_mode clear_node_high_bit vsftype ip_dscp""",
    "totem.interface": "knet_transport bindnetaddr mcastaddr broadcast ringnumber",
    "nodelist.node": "name " + " ".join(f"ring{number}_addr" for number in range(8)),
    "quorum": "provider auto_tie_breaker_node",
}


def _known(section: str) -> list[str]:
    numbers = [path.rpartition(".")[2] for path in TYPED_PATHS.get(section, ())]
    return sorted({*numbers, *TYPED_KEYS.get(section, ()), *TEXT[section].split()})


#: section -> its keys
KNOWN = {section: _known(section) for section in TEXT}


#: sections that corosync, corosync-qdevice or libnozzle read (coroparse.c, totemconfig.c, logconfig.c,
#: votequorum.c, qdevices/qdevice-net-instance.c, corosync.conf(5), corosync-qdevice(8))
SECTIONS = """totem totem.interface totem.interface.member logging logging.logger_subsys
    logging.logging_daemon nodelist nodelist.node quorum quorum.device quorum.device.net
    quorum.device.heuristics uidgid system nozzle resources resources.system resources.system.memory_used
    resources.system.load_15min resources.process resources.process.memory_used""".split()


def sections(context):
    """Every section is one that some program reads."""
    if not context.base:
        return
    for path in context.base.view["sections"]:
        if path in SECTIONS or path.rpartition(".")[0] not in ["", *SECTIONS]:
            continue  # of sections in each other the outermost is told
        name = path.rpartition(".")[2]
        device = name in ("device", "qdevice")
        yield finding(
            "conf-section-unknown",
            f"{context.base.where()}: section {path}: nobody reads it"
            + ("; the quorum device in it has no vote" if device else ""),
            data={"places": context.base.places, "section": path},
            remedy=by_hand.change(context, f"drop {path}")
            + ("; pvecm qdevice setup <address> writes a device where it is read" if device else ""),
        )


def unknown(context):
    """Every key of totem, interface, node and quorum is one that corosync reads."""
    if not context.base:
        return
    for path in context.base.view["keys"]:
        section, _, key = path.rpartition(".")
        if key in KNOWN.get(section, (key,)):
            continue
        near = difflib.get_close_matches(key, KNOWN[section], 1)
        yield finding(
            "conf-key-unknown",
            f"{context.base.where()}: {path}: unknown, corosync passes over it without a word; "
            + (
                f"the nearest that it knows is {near[0]}" if near else f"allowed: {', '.join(KNOWN[section])}"
            ),
            data={"places": context.base.places, "key": path, "nearest": near[0] if near else None},
            remedy="nothing, the plan sets the options of the layout"
            if section == "totem.interface"
            else f"correct or drop {path} with a higher config_version",
        )


def conflicts(context):
    """The switches of votequorum go together: some pairs keep corosync from starting, or have no effect."""
    view = context.base.view if context.base else None
    if not view:
        return
    quorum, odd = view["quorum"], sum(context.votes().values()) % 2
    on = totem.switched_on(quorum)
    if view["qdevice"]:
        for key in sorted(on & {"auto_tie_breaker", "last_man_standing", "allow_downscale"}):
            yield _stops(context, key, f"{key} beside a quorum device")
    waits = "wait_for_all" in on or ("two_node" in on and "wait_for_all" not in quorum)
    if "auto_tie_breaker" in on and odd and not waits:
        if "last_man_standing" in on:
            yield _stops(
                context,
                "auto_tie_breaker",
                "auto_tie_breaker and last_man_standing with an odd number of votes",
            )
        else:
            yield _idle(context, "auto_tie_breaker", "with an odd number of votes and without wait_for_all")
    if {"auto_tie_breaker", "two_node"} <= on:
        yield _idle(context, "two_node", "beside auto_tie_breaker")
    if "last_man_standing_window" in quorum and "last_man_standing" not in on:
        yield _idle(context, "last_man_standing_window", "without last_man_standing")
    elif link_options.whole(quorum.get("last_man_standing_window")) == 0:
        yield finding(
            "quorum-conflict",
            f"{context.base.where()}: quorum.last_man_standing_window is 0; allowed: 1 or more (ms): "
            "with 0 the expected votes follow every membership at once",
            data={"key": "last_man_standing_window"},
            remedy="drop quorum.last_man_standing_window (default 10000) with a higher config_version",
        )


def _stops(context, key, what):
    return finding(
        "quorum-conflict",
        f"{context.base.where()}: {what}: corosync does not start with that, a running one only logs it",
        severity="error" if context.strategy == "restart" else "warning",
        data={"key": key},
        remedy=f"drop quorum.{key} with a higher config_version before corosync is restarted",
    )


def _idle(context, key, why):
    return finding(
        "quorum-conflict",
        f"{context.base.where()}: quorum.{key} has no effect {why}",
        data={"key": key},
        remedy=f"drop quorum.{key} with a higher config_version",
    )


RULES = (sections, unknown, conflicts)
