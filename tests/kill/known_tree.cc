#include "kill/known_tree.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "model/tree.h"
#include "support/files.h"

namespace larder::kill {
namespace {

using testing_support::read_file;
using testing_support::write_file;

constexpr size_t kDirectories = 4;
constexpr size_t kSmallFiles = 36;
constexpr size_t kMiddleFiles = 14;
constexpr size_t kLargeFiles = 3;
constexpr size_t kLargeMax = 4 << 20;

Content content_of(const std::string& path, int* error) {
  Content content;
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0) {
    *error = errno;
    return content;
  }
  const auto read = read_file(path);
  *error = read.error;
  content.data = read.data;
  content.mode = status.st_mode & 07777;
  return content;
}

// Each byte is of one or the other, and the size is between theirs.
bool is_between(const Content& found, const Content& before, const Content& after) {
  if (found.mode != before.mode && found.mode != after.mode) return false;
  const size_t least = std::min(before.data.size(), after.data.size());
  const size_t most = std::max(before.data.size(), after.data.size());
  if (found.data.size() < least || found.data.size() > most) return false;
  for (size_t i = 0; i < found.data.size(); ++i) {
    const bool as_before = i < before.data.size() && found.data[i] == before.data[i];
    const bool as_after = i < after.data.size() && found.data[i] == after.data[i];
    // A file that grows reads as zeros where nothing was written yet.
    const bool hole = i >= before.data.size() && found.data[i] == 0;
    if (!as_before && !as_after && !hole) return false;
  }
  return true;
}

// Of one in doubt, besides being as before.
bool may_be(const Slot& slot, const std::optional<Content>& found) {
  if (!slot.in_doubt()) return false;
  if (found == slot.becoming) return true;
  const Content nothing{.data = {}, .mode = found ? found->mode : mode_t{0}};
  return found && slot.doubt == Slot::Doubt::kHalfway &&
         is_between(*found, slot.content.value_or(nothing), slot.becoming.value_or(nothing));
}

std::string describe(const std::optional<Content>& content) {
  return content ? fmt::format("{} bytes with mode {:o}", content->data.size(), content->mode)
                 : std::string("nothing");
}

std::string wrong_file(const Slot& slot, const std::optional<Content>& found) {
  const auto against = [&](const std::optional<Content>& expected) {
    const bool both = expected && found;
    return describe(expected) + (both ? model::first_difference(expected->data, found->data) : "");
  };
  std::string text = fmt::format("'{}' is {}, but should be {}", slot.name, describe(found),
                                 against(slot.content));
  if (slot.in_doubt()) text += fmt::format(", or be becoming {}", against(slot.becoming));
  return text + fmt::format(" (last {})", slot.last_change);
}

}  // namespace

std::string fresh_data(Random& random, size_t length) {
  return testing_support::pattern(length, random.next());
}

KnownTree::KnownTree(Random& random) {
  const size_t count = kSmallFiles + kMiddleFiles + kLargeFiles;
  for (size_t i = 0; i < count; ++i) {
    auto slot = std::make_unique<Slot>();
    slot->name = fmt::format("d{}/f{}", i % kDirectories, i);
    const size_t size = i < kLargeFiles                  ? kLargeMax / 4 + random.below(kLargeMax)
                        : i < kLargeFiles + kMiddleFiles ? random.below(kLargeMax / 10)
                                                         : random.below(9000);
    if (i < kLargeFiles + kMiddleFiles || !random.one_in(4))
      slot->content = Content{fresh_data(random, size)};
    slots_.push_back(std::move(slot));
  }
}

size_t KnownTree::likely_size(Random& random) const {
  return random.one_in(12)  ? random.below(kLargeMax)
         : random.one_in(3) ? random.below(kLargeMax / 10)
                            : random.below(9000);
}

