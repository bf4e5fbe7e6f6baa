"""Faults of the links of the goal, each broken once."""

from _rules_cases import all_files, breaks, edit, two
from _rules_world import PUBLIC, VRACK, conf, observed


@breaks("error link-number-bad", name="degraded", said="link 8")
def link_number(goal, world):
    goal["links"][8] = goal["links"].pop(1)


@breaks("error link-count", said="1 to 8")
def no_link(goal, world):
    goal["links"] = {}


@breaks("error ring0-missing", said="link 0 is missing")
def no_ring0(goal, world):
    goal["links"] = {1: goal["links"][0]}


@breaks("error address-missing", "error no-network-alive", said="corosync:nodes:pve2:addresses:vrack")
def address_missing(goal, world):
    del goal["links"][0]["addresses"]["pve2"]


@breaks("error node-unknown", said="'pve9'")
def address_of_a_stranger(goal, world):
    goal["links"][0]["addresses"]["pve9"] = "10.66.0.9"


@breaks("error address-bad", "error no-network-alive", said="'10.66.0.2/24'")
def address_bad(goal, world):
    goal["links"][0]["addresses"]["pve2"] = "10.66.0.2/24"


@breaks("error address-host-name", "error no-network-alive", said="pve2.example")
def address_a_name(goal, world):
    goal["links"][0]["addresses"]["pve2"] = "pve2.example"


@breaks("error address-unusable", said="loopback")
def address_loopback(goal, world):
    goal["links"][0]["addresses"]["pve2"] = "127.0.0.1"


@breaks(
    "error address-duplicate",
    "error address-on-other",
    "error no-network-alive",
    said="link 0 of pve1",
)
def address_twice(goal, world):
    goal["links"][0]["addresses"]["pve2"] = "::ffff:" + VRACK["pve1"]


@breaks("error address-duplicate", name="degraded", said="it is link 0 again")
def address_on_two_links_of_a_goal(goal, world):
    goal["links"][1] = dict(goal["links"][0], options={})


@breaks("error family-mixed", said="mixes")
def families(goal, world):
    goal["links"][0]["addresses"]["pve2"] = "fd00::2"
    world["nodes"]["pve2"]["addresses"]["eno2"] = ["fd00::2/64", VRACK["pve2"] + "/24"]


@breaks("error ip-version", said="ipv6 addresses")
def ip_version(goal, world):
    all_files(world, edit(conf(), "ip_version: ipv4-6", "ip_version: ipv6"))


@breaks("error option-unknown", said="bindnetaddr")
def option_unknown(goal, world):
    goal["links"][0]["options"] = {"bindnetaddr": "10.0.0.0"}


@breaks("error option-range", said="0 to 255")
def option_range(goal, world):
    goal["links"][0]["options"] = {"knet_link_priority": "256"}


@breaks("error option-pair", said="ping_timeout")
def option_pair(goal, world):
    goal["links"][0]["options"] = {"knet_ping_interval": "200"}


@breaks("warning option-timeout-short")
def option_timers(goal, world):
    goal["links"][0]["options"] = {"knet_ping_interval": "400", "knet_ping_timeout": "200"}


@breaks("warning option-priority-zero")
def option_zero(goal, world):
    goal["links"][0]["options"] = {"knet_link_priority": "0"}


@breaks("warning option-deprecated", "info link-fixed-option", said="from udp to sctp")
def option_sctp(goal, world):
    goal["links"][0]["options"] = {"knet_transport": "sctp"}


@breaks("error option-port-shared", "warning address-shared", name="degraded", said="5405")
def port_shared(goal, world):
    goal["links"][1]["options"] = {"mcastport": "5405"}
    goal["links"][1]["addresses"]["pve2"] = PUBLIC["pve2"]


@breaks("info link-fixed-option", said="from 5405 to 5500")
def port_of_a_link_that_stays(goal, world):
    goal["links"][0]["options"] = {"mcastport": "5500"}


@breaks("error address-absent", "error no-network-alive", name="degraded", said="203.0.113.20")
def address_never_there(goal, world):
    del goal["links"][1]
    del world["nodes"]["pve2"]["addresses"]["eno1"]


@breaks("error address-absent", name="degraded", said="ip -br address")
def address_never_there_on_one_of_two_links(goal, world):
    del world["nodes"]["pve2"]["addresses"]["eno1"]


@breaks("warning facts-incomplete", name="degraded", said="ip -j addr")
def addresses_that_could_not_be_read(goal, world):
    """That is not the same as none."""
    world["nodes"]["pve2"] |= {"addresses": None, "problems": ["ip -j addr: timed out"]}


@breaks("warning address-gone", name="degraded", said="has lost 10.66.0.2")
def lost_card(goal, world):
    del world["nodes"]["pve2"]["addresses"]["eno2"]


