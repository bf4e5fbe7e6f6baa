"""Faults of the copies of corosync.conf, each broken once."""

from _rules_cases import all_files, breaks, edit, everywhere, two
from _rules_world import PUBLIC, VRACK, conf, observed, rewrite


@breaks("error conf-none", "warning conf-unparsable", said="corosync -t -c /etc/corosync/corosync.conf")
def no_copy_parses(goal, world):
    all_files(world, conf() + "totem {\n", version=5)


@breaks("warning conf-unparsable", said="local file of pve2: does not parse: line 37")
def one_copy_does_not_parse(goal, world):
    rewrite(world, conf() + "}\n", "pve2", ["local"])


@breaks("warning local-file-missing", said="pve2")
def local_file_missing(goal, world):
    world["nodes"]["pve2"]["local"] = None


@breaks("error cluster-file-missing", said="local mode")
def cluster_file_missing(goal, world):
    world["nodes"]["pve2"]["cluster_file"] = None


@breaks("error transport-not-knet", said="'udpu'")
def transport(goal, world):
    all_files(world, edit(conf(), "  version: 2", "  transport: udpu\n  version: 2"))


@breaks("warning transport-not-knet", "warning copies-differ", said="local file of pve2")
def transport_of_an_old_copy(goal, world):
    rewrite(
        world,
        edit(conf(version=4), "  version: 2", "  transport: udpu\n  version: 2"),
        "pve2",
        ["cluster_file"],
    )
    world["nodes"]["pve2"]["local"], world["nodes"]["pve2"]["cluster_file"] = (
        world["nodes"]["pve2"]["cluster_file"],
        world["nodes"]["pve2"]["local"],
    )
    world["nodes"]["pve2"]["runtime"]["version"] = 4


@breaks("error cluster-other", said="'prod'")
def another_cluster(goal, world):
    goal["cluster_name"] = "prod2"


@breaks("error cluster-other", said="runtime of pve2")
def another_cluster_in_the_runtime(goal, world):
    world["nodes"]["pve2"]["runtime"]["cluster_name"] = "lab"


@breaks("error node-not-in-cluster", "error node-silent", said="pvecm add")
def node_not_in_the_cluster(goal, world):
    goal["nodes"]["pve3"] = {"nodeid": 3, "minion": "pve3"}
    goal["links"][0]["addresses"]["pve3"] = VRACK["pve3"]


@breaks("error node-not-in-pillar", "error node-unknown", nodes=3, said="pvecm delnode pve3")
def node_not_in_the_pillar(goal, world):
    del goal["nodes"]["pve3"]
    for link in goal["links"].values():
        del link["addresses"]["pve3"]


@breaks("error nodeid-mismatch", said="nodeid 7 in the pillar")
def nodeid(goal, world):
    goal["nodes"]["pve2"]["nodeid"] = 7


@breaks("error nodeid-mismatch", said="9 in the runtime")
def nodeid_of_the_runtime(goal, world):
    world["nodes"]["pve2"]["runtime"]["nodeid"] = 9


@breaks("error name-missing", "error node-not-in-cluster", "warning runtime-not-file", said="node 2")
def name_missing(goal, world):
    all_files(world, edit(conf(), "    name: pve2\n", ""))


@breaks("error conf-grammar", "error nodeid-mismatch", said="has no nodeid")
def nodeid_missing(goal, world):
    all_files(world, edit(conf(), "    nodeid: 2\n", ""))


@breaks("warning conf-grammar", said="no address for link 1")
def ring_missing(goal, world):
    text = edit(
        conf(), "    ring0_addr: 10.66.0.1\n", "    ring0_addr: 10.66.0.1\n    ring1_addr: 198.51.100.10\n"
    )
    text = edit(
        text, "    linknumber: 0\n  }\n", "    linknumber: 0\n  }\n  interface {\n    linknumber: 1\n  }\n"
    )
    all_files(world, text)
    for row in world["nodes"].values():
        row["runtime"]["nodes"]["pve1"]["addresses"][1] = "198.51.100.10"


