"""Where the benchmark works: a temporary directory, the programs, and what is mounted."""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import tempfile
import time

from measure import data


@dataclasses.dataclass
class Tools:
    larder: str
    slow_source: str
    grow_catalog: str
    rclone: str | None
    bindfs: str | None
    passthrough_hp: str | None

    @staticmethod
    def find(build, passthrough_hp):
        here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        build = os.path.abspath(build or os.path.join(here, "build"))
        return Tools(
            larder=os.path.join(build, "src/app/larder"),
            slow_source=os.path.join(build, "tests/support/slow-source"),
            grow_catalog=os.path.join(build, "bench/grow_catalog"),
            rclone=shutil.which("rclone"),
            bindfs=shutil.which("bindfs"),
            passthrough_hp=passthrough_hp,
        )


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, **options)


def is_mounted(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return any(line.split()[4] == path for line in mounts)


def wait_until(condition, what, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"timed out: {what}")
        time.sleep(0.01)


class Place:
    """A directory that goes with everything mounted in it."""

    def __init__(self, arguments, tools):
        self.arguments = arguments
        self.tools = tools
        self.wanted = set(filter(None, arguments.contenders.split(",")))
        self.stack = contextlib.ExitStack()
        self.count = 0
        self.caches = {}  # mount point -> where its cache is

    def __enter__(self):
        self.root = os.path.realpath(tempfile.mkdtemp(prefix="larder-bench-", dir=self.arguments.place))
        self.stack.callback(shutil.rmtree, self.root, ignore_errors=True)
        return self

    def __exit__(self, *_):
        self.stack.close()

    def directory(self, name):
        """A fresh directory."""
        self.count += 1
        path = os.path.join(self.root, f"{self.count:04}-{name}")
        os.mkdir(path)
        return path

    def wants(self, contender):
        if self.wanted and contender not in self.wanted:
            return False
        optional = {"rclone": self.tools.rclone, "bindfs": self.tools.bindfs,
                    "passthrough_hp": self.tools.passthrough_hp}
        return contender not in optional or optional[contender] is not None

    def drop(self, root, source):
        """Drops the pages of the files below a contender's root: its own, its cache's and the source's."""
        os.sync()
        local = [source] + [cache for cache in [self.caches.get(root)] if cache]
        for directory in {root, *local}:
            data.drop_pages(directory)
        for directory in local:
            data.check_dropped(directory)

    # Each of these yields the mount point, and unmounts at the end.

    @contextlib.contextmanager
    def slow_source(self, directory, latency_ms, **settings):
        mnt = self.directory("slow")
        words = [f"{key}={value}" for key, value in {"latency_ms": latency_ms, **settings}.items()]
        run(self.tools.slow_source, "--background", *words, directory, mnt)
        try:
            yield mnt
        finally:
            self.unmount(mnt)

    @contextlib.contextmanager
    def larder(self, source, options=""):
        mnt, cache = self.directory("larder"), self.directory("larder-cache")
        words = ",".join(filter(None, [f"cache_dir={cache}", options, self.arguments.larder_options]))
        run(self.tools.larder, "mount", "-o", words, source, mnt)
        self.caches[mnt] = cache
        try:
            yield mnt
        finally:
            del self.caches[mnt]
            run(self.tools.larder, "umount", mnt, stdout=subprocess.DEVNULL)
            shutil.rmtree(cache)

    @contextlib.contextmanager
    def foreground(self, name, command, mnt):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: is_mounted(mnt), f"{name} does not mount")
            yield mnt
        finally:
            self.unmount(mnt)
            process.terminate()
            process.wait()

    @contextlib.contextmanager
    def rclone(self, source, attr_timeout="1s"):
        mnt, cache = self.directory("rclone"), self.directory("rclone-cache")
        command = [self.tools.rclone, "mount", "--config", "/dev/null", "--vfs-cache-mode", "full", "--cache-dir", cache,
                   "--attr-timeout", attr_timeout, "--dir-cache-time", "1h", source, mnt]
        with self.foreground("rclone", command, mnt):
            self.caches[mnt] = cache
            yield mnt
            del self.caches[mnt]
        shutil.rmtree(cache)

    @contextlib.contextmanager
    def bindfs(self, source):
        mnt = self.directory("bindfs")
        with self.foreground("bindfs", [self.tools.bindfs, "-f", source, mnt], mnt):
            yield mnt

    @contextlib.contextmanager
    def passthrough_hp(self, source):
        mnt = self.directory("passthrough")
        command = [self.tools.passthrough_hp, "--foreground", source, mnt]
        with self.foreground("passthrough_hp", command, mnt):
            yield mnt

    def unmount(self, mnt):
        for _ in range(100):
            if subprocess.run(["fusermount3", "-u", mnt], stderr=subprocess.DEVNULL, check=False).returncode == 0:
                return
            time.sleep(0.05)
        subprocess.run(["fusermount3", "-uz", mnt], check=False)
