#!/usr/bin/env python3
"""Checks that the documentation agrees with the program and the tree.

  check_docs.py ROOT LARDER    checks; prints each disagreement, exits 1 when there is one
  check_docs.py --self-check   checks that planted disagreements are found, and that what is right is not reported

Rules
  - README.md's table of options has the keys of `larder mount --help`, in order, with their defaults and meanings.
  - The manual page, as it is made, has them, too, with what they accept; and every command and every option of
    `larder COMMAND --help`.
  - docs/CHECK.md has a row for each kind of finding of `larder check` (src/app/inspect/report.cc), and for no other.
  - Every link to a file, and every path of a file of this tree that the documentation names, leads to one.
  - Every test that docs/REPORTS.md names is in the file it names.
  - Every `Class::function` it names is a word of the sources.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

# A key's two lines: name, meaning and [default]; what it accepts.
KEY = re.compile(r"^  ([a-z_]+) +(.+?)(?: \[(\S+)\])?\n {10,}(\S.*)$", re.MULTILINE)
ROW = re.compile(r"^\| `([a-z_]+)` \| (?:`(\S+)`)? *\| (.+?) \|$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"(?<![\w/.~-])((?:src|tests|docs|scripts|include|man|bench|\.ci)/[\w./-]*[\w/])")
NAME = re.compile(r"`(?:[a-z_]+::)*([A-Z]\w+)::(\w+)`?")
KIND = re.compile(r'\{Kind::k\w+,\s*"([a-z-]+)"')
OPTION = re.compile(r"^ +(?:-\w, *)?(--[a-z][a-z-]+)", re.MULTILINE)


def keys_of(help_text):
    """(name, default, meaning, accepted) for each key of `larder mount --help`."""
    table = help_text.split("Keys, for -o", 1)[-1].split("\n", 1)[-1].split("\n  rw, and", 1)[0]
    return [(name, default or "", meaning, accepted) for name, meaning, default, accepted in KEY.findall(table + "\n")]


def readme_errors(readme, keys):
    rows = [(name, default, meaning) for name, default, meaning in ROW.findall(readme)]
    wanted = [key[:3] for key in keys]
    if not wanted:
        yield "larder mount --help: no keys found"
    for row in wanted:
        if row not in rows:
            yield f"README.md: the table of options lacks or differs in: | `{row[0]}` | `{row[1]}` | {row[2]} |"
    for row in rows:
        if row not in wanted:
            yield f"README.md: the table of options has `{row[0]}` with what the program does not say"
    if sorted(rows) == sorted(wanted) and rows != wanted:
        yield "README.md: the table of options has another order than the program"


def manual_errors(page, keys, helps):
    plain = re.sub(r"\\(.)", r"\1", page)
    for name, default, meaning, accepted in keys:
        for wanted in (f"*{name}*", meaning, f"[{default}]" if default else "", f"Accepted: {accepted}"):
            if wanted not in plain:
                yield f"man/larder.1.scd: {name}: lacks {wanted!r}"
    for command, text in helps.items():
        if f"*{command}*" not in plain:
            yield f"man/larder.1.scd: lacks the command {command}"
        for option in OPTION.findall(text):
            if option != "--help" and f"*{option}*" not in plain:
                yield f"man/larder.1.scd: {command}: lacks {option}"


def link_errors(root, document, text, words):
    for target in LINK.findall(text):
        file = target.split("#")[0]
        if file and not re.match(r"[a-z]+:", file) and not (document.parent / file).exists():
            yield f"{document.relative_to(root)}: the link {target} leads nowhere"
    for path in sorted(set(PATH.findall(text))):
        if not (root / path).exists():
            yield f"{document.relative_to(root)}: there is no {path}"
    for holder, member in sorted(set(NAME.findall(text))):
        if holder not in words or member not in words:
            yield f"{document.relative_to(root)}: there is no {holder}::{member}"


def finding_errors(page, source):
    wanted = set(KIND.findall(source))
    rows = set(re.findall(r"^\| `([a-z]+(?:-[a-z]+)*)` \|", page.split("### Findings", 1)[-1].split("## larder inspect")[0],
                          re.MULTILINE))
    if not wanted:
        yield "src/app/inspect/report.cc: no kinds of findings found"
    for name in sorted(wanted - rows):
        yield f"docs/CHECK.md: lacks a row for {name}"
    for name in sorted(rows - wanted):
        yield f"docs/CHECK.md: has {name}, which is no kind of finding"


def test_errors(root, page):
    """Lists such as: `ATest`, `AnotherTest` in tests/unit/a_test.cc"""
    for names, path in re.findall(r"((?:`\w+`, )*`\w+`) in (tests/[\w/.]+\.cc)", page):
        text = (root / path).read_text(encoding="utf-8") if (root / path).exists() else ""
        for name in re.findall(r"\w+", names):
            if not re.search(rf"^TEST\w*\(\w+, {name}\)", text, re.MULTILINE):
                yield f"docs/REPORTS.md: there is no test {name} in {path}"


def words_of(root):
    words = set()
    for path in (root / "src").rglob("*"):
        if path.suffix in (".h", ".cc"):
            words.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    return words


def check(root, larder):
    def output(*command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    keys = keys_of(output(larder, "mount", "--help"))
    helps = {name: output(larder, name, "--help") for name in ("mount", "umount", "status", "warm", "record", "simulate", "check", "inspect")}
    page = output(root / "man" / "insert-keys", larder, root / "man" / "larder.1.scd")
    found = list(readme_errors((root / "README.md").read_text(encoding="utf-8"), keys))
    found += manual_errors(page, keys, helps)
    found += finding_errors((root / "docs" / "CHECK.md").read_text(encoding="utf-8"),
                            (root / "src" / "app" / "inspect" / "report.cc").read_text(encoding="utf-8"))
    found += test_errors(root, (root / "docs" / "REPORTS.md").read_text(encoding="utf-8"))
    words = words_of(root)
    for document in [root / "README.md", *sorted((root / "docs").glob("*.md")), *sorted((root / "bench").glob("*.md"))]:
        found += link_errors(root, document, document.read_text(encoding="utf-8"), words)
    return found


HELP = """Keys, for -o and for [mount] in the INI file, with their [defaults]:
  size             how much [20%]
                     a size
  ro               read-only [off]
                     on or off
  log_file         log to this file (stderr with -f)
                     an absolute path
  rw, and what fstab has besides