@breaks("warning ring-host-name", "warning runtime-not-file", said="pve2.example")
def ring_a_name(goal, world):
    all_files(world, edit(conf(), "ring0_addr: 10.66.0.2", "ring0_addr: pve2.example"))


@breaks("warning ring-duplicate", "warning runtime-not-file", "warning address-in-use", said="own address")
def ring_twice(goal, world):
    all_files(world, edit(conf(), "ring0_addr: 10.66.0.2", "ring0_addr: 10.66.0.1"))


@breaks("warning conf-grammar", said="interface block for link 1")
def interface_orphan(goal, world):
    all_files(world, edit(conf(), "  ip_version", "  interface {\n    linknumber: 1\n  }\n  ip_version"))


@breaks("warning conf-grammar", said="link 1 has addresses but no interface block")
def interface_missing(goal, world):
    text = conf(links={n: {"addresses": a, "options": {}} for n, a in ((0, two(VRACK)), (1, two(PUBLIC)))})
    text = edit(text, "  interface {\n    linknumber: 1\n  }\n", "")
    world["nodes"] = observed(text=text)["nodes"]


@breaks("warning interface-leftover", said="bindnetaddr")
def interface_leftover(goal, world):
    all_files(world, edit(conf(), "    linknumber: 0\n", "    bindnetaddr: 10.66.0.0\n    linknumber: 0\n"))


@breaks("warning conf-value", said="ping_interval 100")
def interface_value(goal, world):
    all_files(world, edit(conf(), "    linknumber: 0\n", "    linknumber: 0\n    knet_ping_interval: 100\n"))


@breaks("error conf-grammar", said="'totem.link_mode' is foo")
def totem_value(goal, world):
    all_files(world, edit(conf(), "link_mode: passive", "link_mode: foo"))


@breaks("warning conf-value", "info link-fixed-option", said="port 22; allowed: a whole number from 1024")
def interface_port_of_another_service(goal, world):
    """What runs with it is planned on, and gets the port of the layout."""
    all_files(world, edit(conf(), "    linknumber: 0\n", "    linknumber: 0\n    mcastport: 22\n"))


@breaks("warning conf-value", said="totem.secauth is 'yes'")
def secauth_value(goal, world):
    all_files(
        world, edit(conf(), "secauth: on", "secauth: yes\n  crypto_cipher: aes256\n  crypto_hash: sha256")
    )


@breaks("error conf-value", strategy="restart", said="quorum.provider")
def quorum_provider(goal, world):
    all_files(world, edit(conf(), "provider: corosync_votequorum", "provider: other"))


@breaks("warning conf-value", "info wait-for-all", said="quorum.wait_for_all is '2'")
def quorum_value(goal, world):
    all_files(world, edit(conf(), "quorum {\n", "quorum {\n  wait_for_all: 2\n"))


@breaks("error conf-value", said="crypto_hash")
def cipher_without_hash(goal, world):
    all_files(world, edit(conf(), "secauth: on", "crypto_cipher: aes256"))


@breaks("warning crypto-off", said="open")
def crypto_off(goal, world):
    all_files(world, edit(conf(), "secauth: on", "secauth: off"))
    everywhere(world, "authkey", None)


@breaks("warning version-not-number", "warning runtime-version", "warning conf-grammar", said="missing")
def version_missing(goal, world):
    all_files(world, edit(conf(), "  config_version: 5\n", ""), version=0)


@breaks("warning conf-grammar", "warning version-not-number", "error version-exhausted", said="'-1'")
def version_negative(goal, world):
    all_files(world, edit(conf(), "config_version: 5", "config_version: -1"))
    for row in world["nodes"].values():
        row["runtime"]["version"] = 2**64 - 1


@breaks("error version-exhausted", said=str(2**64 - 1))
def version_at_the_end(goal, world):
    all_files(world, conf(version=2**64 - 1))
    for row in world["nodes"].values():
        row["runtime"]["version"] = 2**64 - 1


@breaks("error conf-grammar", "error version-fooled", said="pmxcfs 9")
def version_in_a_comment(goal, world):
    all_files(world, "# config_version: 9\n" + conf())