@breaks("error address-on-other", name="degraded", said="is on pve1")
def address_of_another_node(goal, world):
    world["nodes"]["pve1"]["addresses"]["eno1"].append(PUBLIC["pve2"] + "/24")
    del world["nodes"]["pve2"]["addresses"]["eno1"]


@breaks("warning address-gone", "error no-network-alive", said="pve1-pve2")
def no_network_alive(goal, world):
    del world["nodes"]["pve2"]["addresses"]["eno2"]


@breaks("warning subnet-overlap", "warning prefix-differs", name="degraded", said="10.66.0.2/16")
def subnets(goal, world):
    address = "10.66.7.7"
    goal["links"][0]["addresses"]["pve2"] = address
    world["nodes"]["pve2"]["addresses"] = {"eno1": [address + "/24"], "eno2": [VRACK["pve2"] + "/16"]}


@breaks("warning same-card", name="degraded", said="(vmbr0) and 1 (vmbr0.66)")
def one_card(goal, world):
    world["nodes"]["pve2"]["addresses"] = {
        "vmbr0": [PUBLIC["pve2"] + "/24"],
        "vmbr0.66": [VRACK["pve2"] + "/24"],
    }


@breaks("warning same-card", name="degraded", said="(vmbr0) and 1 (vlan66) are both on eno1")
def one_card_below_a_bridge_and_a_vlan(goal, world):
    """No name tells it, the kernel does."""
    world["nodes"]["pve2"] |= {
        "addresses": {"vmbr0": [PUBLIC["pve2"] + "/24"], "vlan66": [VRACK["pve2"] + "/24"]},
        "cards": {"vmbr0": ["eno1"], "vlan66": ["eno1"]},
    }


@breaks("warning prefix-differs", said="10.66.0.2/16")
def prefix(goal, world):
    world["nodes"]["pve2"]["addresses"]["eno2"] = [VRACK["pve2"] + "/16"]


@breaks(
    "error address-on-other",
    "error no-network-alive",
    name="degraded",
    said="is on pve",
)
def swapped_addresses(goal, world):
    goal["links"] = {
        0: {"network": "vrack", "addresses": {"pve1": VRACK["pve2"], "pve2": VRACK["pve1"]}, "options": {}}
    }


@breaks(
    "error address-in-use", "warning address-on-other", "warning ring-duplicate", "warning runtime-not-file"
)
def address_of_two_nodes(goal, world):
    """Both have it, and both entries name it: nobody can tell whose it is."""
    all_files(world, edit(conf(), "ring0_addr: 10.66.0.2", "ring0_addr: 10.66.0.1"))
    goal["links"][0]["addresses"] = {"pve1": VRACK["pve1"], "pve2": VRACK["pve2"]}
    world["nodes"]["pve2"]["addresses"]["eno2"].append(VRACK["pve1"] + "/24")


@breaks(
    "error address-in-use",
    "warning facts-incomplete",
    "warning ring-duplicate",
    "warning runtime-not-file",
    said="force=address-in-use",
)
def address_in_use_and_no_interface_known(goal, world):
    all_files(world, edit(conf(), "ring0_addr: 10.66.0.2", "ring0_addr: 10.66.0.1"))
    for row in world["nodes"].values():
        row["addresses"], row["problems"] = None, ["ip -j addr: not understood"]


@breaks("warning address-shared", name="degraded", said="on pve2 (203.0.113.20)")
def one_address_for_two_links_of_one_node(goal, world):
    goal["links"][1]["addresses"]["pve2"] = PUBLIC["pve2"]


@breaks("warning redundancy-lost", said="dead between pve1-pve2: one more failure takes the quorum")
def a_dead_link_beside_a_living_one(goal, world):
    links = {n: {"addresses": two(a), "options": {}} for n, a in ((0, VRACK), (1, PUBLIC))}
    world["nodes"] = observed(text=conf(links=links))["nodes"]
    goal["links"][1] = {"network": "public", "addresses": two(PUBLIC), "options": {}}
    world["nodes"]["pve2"]["links"]["pve1"][0]["connected"] = False


@breaks(name="degraded", said="")
def one_port_on_two_addresses(goal, world):
    goal["links"][1]["options"]["mcastport"] = "5405"


@breaks("warning redundancy-lost", "warning route-elsewhere", said="leads over tailscale0, not over eno2")
def a_route_that_leads_elsewhere(goal, world):
    a_dead_link_beside_a_living_one(goal, world)
    way = {"peer": "pve1", "link": 0, "from": VRACK["pve2"], "to": VRACK["pve1"]}
    world["nodes"]["pve2"]["routes"] = [way | {"dev": "tailscale0"}]
    world["nodes"]["pve1"]["routes"] = [way | {"from": VRACK["pve1"], "to": VRACK["pve2"], "dev": "eno2"}]
