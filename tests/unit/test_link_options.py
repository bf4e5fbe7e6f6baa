"""Options of a link and IP addresses, the two things that both pillar and rules judge."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pve_corosync import addresses, link_options


def codes(options):
    return [item["code"] for item in link_options.check(options, "here")]


@pytest.mark.parametrize(
    "name, low, high",
    [
        ("priority", 0, 255),
        ("ping_precision", 0, 4294967295),
        ("pong_count", 0, 255),
        ("port", 1024, 65535),
        ("ping_interval", 200, 4294967295),
        ("ping_timeout", 200, 4294967295),
    ],
)
def test_ranges_hold_at_their_ends_as_int_and_as_text(name, low, high):
    for value in (low, high, str(low), str(high)):
        assert link_options.in_range(name, value)
    for value in (low - 1, high + 1, str(high + 1), "", "x", "1 ", "١", 1.5, True, None, [], "0x10"):
        assert not link_options.in_range(name, value)


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, []),
        ({"priority": 10}, []),
        ({"priority": 256}, ["option-range"]),
        ({"priority": 0}, ["option-priority-zero"]),
        ({"ping_interval": 200, "ping_timeout": 400}, []),
        ({"ping_interval": 200}, ["option-pair"]),
        ({"ping_timeout": 400}, ["option-pair"]),
        ({"ping_interval": 400, "ping_timeout": 200}, ["option-timeout-short"]),
        ({"ping_interval": 100, "ping_timeout": 400}, ["option-range"]),
        ({"transport": "udp"}, []),
        ({"transport": "sctp"}, ["option-deprecated"]),
        ({"transport": "tcp"}, ["option-range"]),
        ({"port": 0, "pong_count": -1}, ["option-range", "option-range"]),
    ],
)
def test_check(options, expected):
    assert codes(options) == expected


def test_a_bad_option_is_told_with_place_value_and_range():
    (item,) = link_options.check({"priority": 300}, "corosync:layouts:a:links:0")
    assert "corosync:layouts:a:links:0:priority" in item["text"]
    assert "300" in item["text"] and "0 to 255" in item["text"] and item["remedy"]


@given(st.dictionaries(st.sampled_from(sorted(link_options.NUMBERS)), st.integers(0, 10**6)))
def test_options_survive_the_way_through_corosync_conf(options):
    conf = link_options.to_conf(options)
    assert all(isinstance(value, str) for value in conf.values())
    assert link_options.from_conf(conf) == options


def test_keys_that_are_no_option_are_left_out():
    assert link_options.from_conf({"linknumber": "1", "bindnetaddr": "x", "knet_transport": "udp"}) == {
        "transport": "udp"
    }


def test_port():
    assert link_options.port(3, {}) == 5408
    assert link_options.port(3, {"mcastport": "6000"}) == 6000


@given(st.ip_addresses())
def test_canonical_is_one_spelling(address):
    spellings = {str(address), address.exploded}
    if address.version == 6:
        spellings |= {address.exploded.upper()}
        expected = str(address.ipv4_mapped or address)
    else:
        spellings |= {f"::ffff:{address}"}
        expected = str(address)
    assert {addresses.canonical(text) for text in spellings} == {expected}


@given(st.text(max_size=20))
def test_what_is_no_address_stays_as_it_is(text):
    try:
        ipaddress.ip_address(text)
    except ValueError:
        assert addresses.canonical(text) == text
        assert addresses.family(text) == "" and addresses.unusable(text) == ""


@pytest.mark.parametrize(
    "text", ["10.66.0.1/24", "[fd00::1]", "fe80::1%eth0", "010.0.0.1", " 10.0.0.1", "", None, 10]
)
def test_what_is_no_plain_address(text):
    assert addresses.parse(text) is None


@pytest.mark.parametrize(
    "text, why",
    [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("255.255.255.255", "broadcast"),
        ("fe80::1", "link-local"),
        ("169.254.1.1", ""),
        ("10.0.0.1", ""),
        ("fd00::1", ""),
    ],
)
def test_unusable(text, why):
    assert addresses.unusable(text) == why


@pytest.mark.parametrize(
    "text, verdict",
    [
        ("pve1", True),
        ("pve1.example.com", True),
        ("a_b", True),
        ("10.0.0.1", False),
        ("fd00::z", False),
        ("a b", False),
        ("", False),
        (3, False),
    ],
)
def test_looks_like_name(text, verdict):
    assert addresses.looks_like_name(text) is verdict


@pytest.mark.parametrize(
    "one, two, verdict",
    [
        ("10.0.0.1/24", "10.0.0.200/24", True),
        ("10.0.0.1/16", "10.0.5.1/24", True),
        ("10.0.0.1/24", "10.0.1.1/24", False),
        ("10.0.0.1/32", "10.0.0.1/24", False),
        ("fd00::1/64", "10.0.0.1/24", False),
        ("fd00::1/64", "fd00::2/64", True),
        ("x", "10.0.0.1/24", False),
    ],
)
def test_overlap(one, two, verdict):
    assert addresses.overlap(one, two) is verdict
    assert addresses.overlap(two, one) is verdict