@breaks("warning copies-clash", said="version 5 with different bytes")
def copies_clash(goal, world):
    rewrite(world, conf() + "# by hand\n", "pve2", ["local"])


@breaks(
    "warning copy-dropped",
    "warning copies-differ",
    "warning runtime-version",
    "warning crypto-off",
    said="'off' instead of 'on'",
)
def unused_edit_of_one_node(goal, world):
    rewrite(world, edit(conf(version=7), "secauth: on", "secauth: off"), "pve2", ["local"])


@breaks("warning copies-differ", said="6: local file of pve1, pve2")
def local_files_ahead(goal, world):
    rewrite(world, conf(version=6), which=["local"])
    for row in world["nodes"].values():
        row["runtime"]["version"] = 6


@breaks("warning runtime-version", said="the runtime has version 4, the local file 5")
def runtime_behind(goal, world):
    world["nodes"]["pve2"]["runtime"]["version"] = 4


@breaks("warning runtime-not-file", said="0:10.66.9.2")
def runtime_addresses(goal, world):
    world["nodes"]["pve2"]["runtime"]["nodes"]["pve2"]["addresses"][0] = "10.66.9.2"


@breaks("warning token-short", said="500 ms")
def token_short(goal, world):
    for row in world["nodes"].values():
        row["runtime"]["token"] = 500


@breaks("error conf-grammar", said="PVE")
def grammar_of_pve(goal, world):
    all_files(world, edit(conf(), "  secauth: on", "  secauth:on"))


@breaks(
    "warning conf-key-unknown",
    said="totem.tokn: unknown, corosync passes over it without a word; the nearest that it knows is token",
)
def key_of_totem_with_a_slip(goal, world):
    all_files(world, edit(conf(), "  version: 2", "  tokn: 3000\n  version: 2"))


@breaks("warning conf-key-unknown", said="totem.knet_foo")
def key_of_totem_unknown(goal, world):
    all_files(world, edit(conf(), "  version: 2", "  knet_foo: 3000\n  version: 2"))


@breaks("warning conf-key-unknown", said="is knet_link_priority")
def key_of_an_interface_with_a_slip(goal, world):
    all_files(world, edit(conf(), "    linknumber: 0\n", "    knet_link_prioriti: 3\n    linknumber: 0\n"))


@breaks("warning conf-key-unknown", said="nodelist.node.quorum_vote: unknown")
def key_of_a_node_with_a_slip(goal, world):
    all_files(world, edit(conf(), "    nodeid: 1\n", "    nodeid: 1\n    quorum_vote: 1\n"))


@breaks("warning conf-key-unknown", said="is wait_for_all")
def key_of_quorum_with_a_slip(goal, world):
    all_files(world, edit(conf(), "quorum {\n", "quorum {\n  wait_for_al: 1\n"))


@breaks("warning conf-value", said="knet_compression_level is '-1'")
def compression_level(goal, world):
    all_files(world, edit(conf(), "  version: 2", "  knet_compression_level: -1\n  version: 2"))


@breaks("error conf-value", said="not none beside cipher aes256")
def secauth_with_the_hash_taken_away(goal, world):
    all_files(world, edit(conf(), "secauth: on", "secauth: on\n  crypto_hash: none"))


@breaks(said="")
def secauth_with_the_cipher_taken_away(goal, world):
    """Authenticated and not encrypted, which corosync takes."""
    all_files(world, edit(conf(), "secauth: on", "secauth: on\n  crypto_cipher: none"))


@breaks("error conf-value", said="totem.token is '29'")
def token_that_corosync_refuses(goal, world):
    all_files(world, edit(conf(), "  version: 2", "  token: 29\n  version: 2"))


@breaks(
    "warning conf-section-unknown", said="section logging.qdevice: nobody reads it; the quorum device in it"
)
def a_device_in_a_section_of_something_else(goal, world):
    all_files(
        world, edit(conf(), "logging {\n", "logging {\n  qdevice {\n    model: net\n    net {\n    }\n  }\n")
    )


@breaks("warning conf-section-unknown", said="section amf: nobody reads it")
def a_section_of_long_ago(goal, world):
    all_files(world, conf() + "amf {\n  mode: disabled\n}\n")


