#include "app/trace_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "app/trace_parser.h"

namespace larder::app {
namespace {

Result<evict::Trace> read_to_end(int fd, const std::string& name) {
  TraceParser parser(name);
  std::array<char, 256 << 10> chunk;
  bool is_first = true;
  for (;;) {
    const ssize_t got = read(fd, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(name);
    if (got == 0) return parser.finish();
    const std::string_view text(chunk.data(), static_cast<size_t>(got));
    if (std::exchange(is_first, false) && text.starts_with("\x1f\x8b"))
      return fail(Code::kInvalid,
                  fmt::format("{} is compressed: `zcat {} | larder simulate -`", name, name));
    TRY(parser.add(text));
  }
}

}  // namespace

Result<evict::Trace> read_trace(const std::string& path) {
  if (path == "-") return read_to_end(STDIN_FILENO, "standard input");
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno(path);
  auto trace = read_to_end(fd, path);
  close(fd);
  return trace;
}

}  // namespace larder::app