"""
README = "| `size` | `20%` | how much |\n| `ro` | `off` | read-only |\n| `log_file` |  | log to this file (stderr with -f) |\n"


def self_check():
    wrong = []

    def expect(what, found, part):
        found = list(found)
        if (part is None and found) or (part is not None and not any(part in line for line in found)):
            wrong.append(f"{what}: expected {part!r}, found {found}")

    keys = keys_of(HELP)
    expect("three keys", [str(len(keys))], "3")
    expect("a right table", readme_errors(README, keys), None)
    expect("a missing row", readme_errors(README.replace("| `ro`", "| ro"), keys), "lacks or differs in: | `ro`")
    expect("another default", readme_errors(README.replace("20%", "30%"), keys), "does not say")
    expect("another order", readme_errors("\n".join(reversed(README.splitlines())), keys), "order")
    expect("no keys", readme_errors(README, []), "no keys")
    page = "*mount*\n*--config*\n" + "".join(f"*{k[0]}*\n{k[2]} [{k[1]}]\nAccepted: {k[3]}\n" for k in keys)
    helps = {"mount": "  -c,--config FILE   file\n  -h,--help   help\n"}
    expect("a right manual", manual_errors(page.replace("_", "\\_"), keys, helps), None)
    expect("no such key", manual_errors(page.replace("*ro*", ""), keys, helps), "*ro*")
    expect("no such option", manual_errors(page.replace("*--config*", ""), keys, helps), "--config")
    expect("no such command", manual_errors(page.replace("*mount*", ""), keys, helps), "command mount")
    kinds = '{Kind::kOrphan, "orphan", kNote,'
    expect("a right list of findings", finding_errors("### Findings\n| `orphan` | x |\n", kinds), None)
    expect("a missing finding", finding_errors("### Findings\n", kinds), "lacks a row for orphan")
    expect("no such finding", finding_errors("### Findings\n| `orphan` | x |\n| `other` | x |\n", kinds), "has other")
    expect("no findings", finding_errors("### Findings\n", ""), "no kinds")
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        (root / "src").mkdir()
        (root / "src" / "a.h").write_text("class Aa { void b(); };\n", encoding="utf-8")
        words = words_of(root)
        document = root / "README.md"
        expect("right paths", link_errors(root, document, "`src/a.h`, [a](src/a.h#x), <https://x/src/b.h>, `x::Aa::b`", words), None)
        (root / "tests").mkdir()
        (root / "tests" / "a.cc").write_text("TEST_F(Suite, One) {\nTEST(Suite, Two) {\n", encoding="utf-8")
        expect("right tests", test_errors(root, "`One`, `Two` in tests/a.cc"), None)
        expect("no such test", test_errors(root, "`One`, `Three` in tests/a.cc"), "no test Three in tests/a.cc")
        expect("a dead link", link_errors(root, document, "[a](docs/a.md)", words), "leads nowhere")
        expect("a dead path", link_errors(root, document, "see src/b.h.", words), "there is no src/b.h")
        expect("a dead name", link_errors(root, document, "`Aa::c`", words), "there is no Aa::c")
    return wrong


def main(arguments):
    if arguments == ["--self-check"]:
        found = self_check()
    elif len(arguments) == 2:
        found = check(pathlib.Path(arguments[0]).resolve(), pathlib.Path(arguments[1]).resolve())
    else:
        print(__doc__, file=sys.stderr)
        return 2
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
