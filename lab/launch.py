"""Become one machine of a lab: join its cgroup, mount its disk, and turn into systemd-nspawn.

Run by lab/node.py below ``unshare --mount``, so that the mount goes when the machine goes, however it ends.
It imports nothing of the lab, and its argument is one JSON object: cgroup, lower, folder, argv.
"""

import json
import os
import subprocess
import sys


def main():
    """Do what the module says; on success this process is systemd-nspawn afterwards."""
    plan = json.loads(sys.argv[1])
    with open(os.path.join(plan["cgroup"], "cgroup.procs"), "w", encoding="ascii") as procs:
        procs.write(str(os.getpid()))
    folder = plan["folder"]
    options = f"lowerdir={plan['lower']},upperdir={folder}/upper,workdir={folder}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/root"], check=True)
    os.execvpe(plan["argv"][0], plan["argv"], {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"})


if __name__ == "__main__":
    main()
