"""
The links of a document and of a layout: what makes two the same to corosync, and how a document gets them.

Signatures, the goal's links, the document that holds exactly these, and whether one does already.
"""

from pve_corosync.addresses import canonical

BASE_PORT = 5405  # link N listens on 5405 + N unless mcastport says otherwise


def port_of(number, sig):
    """UDP port of one link (corosync.conf(5): 5405 + link number)."""
    return int(sig[1]) if sig[1] else BASE_PORT + number


def signature(number, addresses, options):
    """
    What makes a link the same link to corosync: ``(address set, port, transport)``.

    number
        Link number; a port that is the default of that number counts as none.
    addresses
        ``{node: address}``.
    options
        Keys of corosync.conf.
    """
    return signature_of(number, tuple(sorted((node, canonical(a)) for node, a in addresses.items())), options)


def signature_of(number, addresses, options):
    """:func:`signature` of an address set that is sorted and canonical already."""
    port = str(options.get("mcastport") or "")
    if port and int(port) == port_of(number, ((), "", "")):
        port = ""
    return (addresses, port, str(options.get("knet_transport") or "udp"))


def signatures(doc):
    """``{link: signature}`` of a document."""
    return {n: signature(n, link["addresses"], link["options"]) for n, link in doc.links().items()}


def goal_links(layout):
    """``{link: (addresses, options)}`` of a layout, as :func:`document` takes them."""
    return {
        int(n): (dict(link["addresses"]), {k: str(v) for k, v in (link.get("options") or {}).items()})
        for n, link in layout["links"].items()
    }


def document(base, wanted, version, totem=None):
    """
    A copy of a document with exactly these links, each with its interface block, and this version.

    base
        ``conf.Document``; everything that is no link keeps its bytes.
    wanted
        ``{link: ({node: address}, {corosync key: value})}``.
    totem
        ``{key: value}`` of the section totem that the layout sets; with None the key goes.

    Raises ``conf.ConfError`` for what a file cannot hold.
    """
    result = base.copy()
    have = result.links()
    for number in sorted(set(have) - set(wanted)):
        result.remove_link(number)
    for number, (addresses, options) in sorted(wanted.items()):
        same = have.get(number) == {"addresses": addresses, "options": options, "interface": True}
        if not (same and result.is_plain(number)):
            result.set_link(number, addresses, options)
    for key, value in (totem or {}).items():
        if value is None:
            result.remove(f"totem.{key}")
        else:
            result.set(f"totem.{key}", value)
    result.set_version(version)
    return result


#: keys of an interface block that knet leaves unused (corosync.conf(5)); clusters of before PVE 6 have them.
UNUSED = ("bindnetaddr", "mcastaddr", "broadcast", "ttl")


def is_goal(doc, layout):
    """Whether a document has the links of a layout, with exactly its options, and nothing else.

    What does nothing is no difference: unused keys, and a file without any interface block, which PVE takes
    too (verify_conf wants a block for every link, or none). A file that is written for another reason is put
    right in that, too (:func:`document`).
    """
    links = doc.links()
    blocks = any(link["interface"] for link in links.values())
    have = {
        n: (
            {node: canonical(a) for node, a in link["addresses"].items()},
            {key: value for key, value in link["options"].items() if not _unused(n, key, value)},
            link["interface"],
        )
        for n, link in links.items()
    }
    return not differing(doc, layout) and have == {
        n: ({node: canonical(a) for node, a in addresses.items()}, options, blocks)
        for n, (addresses, options) in goal_links(layout).items()
    }


def differing(doc, layout):
    """``{key: value or None}`` of the section totem that a layout sets and a document has otherwise."""
    wanted = layout.get("totem") or {}
    return {key: value for key, value in wanted.items() if doc.get(f"totem.{key}") != value}


def _unused(number, key, value):
    return key in UNUSED or (key == "ringnumber" and value == str(number))
