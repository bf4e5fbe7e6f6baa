"""Network namespaces of a test's own: hosts on wires to one router; nothing leaves the machine."""

import os
import subprocess
import sys


def run(*argv, check=True, timeout=20, **kwargs):
    """Run a command and return the finished process with its output as text."""
    return subprocess.run(argv, check=check, capture_output=True, text=True, timeout=timeout, **kwargs)


class Spaces:
    """Hosts ``{name: "address/24"}``, each on a wire of its own to a router that has ``.254`` in each
    network.
    """

    def __init__(self, label, hosts):
        self.prefix = f"{label}{os.getpid() % 10000}"
        self.hosts = hosts
        self.router = f"{self.prefix}-r"

    def __enter__(self):
        run("ip", "netns", "add", self.router)
        run("ip", "netns", "exec", self.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for number, (name, address) in enumerate(self.hosts.items()):
            space, near, far = self.space(name), "eth0", f"wire{number}"
            gateway = address.split("/")[0].rsplit(".", 1)[0] + ".254"
            run("ip", "netns", "add", space)
            run(
                "ip",
                "link",
                "add",
                near,
                "netns",
                space,
                "type",
                "veth",
                "peer",
                "name",
                far,
                "netns",
                self.router,
            )
            for where, device, ip in ((space, near, address), (self.router, far, f"{gateway}/24")):
                run("ip", "-n", where, "address", "add", ip, "dev", device)
                run("ip", "-n", where, "link", "set", device, "up")
            run("ip", "-n", space, "link", "set", "lo", "up")
            run("ip", "-n", space, "route", "add", "default", "via", gateway)
        return self

    def __exit__(self, *_what):
        for space in [self.router, *(self.space(name) for name in self.hosts)]:
            run("ip", "netns", "delete", space, check=False)

    def space(self, name):
        """Return the name of a host's namespace."""
        return f"{self.prefix}-{name}"

    def run(self, name, *argv, **kwargs):
        """Run a command on a host."""
        return run("ip", "netns", "exec", self.space(name), *argv, **kwargs)

    def start(self, name, *argv):
        """Start a command on a host; its output is a pipe of text."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.space(name), *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def nft(self, name, text):
        """Load rules on a host."""
        self.run(name, "nft", "-f", "-", input=text)

    def python(self, name, code, *argv):
        """Start Python code on a host."""
        return self.start(name, sys.executable, "-c", code, *argv)
