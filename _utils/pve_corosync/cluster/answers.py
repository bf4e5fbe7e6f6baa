"""
What other machines say, at the one door by which it comes in: facts that have the shape they promise.

Pure. Whoever holds a minion's key can answer anything, and so can a node with older or newer code. Rules,
plan and reports take what passed here without a second look; what does not pass is no facts at all
(:class:`BadAnswer`), and the node counts as one that gave none. Control characters are taken out of every
text but the files', whose bytes count: a text reaches the operator's terminal.
"""

from __future__ import annotations

import math
import re

from pve_corosync.texts import clean

#: more than any configuration that pmxcfs takes (1 MiB).
MAX_TEXT = 2 << 20
#: of anything that no shape is known of.
MAX_DEPTH = 12
MAX_ITEMS = 10000
#: no number is larger.
MOST = 2**63
#: codes that a node may give for what it refused.
NODE_CODES = ("file-edited",)


class BadAnswer(ValueError):
    """
    A value that facts cannot have; the text names its place and what is allowed there.
    """

    def __init__(self, place, value, allowed):
        self.place = place
        super().__init__(f"{place or 'the answer'}: {clean(repr(value))[:60]}; allowed: {allowed}")


def facts(answer: object) -> dict:
    """
    Return the facts of a node as they may be used: checked, and without control characters.

    :param answer: what a node returned.
    :raises BadAnswer: a value that does not fit, or one that is missing.
    """
    return FACTS(answer, "")


def facts_or_error(answer: object) -> tuple[dict | None, str]:
    """
    Return what :func:`facts` does and ``""``, or None and what is wrong.

    :param answer: what a node returned.
    """
    try:
        return facts(answer), ""
    except BadAnswer as exc:
        return None, f"its facts do not have the shape of facts: {exc}"


def code(told: dict, otherwise: str) -> str:
    """
    Return the code that a node gives for what it refused, if it is one of those that a node may give.

    :param told: the outcome of a step, or a check of ``corosync.stage``.
    :param otherwise: the code else.
    """
    return told["code"] if told.get("code") in NODE_CODES else otherwise


def outcome(value: object) -> dict | None:
    """
    Return the outcome of a step, as ``corosync.step`` returns it, as it may be used; None for anything else.

    :param value: what a node returned.
    """
    try:
        return OUTCOME(value, "")
    except BadAnswer:
        return None


def plain(value: object, place: str = "", depth: int = 0) -> object:
    """
    Return a value of no known shape as plain data, its texts :func:`clean`.

    :param value: what came. :param place: where it stands. :param depth: how deep.
    :raises BadAnswer: it is no plain data, or nested too deep.
    """
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if depth < MAX_DEPTH and isinstance(value, (list, tuple)) and len(value) <= MAX_ITEMS:
        return [plain(item, place, depth + 1) for item in value]
    if depth < MAX_DEPTH and isinstance(value, dict) and len(value) <= MAX_ITEMS:
        return {
            clean(key) if isinstance(key, str) else key: plain(item, f"{place}.{key}".lstrip("."), depth + 1)
            for key, item in value.items()
            if key is None or isinstance(key, (str, int, float))
        }
    raise BadAnswer(place, type(value).__name__, "plain data")


def checked(value: object, shape=plain) -> tuple[object, str]:
    """
    Return the value as it may be used and ``""``, or None and what is wrong.

    :param value: what a node returned. :param shape: what it promises to be; default any plain data.
    """
    try:
        return shape(value, ""), ""
    except BadAnswer as exc:
        return None, f"its answer cannot be used: {exc}"


# ---- shapes: a function of value and place that returns the value, or raises BadAnswer


def text(value, place):
    """
    Return a text, cleaned.
    """
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise BadAnswer(place, value, "a text")
    return clean(value)


def raw(value, place):
    """
    Return the text of a file as it is, one character per byte.
    """
    if not isinstance(value, str) or len(value) > MAX_TEXT or any(char > "\xff" for char in value):
        raise BadAnswer(place, value, "a text with one character per byte (latin-1)")
    return value


def mode(value, place):
    """
    Return the mode of a file, in octal digits.
    """
    if not isinstance(value, str) or not re.fullmatch(r"[0-7]{1,4}", value):
        raise BadAnswer(place, value, "a mode in octal digits")
    return value


def flag(value, place):
    """
    Return true or false.
    """
    if not isinstance(value, bool):
        raise BadAnswer(place, value, "true or false")
    return value


def whole(low=0, high=MOST):
    """
    Return the shape of a whole number between two.

    :param low, high: both allowed.
    """

    def check(value, place):
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
            value = int(value)  # keys of JSON
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise BadAnswer(
                place, value, f"a whole number, {low} " + ("or more" if high == MOST else f"to {high}")
            )
        return value

    return check