@breaks("error conf-value", said="totem.merge is '29'; allowed: 30 or more")
def a_merge_that_is_too_short(goal, world):
    all_files(world, edit(conf(), "  version: 2", "  merge: 29\n  version: 2"))


@breaks("error conf-value", said="totem.downcheck is '29'; allowed: 30 or more")
def a_downcheck_that_is_too_short(goal, world):
    all_files(world, edit(conf(), "  version: 2", "  downcheck: 29\n  version: 2"))


@breaks("error conf-value", said="totem.max_network_delay is '29'; allowed: 30 or more")
def a_network_delay_that_is_too_short(goal, world):
    all_files(world, edit(conf(), "  version: 2", "  max_network_delay: 29\n  version: 2"))


@breaks("error conf-none", "warning conf-unparsable", said="knet_compression_model")
def compression_model_none(goal, world):
    """What knet itself calls no compression is no word of the file: corosync refuses it."""
    all_files(world, edit(conf(), "  version: 2", "  knet_compression_model: none\n  version: 2"))


@breaks("error conf-value", said="totem.hold is '13'; allowed: 14 or more")
def a_hold_that_is_too_short(goal, world):
    all_files(world, conf(totem={"hold": 13}))


@breaks("error conf-value", said="totem.token_warning is '101'")
def a_warning_beyond_all_of_the_token(goal, world):
    all_files(world, conf(totem={"token_warning": 101}))


@breaks("error conf-value", said="totem.join is '4000'; allowed: consensus (3600 ms)")
def a_join_that_is_longer_than_the_consensus(goal, world):
    all_files(world, conf(totem={"join": 4000}))


@breaks("error conf-value", said="totem.consensus is '49'")
def a_consensus_below_the_default_join(goal, world):
    all_files(world, conf(totem={"consensus": 49}))


@breaks("error conf-value", said="allowed: a token (100 ms) of 30 ms for each of 4 tries")
def a_token_too_short_for_its_tries(goal, world):
    all_files(world, conf(totem={"token": 100}))


@breaks("error conf-grammar", "warning conf-key-unknown", said="'interface' is there already in 'totem'")
def a_key_named_interface(goal, world):
    all_files(world, edit(conf(), "  interface {\n", "  interface: on\n  interface {\n"))


@breaks(said="")
def a_key_in_a_file_of_its_own(goal, world):
    all_files(world, conf(totem={"keyfile": "/etc/corosync/mine"}))
    everywhere(world, "authkey", None)


@breaks("error authkey-missing", said="corosync-keygen")
def a_hash_without_a_cipher_needs_the_key(goal, world):
    all_files(world, conf(totem={"secauth": None, "crypto_hash": "sha256"}))
    everywhere(world, "authkey", None)


@breaks("warning authkey-differs", said="nothing reads it now")
def two_keys_that_nobody_reads(goal, world):
    all_files(world, conf(totem={"keyfile": "/etc/corosync/mine"}))
    world["nodes"]["pve2"]["authkey"]["sha256"] = "cd" * 32


def newer(world, *nodes):
    for node in nodes:
        world["nodes"][node]["corosync"]["version"] = "3.1.11"


@breaks(said="")
def encryption_that_a_newer_corosync_has_by_itself(goal, world):
    all_files(world, conf(totem={"secauth": None}))
    newer(world, "pve1", "pve2")


@breaks(
    "warning crypto-off",
    "warning versions-mixed",
    said="pve2 (corosync after 3.1.10) encrypts then",
)
def encryption_that_only_one_has_by_itself(goal, world):
    all_files(world, conf(totem={"secauth": None}))
    newer(world, "pve2")


@breaks(
    "error name-duplicate",
    "error node-not-in-cluster",
    "error nodeid-mismatch",
    "warning address-in-use",
    "warning conf-grammar",
    "warning runtime-not-file",
    said="nodes 1, 2 are both called pve1",
)
def two_nodes_of_one_name(goal, world):
    all_files(world, edit(conf(), "name: pve2", "name: pve1"))
