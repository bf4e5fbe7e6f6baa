"""The reactor's files for the watch: what an event may start, how often, and what a webhook is told."""

import fcntl
import http.server
import json
import sys
import threading
import time

import pytest
import salt.config
import salt.loader
import salt.template
from _pve_world import REPO

from _runners import corosync_heard as heard


@pytest.fixture
def opts(tmp_path):
    found = salt.config.DEFAULT_MASTER_OPTS.copy()
    found.update(
        cachedir=str(tmp_path),
        pki_dir=str(tmp_path / "pki"),
        __role="master",
        id="master_master",
        conf_file=str(tmp_path / "master"),
        extension_modules=str(tmp_path / "extmods"),
        runner_dirs=[str(REPO / "_runners")],
        renderer="jinja|yaml",
        renderer_blacklist=[],
        renderer_whitelist=[],
    )
    accepted = tmp_path / "pki/minions"
    accepted.mkdir(parents=True)
    for name in ("pve1", "pve2"):
        (accepted / name).write_text("a public key\n")
    return found


@pytest.fixture
def started(opts, monkeypatch):
    """What was started."""
    found = []
    monkeypatch.setattr(heard, "__opts__", opts, raising=False)
    monkeypatch.setattr(heard, "_start", found.append)
    heard._STARTED.clear()
    heard._MISSED.clear()
    yield found
    heard._STARTED.clear()
    heard._MISSED.clear()


def note(opts, minion="pve1", due=None):
    folder = REPO.__class__(opts["cachedir"]) / "pve-corosync/watch"
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "lock"
    lock.touch()
    (folder / f"{minion}.json").write_text(json.dumps({"lock": str(lock), "due": due, "looked": 1.0}))
    return lock


def test_an_event_starts_one_look_and_a_flood_of_them_no_more(started):
    assert heard.event("pve1", "change", True) == "started"
    assert {heard.event("pve1", "change", True) for _ in range(50)} == {"too soon"}
    assert started == ["pve1"]


def test_names_that_events_make_up_start_nothing(opts, started):
    """Any accepted minion can send any tag: each name would start a process of its own."""
    assert {heard.event(f"ghost{number}", "change", True) for number in range(50)} == {"no minion"}
    assert started == []


def test_all_nodes_of_a_cluster_tell_of_one_thing_and_one_look_is_started(opts, started):
    note(opts)
    note(opts, "pve2")
    assert heard.event("pve1", "change", True) == "started"
    assert heard.event("pve2", "change", True) == "too soon", "both notes name the lock of one cluster"
    assert started == ["pve1"]


