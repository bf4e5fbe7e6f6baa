"""``corosync.probe`` through salt-run: one more file of the runner, joined with the others by Salt."""


def codes(ret):
    return [item["code"] for item in ret.data["findings"]]


def test_files_of_one_virtual_name_are_one_runner(cluster):
    for function in ("status", "probe"):  # in corosync.py, and not
        ret = cluster.run(f"corosync.{function}")
        assert (ret.returncode, ret.data["do"]) == (0, function), ret


def test_a_layout_that_adds_no_link_has_nothing_to_test(cluster):
    ret = cluster.run("corosync.probe", "nominal")
    assert (ret.returncode, ret.data["result"], ret.data["links"]) == (0, "already", {}), ret


def test_a_link_that_could_not_be_tested_fails(cluster):
    """The addresses of the simulated nodes are on no interface here, which both say."""
    ret = cluster.run("corosync.probe", "degraded")
    assert (ret.returncode, ret.data["result"]) == (1, "failed"), ret
    assert set(codes(ret)) == {"probe-silent"}
    assert {"0 public", "1 vrack"} <= set(ret.data["untested"])
    assert all(row["arrives"] is None for row in ret.data["ways"])
    ret = cluster.text("corosync.probe", "degraded")
    assert "not tested" in ret.stdout and "link from" not in ret.stdout


def test_a_wrong_argument_is_refused(cluster):
    ret = cluster.run("corosync.probe", "degarded")
    assert (ret.returncode, codes(ret)) == (2, ["layout-unknown"]), ret
    ret = cluster.run("corosync.probe", "port=5406")
    assert (ret.returncode, codes(ret)) == (2, ["argument-unknown"]), ret
