// A recording of a mount's accesses, from the client's side.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "control/record.h"

namespace larder::app {

// Cancelled when it goes away before its end was read.  Keeps nothing of the mount open between
// calls, so that it can be unmounted meanwhile.  Errors are one line in detail().  Not thread-safe.
class Recording {
 public:
  // blocks: of reads that larder answers, instead of opens.
  static Result<Recording> begin(const std::string& mountpoint, const std::string& control_dir,
                                 bool blocks);
  Recording(Recording&& other) noexcept;
  Recording& operator=(Recording&&) = delete;
  ~Recording();

  Result<control::RecordedPart> read();
  // Nothing further is recorded; read() gives what is left.
  Result<void> end();

 private:
  Recording(std::string mountpoint, std::string control_file)
      : mountpoint_(std::move(mountpoint)), control_file_(std::move(control_file)) {}
  Result<std::string> ask(std::string_view command) const;
  std::unexpected<Error> unreachable(const Error& error) const;
  std::unexpected<Error> refused(std::string_view reply) const;

  std::string mountpoint_;
  std::string control_file_;
  std::string number_;  // empty: none is under way
};

}  // namespace larder::app
