#include "model/tree.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "model/world.h"

namespace larder::model {
namespace {

struct Entry {
  std::string name;
  uint64_t inode;
  bool is_directory;
};

std::vector<Entry> entries_of(const std::string& path) {
  std::vector<Entry> entries;
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) return entries;
  while (const dirent* entry = readdir(directory))
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
      entries.push_back({entry->d_name, entry->d_ino, entry->d_type == DT_DIR});
  closedir(directory);
  std::ranges::sort(entries, {}, &Entry::name);
  return entries;
}

std::string check_inode(const std::string& path, const Entry& entry) {
  struct stat status;
  if (lstat(path.c_str(), &status) != 0)
    return fmt::format("'{}' is listed, but {}", path, std::strerror(errno));
  if (status.st_ino == entry.inode) return {};
  return fmt::format("'{}' is listed as inode {}, but is {}", path, entry.inode, status.st_ino);
}

std::string differ(const std::string& name, const char* what, const Outcome& expected,
                   const Outcome& got) {
  if (expected == got) return {};
  return fmt::format("{} of '{}' should be {}, but is {}{}", what, name, describe(expected),
                     describe(got), first_difference(expected.data, got.data));
}

std::string compare_below(const std::string& expected, const std::string& got,
                          const std::string& name, const TreeComparison& what) {
  const std::string here = expected + name;
  const std::string there = got + name;
  std::string wrong =
      differ(name, "attributes", attributes(here, what.times), attributes(there, what.times));
  if (wrong.empty() && what.xattrs) wrong = differ(name, "xattrs", xattrs(here), xattrs(there));
  struct stat status;
  if (!wrong.empty() || lstat(here.c_str(), &status) != 0) return wrong;
  if (S_ISREG(status.st_mode)) return differ(name, "data", read_all(here), read_all(there));
  if (!S_ISDIR(status.st_mode)) return {};
  wrong = differ(name, "listing", list(here), list(there));
  if (!wrong.empty()) return wrong;
  for (const Entry& entry : entries_of(there)) {
    const std::string below = name + "/" + entry.name;
    if (what.is_mount) wrong = check_inode(got + below, entry);
    if (wrong.empty()) wrong = compare_below(expected, got, below, what);
    if (!wrong.empty()) return wrong;
  }
  return {};
}

}  // namespace

std::string first_difference(const std::string& expected, const std::string& got) {
  const auto [a, b] = std::ranges::mismatch(expected, got);
  if (a == expected.end() && b == got.end()) return {};
  const auto at = static_cast<size_t>(a - expected.begin());
  const auto hex = [&](const std::string& data) {
    std::string text;
    for (size_t i = at; i < std::min(data.size(), at + 8); ++i)
      text += fmt::format("{:02x}", static_cast<unsigned char>(data[i]));
    return text.empty() ? std::string("the end") : text;
  };
  return fmt::format("; they differ from byte {}: {} and {}", at, hex(expected), hex(got));
}

std::string compare(const std::string& expected, const std::string& got,
                    const TreeComparison& what) {
  const std::string wrong = compare_below(expected, got, "", what);
  return wrong.empty() ? wrong : fmt::format("{} against {}: {}", got, expected, wrong);
}

}  // namespace larder::model
