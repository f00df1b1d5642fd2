// What a tree of files must hold, while many threads change it and after the program that serves it
// was killed.
//
// The tree is a fixed set of slots, names that a file may or may not be at.  Who looks at a slot's
// file holds its lock shared, who changes the file holds it alone, until the change was answered;
// so a reader knows every byte that it must get.
#pragma once

#include <sys/types.h>

#include <array>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "base/random.h"

namespace larder::kill {

struct Content {
  std::string data;
  mode_t mode = 0644;
  bool operator==(const Content&) const = default;
};

struct Slot {
  std::string name;  // path beneath the tree's root
  std::shared_mutex mutex;
  std::optional<Content> content;  // none: there is no file
  // A change was begun and not answered: the file is as before or as it was to become, and a change
  // of data may have come halfway.
  enum class Doubt { kNone, kWhole, kHalfway };
  Doubt doubt = Doubt::kNone;
  std::optional<Content> becoming;
  // st_ino on the mount, which the file keeps over remounts; 0: not seen since it came to this
  // name.
  ino_t number = 0;
  std::string last_change = {};  // for messages
  bool in_doubt() const { return doubt != Doubt::kNone; }
};

// Bytes that differ everywhere and each time.
std::string fresh_data(Random& random, size_t length);

class KnownTree {
 public:
  // Of the files that a tree has at first: most small, some of many blocks.
  explicit KnownTree(Random& random);

  std::vector<std::unique_ptr<Slot>>& slots() { return slots_; }
  Slot& any_slot(Random& random) { return *slots_[random.below(slots_.size())]; }
  size_t likely_size(Random& random) const;

  // Makes all of it in an empty directory; empty, or what went wrong.
  std::string create(const std::string& root) const;
  // Compares with what is in the directory, takes that for what was in doubt and ends the doubt.
  // Empty, or what should not be so.
  std::string settle(const std::string& root);
  // Whether the files on the mount have the numbers they had.  Empty, or what is wrong.
  std::string check_numbers(const std::string& mount);
  // Changes about one file in `one_in` as another program would, and makes and removes some.
  std::string change(const std::string& root, Random& random, uint64_t one_in);

 private:
  std::vector<std::unique_ptr<Slot>> slots_;
};

// Rewrites the file at `path` to `to` in one of the ways programs have.  An errno.
int rewrite(const std::string& path, const Content& to, Random& random);

}  // namespace larder::kill
