"""Contract of pmxcfs: files, modes, errors and quorum (LAB_PMXCFS=/path checks a real one)."""

import json
import re
import threading

import pytest
from contract_nodes import wait_for

TREE = "/etc/pve/contract"


@pytest.fixture(autouse=True)
def folder(cluster):
    """A folder of the test's own, gone afterwards."""
    first = cluster.nodes[0]
    first.ok(
        "sh",
        "-c",
        f"rm -rf {TREE}; mkdir -p {TREE} /etc/pve/priv/lock /etc/pve/nodes/pve1/priv"
        " /etc/pve/nodes/pve1/qemu-server"
        " /etc/pve/nodes/pve2/qemu-server",
    )
    yield
    for node in cluster.nodes:
        node.link("vrack", True)
    cluster.wait_healthy()
    first.ok("rm", "-rf", TREE)


def cut(*nodes):
    """Take quorum from both nodes."""
    nodes[0].link("vrack", False)
    for node in nodes:
        wait_for(lambda node=node: not node.quorate(), f"{node.name} has lost quorum")


def modes(node, *paths):
    """Return [(mode, owner, group)]."""
    return [line.split() for line in node.ok("stat", "-c", "%a %U %G", *paths).splitlines()]


def test_members_show_names_ids_and_addresses(pve1, cluster):
    text = pve1.read("/etc/pve/.members")
    assert re.fullmatch(
        r'\{\n"nodename": "pve1",\n"version": \d+,\n'
        r'"cluster": \{ "name": "prod", "version": 1, "nodes": 2, "quorate": 1 \},\n'
        r'"nodelist": \{\n  "pve[12]": \{ "id": [12], "online": 1, "ip": "198\.51\.100\.[12]"\},\n'
        r'  "pve[12]": \{ "id": [12], "online": 1, "ip": "198\.51\.100\.[12]"\}\n  \}\n\}\n',
        text,
    )
    assert {name: node["ip"] for name, node in json.loads(text)["nodelist"].items()} == {
        node.name: node.addresses["public"] for node in cluster.nodes
    }


def test_virtual_files_are_json_and_count_changes(pve1, pve2):
    before = json.loads(pve1.read("/etc/pve/.version"))["datacenter.cfg"]
    pve2.ok("sh", "-c", "echo 'keyboard: de' >/etc/pve/datacenter.cfg")
    wait_for(
        lambda: json.loads(pve1.read("/etc/pve/.version"))["datacenter.cfg"] > before,
        ".version counts the change",
        5,
    )
    assert (
        modes(pve1, "/etc/pve/.members", "/etc/pve/.version", "/etc/pve/.vmlist", "/etc/pve/.clusterlog")
        == [["440", "root", "www-data"]] * 4
    )
    assert isinstance(json.loads(pve1.read("/etc/pve/.clusterlog"))["data"], list)


def test_modes_while_quorate(pve1):
    pve1.ok("sh", "-c", f"umask 0; echo x >{TREE}/file; echo x >/etc/pve/nodes/pve1/priv/file")
    assert modes(pve1, TREE, f"{TREE}/file", "/etc/pve/priv", "/etc/pve/nodes/pve1/priv/file") == [
        ["755", "root", "www-data"],
        ["640", "root", "www-data"],
        ["700", "root", "www-data"],
        ["600", "root", "www-data"],
    ]
    assert pve1.ok("stat", "-c", "%A %N", "/etc/pve/local").split()[0] == "lrwxr-xr-x"
    assert pve1.ok("readlink", "/etc/pve/local").strip() == "nodes/pve1"


def test_modes_without_quorum(pve1, pve2):
    pve1.ok("sh", "-c", f"echo x >{TREE}/file; echo x >/etc/pve/nodes/pve1/priv/file")
    cut(pve1, pve2)
    wait_for(
        lambda: (
            modes(
                pve1, TREE, f"{TREE}/file", "/etc/pve/priv", "/etc/pve/nodes/pve1/priv/file", "/etc/pve/local"
            )
            == [[mode, "root", "www-data"] for mode in ("555", "440", "500", "400", "555")]
        ),
        "modes tell that nothing may be written",
        5,
    )


