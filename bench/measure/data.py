"""Files and trees to measure on, and how their pages are put into and out of the page cache."""

import ctypes
import os
import random
import struct

MIB = 1 << 20


def make_file(path, size_mib):
    """Incompressible, different in every block, and on the disk when it returns."""
    chunk = bytearray(random.Random(1).randbytes(MIB))
    with open(path, "wb") as out:
        for number in range(size_mib):
            chunk[:8] = number.to_bytes(8, "little")
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())


def make_tree(root, files, directories, size_bytes=4096):
    generator = random.Random(2)
    for number in range(directories):
        os.makedirs(os.path.join(root, f"dir-{number:03}"), exist_ok=True)
    for number in range(files):
        with open(os.path.join(root, f"dir-{number % directories:03}", f"file-{number:05}"), "wb") as out:
            out.write(generator.randbytes(generator.randrange(size_bytes // 2, size_bytes * 3)))
    os.sync()


def drop_pages(path):
    """Of a file, or of all files below a directory."""
    if os.path.isdir(path):
        for directory, _, names in os.walk(path):
            for name in names:
                drop_pages(os.path.join(directory, name))
        return
    if not os.path.isfile(path) or os.path.islink(path):
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def pages_in_cache(path):
    """Of a file; None where the kernel cannot tell (before Linux 6.5)."""
    cachestat = 451
    fd = os.open(path, os.O_RDONLY)
    try:
        counts = ctypes.create_string_buffer(5 * 8)
        everything = struct.pack("QQ", 0, 0)
        failed = ctypes.CDLL(None).syscall(cachestat, fd, everything, counts, 0)
        return None if failed else struct.unpack("Q", counts.raw[:8])[0]
    finally:
        os.close(fd)


def check_dropped(directory):
    """A measurement of the disk must not be one of the page cache."""
    for below, directories, names in os.walk(directory):
        if "journal" in directories:
            directories.remove("journal")  # larder's own: its tail is mapped and stays
        for path in (os.path.join(below, name) for name in names):
            size = os.path.getsize(path) if os.path.isfile(path) else 0
            if size >= MIB and (pages_in_cache(path) or 0) * 4096 > size / 100:
                raise RuntimeError(f"{path} is still in the page cache")


def read_file(path):
    buffer = bytearray(MIB)
    total = 0
    fd = os.open(path, os.O_RDONLY)
    try:
        while count := os.readv(fd, [buffer]):
            total += count
    finally:
        os.close(fd)
    return total


def files_below(root):
    return sorted(os.path.join(directory, name) for directory, _, names in os.walk(root) for name in names)


def read_all(paths):
    buffer = bytearray(128 << 10)
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        while os.readv(fd, [buffer]):
            pass
        os.close(fd)


def stat_all(paths):
    for path in paths:
        os.stat(path)


def largest_file(root):
    return max(files_below(root), key=os.path.getsize)