def test_while_a_process_looks_none_is_started(opts, started):
    lock = note(opts)
    with open(lock, encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert heard.event("pve1", "still", True) == "under way"
    assert heard.event("pve1", "still", True) == "started"


@pytest.mark.parametrize("dropped", ["too soon", "under way"])
def test_a_change_that_a_look_may_have_missed_is_looked_at_with_the_next_sign_of_life(opts, started, dropped):
    """The network came back 0.5 s after a look had seen it dead: nothing was wrong then, nobody went home."""
    with open(note(opts), encoding="ascii") as lock:
        if dropped == "too soon":
            assert heard.event("pve1", "change") == "started"
        else:
            fcntl.flock(lock, fcntl.LOCK_EX)
        assert heard.event("pve1", "change") == dropped
    heard._STARTED.clear()
    assert heard.event("pve1", "alive") == "started"
    heard._STARTED.clear()
    assert heard.event("pve1", "alive") == "nothing to do", "once is enough"


def test_a_sign_of_life_starts_only_what_is_due(opts, started):
    assert heard.event("pve1", "alive") == "started", "nobody ever looked at this cluster"
    heard._STARTED.clear()
    note(opts)
    assert heard.event("pve1", "alive") == heard.event("pve1", "begin") == "nothing to do"
    note(opts, due=time.time() + 60)
    assert heard.event("pve1", "alive") == "nothing to do"
    note(opts, due=time.time() - 1)
    assert heard.event("pve1", "alive") == "started"
    heard._STARTED.clear()
    note(opts)
    assert heard.event("pve1", "begin", True) == "started", "something is wrong there"


@pytest.mark.parametrize("minion", ["../../etc/passwd", "", None, "-c", "a b", "x" * 300, {"id": 1}])
def test_an_odd_name_starts_nothing(started, minion):
    assert heard.event(minion, "change", True) == "no minion"
    assert started == []


def test_a_note_that_cannot_be_read_stops_nothing(opts, started):
    note(opts).with_name("pve1.json").write_text("{")
    assert heard.event("pve1", "alive") == "started"


def test_the_names_that_anybody_may_send_do_not_fill_the_memory(started):
    for number in range(10050):
        heard._STARTED[f"m{number}"] = 0.0
    heard.event("pve1", "change", True)
    assert len(heard._STARTED) < 100


def rendered(opts, name, tag, data):
    rend = salt.loader.render(opts, {})
    path = str(REPO / f"states/reactor/{name}.sls")
    return salt.template.compile_template(path, rend, "jinja|yaml", [], [], tag=tag, data=data)


def test_the_reactor_hands_over_what_the_event_says(opts):
    data = {"id": "pve1", "wrong": ["no quorum"], "look": {}}
    (call,) = rendered(opts, "watch", "salt/beacon/pve1/corosync/change", data).values()
    wanted = {"args": [{"minion": "pve1"}, {"kind": "change"}, {"wrong": True}]}
    assert call == {"runner.corosync_heard.event": [wanted]}
    assert not rendered(opts, "watch", "salt/beacon/pve1/corosync/change", {})


def test_the_reactor_lets_no_text_out_of_its_place(opts):
    odd = "pve1\n- evil: {{ 1 }}"
    (call,) = rendered(opts, "watch", "salt/beacon/x/corosync/a: b", {"id": odd}).values()
    wanted = [{"minion": odd}, {"kind": "a: b"}, {"wrong": False}]
    assert call["runner.corosync_heard.event"][0]["args"] == wanted


class Hook(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted."""

    def do_POST(self):
        size = int(self.headers["Content-Length"])
        self.server.got.append((self.path, self.headers["Content-Type"], self.rfile.read(size)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_words):
        """Nothing goes to standard error."""


def test_a_webhook_is_told_what_the_watch_says(opts):
    server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
    server.got = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        tag = "corosync/prod/watch/watch-failover"
        data = {"cluster": "prod", "code": "watch-failover", "text": 'dead: "vrack" {{ 1 }}\n- x'}
        assert not rendered(opts, "webhook", tag, data), "no address is configured"
        opts["pve_corosync_webhook"] = f"http://127.0.0.1:{server.server_port}/hook"
        assert not rendered(opts, "webhook", tag, data | {"cmd": "_minion_event"}), "a minion's own event"
        (call,) = rendered(opts, "webhook", tag, data).values()
        ((function, (row,)),) = call.items()
        assert function == "runner.http.query"
        words = {key: value for one in row["args"] for key, value in one.items()}
        salt.loader.runner(opts)["http.query"](**words)
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
    ((path, kind, body),) = server.got
    assert (path, kind) == ("/hook", "application/json")
    assert json.loads(body) == {"text": f"prod: {data['text']}", "tag": tag, "code": "watch-failover"}


def test_the_look_is_started_outside_of_the_master(opts, monkeypatch):
    seen = []
    monkeypatch.setattr(heard, "__opts__", opts, raising=False)
    monkeypatch.setattr(heard.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(heard.os.path, "isdir", lambda _path: True)
    monkeypatch.setattr(heard.os, "geteuid", lambda: 0)
    monkeypatch.setattr(heard.subprocess, "run", lambda argv, **_how: seen.append(argv))
    heard._start("pve1")
    (argv,) = seen
    assert argv[:3] == ["/usr/bin/systemd-run", "--collect", "--quiet"]
    assert argv[-5:] == [sys.executable, "-c", heard.PROGRAM, opts["conf_file"], "pve1"]
