"""The groups of workloads.  Each returns its results; contenders take turns in every round."""

import contextlib
import json
import os
import shutil
import subprocess
import time

from measure import data
from measure.million import million
from measure.place import run
from measure.report import Result, interleave

# What the resident groups are mounted with: nothing but this mount changes the source.
PRIVATE = "profile=private"
# The distant source has what a network mount of its kind would have: attributes kept for a minute, and
# the kernel's page cache with its readahead.  Without them the source alone would look worse than it
# is, and so would the ratios' denominators; all contenders get the same source.
DISTANT = {"attr_ttl_ms": 60000, "direct_io": 0}


def fio(path, *options):
    """Bytes a second and operations a second."""
    command = ["fio", "--name=read", f"--filename={path}", "--readonly", "--invalidate=0", "--output-format=json",
               *options]
    output = run(*command, stdout=subprocess.PIPE).stdout
    read = json.loads(output)["jobs"][0]["read"]
    return read["bw_bytes"], read["iops"]


def random_read(path, seconds, depth=1, hot=False):
    if hot:
        return fio(path, "--rw=randread", "--bs=4k", "--ioengine=psync", f"--runtime={seconds}", "--time_based",
                   "--norandommap")[1]
    # Buffered reads that each go to the disk: io_uring for the depth, no readahead.
    return fio(path, "--rw=randread", "--bs=4k", "--ioengine=io_uring", f"--iodepth={depth}", "--fadvise_hint=random",
               f"--runtime={seconds}")[1]


def sequential_read(path):
    return fio(path, "--rw=read", "--bs=1m", "--ioengine=psync")[0] / 1e6


def resident(place):
    """A file that is wholly cached: larder against the disk it is cached on."""
    arguments = place.arguments
    source = place.directory("data")
    data.make_file(os.path.join(source, "file"), arguments.file_mib)
    with contextlib.ExitStack() as stack:
        roots = {"local": source}
        if place.wants("larder"):
            slow = stack.enter_context(place.slow_source(source, 0))
            roots["larder"] = stack.enter_context(place.larder(slow, PRIVATE))
        if place.wants("rclone"):
            slow = stack.enter_context(place.slow_source(source, 0))
            roots["rclone"] = stack.enter_context(place.rclone(slow))
        if place.wants("bindfs"):
            roots["bindfs"] = stack.enter_context(place.bindfs(source))
        if place.wants("passthrough_hp"):
            roots["passthrough_hp"] = stack.enter_context(place.passthrough_hp(source))
        paths = {name: os.path.join(root, "file") for name, root in roots.items()}
        for path in paths.values():
            data.read_file(path)
            time.sleep(0)
        os.sync()

        def drop():
            os.sync()
            data.drop_pages(place.root)

        dropped = [
            (Result("resident, random 4 KiB, depth 1, dropped", "IOPS", "local", True, 0.95),
             lambda path: random_read(path, arguments.seconds)),
            (Result("resident, random 4 KiB, depth 32, dropped", "IOPS", "local", True, 0.95),
             lambda path: random_read(path, arguments.seconds, depth=32)),
            (Result("resident, sequential, dropped", "MB/s", "local", True, 0.95), sequential_read),
        ]
        hot = [
            (Result("resident, sequential, hot", "MB/s", "local", True, 0.95), sequential_read),
            (Result("resident, random 4 KiB, hot", "IOPS", "local", True, 0.85),
             lambda path: random_read(path, arguments.seconds, hot=True)),
        ]

        for result, work in dropped:
            def measure(name, work=work):
                drop()
                return [work(paths[name])]
            interleave([result], paths, arguments.rounds, measure)
        for result, work in hot:
            for path in paths.values():
                data.read_file(path)
            interleave([result], paths, arguments.rounds, lambda name, work=work: [work(paths[name])])
        return [result for result, _ in dropped + hot]


def cold_contenders(place, source, work):
    """name -> a function that mounts anew, with nothing cached, and measures work(root)."""
    latency_ms = place.arguments.latency_ms

    def bare():
        with place.slow_source(source, latency_ms, **DISTANT) as slow:
            return work(slow)

    def through(mount):
        with place.slow_source(source, latency_ms, **DISTANT) as slow, mount(slow) as root:
            return work(root)

    contenders = {
        "source": bare,
        "larder": lambda: through(place.larder),
        "rclone": lambda: through(place.rclone),
    }
    return {name: work for name, work in contenders.items() if place.wants(name)}


def timed(work, *arguments):
    start = time.monotonic()
    work(*arguments)
    return time.monotonic() - start


