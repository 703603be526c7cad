"""Memory of a process with its workers, sampled by a thread. Shared by benchmarks."""

from __future__ import annotations

import threading

import psutil


class Memory:
    """Highest sum of the resident memory of a process and its descendants, and that of the largest, since a reset."""

    def __init__(self, pid, every):
        self.pid, self.every, self.over = pid, every, threading.Event()
        self.highest = self.largest = 0
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while not self.over.wait(self.every):
            try:
                parent = psutil.Process(self.pid)
                each = []
                for process in [parent, *parent.children(recursive=True)]:
                    try:
                        each.append(process.memory_info().rss)
                    except psutil.Error:
                        continue
            except psutil.Error:
                return
            self.highest = max(self.highest, sum(each))
            self.largest = max(self.largest, max(each, default=0))

    def stop(self):
        self.over.set()
        self.thread.join()