@pytest.mark.parametrize(
    "call, outcome",
    [
        ("os.chmod(FILE, 0o640)", ""),
        ("os.chmod(FILE, 0o644)", "EPERM"),
        ("os.chmod(FILE, 0o600)", "EPERM"),
        ("os.chmod(PRIVATE, 0o600)", ""),
        ("os.chmod(PRIVATE, 0o640)", "EPERM"),
        ("os.chown(FILE, 0, GROUP)", ""),
        ("os.chown(FILE, -1, GROUP)", ""),
        ("os.chown(FILE, 0, 0)", "EPERM"),
        ("os.chown(FILE, 33, -1)", "EPERM"),
        ("os.symlink('a', TREE + '/link')", "ENOSYS"),
        ("os.mkdir(TREE)", "EEXIST"),
        ("os.rmdir(TREE)", "ENOTEMPTY"),
        ("os.unlink(TREE + '/none')", "ENOENT"),
        ("os.open(FILE, os.O_CREAT | os.O_EXCL)", "EEXIST"),
        ("os.rename(FILE, '/run/elsewhere')", "EXDEV"),
        ("os.rename(TREE + '/none', FILE)", "ENOENT"),
        ("os.mkdir('/etc/pve/none/folder')", "ENOENT"),
        ("os.pwrite(os.open(FILE, os.O_WRONLY), b'x', 1 << 20)", "EFBIG"),
        ("os.truncate(FILE, (1 << 20) + 1)", "EFBIG"),
        ("os.fsync(os.open(FILE, os.O_WRONLY))", ""),
        ("os.unlink('/etc/pve/local')", "EACCES"),
        ("os.pwrite(os.open('/etc/pve/.members', os.O_WRONLY), b'x', 0)", "EIO"),
    ],
)
def test_errors_while_quorate(pve1, call, outcome):
    assert (
        pve1.python(f"""
        import grp
        TREE, FILE, PRIVATE = '{TREE}', '{TREE}/file', '/etc/pve/priv/file'
        GROUP = grp.getgrnam('www-data').gr_gid
        for path in (FILE, PRIVATE):
            open(path, 'w').close()
        {call}""")
        == outcome
    )


NO_QUORUM = {
    "os.open(FILE, os.O_RDONLY)": "",
    "os.open(FILE, os.O_WRONLY)": "",
    "os.open(FILE, os.O_RDWR)": "",
    "os.write(os.open(FILE, os.O_WRONLY), b'x')": "EACCES",
    "os.open(FILE, os.O_WRONLY | os.O_TRUNC)": "EACCES",
    "os.truncate(FILE, 0)": "EACCES",
    "os.open(TREE + '/new', os.O_CREAT | os.O_WRONLY)": "EACCES",
    "os.rename(FILE, TREE + '/b')": "EACCES",
    "os.unlink(FILE)": "EACCES",
    "os.mkdir(TREE + '/d')": "EACCES",
    "os.rmdir(TREE)": "EACCES",
    "os.utime(FILE)": "EACCES",
    "os.chmod(FILE, 0o640)": "",
    "os.chown(FILE, 0, -1)": "",
    "assert open(FILE).read() == 'kept'": "",
}


def test_errors_without_quorum(pve1, pve2):
    pve1.ok("sh", "-c", f"printf kept >{TREE}/file")
    cut(pve1, pve2)
    for node in (pve1, pve2):
        got = {call: node.python(f"TREE, FILE = '{TREE}', '{TREE}/file'\n{call}") for call in NO_QUORUM}
        assert got == NO_QUORUM
    members = json.loads(pve1.read("/etc/pve/.members"))
    assert members["cluster"]["quorate"] == 0
    wait_for(
        lambda: json.loads(pve1.read("/etc/pve/.members"))["nodelist"]["pve2"]["online"] == 0,
        "pve2 is offline",
        10,
    )
    assert json.loads(pve1.read("/etc/pve/.members"))["nodelist"]["pve2"]["ip"] == pve2.addresses["public"]


def test_a_change_is_seen_by_both(pve1, pve2):
    pve1.ok("sh", "-c", f"head -c 300000 /dev/urandom >{TREE}/big; mkdir {TREE}/sub; echo one >{TREE}/sub/a")
    written = pve1.ok("sha256sum", f"{TREE}/big").split()[0]
    wait_for(lambda: pve2.ok("sha256sum", f"{TREE}/big").split()[0] == written, "both have the same bytes", 5)
    pve2.ok("sh", "-c", f"echo two >>{TREE}/sub/a; mv {TREE}/sub/a {TREE}/sub/b; rm {TREE}/big")
    wait_for(
        lambda: pve1.ok("find", TREE).split() == [TREE, f"{TREE}/sub", f"{TREE}/sub/b"],
        "both have the same names",
        5,
    )
    assert pve1.read(f"{TREE}/sub/b") == "one\ntwo\n"


def test_a_rename_replaces_at_once(pve1, pve2):
    """A reader on the other node sees the old or the new bytes, never none, never less."""
    pve1.ok("sh", "-c", f"printf %01000d 0 >{TREE}/conf")
    watch = f"""
        seen, until = set(), time.time() + 4
        while time.time() < until and b'9' * 1000 not in seen:
            seen.add(open('{TREE}/conf', 'rb').read())
        print(sorted(content[:1] + str(len(content)).encode() for content in seen))"""
    result = []
    reader = threading.Thread(target=lambda: result.append(pve2.python(watch)))
    reader.start()
    pve1.python(f"""
        for digit in '123456789':
            with open('{TREE}/conf.new', 'w') as file:
                file.write(digit * 1000)
            os.rename('{TREE}/conf.new', '{TREE}/conf')""")
    reader.join(20)
    assert "9" in result[0]
    assert re.fullmatch(r"\[(b'\d1000'(, )?)+\]", result[0]), result[0]


