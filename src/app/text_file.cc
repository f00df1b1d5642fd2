#include "app/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>

namespace larder::app {

Result<std::string> read_text_file(const std::string& path) {
  constexpr size_t kSizeMax = size_t{64} << 20;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno(path);
  std::string text;
  std::array<char, 65536> chunk;
  ssize_t got = 0;
  while (text.size() <= kSizeMax && (got = read(fd, chunk.data(), chunk.size())) > 0)
    text.append(chunk.data(), static_cast<size_t>(got));
  const Error error = Error::from_errno(path);
  close(fd);
  if (got < 0) return fail(error);
  if (text.size() > kSizeMax) return fail(Code::kLimit, path);
  return text;
}

}  // namespace larder::app
