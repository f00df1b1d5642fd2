// Where `larder record` writes its trace.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace larder::app {

// Not thread-safe.  Errors are one line in detail().
class TraceOutput {
 public:
  // "-": standard output.  A file that has something in it already is not touched unless `force`.
  static Result<TraceOutput> open(const std::string& path, bool force);
  TraceOutput(TraceOutput&& other) noexcept;
  TraceOutput& operator=(TraceOutput&&) = delete;
  ~TraceOutput();

  // All of it, or an error.
  Result<void> write(std::string_view text);
  // Says whether all of it got there.
  Result<void> close();

 private:
  TraceOutput(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  std::unexpected<Error> error() const;

  int fd_;
  std::string name_;
};

}  // namespace larder::app
