"""Salt's commands, each forked from one process that has imported Salt.

Imports are 0.3 of the 0.75 s of processor time of a `salt-run corosync.status`, 0.9 of 2.0 s on a slower day.

``forked.py serve SOCKET`` is that process. A program that :func:`launcher` makes stands where a command line
has its Python. It hands the rest of the line, its environment and its three streams over, and ends as the
script ends.
"""

import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import socket
import stat
import subprocess
import sys
import time

#: what `salt` and `salt-run` import one by one on their way.
MODULES = [
    "salt.scripts",
    "salt.cli.salt",
    "salt.cli.run",
    "salt.runner",
    "salt.minion",
    "salt.output",
    "salt.channel.client",
]
LAUNCHER = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
    link.connect({path!r})
    request = {{"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}
    socket.send_fds(link, [json.dumps(request).encode()], [0, 1, 2])
    sys.exit(int(link.recv(16) or b"70"))
"""


@contextlib.contextmanager
def launcher(folder):
    """Start the process for the block; gives the path of the program that takes the place of Python."""
    path, program = folder / "forked", folder / "forked-python"
    program.write_text(LAUNCHER.format(python=sys.executable, path=str(path)), encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    server = subprocess.Popen([sys.executable, __file__, "serve", str(path)])
    try:
        end = time.monotonic() + 60
        while not path.exists():
            assert server.poll() is None and time.monotonic() < end, "Salt was not imported"
            time.sleep(0.05)
        yield str(program)
    finally:
        server.kill()
        server.wait()


def serve(path):
    """Import Salt, and fork for every command that is handed over."""
    for module in MODULES:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(16)
        while True:
            link, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                keep(link)
            link.close()


def keep(link):
    """Run one command in a child, and tell its exit code; it is killed when its launcher has gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams, _, _ = socket.recv_fds(link, 1 << 18, 3)
    pid = os.fork()
    if pid == 0:
        become(streams, **json.loads(request))
    if link in select.select([link, os.pidfd_open(pid)], [], [])[0]:
        os.killpg(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        link.send(str(code if code >= 0 else 128 - code).encode())
    os._exit(0)


def become(streams, argv, cwd, env):
    """Be a fresh Python that runs this script."""
    os.setpgid(0, 0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = argv
    sys.path[0] = os.path.dirname(argv[0])
    runpy.run_path(argv[0], run_name="__main__")
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[2])