def test_a_target_that_is_open_here_is_hidden_first(pve1):
    """libfuse 2 keeps the replaced file of an open handle as .fuse_hidden…, and all nodes see it."""
    printed = pve1.python(f"""
        open('{TREE}/conf', 'w').write('old')
        open('{TREE}/conf.new', 'w').write('new')
        handle = open('{TREE}/conf')
        os.rename('{TREE}/conf.new', '{TREE}/conf')
        print([name for name in os.listdir('{TREE}') if name.startswith('.fuse_hidden')] != [], handle.read())
        handle.close()
        time.sleep(0.5)
        print(os.listdir('{TREE}'), open('{TREE}/conf').read())""")
    assert printed == "True old\n['conf'] new"


def test_a_guest_has_one_place(pve1, pve2):
    config = "/etc/pve/nodes/{}/qemu-server/100.conf"
    pve1.ok("sh", "-c", f"echo 'memory: 16' >{config.format('pve1')}")
    wait_for(lambda: "ids" in json.loads(pve2.read("/etc/pve/.vmlist")), "the guest is listed", 5)
    guest = json.loads(pve2.read("/etc/pve/.vmlist"))["ids"]["100"]
    assert (guest["node"], guest["type"], sorted(guest)) == ("pve1", "qemu", ["node", "type", "version"])
    assert pve2.python(f"open('{config.format('pve2')}', 'w')") == "EEXIST"
    pve2.ok("mv", config.format("pve1"), config.format("pve2"))
    wait_for(
        lambda: json.loads(pve1.read("/etc/pve/.vmlist"))["ids"]["100"]["node"] == "pve2",
        "the guest has moved",
        5,
    )
    pve1.ok("rm", config.format("pve2"))
    wait_for(lambda: "ids" not in json.loads(pve1.read("/etc/pve/.vmlist")), "no guest is listed", 5)


def test_a_lock_is_a_folder_that_one_node_makes(pve1, pve2):
    lock = "/etc/pve/priv/lock/contract"
    assert pve1.python(f"os.mkdir('{lock}')") == ""
    assert pve2.python(f"os.mkdir('{lock}')") == "EEXIST"
    # A request to expire is heard only 120 s after the lock was made or renewed.
    assert pve2.python(f"os.utime('{lock}', (0, 0))") == "EACCES"
    assert pve1.exists(lock)
    assert pve1.python(f"os.rename('{lock}', '{lock}2')") == "EACCES"
    assert pve1.python(f"os.rmdir('{lock}')") == ""
    assert pve2.python(f"os.mkdir('{lock}'); os.rmdir('{lock}')") == ""


def test_a_lost_quorum_comes_back_by_itself(pve1, pve2, cluster):
    pve1.ok("sh", "-c", f"echo before >{TREE}/file")
    cut(pve1, pve2)
    pve1.link("vrack", True)
    cluster.wait_healthy()
    pve2.ok("sh", "-c", f"echo after >{TREE}/file")
    assert pve1.read(f"{TREE}/file") == "after\n"
    log = pve1.log("pmxcfs")
    assert "[status] notice: node lost quorum" in log
    assert log.rindex("[status] notice: node has quorum") > log.rindex("[status] notice: node lost quorum")


def test_the_highest_version_wins_after_a_partition(pve1, pve2, cluster):
    """Expected votes let one side write; what it wrote is taken over by the other when they meet."""
    pve1.ok("sh", "-c", f"echo common >{TREE}/file")
    cut(pve1, pve2)
    pve1.ok("corosync-quorumtool", "-e", "1")
    wait_for(pve1.quorate, "pve1 is quorate alone", 10)
    wait_for(
        lambda: pve1.run("sh", "-c", f"echo alone >{TREE}/file && echo more >{TREE}/other").returncode == 0,
        "pve1 may write",
        10,
    )
    assert pve2.read(f"{TREE}/file") == "common\n"
    pve1.link("vrack", True)
    cluster.wait_healthy()
    wait_for(
        lambda: pve2.run("cat", f"{TREE}/other").stdout == "more\n", "pve2 has taken over what pve1 wrote", 10
    )
    assert pve2.read(f"{TREE}/file") == "alone\n"
    assert re.search(r"\[dcdb\] notice: leader is 1/\d+\n", pve2.log("pmxcfs"))
    assert "update complete - trying to commit (got" in pve2.log("pmxcfs")
