"""The beacon on a real minion: its state brings it without a refresh or a restart, and takes it out."""

import time

import conftest

STATE = "beacon_|-watch of corosync_|-corosync_|-present"


def test_the_state_starts_the_beacon_and_takes_it_out(cluster, event_listener):
    cli = cluster.salt
    conftest.write_pillar(cluster.pillar_path, conftest.PILLAR | {"watch": {}})
    since = time.time()
    done = cli.run("state.apply", "corosync.watch", minion_tgt="pve1")
    assert done.data[STATE]["result"] is True, done
    tag = "salt/beacon/pve1/corosync/begin"
    found = event_listener.wait_for_events([(cluster.master.id, tag)], after_time=since, timeout=30)
    assert not found.missed, found
    (event,) = [event for event in found if event.tag == tag][:1]
    assert event.data["look"]["members"] == ["pve1", "pve2"] and event.data["wrong"] == []
    assert event.data["id"] == "pve1"
    since = time.time()
    cluster.cut(conftest.VRACK)
    tag = "salt/beacon/pve1/corosync/change"
    found = event_listener.wait_for_events([(cluster.master.id, tag)], after_time=since, timeout=30)
    assert not found.missed, found
    (event,) = [event for event in found if event.tag == tag][:1]
    assert "no quorum" in event.data["wrong"] and "quorum is lost" in event.data["changes"], event.data
    done = cli.run("state.apply", "corosync.watch", minion_tgt="pve1")
    assert (done.data[STATE]["result"], done.data[STATE]["changes"]) == (True, {}), done

    conftest.write_pillar(cluster.pillar_path, conftest.PILLAR | {"watch": False})
    done = cli.run("state.apply", "corosync.watch", minion_tgt="pve1")
    assert done.data[STATE.replace("present", "absent")]["result"] is True, done
    assert "corosync" not in cli.run("beacons.list", "return_yaml=False", minion_tgt="pve1").data


def test_the_state_has_the_minion_write_its_metrics(cluster, tmp_path):
    cli = cluster.salt
    target = tmp_path / "exporter/corosync.prom"
    words = ("state.apply", "corosync.metrics", f'pillar={{"corosync_metrics": "{target}"}}')
    done = cli.run(*words, minion_tgt="pve1")
    assert done.returncode == 0 and all(row["result"] for row in done.data.values()), done
    jobs = cli.run("schedule.list", "return_yaml=False", minion_tgt="pve1").data
    job = jobs["pve-corosync-metrics"]
    assert (job["function"], job["args"], job["seconds"]) == ("corosync.metrics", [str(target)], 60)
    assert cli.run(job["function"], *job["args"], minion_tgt="pve1").data == str(target)
    assert 'pve_corosync_layout_in_force{layout="nominal"} 1\n' in target.read_text()
    done = cli.run("state.apply", "corosync.metrics", 'pillar={"corosync_metrics": false}', minion_tgt="pve1")
    assert done.returncode == 0, done
    assert "pve-corosync-metrics" not in cli.run("schedule.list", "return_yaml=False", minion_tgt="pve1").data


def told_after(listener, master, code, since):
    """Wait for an answer of the watch, and return what came with it."""
    tag = f"corosync/prod/watch/{code}"
    found = listener.wait_for_events([(master.id, tag)], after_time=since, timeout=60)
    assert not found.missed, (code, found)
    return next(event.data for event in found if event.tag == tag)


def test_an_event_starts_a_process_that_asks_decides_and_acts(cluster, event_listener):
    """Heard, looked at twice, and acted upon by real processes: nobody types anything but the event."""
    policy = {"failover": "degraded", "hold": 1}
    conftest.write_pillar(cluster.pillar_path, conftest.PILLAR | {"watch": policy})
    since = time.time()
    cluster.cut(conftest.VRACK)
    words = ("corosync_heard.event", "pve1", "change", "True")
    assert cluster.run(*words).stdout == "started"
    first = told_after(event_listener, cluster.master, "watch-second-look", since)
    assert first["do"] == "wait" and "vrack pve1-pve2" in first["text"], first
    end = told_after(event_listener, cluster.master, "ended", since)
    assert end["decision"]["code"] == "watch-failover" and end["steps"]["links"]["retcode"] == 0, end
    assert list(end["steps"]) == ["links", "way"], "the rest is for the orchestration"
    files = {row["local"] for row in cluster.state()["nodes"].values()}
    assert len(files) == 1 and conftest.PUBLIC in files.pop()
    begun = [row for row in cluster.run("corosync.journal").data["runs"] if row["layout"] == "degraded"]
    assert "reached" in [row["result"] for row in begun], begun

    conftest.write_pillar(cluster.pillar_path, conftest.PILLAR | {"watch": policy})
    assert cluster.run("corosync.watch", "pause=60").data["watch"]["paused_s"] == 60
    since = time.time()
    report = cluster.run("corosync.watch_look", "cluster=prod").data
    assert (report["retcode"], report["result"]) == (0, "watch-paused"), report
    assert cluster.run("corosync.watch", "resume=True").data["watch"]["paused_s"] == 0
