// RepeatLimit: which of the messages that may come with every request are worth a line.
//
// A message has a kind and a subject, mostly a file.  Within an interval, which begins with a
// message, each subject is named once and of each kind so many subjects; the rest is counted.
//
// Invariant: of a kind at most subjects_max subjects are remembered; kinds are few, as they stand
// in the program's text.  Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"

namespace larder {

class RepeatLimit {
 public:
  struct Options {
    Nanos interval = std::chrono::minutes(1);
    size_t subjects_max = 10;
  };
  RepeatLimit(const Options& options, const Clock& clock) : options_(options), clock_(clock) {}

  // Nothing: this one is to be left out.  Else the number of those of its kind that were left out
  // since the last that was not.
  std::optional<uint64_t> admit(std::string_view kind, uint64_t subject);
  // Kinds of which some were left out that nobody was told of yet, with their number.  They count
  // as told.
  std::vector<std::pair<std::string, uint64_t>> take_left_out();

 private:
  struct Kind {
    Nanos began{0};
    std::unordered_set<uint64_t> subjects;
    uint64_t left_out = 0;
  };
  const Options options_;
  const Clock& clock_;
  Mutex mutex_;
  std::map<std::string, Kind, std::less<>> kinds_ GUARDED_BY(mutex_);
};

}  // namespace larder
