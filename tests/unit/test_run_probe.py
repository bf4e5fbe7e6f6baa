from pve_corosync.run import probe as port_probe


class Net:
    """Two sessions and a wire with a delay, a size limit and directions that are closed."""

    def __init__(self, *, mtu=1500, limit=9000, closed=(), late=0.0, one_way_ms=0.5):
        self.sides = {"a": port_probe.Session("t", ["b"], mtu), "b": port_probe.Session("t", ["a"], mtu)}
        self.limit, self.closed, self.delay = limit, closed, int(one_way_ms * 1e6)
        self.begins = {"a": 0, "b": int(late * 1e9)}
        self.wire, self.now = [], 0

    def send(self, source, target, data):
        if (source, target) not in self.closed and len(data) + 28 <= self.limit:
            self.wire.append((self.now + self.delay, source, target, data))

    def run(self, seconds=2.0):
        ended = {}
        while self.now < seconds * 1e9 and len(ended) < 2:
            for name, side in self.sides.items():
                if self.now < self.begins[name] or name in ended:
                    continue
                if side.over(self.now):
                    ended[name] = self.now / 1e9
                for target, data in side.due(self.now):
                    self.send(name, target, data)
            arrived, self.wire = (
                [p for p in self.wire if p[0] <= self.now],
                [p for p in self.wire if p[0] > self.now],
            )
            for _when, source, target, data in arrived:
                if self.now >= self.begins[target] and target not in ended:
                    reply = self.sides[target].receive(self.now, source, data)
                    if reply:
                        self.send(target, source, reply)
            self.now += 500_000
        self.ended = ended
        return {name: side.result()[{"a": "b", "b": "a"}[name]] for name, side in self.sides.items()}


def test_an_open_way_is_seen_from_both_sides_and_ends_early():
    net = Net()
    told = net.run()
    for side in told.values():
        assert side["in"] and side["out"] and side["mtu"] == 1500 and 1000 <= side["latency_us"] <= 2500
    assert max(net.ended.values()) < 0.6


def test_a_side_that_begins_late_is_waited_for():
    net = Net(late=0.7)
    told = net.run()
    assert all(side["in"] and side["out"] for side in told.values()) and max(net.ended.values()) < 1.6


def test_a_minion_that_begins_seconds_later_is_still_within_the_window():
    net = Net(late=2.5)
    told = net.run(port_probe.WINDOW)
    assert all(side["in"] and side["out"] for side in told.values())


def test_one_closed_direction_is_told_from_the_other():
    net = Net(closed=[("a", "b")])
    told = net.run()
    assert (told["b"]["in"], told["a"]["in"]) == (False, True)
    assert not told["a"]["out"] and not told["b"]["out"] and net.ended == {}
    assert told["a"]["latency_us"] is None and told["a"]["mtu"] is None


def test_the_path_mtu_is_the_largest_that_arrives():
    assert Net(limit=1420).run()["a"]["mtu"] == 1420
    assert Net(mtu=9000, limit=1500).run()["a"]["mtu"] == 1500
    assert Net(mtu=9000).run()["a"]["mtu"] == 9000
    assert Net(mtu=1397).run()["b"]["mtu"] == 1397


def test_strangers_and_other_runs_get_no_answer():
    session = port_probe.Session("run 1", ["b"], 1500)
    probe = port_probe.pack(port_probe.PROBE, port_probe.token("run 1"), 1, 0, 0)
    assert session.receive(0, "x", probe) is None
    assert (
        session.receive(0, "b", port_probe.pack(port_probe.PROBE, port_probe.token("run 2"), 1, 0, 0)) is None
    )
    for noise in (b"", b"x" * 100, probe[:-1]):
        assert session.receive(0, "b", noise) is None
    assert not session.result()["b"]["in"]
    reply = session.receive(0, "b", probe)
    assert len(reply) <= len(probe) and session.result()["b"]["in"]  # nothing to amplify with


ADDRESSES = {"pve1": "198.51.100.10", "pve2": "203.0.113.20"}


def told(arrived=True, mtu=1500, busy=""):
    peer = {"in": arrived, "out": arrived, "latency_us": 300, "mtu": mtu, "answers": 3}
    return {"busy": busy, "peers": {} if busy else {"x": peer}}


def results(first, second):
    for mine, other in ((first, "pve2"), (second, "pve1")):
        if mine and "x" in mine["peers"]:
            mine["peers"] = {other: mine["peers"]["x"]}
    return {"pve1": first, "pve2": second}


def codes(first, second):
    return [problem["code"] for problem in port_probe.problems(1, 5406, ADDRESSES, results(first, second))]


def test_no_problem():
    assert codes(told(), told()) == []


def test_a_filtered_port_names_the_direction_and_the_rule():
    (problem,) = port_probe.problems(1, 5406, ADDRESSES, results(told(), told(arrived=False)))
    assert problem["code"] == "port-filtered" and problem["severity"] == "error" and problem["forceable"]
    assert "UDP 5406 from pve1 (198.51.100.10) does not reach pve2" in problem["text"]
    assert "IN ACCEPT -source 198.51.100.10 -p udp -dport 5405:5412" in problem["remedy"]
    assert "ip saddr 198.51.100.10 udp dport 5406 accept" in problem["remedy"]
    assert codes(told(arrived=False), told(arrived=False)) == ["port-filtered", "port-filtered"]


def test_busy_silent_and_small():
    assert codes(told(busy="corosync"), told()) == ["port-busy"]
    assert codes(None, told()) == ["probe-silent"]
    assert codes(told(mtu=576), told()) == ["path-mtu-low"]
    assert "ip6 saddr" in port_probe.rule_to_add("pve1", "2001:db8::1", 5406)


def test_the_rule_to_add_names_the_range_or_the_ports_own():
    assert "-dport 5405:5412'" in port_probe.rule_to_add("pve2", "198.51.100.10", 5407)
    assert "-dport 6000'" in port_probe.rule_to_add("pve2", "198.51.100.10", 6000)
