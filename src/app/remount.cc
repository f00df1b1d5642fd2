#include "app/remount.h"

#include <fmt/format.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "app/exit_codes.h"
#include "app/keys.h"
#include "app/mount_table.h"
#include "app/values.h"
#include "control/client.h"
#include "larder/control.h"

namespace larder::app {
namespace {

// What mount(8) adds of the mount's present options in the kernel.
constexpr std::array<std::string_view, 8> kOfTheKernel{
    "remount", "user_id", "group_id", "max_read", "rootmode", "blksize", "fsname", "fd"};

struct Flag {
  std::string_view name;
  unsigned long bits;
  bool sets;
};
constexpr std::array<Flag, 14> kFlags{{{"ro", MS_RDONLY, true},
                                       {"rw", MS_RDONLY, false},
                                       {"nosuid", MS_NOSUID, true},
                                       {"suid", MS_NOSUID, false},
                                       {"nodev", MS_NODEV, true},
                                       {"dev", MS_NODEV, false},
                                       {"noexec", MS_NOEXEC, true},
                                       {"exec", MS_NOEXEC, false},
                                       {"noatime", MS_NOATIME, true},
                                       {"atime", MS_NOATIME, false},
                                       {"nodiratime", MS_NODIRATIME, true},
                                       {"diratime", MS_NODIRATIME, false},
                                       {"relatime", MS_RELATIME, true},
                                       {"norelatime", MS_RELATIME, false}}};
constexpr unsigned long kTimes = MS_NOATIME | MS_RELATIME;

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> words;
  for (;;) {
    const size_t end = text.find(',');
    words.emplace_back(text.substr(0, end));
    if (end == text.npos) return words;
    text.remove_prefix(end + 1);
  }
}

void apply_flag(unsigned long& flags, std::string_view name) {
  const auto flag = std::ranges::find(kFlags, name, &Flag::name);
  if (flag == kFlags.end()) return;
  if (flag->sets && (flag->bits & kTimes) != 0) flags &= ~kTimes;  // these exclude one another
  flags = flag->sets ? flags | flag->bits : flags & ~flag->bits;
}

// The options that stand for keys, without what only mount(8) and the kernel care about.
Result<std::vector<Setting>> wanted_settings(std::string_view options) {
  std::string kept;
  for (const std::string& option : split(options)) {
    const std::string name = option.substr(0, option.find('='));
    if (std::ranges::find(kOfTheKernel, name) != kOfTheKernel.end()) continue;
    if (std::ranges::find(kFlags, option, &Flag::name) != kFlags.end()) continue;
    kept += (kept.empty() ? "" : ",") + option;
  }
  return parse_options(kept);
}

// The keys a mount has, as its own virtual file says.
Result<std::vector<Setting>> present_settings(const std::string& mountpoint,
                                              const std::vector<Setting>& wanted) {
  std::string control_dir = ".larder";
  for (const Setting& setting : wanted)
    if (setting.key == "control_dir") control_dir = setting.value;
  TRY_ASSIGN(const std::string text,
             control::read_virtual_file(
                 fmt::format("{}/{}/{}", mountpoint, control_dir, control::kConfigFile),
                 std::chrono::seconds(10)));
  return parse_ini(text, control::kConfigFile);
}

// The mount knows its cache directory by its real path.
bool is_same_place(const Setting& wanted, const Setting& present) {
  std::error_code error;
  return wanted.key == "cache_dir" &&
         std::filesystem::weakly_canonical(wanted.value, error).string() == present.value;
}

std::string_view in_words(bool on) {
  return on ? "on" : "off";
}

// Empty when the mount has each of these values.
Result<std::string> what_cannot_change(const std::vector<Setting>& present,
                                       const std::vector<Setting>& wanted) {
  std::vector<std::string> refused;
  // The kernel keeps it for the file system, not for the mount point.
  const bool is_sync = std::ranges::find(present, "sync", &Setting::key) != present.end();
  bool wants_sync = is_sync;
  for (const Setting& setting : wanted) {
    const auto now = std::ranges::find(present, setting.key, &Setting::key);
    const bool is_of_sync = setting.key == "sync" || setting.key == "async";
    if (now == present.end() || is_of_sync) {
      TRY(make_config({setting}));  // an unknown key has a message of its own
      if (is_of_sync)
        wants_sync = parse_switch(setting.value).value_or(true) == (setting.key == "sync");
      continue;
    }
    if (now->value != setting.value && !is_same_place(setting, *now))
      refused.push_back(fmt::format("{} (is {}, not {})", setting.key, now->value, setting.value));
  }
  if (wants_sync != is_sync)
    refused.push_back(fmt::format("sync (is {}, not {})", in_words(is_sync), in_words(wants_sync)));
  return fmt::format("{}", fmt::join(refused, ", "));
}

struct Flags {
  unsigned long before = 0;
  unsigned long after = 0;
};

Flags flags_of(const MountEntry& mount, std::string_view options) {
  Flags flags;
  for (const std::string& option : split(mount.options)) apply_flag(flags.before, option);
  flags.after = flags.before;
  for (const std::string& option : split(options)) apply_flag(flags.after, option);
  return flags;
}

// Errors are one line.
Result<void> remount_checked(const MountArguments& arguments) {
  const auto place = resolve_mountpoint(arguments.mountpoint);
  const auto table = read_mount_table();
  const auto mount = place && table ? find_mount(*table, *place) : std::nullopt;
  if (!mount || !mount->is_larder())
    return fail(Code::kInvalid,
                fmt::format("-o remount: '{}' is not a larder mount: `larder status` lists them",
                            arguments.mountpoint));
  TRY_ASSIGN(const auto wanted, wanted_settings(arguments.options));
  const auto present = present_settings(mount->mountpoint, wanted);
  if (!present) return fail(present.error().code(), present.error().message());
  TRY_ASSIGN(const std::string refused, what_cannot_change(*present, wanted));
  if (!refused.empty())
    return fail(Code::kInvalid,
                fmt::format("-o remount cannot change {}: unmount {} and mount it again", refused,
                            arguments.mountpoint));
  const Flags flags = flags_of(*mount, arguments.options);
  const bool is_served_read_only = std::ranges::any_of(*present, [](const Setting& setting) {
    return setting.key == "ro" && setting.value == "on";
  });
  if (is_served_read_only && (flags.after & MS_RDONLY) == 0)
    return fail(Code::kInvalid,
                fmt::format("-o remount cannot change ro (it was mounted so): unmount {} and mount "
                            "it again",
                            arguments.mountpoint));
  if (flags.after == flags.before) return {};
  if (::mount(nullptr, place->c_str(), nullptr, MS_REMOUNT | MS_BIND | flags.after, nullptr) != 0) {
    const Error error = Error::from_errno("-o remount of " + *place);
    return fail(error.code(), error.message());
  }
  return {};
}

}  // namespace

bool asks_for_remount(std::string_view options) {
  const auto words = split(options);
  return std::ranges::find(words, "remount") != words.end();
}

int remount(const MountArguments& arguments) {
  const auto done = remount_checked(arguments);
  if (!done) complain(done.error().detail());
  return done ? kExitOk : kExitMountFailed;
}

}  // namespace larder::app
