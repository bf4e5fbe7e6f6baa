"""Run programs and say in one sentence what went wrong."""

import ctypes
import os
import signal
import subprocess
import sys
import time


class LabError(Exception):
    """Something the person at the keyboard has to know: one sentence, with what to do next."""


def run(argv, *, timeout=60, check=True, stdin=None, env=None):
    """Run a program to its end.

    argv
        list of strings; no shell ever sees it
    timeout
        seconds; the whole process group is killed then, and LabError is raised
    check
        raise LabError when the exit code is not 0
    stdin
        text for its standard input, or None for an empty one

    Returns a ``subprocess.CompletedProcess`` with text output.
    """
    argv = [str(arg) for arg in argv]
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            start_new_session=True,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        raise LabError(f"the program {argv[0]} is not installed") from None
    try:
        out, err = child.communicate(stdin, timeout=timeout)
    except BaseException as gone:
        # Not only on a timeout: nothing may go on running after an interrupted lab command either.
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        if isinstance(gone, subprocess.TimeoutExpired):
            raise LabError(f"{' '.join(argv)} did not end within {timeout} s") from None
        raise
    done = subprocess.CompletedProcess(argv, child.returncode, out, err)
    if check and done.returncode:
        said = (err or out).strip().splitlines()
        raise LabError(f"{' '.join(argv)} failed ({done.returncode}): {said[-1] if said else 'no message'}")
    return done


def die_with_parent():
    """Ask the kernel to end this process when the lab command that started it dies (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM)


def note(text):
    """Tell the person what is being done, on standard error."""
    print(text, file=sys.stderr, flush=True)


def wait_for(predicate, timeout, *, every=None, what=""):
    """Call a function until it returns something true, and return that.

    predicate
        function without arguments
    timeout, every
        seconds; at the end the function has had at least one call. Without `every` the pauses are of 0.2 s,
        and of a twentieth of the time waited so far: each look is a process or more on every node
    what
        what is being waited for, for the message of the LabError that ends a vain wait
    """
    begin = time.monotonic()
    while True:
        seen = predicate()
        if seen:
            return seen
        waited = time.monotonic() - begin
        if waited >= timeout:
            raise LabError(f"waited {timeout} s in vain for {what or getattr(predicate, '__name__', 'it')}")
        time.sleep(every or max(0.2, waited / 20))
