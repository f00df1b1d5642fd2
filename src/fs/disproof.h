// What an error of the source says about what is remembered.
//
// A change goes to the source because of what is remembered here or in the kernel: that a name is
// free, that another leads to a file, that a directory is empty.  An error can say that this is not
// so (any more).  Then what was remembered ends at once: the program's next look must find what the
// error spoke of.  An error says what is doubtful, not what is true; the source is asked for that
// when it is next needed.
#pragma once

#include "base/error.h"

namespace larder::fs {

// What was asked of the source.
enum class Asked {
  kMake,  // a file, directory, link, ... under a name that is taken to be free
  kUnlink,
  kRemoveDirectory,
  kRename,
  kUse,  // of a file that its name leads to: attributes, text, content, entries
};

struct Disproof {
  bool target = false;       // what is remembered of the name to be made: mostly that there is none
  bool name = false;         // of the name that is to be there already
  bool listing = false;      // of the directory that was to be removed or replaced
  bool directories = false;  // that the directories on the way to the names are there
  bool any() const { return target || name || listing || directories; }
  bool operator==(const Disproof&) const = default;
};

Disproof disproved_by(Asked asked, const Error& error);

}  // namespace larder::fs
