#include "app/mount_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

namespace larder::app {
namespace {

// Access times are kept by the source, as it is mounted: the kernel does not change them on a FUSE
// mount, so all that asks for no more than that is so.
constexpr std::array<std::string_view, 18> kWithoutEffect{"auto",
                                                          "noauto",
                                                          "defaults",
                                                          "nofail",
                                                          "nouser",
                                                          "_netdev",
                                                          "nomand",
                                                          "silent",
                                                          "loud",
                                                          "diratime",
                                                          "nodiratime",
                                                          "relatime",
                                                          "norelatime",
                                                          "nostrictatime",
                                                          "nolazytime",
                                                          "noiversion",
                                                          "default_permissions",
                                                          "symfollow"};

// Flag and opposite.
struct Pair {
  std::string_view flag;
  std::string_view opposite;
};
constexpr std::array<Pair, 5> kPairs{{{"nosuid", "suid"},
                                      {"nodev", "dev"},
                                      {"noexec", "exec"},
                                      {"noatime", "atime"},
                                      {"sync", "async"}}};

// mount(8): what users may mount has these, unless later words say otherwise.
struct Implied {
  std::string_view name;
  bool noexec;
};
constexpr std::array<Implied, 4> kOfUsers{
    {{"user", true}, {"users", true}, {"owner", false}, {"group", false}}};

struct Refused {
  std::string_view name;
  std::string_view reason;
};
constexpr std::array<Refused, 6> kRefused{{
    {"strictatime", "access times are the source's, which sees no reads from the cache"},
    {"lazytime", "access times are the source's, as it is mounted"},
    {"dirsync", "the kernel does not hand it on to a FUSE file system; sync it does, for writes"},
    {"mand", "the kernel has no mandatory locks any more"},
    {"iversion", "a FUSE file system has no change counter"},
    {"nosymfollow", "the kernel cannot be told with FUSE's way of mounting"},
}};

}  // namespace

bool is_flag_without_effect(std::string_view name) {
  return name.empty() || name.starts_with("x-") || name.starts_with("X-") || name == "comment" ||
         name == "subtype" || std::ranges::find(kWithoutEffect, name) != kWithoutEffect.end();
}

Result<bool> KernelFlags::set(std::string_view name, bool on) {
  const auto refused = std::ranges::find(kRefused, name, &Refused::name);
  if (refused != kRefused.end()) {
    if (on) return fail(Code::kInvalid, std::string(refused->reason));
    return true;
  }
  const auto of_users = std::ranges::find(kOfUsers, name, &Implied::name);
  if (of_users != kOfUsers.end()) {
    if (!on) return true;
    put("nosuid");
    put("nodev");
    if (of_users->noexec) put("noexec");
    return true;
  }
  for (const Pair& pair : kPairs) {
    if (name != pair.flag && name != pair.opposite) continue;
    put((name == pair.flag) == on ? pair.flag : pair.opposite);
    return true;
  }
  return false;
}

void KernelFlags::put(std::string_view word) {
  for (const Pair& pair : kPairs)
    if (word == pair.flag || word == pair.opposite)
      std::erase_if(words_, [&](const std::string& known) {
        return known == pair.flag || known == pair.opposite;
      });
  const bool is_default = word == "exec" || word == "atime" || word == "async";
  if (!is_default) words_.emplace_back(word);
}

Result<void> KernelFlags::check_allowed_to_users() const {
  for (const std::string_view word : {"suid", "dev"})
    if (std::ranges::find(words_, word) != words_.end())
      return fail(Code::kInvalid, fmt::format("{}: only root can mount with it", word));
  return {};
}

}  // namespace larder::app
