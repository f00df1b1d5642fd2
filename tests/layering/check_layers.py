#!/usr/bin/env python3
"""Checks the architecture's rules on the sources' includes (docs/ARCHITECTURE.md).

  check_layers.py ROOT          checks ROOT/src and ROOT/include; prints each violation, exits 1 when there is one
  check_layers.py --self-check  checks that planted violations are found, and that what is right is not reported

Rules
  - Includes go strictly down the floors; modules of one floor do not include each other.
  - An include of our own is written "module/file.h", from src/ or include/, and the file exists.
  - What include/ offers to other programs includes nothing of src/.
  - Each third-party header has one owner among the modules; an unknown header has to get one here.
  - No file of src/ is longer than LINES_MAX lines.
"""

import pathlib
import re
import sys
import tempfile

# Bottom up.  "larder" is include/larder.
FLOORS = [
    ["larder"],
    ["base"],
    ["format", "buffer", "evict"],
    ["io", "memory"],
    ["journal", "object", "source"],
    ["catalog"],
    ["cache"],
    ["fs"],
    ["fuse", "control"],
    ["app"],
]
FLOOR_OF = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}

# The first pattern that matches decides; owners are modules or single files without their ending.
THIRD_PARTY = [
    (r"fuse3/.*|fuse(_[a-z]+)?\.h", {"fuse"}),
    (r"liburing(/.*|\.h)", {"io"}),
    (r"ini\.h|INIReader\.h|CLI/.*", {"app"}),
    (r"systemd/.*", {"app"}),
    (r"nlohmann/.*|prometheus/.*", {"control"}),
    (r"spdlog/.*", {"base/log"}),
    (r"xxhash\.h", {"base/checksum"}),
]
ANYWHERE = r"fmt/.*|tbb/.*|oneapi/.*|sanitizer/.*"

# The C library's and the kernel's headers; the C++ library's have no ending.
SYSTEM = (r"[a-z_]+|(sys|linux|net|netinet|arpa|asm|bits)/[a-z0-9_/-]+\.h|"
          r"(assert|ctype|dirent|dlfcn|endian|err|errno|execinfo|fcntl|features|fnmatch|ftw|getopt|glob|grp|inttypes|"
          r"libgen|limits|locale|malloc|math|mntent|mqueue|netdb|paths|poll|pthread|pwd|regex|sched|semaphore|setjmp|"
          r"signal|spawn|stdarg|stddef|stdint|stdio|stdlib|string|strings|syscall|sysexits|syslog|termios|time|"
          r"ucontext|unistd|utime|wchar)\.h")

LINES_MAX = 700
ENDINGS = {".h", ".cc"}
INCLUDE = re.compile(r'^\s*#\s*include(?:_next)?\s*(<[^>]+>|"[^"]+"|\S.*)')


def own_include_error(root, module, target):
    """What is wrong with an include of our own `target` ("module/file.h") in `module`, or None."""
    included = target.split("/")[0]
    if "/" not in target or included not in FLOOR_OF:
        return f'"{target}" is not of the form "module/file.h" with a known module'
    if not any((root / base / target).is_file() for base in ("src", "include")):
        return f'"{target}" does not exist'
    if included == module:
        return None
    if FLOOR_OF[included] == FLOOR_OF[module]:
        return f'"{target}": {module} and {included} are siblings'
    if FLOOR_OF[included] > FLOOR_OF[module]:
        return f'"{target}": {included} is above {module}'
    return None


def foreign_include_error(module, stem, target):
    """What is wrong with an include of a foreign header <target> in module/stem, or None."""
    for pattern, owners in THIRD_PARTY:
        if re.fullmatch(pattern, target):
            if module in owners or f"{module}/{stem}" in owners:
                return None
            return f"<{target}> belongs to {', '.join(sorted(owners))} alone"
    if re.fullmatch(SYSTEM, target) or re.fullmatch(ANYWHERE, target):
        return None
    return f"<{target}> is not known: give it an owner in {pathlib.Path(__file__).name}"


def file_violations(root, path, module):
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    place = path.relative_to(root)
    if path.is_relative_to(root / "src") and len(lines) > LINES_MAX:
        yield f"{place}: {len(lines)} lines, more than {LINES_MAX}"
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = match.group(1)
        if target.startswith('"'):
            error = own_include_error(root, module, target[1:-1])
        elif not target.startswith("<"):
            error = f"{target}: a computed include cannot be checked"
        elif target[1:].split("/")[0] == "larder":
            error = own_include_error(root, module, target[1:-1])
        else:
            error = foreign_include_error(module, path.stem, target[1:-1])
        if error:
            yield f"{place}:{number}: {error}"


