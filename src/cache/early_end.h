// What is known of a file that ended before its size said.
//
// A short read alone says nothing: the file may have been changed, its size may be made up (sysfs),
// or the source failed and said so in this way (sshfs).  So the attributes are asked for again, and
// then a fresh descriptor.  Where both say what was said before, the size is made up; unless the
// source is one that fails by ending, and a failure may end where this did.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>

#include "base/attributes.h"
#include "source/source.h"

namespace larder::cache {

class EarlyEnd {
 public:
  enum class Verdict {
    kAskAgain,  // the attributes, and a fresh descriptor
    kMadeUp,    // the size: what can be read is the content
    kFailure,   // of the source
  };
  using Reader = std::shared_ptr<source::SourceFile>;

  // A failing server gives whole pages, or nothing.
  static bool may_be_failure(const source::SourceFile& reader, uint64_t end_bytes) {
    constexpr uint64_t kPageBytes = 4096;
    return reader.fails_by_ending() && end_bytes % kPageBytes == 0;
  }
  // The file ended there when it was read through `reader`, while its attributes were `version`.
  Verdict note(const Reader& reader, const Validator& version, uint64_t end_bytes) {
    const bool is_second = seen_ && seen_->version == version && !is_same(seen_->reader, reader);
    if (!is_second) {
      if (!seen_ || seen_->version != version) seen_ = std::make_unique<Seen>(version, reader);
      return Verdict::kAskAgain;
    }
    seen_.reset();  // whoever tries again begins with the attributes
    return may_be_failure(*reader, end_bytes) ? Verdict::kFailure : Verdict::kMadeUp;
  }

 private:
  struct Seen {
    Validator version;
    std::weak_ptr<source::SourceFile> reader;
  };
  static bool is_same(const std::weak_ptr<source::SourceFile>& a, const Reader& b) {
    return !a.owner_before(b) && !b.owner_before(a);
  }
  std::unique_ptr<Seen> seen_;  // null: nearly always
};

}  // namespace larder::cache
