"""How long a mount with very many cached files takes to answer, after a clean stop and after a kill."""

import json
import os
import signal
import subprocess
import time

from measure import data
from measure.place import is_mounted, run, wait_until
from measure.report import Result

REAL_FILES = 200  # that can be read; the others are in the catalog alone
REPLAYED = 100_000  # records behind the last checkpoint when the mount is killed
ROUNDS_MAX = 5


class Cache:
    """A cache directory of a real source, mounted and ended again and again."""

    def __init__(self, place, files=REAL_FILES):
        self.place = place
        self.source = place.directory("data")
        data.make_tree(self.source, files, 4)
        self.mnt, self.cache = place.directory("larder"), place.directory("larder-cache")
        self.names = [os.path.relpath(path, self.source) for path in data.files_below(self.source)]

    def mount(self, *options):
        options = ",".join([f"cache_dir={self.cache}", "profile=private", *options])
        run(self.place.tools.larder, "mount", "-o", options, self.source, self.mnt)

    def unmount(self):
        run(self.place.tools.larder, "umount", self.mnt, stdout=subprocess.DEVNULL)

    def kill(self):
        """SIGKILL, and the dead mount is taken away."""
        pid = self.stats()["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the killed larder goes")
        run("fusermount3", "-uz", self.mnt)
        wait_until(lambda: not is_mounted(self.mnt), "the dead mount goes")

    def stats(self):
        with open(os.path.join(self.mnt, ".larder", "stats.json"), encoding="utf-8") as stats:
            return json.load(stats)

    def grow(self, verb, count):
        run(self.place.tools.grow_catalog, self.cache, verb, count)

    def paths(self):
        return [os.path.join(self.mnt, name) for name in self.names]

    def seconds_to_answer(self):
        """From `larder mount` to the first read of a cached file; of the cache nothing is in the page cache."""
        os.sync()
        data.drop_pages(self.cache)
        path = self.paths()[len(self.names) // 2]
        start = time.monotonic()
        self.mount()
        if data.read_file(path) == 0:
            raise RuntimeError(f"{path} is empty")
        return time.monotonic() - start

    def milliseconds_while_counting(self):
        """The slowest first read of the other files; the daemon counts what is cached meanwhile."""
        slowest = 0.0
        for path in self.paths():
            start = time.monotonic()
            data.read_file(path)
            slowest = max(slowest, time.monotonic() - start)
        return slowest * 1e3

    def wait_until_counted(self, files):
        start = time.monotonic()
        while self.stats()["metrics"]["cached"]["files"] < files:
            time.sleep(0.1)
        return time.monotonic() - start


def million(place):
    arguments = place.arguments
    files = 20_000 if arguments.quick else 1_000_000
    if not place.wants("larder"):
        return []
    cache = Cache(place)
    cache.mount()
    data.read_all(cache.paths())
    cache.unmount()
    cache.grow("add", files)

    clean = Result(f"{files:,} files cached: clean stop, mount to first read, dropped", "s", "", False, 1.0)
    killed = Result(f"{files:,} files cached: SIGKILL and {REPLAYED:,} records to replay, mount to first read, dropped",
                    "s", "", False, 1.0)
    slowest = Result(f"{files:,} files cached: slowest of {REAL_FILES} reads while they are counted", "ms", "", False)
    counted = Result(f"{files:,} files cached: then counted after", "s", "", False)
    for _ in range(min(arguments.rounds, ROUNDS_MAX)):
        clean.add("larder", cache.seconds_to_answer())
        slowest.add("larder", cache.milliseconds_while_counting())
        counted.add("larder", cache.wait_until_counted(files))
        cache.unmount()
        cache.grow("touch", min(REPLAYED, files))
        cache.mount()  # has them to replay, and will have left them so
        cache.kill()
        killed.add("larder", cache.seconds_to_answer())
        cache.unmount()
    return [clean, killed, slowest, counted]