def violations(root):
    found = []
    checked = 0
    for base in ("src", "include"):
        for path in sorted((root / base).rglob("*")):
            if not path.is_file() or path.suffix not in ENDINGS | {".hpp", ".cpp", ".c", ".inc"}:
                continue
            checked += 1
            parts = path.relative_to(root / base).parts
            module = parts[0] if len(parts) > 1 else ""
            if path.suffix not in ENDINGS:
                found.append(f"{path.relative_to(root)}: sources end in .h or .cc")
            elif module not in FLOOR_OF or (module == "larder") != (base == "include"):
                found.append(f"{path.relative_to(root)}: not in a known module")
            else:
                found.extend(file_violations(root, path, module))
    if checked == 0:
        found.append(f"{root}: nothing to check")
    return found


# File, content, and a part of the message it must cause (None: none at all).
PLANTED = [
    ("src/io/a.cc", '#include "base/base.h"\n#include "io/io.h"\n', None),
    ("src/app/a.cc", '#include "fuse/fuse.h"\n#include <CLI/CLI.hpp>\n#include <ini.h>\n', None),
    ("src/io/a.cc", '#include <vector>\n#include <sys/stat.h>\n#include <liburing.h>\n#include <fmt/format.h>\n', None),
    ("src/base/log.cc", "#include <spdlog/spdlog.h>\n", None),
    ("src/control/a.cc", '#include "larder/protocol.h"\n#include <larder/protocol.h>\n', None),
    ("src/io/a.cc", '// #include "fuse/fuse.h"\n', None),
    ("src/io/a.cc", "\n" * LINES_MAX, None),
    ("src/base/a.cc", '#include "io/io.h"\n', "src/base/a.cc:1: \"io/io.h\": io is above base"),
    ("src/io/a.cc", '\n  #  include "fuse/fuse.h"\n', "src/io/a.cc:2: \"fuse/fuse.h\": fuse is above io"),
    ("src/memory/a.h", '#include "io/io.h"\n', "siblings"),
    ("src/control/a.h", '#include "fuse/fuse.h"\n', "siblings"),
    ("src/io/a.cc", '#include "io.h"\n', "not of the form"),
    ("src/io/a.cc", '#include "../base/base.h"\n', "not of the form"),
    ("src/io/a.cc", '#include "base/absent.h"\n', "does not exist"),
    ("src/io/a.cc", "#include HEADER\n", "computed"),
    ("include/larder/a.h", '#include "base/base.h"\n', "base is above larder"),
    ("src/fs/a.cc", "#include <fuse3/fuse_lowlevel.h>\n", "belongs to fuse"),
    ("src/fs/a.cc", "#include <fuse_lowlevel.h>\n", "belongs to fuse"),
    ("src/journal/a.cc", "#include <liburing.h>\n", "belongs to io"),
    ("src/control/a.cc", "#include <CLI/App.hpp>\n", "belongs to app"),
    ("src/app/a.cc", "#include <nlohmann/json.hpp>\n", "belongs to control"),
    ("src/base/metrics.cc", "#include <spdlog/spdlog.h>\n", "belongs to base/log"),
    ("src/format/a.cc", "#include <xxhash.h>\n", "belongs to base/checksum"),
    ("src/io/a.cc", "#include <boost/asio.hpp>\n", "not known"),
    ("src/io/a.cc", "#include <zlib.h>\n", "not known"),
    ("src/io/a.cc", "\n" * (LINES_MAX + 1), f"more than {LINES_MAX}"),
    ("src/io/a.cpp", "", "end in .h or .cc"),
    ("src/helpers/a.cc", "", "not in a known module"),
    ("src/a.cc", "", "not in a known module"),
]
BACKGROUND = ["src/base/base.h", "src/io/io.h", "src/fuse/fuse.h", "include/larder/protocol.h"]


def self_check():
    wrong = []
    for name, content, expected in PLANTED:
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            for path, text in [(path, "#pragma once\n") for path in BACKGROUND] + [(name, content)]:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text, encoding="utf-8")
            found = violations(root)
        as_expected = not found if expected is None else len(found) == 1 and expected in found[0]
        if not as_expected:
            wrong.append(f"{name} with {content.strip()[:60]!r}: expected {expected!r}, found {found}")
    with tempfile.TemporaryDirectory() as directory:
        if not violations(pathlib.Path(directory)):
            wrong.append("an empty tree passes")
    return wrong


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    found = self_check() if arguments[0] == "--self-check" else violations(pathlib.Path(arguments[0]).resolve())
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
