"""Contract of pmxcfs: a write in flight when quorum is lost, and who waits for whom.

LAB_PMXCFS=/path checks a real one.
Seen with pmxcfs 8.1.3 and corosync 3.1.7, and with pmxcfs 9.1.6 and corosync 3.1.9.
"""

import json
import subprocess
import threading
import time

import pytest
from contract_nodes import wait_for

CLUSTER = "/etc/pve/corosync.conf"
LOCK = "/etc/pve/priv/lock/contract"
# Makes and removes a folder again and again, and prints [when, the error or "", writable by its mode]. Where
# the quorum was lost between the two, the folder is there, and its removal is the next write.
WRITER = """
import json
until = time.time() + 120
free = False
while time.time() < until and not free:
    try:
        if not os.path.isdir(sys.argv[1]):
            os.mkdir(sys.argv[1])
        os.rmdir(sys.argv[1])
        word = ""
    except OSError as error:
        word = errno.errorcode[error.errno]
    print(json.dumps([time.time(), word, bool(os.lstat('/etc/pve/local').st_mode & 0o200)]), flush=True)
    free = not word and os.path.exists('/run/enough')
    time.sleep(0.02)
"""
# Opens a file again and again, and prints [[the error or "", how many seconds that took]].
READER = """
import json
found = []
until = time.time() + 20
while time.time() < until and open('/run/done').read() != 'yes':
    begin = time.monotonic()
    try:
        os.close(os.open(sys.argv[1], os.O_RDONLY))
        word = ""
    except OSError as error:
        word = errno.errorcode[error.errno]
    found.append([word, time.monotonic() - begin])
    open('/run/reading', 'w').close()
    time.sleep(0.05)
print(json.dumps(found))
"""


@pytest.fixture
def ring(fresh):
    """Each test breaks what it has: the cluster is not shared."""
    fresh.start()
    return fresh


@pytest.fixture
def folder(cluster, pve1):
    """The folder of locks."""
    pve1.ok("mkdir", "-p", "/etc/pve/priv/lock")


def cut_in_a_write(node):
    """Cut a node that writes all the time; return when.

    Whether its write of that moment comes to its pmxcfs before the loss of quorum does is Corosync's order,
    and not the same each time: where it did, no write was in flight, and the node is cut once more.
    """
    again = "os.mkdir('/etc/pve/again'); os.rmdir('/etc/pve/again')"
    for _ in range(6):
        cut = time.time()
        node.link("vrack", False)
        wait_for(lambda: not node.quorate(), "the quorum is lost")
        for _ in range(20):
            if "leaving CPG group" in node.log("pmxcfs"):
                return cut
            time.sleep(0.1)
        node.link("vrack", True)
        wait_for(lambda: node.python(again) == "", "a write goes through")
        time.sleep(0.5)
    raise AssertionError(f"six cuts, and no write was in flight: {node.log('pmxcfs')[-3000:]}")


def test_a_write_in_flight_when_quorum_is_lost_shuts_the_node_out_for_five_seconds(pve1, pve2):
    """Quorum is back at once, and the modes say writable; every write gets EBUSY until pmxcfs has joined."""
    found = []
    thread = threading.Thread(target=lambda: found.append(pve1.python(WRITER, "/etc/pve/writer")))
    thread.start()
    time.sleep(0.5)
    cut = cut_in_a_write(pve1)
    pve1.ok("corosync-quorumtool", "-e", "1")
    pve1.write("/run/enough", "")
    thread.join(150)
    rows = [json.loads(line) for line in found[0].splitlines()]
    lost = next(when for when, error, _ in rows if error and when > cut)
    turns = [row for row, before in zip(rows, [None, *rows]) if not before or row[1:] != before[1:]]
    assert [row for row in rows if row[1] == "EBUSY" and row[2]], (turns, pve1.log("pmxcfs")[-3000:])
    assert not rows[-1][1] and rows[-1][0] - lost > 5, rows[-1]
    log = pve1.log("pmxcfs")
    texts = [
        "[dcdb] crit: received write while not quorate - trigger resync",
        "[dcdb] crit: leaving CPG group",
        "[dcdb] notice: start cluster connection",
        "[dcdb] crit: cpg_join failed: ",
        "[dcdb] crit: can't initialize service",
        "[dcdb] notice: members: 1/",
    ]
    start = log.index(texts[0])
    places = [log.index(text, start) for text in texts]
    assert places == sorted(places), log[start:]


def test_the_lock_too_is_busy_until_then(pve1, pve2, folder):
    writer = subprocess.Popen(pve1.inside("sh", "-c", "while :; do touch /etc/pve/writer; done 2>/dev/null"))
    try:
        time.sleep(0.5)
        cut_in_a_write(pve1)
        pve1.ok("corosync-quorumtool", "-e", "1")
        wait_for(pve1.quorate, "the modes say writable", 4)
        assert pve1.python(f"os.mkdir('{LOCK}')") == "EBUSY"
    finally:
        writer.kill()
        writer.wait()
    wait_for(lambda: pve1.python(f"os.mkdir('{LOCK}')") == "", "the lock can be had", 15)


def test_a_reader_beside_the_writer_waits_and_finds_nothing_once(cluster, pve1, pve2):
    """While the writer's rename waits for the reload, its node's readers wait too, and get ENOENT, once."""
    answers = {}
    threads = []
    for node in cluster.nodes:
        node.write("/run/done", "no")
        thread = threading.Thread(
            target=lambda node=node: answers.update({node.name: node.python(READER, CLUSTER)})
        )
        thread.start()
        threads.append(thread)
    for node in cluster.nodes:
        wait_for(lambda node=node: node.exists("/run/reading"), f"somebody reads on {node.name}")
    for version in (2, 3, 4):
        pve1.write("/run/conf", cluster.conf(version))
        pve1.python(f"""
            data = open('/run/conf', 'rb').read()
            open('{CLUSTER}.new', 'wb').write(data)
            os.rename('{CLUSTER}.new', '{CLUSTER}')
            time.sleep(0.5)""")
    for node in cluster.nodes:
        node.write("/run/done", "yes")
    for thread in threads:
        thread.join(30)
    rows = {name: json.loads(text) for name, text in answers.items()}
    refused = [place for place, row in enumerate(rows["pve1"]) if row[0]]
    # none where the reader had the replaced file open at that very moment
    assert 1 <= len(refused) <= 3, rows["pve1"]
    for place in refused:
        word, seconds = rows["pve1"][place]
        assert word == "ENOENT" and seconds >= 0.9
        assert not rows["pve1"][place + 1][0], "the next one succeeds"
    assert not [row for row in rows["pve2"] if row[0]], "other nodes never see it"


def test_a_folder_asked_for_by_a_dead_process_is_made_when_pmxcfs_goes_on(pve1, pve2, folder):
    """kill -9 of the process that waits in mkdir(2), pmxcfs stopped, and later running again: it is there.

    What pmxcfs has not taken from the kernel's queue is dropped with the process; so corosync stops first.
    """
    pve1.signal("corosync", "STOP")
    child = subprocess.Popen(
        pve1.inside("/usr/bin/python3", "-c", f"import os; os.mkdir('{LOCK}')"), stdin=subprocess.DEVNULL
    )
    time.sleep(1)
    pve1.signal("pmxcfs", "STOP")
    assert child.poll() is None
    pve1.ok("pkill", "-KILL", "-f", "os.mkdir.*contract")
    pve1.signal("corosync", "CONT")
    pve1.signal("pmxcfs", "CONT")
    wait_for(lambda: pve1.exists(LOCK), "the folder is made", 15)
    child.wait(timeout=10)
