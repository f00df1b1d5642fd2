// Children: what is known of the names in one directory: those that were looked up, and which
// listing the catalog has.
//
// Times are monotonic, but those of the directory; points of the ChangeClock order what is done
// here and what the source answers.  The directory's node guards all of it but `listing`, which is
// taken before any mutex.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/attributes.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "base/ids.h"
#include "fs/tree_walk.h"
#include "io/completion.h"

namespace larder::fs {

// What a directory's name was last seen to lead to.
struct Dentry {
  NodeId child;  // none: no such name
  Nanos valid_until{0};
};

// Finds names without making strings of them.
struct NameHash {
  using is_transparent = void;
  size_t operator()(std::string_view name) const { return hash64(name); }
};

struct Children {
  std::unordered_map<std::string, Dentry, NameHash, std::equal_to<>> by_name;
  uint64_t changed_at = 0;     // ChangeClock: of the last change of a name made here
  uint64_t renamed_in_at = 0;  // ChangeClock: of the last one by a rename
  Nanos sent_away_at{0};       // an opener was told that the directory's name leads elsewhere

  uint32_t handles = 0;       // that programs have of the directory
  bool is_kept_soon = false;  // keep_directory() is under way

  // Of the listing that the catalog has: its parts (0: there is none), and the directory's mtime
  // and ctime that it belongs to.
  uint32_t listing_parts = 0;
  FileTimes listing_times;
  Nanos listing_valid_until{0};  // for where times say nothing; 0: not listed in this run
  TreeWalk walk;

  io::AsyncMutex listing;  // one loading of the listing at a time
};

}  // namespace larder::fs
