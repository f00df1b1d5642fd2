// The name of an open descriptor's file in /proc: lets calls that only take a path (chmod,
// truncate, the xattr calls) act on exactly that file, a symlink included, without looking any name
// up again.
#pragma once

#include <fmt/format.h>

#include <array>

namespace larder::source {

class ProcPath {
 public:
  explicit ProcPath(int fd) {
    *fmt::format_to_n(text_.data(), text_.size() - 1, "/proc/self/fd/{}", fd).out = '\0';
  }
  const char* c_str() const { return text_.data(); }

 private:
  std::array<char, 32> text_;
};

}  // namespace larder::source
