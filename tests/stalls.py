"""How long the machine stood still under the tests.

What it lost is what a thread saw that asks to be woken every tenth of a second and was woken late: realtime
processes that hold all processors (lab/seed.py has such a case), or a host that pauses a virtual machine.
"""

import threading
import time

WINDOW_S = 10.0
EVERY_S = 0.1


class Watch:
    """Notes when this process was woken late."""

    def __init__(self, clock=time.monotonic, sleep=time.sleep):
        self.clock, self._sleep = clock, sleep
        self._late, self._thread = [], None

    @property
    def running(self):
        """Tell whether it looks."""
        return self._thread is not None

    def look(self):
        """Sleep once, and note how much longer that took."""
        begin = self.clock()
        self._sleep(EVERY_S)
        end = self.clock()
        if end - begin - EVERY_S > EVERY_S:
            self._late.append((end, end - begin - EVERY_S))

    def start(self):
        """Look on and on, beside the tests, as long as this process lives; a second call does nothing."""
        if not self.running:
            self._thread = threading.Thread(target=self._run, name="stalls", daemon=True)
            self._thread.start()

    def _run(self):
        while True:
            self.look()

    def lost(self, since):
        """Return the most seconds that the machine lost within WINDOW_S after a moment of the same clock."""
        late = [(end, seconds) for end, seconds in self._late if end >= since]
        windows = (sum(s for end, s in late if first <= end < first + WINDOW_S) for first, _ in late)
        return max(windows, default=0.0)
