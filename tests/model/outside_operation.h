// Operations of the differential test with changes from outside: each is done on the mount, or
// behind it at the source, while programs keep files and directories open.  As in operation.h any
// subsequence of a run is a run, too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace larder::model::outside {

enum class Kind {
  // changes of a file by its path
  kCreate,     // a new file; an error where there is one
  kReplace,    // a new file, made beside it and renamed over it
  kRewrite,    // other bytes in place
  kAppend,     // more at the end
  kShrink,     // less at the end
  kOverwrite,  // emptied and written anew, in place
  kChmod,
  kSetTimes,
  kSetXattr,
  // changes of names
  kUnlink,
  kRename,
  kExchange,
  kLink,
  kSymlink,  // in place of the one that is there
  kMakeDirectory,
  kRemoveDirectory,
  kMoveDirectory,
  kExchangeDirectories,
  // looking by path
  kReadFile,
  kStat,
  kList,
  kReadLink,
  // files kept open
  kOpen,  // closes what the slot held
  kClose,
  kRead,
  kWrite,  // where O_APPEND is set: at the end
  kTruncate,
  kChmodHandle,
  kSetTimesHandle,
  kSetXattrHandle,
  kSync,
  kStatHandle,
  // directories kept open
  kOpenDirectory,
  kCreateIn,
  kUnlinkIn,
  kRenameIn,
  kListIn,
  // the whole
  kStorm,    // changes at the source while programs read and make files
  kQuiet,    // nothing happens until what is promised to be seen is seen; then all is compared
  kUnmount,  // what follows happens outside only
  kMount,
};

struct Operation {
  Kind kind = Kind::kStat;
  bool outside = false;
  std::string path = {};
  std::string other = {};  // the new name of a rename, a name in a directory, a link's target
  uint32_t slot = 0;
  int flags = 0;  // of open; mode
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t seed = 0;
};

inline constexpr uint32_t kFileSlots = 6;
inline constexpr uint32_t kDirectorySlots = 3;

// Groups of operations that a run can do without.
enum Group : unsigned {
  kNoGroup = 0,
  kOpenFiles = 1,         // files kept open
  kOpenDirectories = 2,   // directories kept open
  kMovedDirectories = 4,  // directories that others move
  kStorms = 8,
  kInPlace = 16,    // files that others change in place
  kAwayNames = 32,  // files that others replace, rename or remove
};
// `without`: the groups that are left out.
std::vector<Operation> make_operations(uint64_t seed, size_t count, uint64_t file_bytes_max,
                                       unsigned without);
// What happens at the source during a storm.
std::vector<Operation> storm_operations(uint64_t seed, uint64_t file_bytes_max);
std::string describe(const Operation& operation);

bool is_directory_move(Kind kind);
bool changes_names(Kind kind);

}  // namespace larder::model::outside