def cold_sequential(place):
    """The first read of a large file over a distant source."""
    arguments = place.arguments
    source = place.directory("data")
    path = os.path.join(source, "file")
    data.make_file(path, arguments.cold_mib)
    result = Result(f"first sequential read, {arguments.latency_ms} ms away", "MB/s", "source", True, 4)
    contenders = cold_contenders(
        place, source,
        lambda root: os.path.getsize(path) / 1e6 / timed(data.read_file, os.path.join(root, "file")))
    return interleave([result], contenders, min(arguments.rounds, 5), lambda name: [contenders[name]()])


def find(root):
    run("find", root, "-ls", stdout=subprocess.DEVNULL)


def cold_tree(place):
    """The first walk over a tree, and the first read of its files, over a distant source."""
    arguments = place.arguments
    source = place.directory("data")
    files, directories = (120, 12) if arguments.quick else (600, 60)
    data.make_tree(source, files, directories)
    results = [
        Result(f"first find -ls, {files} files in {directories} directories, {arguments.latency_ms} ms away", "s",
               "source", False, 8),
        Result("then the first read of all files", "s", "source", False),
    ]
    def walk_then_read(root):
        seconds = timed(find, root)
        return [seconds, timed(data.read_all, data.files_below(root))]

    contenders = cold_contenders(place, source, walk_then_read)
    return interleave(results, contenders, min(arguments.rounds, 5), lambda name: contenders[name]())


def cached_tree(place):
    """Small files that are wholly cached, their pages dropped."""
    arguments = place.arguments
    source = place.directory("data")
    data.make_tree(source, 200 if arguments.quick else 2000, 20)
    baseline = "passthrough_hp" if place.wants("passthrough_hp") else "local"
    results = [Result("small files cached, dropped: read all", "files/s", baseline, True, 1),
               Result("small files cached, dropped: stat all", "files/s", baseline, True, 1),
               Result("small files cached, hot: read all", "files/s", baseline, True),
               Result("small files cached, hot: stat all", "files/s", baseline, True)]
    with contextlib.ExitStack() as stack:
        roots = {"local": source}
        if place.wants("larder"):
            slow = stack.enter_context(place.slow_source(source, 0))
            roots["larder"] = stack.enter_context(place.larder(slow, PRIVATE))
        if place.wants("rclone"):
            slow = stack.enter_context(place.slow_source(source, 0))
            roots["rclone"] = stack.enter_context(place.rclone(slow))
        if place.wants("bindfs"):
            roots["bindfs"] = stack.enter_context(place.bindfs(source))
        if place.wants("passthrough_hp"):
            roots["passthrough_hp"] = stack.enter_context(place.passthrough_hp(source))
        paths = {name: data.files_below(root) for name, root in roots.items()}
        for below in paths.values():
            data.read_all(below)

        def measure(name):
            below = paths[name]
            values = []
            for _ in ("dropped", "hot"):
                if not values:
                    os.sync()
                    data.drop_pages(place.root)
                values.append(len(below) / timed(data.read_all, below))
                values.append(len(below) / timed(data.stat_all, below))
            return values

        return interleave(results, roots, arguments.rounds, measure)


def warm(place):
    """Warming small files of a local source, the command and all."""
    arguments = place.arguments
    source = place.directory("data")
    files = 1000
    data.make_tree(source, files, 10)
    paths = [os.path.relpath(path, source) for path in data.files_below(source)]
    result = Result(f"warming {files} small local files", "s", "", False, 1.0)

    def measure(_):
        with place.larder(source) as root:
            seconds = timed(lambda: run(place.tools.larder, "warm", "--from", "-", root, input="\n".join(paths).encode(),
                                        cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return [seconds]

    return interleave([result], ["larder"], arguments.rounds, measure) if place.wants("larder") else []


def untar(place):
    """For information: writes go through to the source, here a local one."""
    arguments = place.arguments
    files = 200 if arguments.quick else 1000
    tree = place.directory("tree")
    data.make_tree(tree, files, 20)
    archive = os.path.join(place.root, "tree.tar")
    run("tar", "-C", tree, "-cf", archive, ".")
    result = Result(f"unpacking {files} small files, local source", "files/s", "local", True)

    def unpack(root):
        return files / timed(run, "tar", "-C", root, "-xf", archive)

    def through(mount):
        with mount(place.directory("data")) as root:
            return unpack(root)

    contenders = {
        "local": lambda: unpack(place.directory("data")),
        "larder": lambda: through(place.larder),
        "rclone": lambda: through(place.rclone),
        "bindfs": lambda: through(place.bindfs),
    }
    contenders = {name: work for name, work in contenders.items() if place.wants(name)}
    return interleave([result], contenders, min(arguments.rounds, 5), lambda name: [contenders[name]()])


GROUPS = {"resident": resident, "cold-sequential": cold_sequential, "cold-tree": cold_tree,
          "cached-tree": cached_tree, "warm": warm, "untar": untar,
          "million": million}
