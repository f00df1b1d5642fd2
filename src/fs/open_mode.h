// How the kernel reads and writes an open file, decided by a table.
//
// The kernel allows an inode one of two things at a time: opens that use its page cache, or opens
// that are in passthrough to one object.  Among the latter a direct open sends what is read and
// written to the daemon, and maps the object; readers in passthrough and a direct writer see each
// other's bytes at once, as the daemon writes to the same object.  A store through a shared mapping
// of a direct open reaches the object alone, so an open that may make one gets another inode where
// that can be had.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace larder::fs {

enum class OpenMode : uint8_t {
  kCached,       // through the daemon, with the kernel's page cache
  kPassthrough,  // the kernel reads the object
  kDirect,       // through the daemon without the page cache; a mapping is of the object
};

// What an open is for.
enum class OpenWish : uint8_t {
  kReadWhole,  // reading, and the object has everything
  kReadPart,   // reading what may have to be fetched
  kWrite,      // writing only: such a file cannot be mapped
  kReadWrite,  // a shared mapping may be stored to
};
inline constexpr size_t kOpenWishes = 4;

// Who has the kernel's inode open already.
enum class InodeUse : uint8_t {
  kNobody,
  kCached,
  kObject,     // in passthrough to the object the file has now
  kOldObject,  // in passthrough to one it had before
};
inline constexpr size_t kInodeUses = 4;

// nullopt: the opener is to look the name up again and open another inode.
// is_awaited: another opener was sent to this inode who must not find it in passthrough.
// must_open: the opener cannot be sent to another inode.
inline std::optional<OpenMode> choose_open_mode(OpenWish wish, InodeUse use, bool is_awaited,
                                                bool must_open) {
  using enum OpenMode;
  constexpr std::optional<OpenMode> kElsewhere = std::nullopt;
  constexpr std::array<std::array<std::optional<OpenMode>, kOpenWishes>, kInodeUses> kModes{{
      // kReadWhole, kReadPart, kWrite, kReadWrite
      {kPassthrough, kCached, kCached, kCached},         // kNobody
      {kCached, kCached, kCached, kCached},              // kCached
      {kPassthrough, kDirect, kDirect, kElsewhere},      // kObject
      {kElsewhere, kElsewhere, kElsewhere, kElsewhere},  // kOldObject
  }};
  if (use == InodeUse::kNobody && is_awaited) return kCached;
  const auto mode = kModes[static_cast<size_t>(use)][static_cast<size_t>(wish)];
  return mode || !must_open ? mode : kDirect;
}

}  // namespace larder::fs
