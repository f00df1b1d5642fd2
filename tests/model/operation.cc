#include "model/operation.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

namespace larder::model {
namespace {

struct KindInfo {
  Kind kind;
  const char* name;
  uint32_t weight;
  bool may_be_outside;
};

constexpr std::array kKinds = {
    KindInfo{Kind::kPut, "put", 10, true},
    KindInfo{Kind::kReadFile, "read_file", 8, false},
    KindInfo{Kind::kTruncate, "truncate", 5, true},
    KindInfo{Kind::kRename, "rename", 6, true},
    KindInfo{Kind::kLink, "link", 4, true},
    KindInfo{Kind::kUnlink, "unlink", 5, true},
    KindInfo{Kind::kMakeDirectory, "mkdir", 3, true},
    KindInfo{Kind::kRemoveDirectory, "rmdir", 2, true},
    KindInfo{Kind::kSymlink, "symlink", 2, true},
    KindInfo{Kind::kReadLink, "readlink", 2, false},
    KindInfo{Kind::kChmod, "chmod", 2, true},
    KindInfo{Kind::kChown, "chown", 2, true},
    KindInfo{Kind::kSetTimes, "utimens", 3, true},
    KindInfo{Kind::kSetXattr, "setxattr", 2, true},
    KindInfo{Kind::kGetXattr, "getxattr", 2, false},
    KindInfo{Kind::kListXattr, "listxattr", 1, false},
    KindInfo{Kind::kRemoveXattr, "removexattr", 1, true},
    KindInfo{Kind::kList, "list", 4, false},
    KindInfo{Kind::kStat, "stat", 4, false},
    KindInfo{Kind::kOpen, "open", 14, false},
    KindInfo{Kind::kClose, "close", 6, false},
    KindInfo{Kind::kWrite, "write", 16, false},
    KindInfo{Kind::kRead, "read", 20, false},
    KindInfo{Kind::kMapRead, "mmap_read", 5, false},
    KindInfo{Kind::kMapWrite, "mmap_write", 4, false},
    KindInfo{Kind::kTruncateHandle, "ftruncate", 4, false},
    KindInfo{Kind::kAllocate, "fallocate", 5, false},
    KindInfo{Kind::kSeek, "lseek", 3, false},
    KindInfo{Kind::kCopyRange, "copy_file_range", 4, false},
    KindInfo{Kind::kChmodHandle, "fchmod", 1, false},
    KindInfo{Kind::kStatHandle, "fstat", 4, false},
    KindInfo{Kind::kSync, "fsync", 1, false},
    KindInfo{Kind::kRemount, "remount", 1, false},
    KindInfo{Kind::kKill, "kill", 1, false},
};

const KindInfo& info(Kind kind) {
  return *std::ranges::find(kKinds, kind, &KindInfo::kind);
}

std::string pick_directory(Random& random) {
  static const std::array<const char*, 4> kDirectories = {"", "", "a/", "a/b/"};
  return kDirectories[random.below(kDirectories.size())];
}

std::string pick_name(Random& random) {
  static const std::array<std::string, 7> kNames = {
      "f0", "f1", "f2", "f3", "f4", "a", std::string(255, 'n')};
  // Mostly few files, so that operations meet.
  const uint64_t n = random.below(16);
  if (n < 12) return kNames[n % 4];
  return kNames[3 + n % 4];
}

std::string pick_path(Random& random) {
  if (random.one_in(20)) return random.one_in(2) ? "a" : "a/b";
  return pick_directory(random) + pick_name(random);
}

uint64_t pick_offset(Random& random, const Shape& shape) {
  switch (random.below(4)) {
    case 0:
      return 0;
    case 1: {  // near a block's edge
      const uint64_t blocks = std::max<uint64_t>(1, shape.file_bytes_max / shape.block_bytes);
      const uint64_t edge = random.below(blocks) * shape.block_bytes;
      const uint64_t offset = edge + random.below(9);
      return offset < 4 ? offset : offset - 4;
    }
    case 2:
      return random.below(shape.file_bytes_max >> 4 | 1);
    default:
      return random.below(shape.file_bytes_max);
  }
}

uint64_t pick_length(Random& random, const Shape& shape) {
  switch (random.below(5)) {
    case 0:
      return 1 + random.below(100);
    case 1:
      return shape.block_bytes;
    case 2:
      return 4096 * (1 + random.below(4));
    case 3:
      return 1 + random.below(shape.block_bytes * 2);
    default:
      return 1 + random.below(std::max<uint64_t>(1, shape.file_bytes_max / 2));
  }
}

int pick_open_flags(Random& random) {
  static constexpr std::array<int, 10> kFlags = {
      O_RDONLY, O_RDONLY,         O_RDONLY, O_RDONLY,          O_RDWR,
      O_RDWR,   O_RDWR | O_CREAT, O_WRONLY, O_RDWR | O_APPEND, O_RDWR | O_CREAT | O_TRUNC};
  int flags = kFlags[random.below(kFlags.size())];
  if (random.one_in(20)) flags |= O_CREAT | O_EXCL;
  return flags;
}

int pick_allocate_mode(Random& random) {
  static constexpr std::array<int, 4> kModes = {
      0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE};
  return kModes[random.below(kModes.size())];
}

void fill_flags(Operation& operation, Random& random) {
  switch (operation.kind) {
    case Kind::kOpen:
      operation.flags = pick_open_flags(random);
      break;
    case Kind::kPut:
      operation.flags = random.one_in(4) ? O_TRUNC : random.one_in(4) ? O_APPEND : 0;
      break;
    case Kind::kAllocate:
      operation.flags = pick_allocate_mode(random);
      break;
    case Kind::kRename:
      operation.flags =
          std::array<int, 5>{0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE}[random.below(5)];
      break;
    case Kind::kSeek:
      operation.flags = std::array<int, 3>{SEEK_DATA, SEEK_HOLE, SEEK_END}[random.below(3)];
      break;
    case Kind::kChmod:
    case Kind::kChmodHandle:
      operation.flags = static_cast<int>(0400 | random.below(01000));
      break;
    case Kind::kChown:
      operation.flags = static_cast<int>(random.below(3) * 1000);
      break;
    case Kind::kSetXattr:
      operation.flags = std::array<int, 3>{0, XATTR_CREATE, XATTR_REPLACE}[random.below(3)];
      break;
    default:
      break;
  }
}

Operation make_operation(Random& random, const Shape& shape) {
  uint64_t total = 0;
  for (const KindInfo& kind : kKinds) total += kind.weight;
  uint64_t at = random.below(total);
  size_t chosen = 0;
  while (at >= kKinds[chosen].weight) at -= kKinds[chosen++].weight;
  Operation operation;
  operation.kind = kKinds[chosen].kind;
  operation.outside = shape.outside && kKinds[chosen].may_be_outside && random.one_in(8);
  operation.path = pick_path(random);
  const bool is_xattr = operation.kind >= Kind::kSetXattr && operation.kind <= Kind::kRemoveXattr;
  operation.other = is_xattr ? fmt::format("user.x{}", random.below(3)) : pick_path(random);
  operation.handle = static_cast<uint32_t>(random.below(kHandleSlots));
  operation.other_handle = static_cast<uint32_t>(random.below(kHandleSlots));
  fill_flags(operation, random);
  operation.offset = pick_offset(random, shape);
  operation.length = pick_length(random, shape);
  operation.seed = random.next();
  return operation;
}

}  // namespace

std::vector<Operation> make_operations(uint64_t seed, size_t count, const Shape& shape) {
  Random random(seed);
  std::vector<Operation> operations;
  for (const char* directory : {"a", "a/b"}) {
    Operation making;
    making.kind = Kind::kMakeDirectory;
    making.path = directory;
    operations.push_back(making);
  }
  while (operations.size() < count) {
    Operation operation = make_operation(random, shape);
    const bool restarts = operation.kind == Kind::kRemount || operation.kind == Kind::kKill;
    if (restarts && !shape.restarts) continue;
    operations.push_back(std::move(operation));
  }
  return operations;
}

std::string describe(const Operation& o) {
  const auto shorten = [](const std::string& path) {
    return path.size() < 40 ? path : fmt::format("{}...({})", path.substr(0, 8), path.size());
  };
  std::string text = o.outside ? "outside " : "";
  text += info(o.kind).name;
  const bool on_handle = o.kind >= Kind::kClose && o.kind <= Kind::kSync;
  if (o.kind >= Kind::kOpen && o.kind <= Kind::kSync) text += fmt::format(" #{}", o.handle);
  if (o.kind == Kind::kCopyRange) text += fmt::format(" to #{}", o.other_handle);
  if (!on_handle) text += fmt::format(" '{}'", shorten(o.path));
  const bool two = o.kind == Kind::kRename || o.kind == Kind::kLink || o.kind == Kind::kSymlink ||
                   (o.kind >= Kind::kSetXattr && o.kind <= Kind::kRemoveXattr);
  if (two) text += fmt::format(" '{}'", shorten(o.other));
  return text + fmt::format(" flags={:#o} offset={} length={}", o.flags, o.offset, o.length);
}

std::string data_of(uint64_t seed, size_t length) {
  Random random(seed);
  std::string data(length + sizeof(uint64_t), '\0');
  for (size_t at = 0; at < length; at += sizeof(uint64_t)) {
    const uint64_t word = random.next() | 0x0101010101010101ULL;  // no byte is 0
    std::memcpy(data.data() + at, &word, sizeof word);
  }
  data.resize(length);
  return data;
}

}  // namespace larder::model
