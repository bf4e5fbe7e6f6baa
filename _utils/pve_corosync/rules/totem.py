"""Rules about the values of totem and quorum: words, timers, compression, and what encrypts the traffic.

Source of the limits: corosync 3.1.7 ``exec/totemconfig.c``, each tried with ``corosync -t``.
"""

from __future__ import annotations

import re

from pve_corosync import link_options
from pve_corosync.cluster import timers
from pve_corosync.conf import grammar
from pve_corosync.findings import finding
from pve_corosync.rules import by_hand

# What the parser lets pass (pcs M1; the rest is in conf.grammar): corosync runs it as what it takes it for.
#: key -> its words, and what any other word is to corosync
WORDS = {
    "secauth": (("on", "off"), "off"),
    "block_unlisted_ips": (("yes", "no"), "yes"),
    "cancel_token_hold_on_retransmit": (("yes", "no"), "no"),
}
QUORUM_SWITCHES = (
    "two_node",
    "expected_votes_tracking",
    "allow_downscale",
    "wait_for_all",
    "auto_tie_breaker",
    "last_man_standing",
)
#: lowest value in ms, 3 ticks of 100 Hz (MINIMUM_TIMEOUT, MINIMUM_TIMEOUT_HOLD); 0 stands for the default.
MINIMUM_MS = dict.fromkeys(
    ("token", "token_retransmit", "join", "consensus", "merge", "downcheck", "max_network_delay"), 30
) | {"hold": 14}
VOTEQUORUM = "corosync_votequorum"
DEFAULT_JOIN, DEFAULT_RETRANSMITS = 50, 4
#: corosync after 3.1.10 encrypts where nothing is said (totem_get_crypto); before, it does not.
LAST_OPEN = (3, 1, 10)


def values(context):
    """Values of totem and quorum are ones that corosync takes; what it runs is no error."""
    for text in context.texts:
        if not text.view:
            continue
        for path, value, allowed in (*_limits(text.view), *_cipher(text.view["totem"])):
            yield _value(context, text, path, value, allowed)
        for path, value, allowed, taken in _words(text.view):
            said = f"{allowed}; corosync takes it for {taken}"
            yield _value(context, text, path, value, said, severity="warning")


def _value(context, text, path, value, allowed, severity=None):
    cured = path.removeprefix("totem.") in (context.layout.get("totem") or {})
    return finding(
        "conf-value",
        f"{text.where()}: {path} is {value!r}; allowed: {allowed}",
        severity="warning" if cured else severity or context.severity(text),
        data={"places": text.places, "key": path, "value": value, "allowed": allowed},
        remedy="nothing, the layout sets it" if cured else by_hand.change(context, f"correct {path}", text),
    )


def _words(view: dict):
    """Yield (path, value, allowed, what corosync takes it for) of switches that hold another word."""
    totem, quorum = view["totem"], view["quorum"]
    for key, (words, taken) in WORDS.items():
        if key in totem and totem[key] not in words:
            yield f"totem.{key}", totem[key], ", ".join(words), taken
    for key in QUORUM_SWITCHES:
        if quorum.get(key, "0") not in ("0", "1"):
            yield f"quorum.{key}", quorum[key], "0, 1", int(key in switched_on(quorum))


def switched_on(quorum: dict) -> set[str]:
    """Return the switches of votequorum that are on: all but 0 (votequorum.c asks for no more).

    :param quorum: keys to text.
    """
    return {key for key in QUORUM_SWITCHES if grammar.integer(quorum.get(key, "0"), grammar.U8)}


def provider(context):
    """The provider of quorum is votequorum: with another corosync does not start, and a reload passes over it
    (vsf_quorum.c, cfg.c); ``corosync -t`` does not look at it."""
    starts = context.strategy == "restart" or not any(context.runtime())
    for text in context.texts:
        value = text.view["quorum"].get("provider") if text.view else VOTEQUORUM
        if value == VOTEQUORUM:
            continue
        if value is None:
            yield _no_provider(context, text)
            continue
        stops = value != "corosync_ykd"
        said = "does not start with that, a running one passes over it" if stops else "counts no votes then"
        severity = None if starts and stops else "warning"
        yield _value(context, text, "quorum.provider", value, f"{VOTEQUORUM}; corosync {said}", severity)


