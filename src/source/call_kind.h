// The kinds of calls the source is asked, as metrics and failpoints name them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace larder::source {

enum class CallKind : uint8_t {
  kAttributes,
  kReadLink,
  kList,
  kOpenDirectory,
  kOpen,
  kCreate,
  kMakeDirectory,
  kMakeNode,
  kMakeSymlink,
  kLink,
  kUnlink,
  kRemoveDirectory,
  kRename,
  kSetAttributes,
  kSyncDirectory,
  kGetXattr,
  kSetXattr,
  kListXattr,
  kRemoveXattr,
  kSpace,
  kSeek,
  kRead,
  kWrite,
  kFlush,
  kSync,
  kAllocate,
  kCopyRange,
  kProbe,
};

inline constexpr size_t kCallKinds = static_cast<size_t>(CallKind::kProbe) + 1;

struct CallKindInfo {
  const char* name;
  // Hit on the worker thread before the call.  An action that returns true makes the call fail with
  // the errno it leaves behind (EIO if none); one that blocks makes it hang.
  const char* failpoint;
  bool moves_data;  // its latency depends on the amount of data
};

inline constexpr std::array<CallKindInfo, kCallKinds> kCallKindInfo = {{
    {"attributes", "source.attributes", false},
    {"read_link", "source.read_link", false},
    {"list", "source.list", false},
    {"open_directory", "source.open_directory", false},
    {"open", "source.open", false},
    {"create", "source.create", false},
    {"make_directory", "source.make_directory", false},
    {"make_node", "source.make_node", false},
    {"make_symlink", "source.make_symlink", false},
    {"link", "source.link", false},
    {"unlink", "source.unlink", false},
    {"remove_directory", "source.remove_directory", false},
    {"rename", "source.rename", false},
    {"set_attributes", "source.set_attributes", false},
    {"sync_directory", "source.sync_directory", false},
    {"get_xattr", "source.get_xattr", false},
    {"set_xattr", "source.set_xattr", false},
    {"list_xattr", "source.list_xattr", false},
    {"remove_xattr", "source.remove_xattr", false},
    {"space", "source.space", false},
    {"seek", "source.seek", false},
    {"read", "source.read", true},
    {"write", "source.write", true},
    {"flush", "source.flush", true},
    {"sync", "source.sync", true},
    {"allocate", "source.allocate", true},
    {"copy_range", "source.copy_range", true},
    {"probe", "source.probe", false},
}};

constexpr const CallKindInfo& info(CallKind kind) {
  return kCallKindInfo[static_cast<size_t>(kind)];
}

}  // namespace larder::source
