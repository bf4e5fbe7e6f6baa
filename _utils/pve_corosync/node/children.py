"""
Run the tools of a node as child processes, several at once, under one deadline.

This file does I/O on purpose: it is the one place where children are started. ``cmd.run_all`` waits for a
child that it killed; a child that hangs inside a FUSE file system (``/etc/pve`` during a resync) cannot be
killed, so a caller that waits for it hangs with it. Here such a child is left behind and reported as
``late``. Children are started together, so that a question that needs six tools costs as much as the slowest
one.
"""

import contextlib
import errno
import os
import selectors
import subprocess
import time

#: looked up after PATH: a daemon may be started without the sbin directories.
EXTRA_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

NOT_FOUND = 127

#: what a pipe holds (pipe(7)).
PIPE_BYTES = 65536


def environment(base=None):
    """
    Return the environment for a child: plain C locale, and a PATH that ends in the system directories.

    :param base: the environment to start from; default the one of this process.
    """
    env = dict(os.environ if base is None else base)
    have = [part for part in env.get("PATH", "").split(os.pathsep) if part]
    env["PATH"] = os.pathsep.join(have + [part for part in EXTRA_PATH if part not in have])
    env["LC_ALL"] = "C"
    return env


def run(argv, timeout=5.0, data=None, kill=True):
    """
    Run one command (a list, no shell) and return its result as :func:`run_all` does.

    :param kill: whether a late child is killed; else it goes on, and nobody hears from it any more.
    :param data: what the child reads on its standard input (at most a pipe buffer full, 64 KiB); default
        nothing.
    """
    return run_all({"": argv}, timeout=timeout, data={"": data} if data else None, kill=kill)[""]


def run_all(commands, timeout=5.0, data=None, kill=True):
    """
    Run commands at the same time and return ``{key: result}``.

    :param commands: ``{key: [program, argument, …]}``.
    :param timeout: seconds for all of them together.
    :param data: ``{key: bytes}`` for standard input.
    :param kill: whether late children are killed.

    A result is ``{"rc": int|None, "out": bytes, "err": bytes, "late": bool, "seconds": float}``. ``rc`` is
    127 if the program does not exist, negative for a signal, and None if the child did not end in time
    (``late``).
    """
    start = time.monotonic()
    env = environment()
    children, results = {}, {}
    with selectors.DefaultSelector() as pipes:
        for key, argv in commands.items():
            results[key] = {"rc": None, "out": b"", "err": b"", "late": False, "seconds": 0.0}
            try:
                child = _start(argv, env, (data or {}).get(key))
            except OSError as exc:
                results[key].update(rc=NOT_FOUND, err=_not_started(argv, exc))
                continue
            children[key] = child
            pipes.register(child.stdout, selectors.EVENT_READ, (key, "out"))
            pipes.register(child.stderr, selectors.EVENT_READ, (key, "err"))
        _collect(pipes, children, results, start, start + timeout)
    for key, child in children.items():
        _end(child, results[key], start, start + timeout, kill)
    return results


def start(argv, out, err):
    """
    Start one command in a session of its own, with its output in open files, and return its Popen object.

    Nobody waits for it here, and it lives on when this process ends. Raises OSError if it cannot be started.
    """
    return _start(argv, environment(), None, out, err)


def text(result, stream="out"):
    """
    Return a stream of a result as str, one character per byte.
    """
    return result[stream].decode("latin-1")


def complaint(result):
    """
    Return what a child said on standard error, or else on standard output, as one line.
    """
    if result["late"]:
        return "no answer in time"
    said = text(result, "err").strip() or text(result).strip() or f"exit code {result['rc']}, no text"
    return "; ".join(line.strip() for line in said.splitlines() if line.strip())


def _start(argv, env, data, out=subprocess.PIPE, err=subprocess.PIPE):
    child = subprocess.Popen(  # pylint: disable=consider-using-with
        argv,
        stdin=subprocess.PIPE if data else subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        env=env,
        executable=_program(argv[0], env),
        start_new_session=True,
    )
    if data:
        try:
            with child.stdin as pipe:
                pipe.write(data)
        except BrokenPipeError:
            pass  # the child ended before it read: its exit code and its text say why
    return child


def _program(name, env):
    """
    Find a program on the PATH of the child: Popen would search the PATH of this process.
    """
    if os.sep in name:
        return name
    for folder in env["PATH"].split(os.pathsep):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _not_started(argv, exc):
    return f"{argv[0]}: {exc.strerror or exc}".encode("latin-1", "replace")


def _collect(pipes, children, results, start, end):
    while pipes.get_map() and (left := end - time.monotonic()) > 0:
        for event, _mask in pipes.select(left):
            key, stream = event.data
            chunk = os.read(event.fd, PIPE_BYTES)
            if chunk:
                results[key][stream] += chunk
                continue
            pipes.unregister(event.fileobj)
            if stream == "out":
                results[key]["seconds"] = time.monotonic() - start


def _drain(child, result):
    """
    Take what a child said that ended at the last moment, at most a pipe buffer full: it is no child without a
    text.
    """
    for stream, pipe in (("out", child.stdout), ("err", child.stderr)):
        os.set_blocking(pipe.fileno(), False)
        with contextlib.suppress(BlockingIOError):  # a grandchild has the other end still
            result[stream] += os.read(pipe.fileno(), PIPE_BYTES)


def _end(child, result, start, end, kill):
    """
    Take the exit code, or leave the child, killed if that is wanted: waiting for it could take for ever.
    """
    try:
        result["rc"] = child.wait(timeout=max(0.05, end - time.monotonic()))
        _drain(child, result)
    except subprocess.TimeoutExpired:
        result["late"] = True
        result["seconds"] = time.monotonic() - start
        if kill:
            child.kill()
            try:
                child.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                result["err"] += b" (killed, has not ended)"
    finally:
        for pipe in (child.stdout, child.stderr):
            pipe.close()
