// The text of a trace, taken in piece by piece: one request a line, KEY [SIZE [TIME]], with blanks
// between them.
//
// KEY is any word; SIZE in bytes and TIME in seconds are decimal.  A request without a size takes
// one byte when others have one.  What comes after TIME is not read, nor are empty lines and those
// that start with '#' or '*'.  The log of `larder record` is such a trace.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/error.h"
#include "evict/simulation.h"

namespace larder::app {

// 20 bytes of memory a request when there are sizes and times, and the keys themselves.
constexpr size_t kTraceRequestsMax = 200'000'000;
constexpr size_t kTraceLineMax = 64 << 10;

// What comes of a text does not depend on how it was cut into pieces.  Errors are kInvalid, with
// one line in detail() that has the number of the line that is wrong; after one the parser is of no
// use.  Not thread-safe.
class TraceParser {
 public:
  // `name` is what errors call the trace.
  explicit TraceParser(std::string name) : name_(std::move(name)) {}

  Result<void> add(std::string_view text);
  // At the text's end; kInvalid when there was no request in it.
  Result<evict::Trace> finish();

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view key) const { return std::hash<std::string_view>{}(key); }
  };

  Result<void> add_line(std::string_view line);
  std::unexpected<Error> error(std::string_view what) const;
  uint32_t id_of(std::string_view key);

  const std::string name_;
  uint64_t line_ = 0;         // the one being read
  std::string pending_;       // the beginning of a line
  uint64_t total_bytes_ = 0;  // of all requests' sizes
  evict::Trace trace_;
  std::unordered_map<std::string, uint32_t, Hash, std::equal_to<>> ids_;
};

}  // namespace larder::app
