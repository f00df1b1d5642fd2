#include "model/outside_operation.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/random.h"
#include "model/cells.h"

namespace larder::model::outside {
namespace {

enum class Where { kBoth, kMount, kStorm };  // kStorm: both, and in a storm, too

struct KindInfo {
  Kind kind;
  const char* name;
  uint32_t weight;
  Where where;
};

constexpr std::array kKinds = {
    KindInfo{Kind::kCreate, "create", 6, Where::kBoth},
    KindInfo{Kind::kReplace, "replace", 9, Where::kStorm},
    KindInfo{Kind::kRewrite, "rewrite", 7, Where::kStorm},
    KindInfo{Kind::kAppend, "append", 6, Where::kStorm},
    KindInfo{Kind::kShrink, "shrink", 4, Where::kStorm},
    KindInfo{Kind::kOverwrite, "overwrite", 4, Where::kStorm},
    KindInfo{Kind::kChmod, "chmod", 2, Where::kBoth},
    KindInfo{Kind::kSetTimes, "utimens", 2, Where::kBoth},
    KindInfo{Kind::kSetXattr, "setxattr", 1, Where::kBoth},
    KindInfo{Kind::kUnlink, "unlink", 4, Where::kBoth},
    KindInfo{Kind::kRename, "rename", 5, Where::kBoth},
    KindInfo{Kind::kExchange, "exchange", 3, Where::kBoth},
    KindInfo{Kind::kLink, "link", 2, Where::kBoth},
    KindInfo{Kind::kSymlink, "symlink", 3, Where::kBoth},
    KindInfo{Kind::kMakeDirectory, "mkdir", 3, Where::kBoth},
    KindInfo{Kind::kRemoveDirectory, "rmdir", 1, Where::kBoth},
    KindInfo{Kind::kMoveDirectory, "move_directory", 3, Where::kStorm},
    KindInfo{Kind::kExchangeDirectories, "exchange_directories", 3, Where::kStorm},
    KindInfo{Kind::kReadFile, "read_file", 12, Where::kMount},
    KindInfo{Kind::kStat, "stat", 4, Where::kMount},
    KindInfo{Kind::kList, "list", 4, Where::kMount},
    KindInfo{Kind::kReadLink, "readlink", 3, Where::kMount},
    KindInfo{Kind::kOpen, "open", 16, Where::kMount},
    KindInfo{Kind::kClose, "close", 3, Where::kMount},
    KindInfo{Kind::kRead, "read", 20, Where::kMount},
    KindInfo{Kind::kWrite, "write", 12, Where::kMount},
    KindInfo{Kind::kTruncate, "ftruncate", 3, Where::kMount},
    KindInfo{Kind::kChmodHandle, "fchmod", 2, Where::kMount},
    KindInfo{Kind::kSetTimesHandle, "futimens", 2, Where::kMount},
    KindInfo{Kind::kSetXattrHandle, "fsetxattr", 1, Where::kMount},
    KindInfo{Kind::kSync, "fsync", 2, Where::kMount},
    KindInfo{Kind::kStatHandle, "fstat", 5, Where::kMount},
    KindInfo{Kind::kOpenDirectory, "open_directory", 4, Where::kMount},
    KindInfo{Kind::kCreateIn, "create_in", 5, Where::kMount},
    KindInfo{Kind::kUnlinkIn, "unlink_in", 3, Where::kMount},
    KindInfo{Kind::kRenameIn, "rename_in", 3, Where::kMount},
    KindInfo{Kind::kListIn, "list_in", 3, Where::kMount},
    KindInfo{Kind::kStorm, "storm", 1, Where::kMount},
    KindInfo{Kind::kQuiet, "quiet", 5, Where::kMount},
    KindInfo{Kind::kUnmount, "unmount", 1, Where::kMount},
    KindInfo{Kind::kMount, "mount", 8, Where::kMount},  // mostly it is
};

constexpr std::array kDirectories = {"d0", "d1", "d0/e", "d1/e"};

const KindInfo& info(Kind kind) {
  return *std::ranges::find(kKinds, kind, &KindInfo::kind);
}

std::string pick_directory(Random& random) {
  return kDirectories[random.below(kDirectories.size())];
}

// Few, so that operations meet.
std::string pick_file(Random& random) {
  const std::string directory = random.one_in(2) ? "" : pick_directory(random) + "/";
  return fmt::format("{}f{}", directory, random.below(3));
}

std::string pick_path(Random& random, Kind kind) {
  if (kind == Kind::kSymlink || kind == Kind::kReadLink)
    return fmt::format("{}l{}", random.one_in(2) ? "" : "d0/", random.below(2));
  const bool of_directory = kind == Kind::kMakeDirectory || kind == Kind::kRemoveDirectory ||
                            kind == Kind::kList || kind == Kind::kMoveDirectory ||
                            kind == Kind::kExchangeDirectories || kind == Kind::kOpenDirectory;
  if (of_directory) return pick_directory(random);
  // Sometimes what is of another type.
  if (random.one_in(20)) return random.one_in(2) ? pick_directory(random) : "l0";
  return pick_file(random);
}

std::string pick_other(Random& random, const Operation& operation) {
  if (is_directory_move(operation.kind)) return pick_directory(random);
  if (operation.kind == Kind::kSymlink)
    return fmt::format("to{}", std::string(random.below(30), 'x'));
  if (operation.kind >= Kind::kOpenDirectory && operation.kind <= Kind::kListIn)
    return fmt::format("f{}", random.below(3));
  return pick_file(random);
}

int pick_open_flags(Random& random) {
  static constexpr std::array<int, 10> kFlags = {
      O_RDONLY, O_RDONLY,          O_RDONLY,         O_RDONLY, O_RDWR,
      O_RDWR,   O_RDWR | O_APPEND, O_RDWR | O_CREAT, O_WRONLY, O_RDWR | O_TRUNC};
  return kFlags[random.below(kFlags.size())];
}

uint64_t pick_bytes(Random& random, uint64_t bytes_max) {
  switch (random.below(4)) {
    case 0:
      return random.below(32) * kCellBytes;
    case 1:
      return random.below(bytes_max / 4096 + 1) * 4096;
    case 2:
      return random.below(bytes_max / 8) / kCellBytes * kCellBytes;
    default:
      return random.below(bytes_max) / kCellBytes * kCellBytes;
  }
}

void fill(Operation& operation, Random& random, uint64_t file_bytes_max) {
  operation.path = pick_path(random, operation.kind);
  operation.other = pick_other(random, operation);
  const bool of_directory = operation.kind >= Kind::kOpenDirectory;
  operation.slot = static_cast<uint32_t>(random.below(of_directory ? kDirectorySlots : kFileSlots));
  operation.flags = operation.kind == Kind::kOpen ? pick_open_flags(random)
                                                  : static_cast<int>(0400 | random.below(01000));
  operation.offset = pick_bytes(random, file_bytes_max);
  operation.length = kCellBytes + pick_bytes(random, file_bytes_max / 2);
  operation.seed = random.next();
}

Kind pick_kind(Random& random, bool storm) {
  uint64_t total = 0;
  const auto weight = [&](const KindInfo& kind) {
    return storm && kind.where != Where::kStorm ? 0 : kind.weight;
  };
  for (const KindInfo& kind : kKinds) total += weight(kind);
  uint64_t at = random.below(total);
  size_t chosen = 0;
  while (at >= weight(kKinds[chosen])) at -= weight(kKinds[chosen++]);
  return kKinds[chosen].kind;
}

unsigned groups_of(const Operation& operation) {
  const Kind kind = operation.kind;
  if (kind == Kind::kStorm) return kStorms;
  if (kind >= Kind::kOpen && kind < Kind::kOpenDirectory) return kOpenFiles;
  if (kind >= Kind::kOpenDirectory && kind < Kind::kStorm) return kOpenDirectories;
  if (!operation.outside) return kNoGroup;
  // Any name may lead to a directory.
  if (kind == Kind::kRename || kind == Kind::kExchange) return kMovedDirectories | kAwayNames;
  if (is_directory_move(kind)) return kMovedDirectories;
  if (kind == Kind::kReplace || kind == Kind::kUnlink) return kAwayNames;
  return kind >= Kind::kRewrite && kind <= Kind::kOverwrite ? kInPlace : kNoGroup;
}

}  // namespace

bool is_directory_move(Kind kind) {
  return kind == Kind::kMoveDirectory || kind == Kind::kExchangeDirectories;
}

bool changes_names(Kind kind) {
  return kind == Kind::kCreate || (kind >= Kind::kUnlink && kind <= Kind::kRemoveDirectory);
}

std::vector<Operation> make_operations(uint64_t seed, size_t count, uint64_t file_bytes_max,
                                       unsigned without) {
  Random random(seed);
  std::vector<Operation> operations;
  const auto make = [&](Kind kind, const std::string& path) {
    Operation operation;
    operation.kind = kind;
    fill(operation, random, file_bytes_max);
    operation.path = path;
    operation.outside = true;
    operations.push_back(std::move(operation));
  };
  for (const char* directory : kDirectories) make(Kind::kMakeDirectory, directory);
  for (const char* file : {"f0", "f1", "d0/f0", "d0/e/f0", "d1/f1"}) make(Kind::kCreate, file);
  while (operations.size() < count) {
    Operation operation;
    operation.kind = pick_kind(random, false);
    operation.outside = info(operation.kind).where != Where::kMount && random.below(5) < 3;
    fill(operation, random, file_bytes_max);
    if ((groups_of(operation) & without) == 0) operations.push_back(std::move(operation));
  }
  return operations;
}

std::vector<Operation> storm_operations(uint64_t seed, uint64_t file_bytes_max) {
  constexpr size_t kChanges = 24;
  Random random(seed);
  std::vector<Operation> operations(kChanges);
  for (Operation& operation : operations) {
    operation.kind = pick_kind(random, true);
    operation.outside = true;
    fill(operation, random, file_bytes_max);
  }
  return operations;
}

std::string describe(const Operation& o) {
  std::string text = o.outside ? "outside " : "";
  text += info(o.kind).name;
  if (o.kind >= Kind::kStorm) return text + fmt::format(" seed={}", o.seed);
  if (o.kind >= Kind::kOpen) text += fmt::format(" #{}", o.slot);
  if (o.kind <= Kind::kOpen || o.kind == Kind::kOpenDirectory) text += fmt::format(" '{}'", o.path);
  text += fmt::format(" '{}'", o.other);
  return text + fmt::format(" flags={:#o} offset={} length={}", o.flags, o.offset, o.length);
}

}  // namespace larder::model::outside