def number(value, place):
    """
    Return a finite number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e15:
        raise BadAnswer(place, value, "a number")
    if not math.isfinite(value):
        raise BadAnswer(place, value, "a number")
    return value


def one_of(*allowed):
    """
    Return the shape of a text out of some.

    :param allowed: the texts.
    """

    def check(value, place):
        if not isinstance(value, str) or value not in allowed:
            raise BadAnswer(place, value, ", ".join(allowed))
        return value

    return check


def empty(value, place):
    """
    Return a mapping without anything in it.
    """
    if value != {}:
        raise BadAnswer(place, value, "an empty mapping")
    return {}


def word(value, place):
    """
    Return a value of cmap as text: it may have been read as a number.
    """
    return text(str(value) if isinstance(value, int) and not isinstance(value, bool) else value, place)


def link_word(value, place):
    """
    Return the number of a link as text, as the watch has them.
    """
    return str(LINK(value, place))


def maybe(shape):
    """
    Return the shape of a value that may be None: it could not be read.

    :param shape: of the value.
    """
    return lambda value, place: None if value is None else shape(value, place)


def listing(shape):
    """
    Return the shape of a list.

    :param shape: of each item.
    """

    def check(value, place):
        if not isinstance(value, (list, tuple)) or len(value) > MAX_ITEMS:
            raise BadAnswer(place, value, "a list")
        return [shape(item, f"{place}[{at}]") for at, item in enumerate(value)]

    return check


def mapping(key, shape):
    """
    Return the shape of a mapping with keys that are data.

    :param key: shape of a key. :param shape: of each value.
    """

    def check(value, place):
        if not isinstance(value, dict) or len(value) > MAX_ITEMS:
            raise BadAnswer(place, value, "a mapping")
        found = {key(name, place): shape(item, f"{place}.{name}") for name, item in value.items()}
        if len(found) != len(value):
            raise BadAnswer(place, sorted(map(str, value)), "each key once")
        return found

    return check


def record(needed, **known):
    """
    Return the shape of a mapping with keys that are fixed; what else is in it stays, as plain data.

    :param needed: names of the keys that must be there. :param known: ``key=shape``.
    """
    names = needed.split()

    def check(value, place):
        if not isinstance(value, dict) or len(value) > MAX_ITEMS:
            raise BadAnswer(place, value, "a mapping")
        found = {}
        for name, item in value.items():
            here = f"{place}.{name}".lstrip(".")
            shape = known.get(name) if isinstance(name, str) else None
            found.update({name: shape(item, here)} if shape else plain({name: item}, here))
        missing = [name for name in names if name not in value]
        if missing:
            raise BadAnswer(f"{place}.{missing[0]}".lstrip("."), None, "a value, which is missing")
        return found

    return check


NODEID = whole(0, 2**32 - 1)
LINK = whole(0, 7)
COPY = record("version text", version=maybe(whole()), sha256=maybe(text), text=raw)
RUNTIME = record(
    "version nodes",
    version=whole(),
    cluster_name=maybe(word),
    reload_status=maybe(whole(-(2**31))),
    nodeid=maybe(NODEID),
    token=maybe(whole()),
    consensus=maybe(whole()),
    nodes=mapping(text, record("addresses", nodeid=maybe(NODEID), addresses=mapping(LINK, word))),
    interfaces=mapping(LINK, mapping(text, word)),
    members=maybe(mapping(NODEID, listing(text))),
    joined=maybe(mapping(NODEID, record("", status=maybe(text), version=maybe(whole())))),
)
LINK_STATE = record(
    "connected",
    connected=flag,
    enabled=maybe(flag),
    mtu=maybe(whole()),
    latency_us=maybe(number),
    down_count=maybe(whole()),
)
QUORUM = record(
    "quorate",
    quorate=flag,
    ring_id=maybe(text),
    expected=maybe(whole()),
    highest_expected=maybe(whole()),
    total=maybe(whole()),
    quorum=maybe(whole()),
    flags=listing(text),
    members=listing(NODEID),
    nodeid=maybe(NODEID),
    votes=mapping(NODEID, whole()),
    qdevice_votes=maybe(whole()),
)
MEMBERS = record(
    "nodelist",
    nodename=maybe(text),
    version=maybe(whole()),
    cluster=maybe(
        record("", name=maybe(text), version=maybe(whole()), nodes=maybe(whole()), quorate=maybe(flag))
    ),
    nodelist=mapping(text, record("", id=maybe(NODEID), online=maybe(flag), ip=maybe(text))),
)
PMXCFS = record("mounted writable", state=text, mounted=flag, writable=flag, members=maybe(MEMBERS))
HA = record(
    "armed",
    armed=maybe(flag),
    configured=maybe(flag),
    resources=maybe(listing(text)),
    disarm=maybe(record("", mode=maybe(text))),
)
#: what a node may have others called with: it notes what a run has to undo, and the next run calls that.
UNDO = ("ha_manager.arm", "ha_manager.start_crm", "ha_manager.start_lrm")
ENTRY = record(
    "function nodes kwargs text", function=one_of(*UNDO), nodes=listing(text), kwargs=empty, text=text
)
WAY = record("from to", peer=maybe(text), link=maybe(LINK), dev=maybe(text), to=text, **{"from": text})
DATABASE = record("version mtime files", version=whole(), mtime=whole(), files=mapping(text, text))
#: facts as ``corosync.facts`` returns them; what could not be read is None there.
FACTS = record(
    "runtime links pmxcfs",
    node=maybe(text),
    minion=maybe(text),
    time=maybe(number),
    corosync=maybe(record("", version=maybe(text), state=maybe(text))),
    local=maybe(COPY),
    cluster_file=maybe(COPY),
    runtime=maybe(RUNTIME),
    links=maybe(mapping(text, mapping(LINK, LINK_STATE))),
    quorum=maybe(QUORUM),
    pmxcfs=PMXCFS,
    addresses=maybe(mapping(text, listing(text))),
    cards=maybe(mapping(text, listing(text))),
    names=maybe(mapping(text, listing(text))),
    authkey=maybe(record("", sha256=maybe(text), mode=maybe(mode), owner=maybe(text))),
    ha=maybe(HA),
    busy=maybe(record("", txn=maybe(text), by=maybe(text), since=maybe(number))),
    alive_for=maybe(mapping(text, mapping(LINK, number))),
    routes=maybe(listing(WAY)),
    database=maybe(DATABASE),
    pillar=maybe(text),
    undo=maybe(record("txn since undo", txn=text, since=number, undo=listing(ENTRY))),
    problems=maybe(listing(text)),
)
SEEN = mapping(text, mapping(link_word, flag))
COUNTED = mapping(text, mapping(link_word, number))
#: as ``corosync_look.look`` returns it.
LOOK = record(
    "state",
    state=text,
    age=maybe(number),
    node=maybe(text),
    nodeid=maybe(NODEID),
    quorate=maybe(flag),
    members=maybe(listing(text)),
    nodes=maybe(listing(text)),
    version=maybe(whole()),
    local=maybe(whole()),
    links=maybe(SEEN),
    downs=maybe(COUNTED),
    pongs=maybe(COUNTED),
    dead_for=maybe(COUNTED),
    interval=maybe(mapping(link_word, number)),
)
#: as ``corosync.watch_facts`` returns it.
WATCHED = record("facts look", facts=FACTS, look=LOOK, ago=maybe(number))
JOB = record(
    "enabled target state fail_count last_sync",
    enabled=flag,
    target=text,
    state=text,
    fail_count=whole(),
    last_sync=maybe(text),
)
CERTIFICATES = record(
    "problems known_hosts",
    problems=listing(text),
    host_key=maybe(record("", fingerprint=maybe(text))),
    known_hosts=mapping(
        text, record("present ok why", present=flag, ok=flag, why=text, fingerprints=maybe(listing(text)))
    ),
)
#: what ``corosync.exit_facts`` returns; a part that could not be read is None there, and why is in problems.
EXIT = record(
    "problems",
    problems=mapping(text, text),
    resolved=maybe(mapping(text, listing(text))),
    certificates=maybe(CERTIFICATES),
    jobs=maybe(mapping(text, JOB)),
    ssh=maybe(
        mapping(
            text,
            maybe(record("ok", ok=flag, error=maybe(text), connection=maybe(record("to", to=maybe(text))))),
        )
    ),
    ha=maybe(
        record(
            "facts status",
            facts=record("configured lrm crm state", configured=maybe(flag), lrm=text, crm=text, state=text),
            status=maybe(record("", fencing=maybe(text))),
        )
    ),
    migration=maybe(
        record(
            "networks problems",
            networks=mapping(text, record("addresses", addresses=listing(text))),
            problems=listing(record("code text", code=text, text=text)),
        )
    ),
    services=maybe(text),
    error=maybe(text),
)
#: as ``corosync.stage`` returns it.
STAGED = record(
    "ok",
    ok=flag,
    checks=maybe(listing(record("ok", ok=flag, text=maybe(text), code=maybe(text)))),
    back=maybe(text),
    look=maybe(LOOK),
)
#: the outcome of a step, as ``corosync.step`` returns it.
OUTCOME = record(
    "number ok",
    number=whole(),
    ok=flag,
    error=maybe(text),
    seen=maybe(
        record(
            "",
            version=maybe(whole()),
            file_version=maybe(whole()),
            connected=maybe(mapping(LINK, mapping(text, flag))),
            quorate=maybe(flag),
            writable=maybe(flag),
            ring_id=maybe(text),
        )
    ),
    missing=maybe(listing(text)),
    notes=maybe(listing(text)),
    backups=maybe(listing(text)),
    log=maybe(listing(text)),
    seconds=maybe(mapping(text, number)),
)
