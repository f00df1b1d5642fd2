"""How many files a second go when a mount finds far more of them than it may keep."""

import time

from measure import data
from measure.million import Cache
from measure.place import run
from measure.report import Result

KEPT = 1000  # the least that inodes= takes
ROUNDS_MAX = 5


def evict(place):
    if not place.wants("larder"):
        return []
    files = 4_000 if place.arguments.quick else 20_000
    cache = Cache(place, files)
    rate = Result(f"{files - KEPT:,} files of 2 to 12 KiB evicted", "files/s", "", True)
    for _ in range(min(place.arguments.rounds, ROUNDS_MAX)):
        cache.mount()
        run(place.tools.larder, "warm", cache.mnt)
        cache.unmount()
        cache.mount(f"inodes={KEPT}")
        rate.add("larder", files_per_second(cache, files))
        cache.unmount()
    return [rate]


def files_per_second(cache, files):
    """From the first eviction that is seen until as many are left as may be."""
    begun = None
    while True:
        metrics = cache.stats()["metrics"]
        evictions, left = metrics["other"]["evictions"], metrics["cached"]["files"]
        now = time.monotonic()
        if begun is None and evictions > 0:
            begun = now, evictions
        # The janitor keeps 4 % free.
        if evictions >= files - KEPT and left <= KEPT:
            return (evictions - begun[1]) / (now - begun[0])
        time.sleep(0.002)
