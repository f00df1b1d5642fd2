"""The groups of workloads.  Each returns its results; contenders take turns in every round."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import time

from measure import data
from measure.evict import evict
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
    runtime = f"--runtime={round(seconds * 1000)}ms"
    # At depth 1 what most programs do, pread; deeper needs io_uring, which the kernel presumably serves for FUSE files
    # with worker threads, in passthrough too (peers lose there alike).
    engine = ["--ioengine=psync"] if depth == 1 else ["--ioengine=io_uring", f"--iodepth={depth}"]
    if hot:
        return fio(path, "--rw=randread", "--bs=4k", *engine, runtime, "--time_based", "--norandommap")[1]
    # Buffered reads, each block once.  No hint: that reaches the file it is given for, and not the one that a FUSE
    # file system reads behind it, so readahead would be off on one side only.
    return fio(path, "--rw=randread", "--bs=4k", *engine, "--fadvise_hint=0", runtime)[1]


def sequential_read(path):
    return fio(path, "--rw=read", "--bs=1m", "--ioengine=psync")[0] / 1e6


def settle(place, roots):
    """Until what was read is written to the caches, so that the disk is free and everything opens as cached."""
    if "larder" in roots:
        stats = os.path.join(roots["larder"], ".larder", "stats.json")
        count = -1
        while True:
            with open(stats, encoding="utf-8") as text:
                now = json.load(text)["metrics"]["cached"]["files"]
            if now == count:
                break
            count = now
            time.sleep(2)
    os.sync()


def roots_near_the_disk(place, stack, source):
    """The directory itself, and each contender over it with no distance between; unmounted with the stack."""
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
    return roots


def resident(place):
    """A file that is wholly cached: larder against the disk it is cached on."""
    arguments = place.arguments
    source = place.directory("data")
    data.make_file(os.path.join(source, "file"), arguments.file_mib)
    with contextlib.ExitStack() as stack:
        roots = roots_near_the_disk(place, stack, source)
        paths = {name: os.path.join(root, "file") for name, root in roots.items()}
        for path in paths.values():
            data.read_file(path)
        settle(place, roots)
        if "larder" in roots:
            # Read without FUSE: tells what comes from where on the disk the copy lies.
            paths["object"] = data.largest_file(place.caches[roots["larder"]])
            roots["object"] = os.path.dirname(paths["object"])
            place.caches[roots["object"]] = roots["object"]

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
                place.drop(roots[name], source)
                return [work(paths[name])]
            interleave([result], paths, arguments.rounds, measure)
        # The page cache of all is filled in the same way, from one end to the other: how a file came into it shows
        # in the speed of reads from it.
        for name, path in paths.items():
            place.drop(roots[name], source)
            data.read_file(path)
        for path in paths.values():
            data.read_file(path)
        for result, work in hot:
            interleave([result], paths, arguments.rounds, lambda name, work=work: [work(paths[name])])
        results = [result for result, _ in dropped + hot]
        return results + [on_the_same_blocks(result) for result in results if "object" in result.samples]


def on_the_same_blocks(result):
    """Larder against its own copy: files of one disk differ by where they lie, and that is not larder's doing."""
    return dataclasses.replace(result, workload=result.workload + ", same blocks", baseline="object",
                               samples={name: result.samples[name] for name in ("larder", "object")})


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
    return interleave(results, contenders, min(arguments.rounds, 3), lambda name: contenders[name]())


DROP_DENTRIES = "/proc/sys/vm/drop_caches"


def forget_names():
    """Makes the kernel forget names and attributes that nobody uses, everywhere."""
    with open(DROP_DENTRIES, "w", encoding="utf-8") as knob:
        knob.write("2")


def cached_tree(place):
    """Small files that are wholly cached."""
    arguments = place.arguments
    source = place.directory("data")
    data.make_tree(source, 200 if arguments.quick else 2000, 20)
    baseline = "passthrough_hp" if place.wants("passthrough_hp") else "local"
    dropped = [Result("small files cached, dropped: read all", "files/s", baseline, True, 1),
               Result("small files cached, dropped and read: stat all", "files/s", baseline, True, 1)]
    hot = [Result("small files cached, hot: read all", "files/s", baseline, True),
           Result("small files cached, hot and read: stat all", "files/s", baseline, True),
           Result("small files cached, hot: stat all again", "files/s", baseline, True)]
    forgotten = [Result("small files cached, names forgotten by the kernel: find -ls", "files/s", baseline, True, 1)]
    if not os.access(DROP_DENTRIES, os.W_OK):
        forgotten = []
    with contextlib.ExitStack() as stack:
        roots = roots_near_the_disk(place, stack, source)
        paths = {name: data.files_below(root) for name, root in roots.items()}
        for below in paths.values():
            data.read_all(below)
        settle(place, roots)

        def measure(name):
            below = paths[name]
            place.drop(roots[name], source)
            values = [timed(data.read_all, below), timed(data.stat_all, below), timed(data.read_all, below),
                      timed(data.stat_all, below), timed(data.stat_all, below)]
            if forgotten:
                forget_names()
                values.append(timed(find, roots[name]))
            return [len(below) / value for value in values]

        return interleave(dropped + hot + forgotten, roots, arguments.rounds, measure)


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
          "million": million, "evict": evict}