def _no_provider(context, text):
    """Without a provider corosync starts and knows no quorum: corosync-quorumtool ends with CS_ERR_BAD_HANDLE
    (measured with 3.1.7)."""
    return finding(
        "conf-value",
        f"{text.where()}: quorum.provider is missing: corosync counts no votes, and who asks for the quorum "
        "gets an error",
        severity="warning",
        data={"places": text.places, "key": "quorum.provider", "value": None, "allowed": VOTEQUORUM},
        remedy=by_hand.change(context, f"add `provider: {VOTEQUORUM}` to the section quorum", text)
        + "; a daemon takes it when it is started",
    )


def _limits(view: dict):
    """Yield (path, value, allowed) of timers that a start or a reload would refuse."""
    totem = view["totem"]
    number = {key: link_options.whole(totem.get(key)) or 0 for key in (*MINIMUM_MS, "token_warning")}
    low = [key for key, least in MINIMUM_MS.items() if 0 < number[key] < least]
    for key in low:
        yield f"totem.{key}", totem[key], f"{MINIMUM_MS[key]} or more (ms), or 0 for the default"
    if number["token_warning"] > 100:
        yield "totem.token_warning", totem["token_warning"], "0 to 100 (percent)"
    if low:
        return
    token = timers.token(totem, len(view["nodes"]))
    consensus, join = timers.consensus(totem, token), number["join"] or DEFAULT_JOIN
    if consensus < join:
        key = "consensus" if number["consensus"] else "join"
        yield (
            f"totem.{key}",
            totem.get(key, str(join)),
            f"consensus ({consensus} ms) not below join ({join})",
        )
    tries = link_options.whole(totem.get("token_retransmits_before_loss_const")) or DEFAULT_RETRANSMITS
    if not number["token_retransmit"] and token / (tries + 0.2) < MINIMUM_MS["token_retransmit"]:
        key = "token" if number["token"] else "token_retransmits_before_loss_const"
        yield (
            f"totem.{key}",
            totem.get(key, ""),
            f"a token ({token} ms) of 30 ms for each of {tries} tries",
        )


def _cipher(totem: dict):
    """Yield (path, value, allowed) of a cipher without a hash."""
    cipher, digest = crypto(totem)
    if cipher != "none" and digest == "none":
        yield "totem.crypto_hash", digest, f"not none beside cipher {cipher}"


def crypto(totem: dict, encrypts: bool = False) -> tuple[str, str]:
    """Return (cipher, hash) as corosync makes them of totem (totem_get_crypto).

    :param totem: keys to text.
    :param encrypts: where nothing is said, as corosync after 3.1.10 does.
    """
    on = totem["secauth"] == "on" if "secauth" in totem else encrypts
    cipher, digest = ("aes256", "sha256") if on else ("none", "none")
    return totem.get("crypto_cipher", cipher), totem.get("crypto_hash", digest)


def compression(context):
    """The level of compression is no negative number, which the parser takes."""
    for text in context.texts:
        level = text.view["totem"].get("knet_compression_level", "0") if text.view else ""
        if level.lstrip().startswith("-"):
            yield finding(
                "conf-value",
                f"{text.where()}: totem.knet_compression_level is {level!r}; allowed: 0 or more",
                severity="warning",
                data={"places": text.places, "key": "totem.knet_compression_level", "value": level},
                remedy=by_hand.change(context, "drop totem.knet_compression_level", text),
            )


