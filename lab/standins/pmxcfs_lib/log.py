"""Log lines as the real pmxcfs writes them: `[domain] priority: text`, to syslog, and to stderr at first."""

import sys
import syslog

PRIORITIES = {"debug": syslog.LOG_DEBUG, "notice": syslog.LOG_NOTICE, "crit": syslog.LOG_CRIT}


class Log:
    """The one log of the process; `debug` and `attached` are changed while it runs."""

    def __init__(self):
        self.debug = False
        self.attached = True
        syslog.openlog("pmxcfs", syslog.LOG_PID, syslog.LOG_DAEMON)

    def write(self, priority, domain, text):
        """Write one line; debug lines only when debugging is on."""
        if priority == "debug" and not self.debug:
            return
        line = f"[{domain}] {priority}: {text}"
        syslog.syslog(PRIORITIES[priority], line)
        if self.attached:
            print(line, file=sys.stderr, flush=True)


LOG = Log()


def notice(domain, text):
    """Log something that went as it should."""
    LOG.write("notice", domain, text)


def critical(domain, text):
    """Log something that went wrong."""
    LOG.write("crit", domain, text)


def debug(domain, text):
    """Log a detail, when debugging is on (`echo 1 > /etc/pve/.debug`)."""
    LOG.write("debug", domain, text)
