// Where a file ends whose file system answers fstat(2) by the name it was opened by (FUSE does not
// give its server the handle).  Once the name leads to another file the kernel takes that one's
// size for this one's, and cuts off what is read; until, of both, it has forgotten what it was told
// and asks again because of a read beyond the end, then with the handle.  sshfs, for one, lets it
// remember for a second.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "base/error.h"

namespace larder::source {

// `fd` reads past the page cache.  guesses: where it may end, the likeliest first.  An end is
// believed where a read finds the byte before it and none behind; kIo when there is no such place
// for two seconds.  Blocks.
Result<uint64_t> end_by_reading(int fd, std::initializer_list<uint64_t> guesses);

}  // namespace larder::source