std::string KnownTree::create(const std::string& root) const {
  for (size_t i = 0; i < kDirectories; ++i)
    std::filesystem::create_directory(fmt::format("{}/d{}", root, i));
  for (const auto& slot : slots_)
    if (slot->content)
      if (const int error = write_file(root + "/" + slot->name, slot->content->data))
        return fmt::format("{}: {}", slot->name, std::strerror(error));
  return {};
}

std::string KnownTree::settle(const std::string& root) {
  std::set<std::string> known;
  for (const auto& slot : slots_) {
    int error = 0;
    const Content found = content_of(root + "/" + slot->name, &error);
    known.insert(slot->name);
    if (error != 0 && error != ENOENT)
      return fmt::format("'{}': {}", slot->name, std::strerror(error));
    const bool is_there = error == 0;
    const bool as_known = is_there ? slot->content && *slot->content == found : !slot->content;
    if (!as_known) {
      const auto now = is_there ? std::optional(found) : std::nullopt;
      if (!may_be(*slot, now)) return wrong_file(*slot, now);
      slot->content = now;
    }
    slot->doubt = Slot::Doubt::kNone;
    slot->becoming.reset();
  }
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    const std::string name = std::filesystem::relative(entry.path(), root);
    if (!entry.is_directory() && !known.contains(name))
      return fmt::format("'{}' should not be there", name);
  }
  return {};
}

std::string KnownTree::check_numbers(const std::string& mount) {
  std::map<ino_t, std::string> seen;
  for (const auto& slot : slots_) {
    struct stat status{};
    if (!slot->content || lstat((mount + "/" + slot->name).c_str(), &status) != 0) continue;
    if (const auto [other, is_new] = seen.emplace(status.st_ino, slot->name); !is_new)
      return fmt::format("'{}' and '{}' have the same number {}", other->second, slot->name,
                         status.st_ino);
    if (slot->number != 0 && slot->number != status.st_ino)
      return fmt::format("'{}' had number {} and has {} now (last {})", slot->name, slot->number,
                         status.st_ino, slot->last_change);
    slot->number = status.st_ino;
  }
  return {};
}

int rewrite(const std::string& path, const Content& to, Random& random) {
  if (random.one_in(3)) {
    const std::string aside = path + ".aside";
    if (const int error = write_file(aside, to.data)) return error;
    if (chmod(aside.c_str(), to.mode) != 0 || rename(aside.c_str(), path.c_str()) != 0)
      return errno;
    return 0;
  }
  if (random.one_in(2)) {
    if (const int error = write_file(path, to.data)) return error;
  } else {
    testing_support::Descriptor file(path, O_WRONLY | O_CREAT);
    if (!file.valid()) return file.error();
    if (pwrite(file.get(), to.data.data(), to.data.size(), 0) !=
            static_cast<ssize_t>(to.data.size()) ||
        ftruncate(file.get(), static_cast<off_t>(to.data.size())) != 0)
      return errno;
  }
  return chmod(path.c_str(), to.mode) == 0 ? 0 : errno;
}

std::string KnownTree::change(const std::string& root, Random& random, uint64_t one_in) {
  for (const auto& slot : slots_) {
    if (!random.one_in(one_in)) continue;
    slot->last_change = "changed between two mounts";
    slot->number = 0;
    const std::string path = root + "/" + slot->name;
    int error = 0;
    if (slot->content && random.one_in(6)) {
      slot->content.reset();
      error = unlink(path.c_str()) == 0 ? 0 : errno;
    } else {
      const bool same_size = slot->content && random.one_in(2);
      const size_t size = same_size ? slot->content->data.size() : likely_size(random);
      const mode_t mode = slot->content && random.one_in(2) ? slot->content->mode : 0600;
      slot->content = Content{fresh_data(random, size), mode};
      error = rewrite(path, *slot->content, random);
    }
    if (error != 0) return fmt::format("changing '{}': {}", slot->name, std::strerror(error));
  }
  return {};
}

}  // namespace larder::kill