def encrypted(context):
    """Traffic is authenticated, on all nodes alike."""
    newer, older = _by_default(context)
    for text in context.texts:
        if not text.view or crypto(text.view["totem"]) != ("none", "none"):
            continue
        silent = not {"secauth", "crypto_cipher", "crypto_hash"} & set(text.view["totem"])
        if silent and newer and not older:
            continue  # all of them encrypt without being told
        said = "neither secauth nor crypto_cipher is set"
        if silent and newer:
            said += f": {', '.join(newer)} (corosync after 3.1.10) encrypts then, {', '.join(older)} does not"
        else:
            said += ", the links are open to anyone who reaches them" if silent else ""
            said = said if silent else "encryption is off, the links are open to anyone who reaches them"
        yield finding(
            "crypto-off",
            f"{text.where()}: {said}",
            data={"places": text.places},
            remedy="set `secauth: on` in totem (all nodes in one partition, same authkey)",
        )


def _by_default(context) -> tuple[list[str], list[str]]:
    """Return the nodes whose corosync encrypts where nothing is said, and the others."""
    newer, older = [], []
    for node, facts in context.nodes.items():
        numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", str((facts.get("corosync") or {}).get("version")))
        later = bool(numbers) and tuple(map(int, numbers.groups())) > LAST_OPEN
        (newer if later else older).append(node)
    return newer, older


def keys(context):
    """The authkey is the same everywhere, private, and there if it is needed."""
    needed = _needs_authkey(context)
    by_hash = {}
    lacking = [node for node, facts in context.nodes.items() if not facts.get("authkey")]
    for node, facts in context.nodes.items():
        key = facts.get("authkey")
        if not key:
            if needed:
                yield finding(
                    "authkey-missing",
                    f"{node}: /etc/corosync/authkey is missing or unreadable, the traffic is to be "
                    "encrypted; a reload or a start fails",
                    data={"node": node},
                    remedy=f"on {node}: restore it from a backup, mode 0400; corosync-keygen makes a new "
                    "one, which all nodes need before any of them reloads"
                    if len(lacking) == len(context.nodes)
                    else f"on {node}: copy /etc/corosync/authkey from a node that has it, mode 0400",
                )
            continue
        by_hash.setdefault(key.get("sha256"), []).append(node)
        mode, owner = str(key.get("mode") or ""), key.get("owner")
        if re.fullmatch(r"[0-7]+", mode) and int(mode, 8) & 0o077:
            yield finding(
                "authkey-mode",
                f"{node}: /etc/corosync/authkey has mode {mode}; allowed: 0400",
                data={"node": node, "mode": mode},
                remedy=f"on {node}: chmod 0400 /etc/corosync/authkey",
            )
        if owner and owner != "root:root":
            yield finding(
                "authkey-mode",
                f"{node}: /etc/corosync/authkey belongs to {owner}; allowed: root:root",
                data={"node": node, "owner": owner},
                remedy=f"on {node}: chown root:root /etc/corosync/authkey",
            )
    if len(by_hash) > 1:
        told = " / ".join(", ".join(nodes) for nodes in by_hash.values())
        yield finding(
            "authkey-differs",
            f"/etc/corosync/authkey differs between {told}; "
            + (
                "a reload reads it again and they stop understanding each other"
                if needed
                else "nothing reads it now"
            ),
            severity=None if needed else "warning",
            data={"groups": list(by_hash.values())},
            remedy="copy the key of the nodes that see each other to the others",
        )


def _needs_authkey(context) -> bool:
    """Tell whether a copy has corosync read /etc/corosync/authkey (totem_config_keyread)."""
    newer, _ = _by_default(context)
    totems = [text.view["totem"] for text in context.texts if text.view]
    return any(
        crypto(totem, bool(newer)) != ("none", "none") and not {"keyfile", "key"} & set(totem)
        for totem in totems
    )


def short(context):
    """The token is long enough for knet's timers."""
    token = context.token()
    if token < 1000:
        yield finding(
            "token-short",
            f"totem.token is {token} ms; a link is called dead after token/2 and a node after "
            "2.2 x token, so that a short stall of the network costs the quorum",
            data={"token": token},
            remedy="drop totem.token (default 3000 ms)",
        )


RULES = (values, provider, compression, encrypted, keys, short)
