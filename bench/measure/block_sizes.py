"""What block_size does to first reads over a distant source of limited bandwidth."""

import json
import os
import random
import statistics
import time

from measure import data
from measure.report import Result, interleave
from measure.workloads import DISTANT

SIZES = ["4K", "32K", "128K", "256K", "1M"]
DEFAULT = "128K"
BANDWIDTH_MB_S = 100
RANDOM_READS = 100
TREE_FILES = 100


def random_reads(path):
    size = os.path.getsize(path)
    generator = random.Random(3)
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    start = time.monotonic()
    for _ in range(RANDOM_READS):
        os.pread(fd, 4096, generator.randrange(size // 4096) * 4096)
    seconds = time.monotonic() - start
    os.close(fd)
    return RANDOM_READS / seconds


def processor_seconds(root):
    with open(os.path.join(root, ".larder", "stats.json"), encoding="utf-8") as stats:
        pid = json.load(stats)["pid"]
    with open(f"/proc/{pid}/stat", encoding="utf-8") as text:
        fields = text.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(place):
    arguments = place.arguments
    source = place.directory("data")
    data.make_file(os.path.join(source, "file"), arguments.cold_mib)
    data.make_file(os.path.join(source, "random"), arguments.cold_mib * 4)
    os.mkdir(os.path.join(source, "tree"))
    data.make_tree(os.path.join(source, "tree"), TREE_FILES, 5, 16384)
    results = [Result("first sequential read", "MB/s", DEFAULT, True),
               Result("first random reads of 4 KiB", "reads/s", DEFAULT, True),
               Result("small files, first read", "files/s", DEFAULT, True),
               Result("resident, sequential, not in passthrough, dropped", "MB/s", DEFAULT, True),
               Result("processor time of the daemon for all of these", "s", DEFAULT, False)]

    def one(size):
        with place.slow_source(source, arguments.latency_ms, bandwidth_mb_s=BANDWIDTH_MB_S, **DISTANT) as slow, \
                place.larder(slow, f"block_size={size},profile=private,passthrough=off") as root:
            path = os.path.join(root, "file")
            start = time.monotonic()
            data.read_file(path)
            sequential = os.path.getsize(path) / 1e6 / (time.monotonic() - start)
            scattered = random_reads(os.path.join(root, "random"))
            below = data.files_below(os.path.join(root, "tree"))
            start = time.monotonic()
            data.read_all(below)
            small = len(below) / (time.monotonic() - start)
            os.sync()
            data.drop_pages(place.root)
            start = time.monotonic()
            data.read_file(path)
            again = os.path.getsize(path) / 1e6 / (time.monotonic() - start)
            return [sequential, scattered, small, again, processor_seconds(root)]

    return interleave(results, SIZES, min(arguments.rounds, 3), one)


def recommendation(results):
    """The size with the best geometric mean of its ratios to the default, over all rows alike."""
    means = {size: statistics.geometric_mean([result.ratio(size) for result in results]) for size in SIZES}
    best = max(means, key=means.get)
    listed = ", ".join(f"{size} {mean:.2f}" for size, mean in means.items())
    # Less than the rows scatter is no reason to change it.
    chosen = best if means[best] > 1.1 else DEFAULT
    return f"geometric means of the ratios to {DEFAULT}: {listed}\nrecommended block_size: {chosen}"
