#include "source/end_by_reading.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "source/unique_fd.h"
#include "source_fixture.h"

namespace larder::source {
namespace {

class EndByReading : public testing::Test {
 protected:
  void resize(uint64_t size_bytes) {
    ASSERT_EQ(truncate(path_.c_str(), static_cast<off_t>(size_bytes)), 0) << strerror(errno);
  }
  TempDirectory directory_;
  const std::string path_ = directory_.path() / "file";
  const UniqueFd fd_{open(path_.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0600)};
};

TEST_F(EndByReading, IsTheFilesOwnWhateverWasGuessed) {
  const uint64_t sizes[] = {0, 1, 2, 3, 4095, 4096, 4097, 110032, 1ULL << 40};
  for (const uint64_t size : sizes) {
    resize(size);
    for (const uint64_t first : sizes)
      for (const uint64_t second : sizes) {
        const auto end = end_by_reading(fd_.get(), {first, second});
        ASSERT_TRUE(end) << end.error().message();
        EXPECT_EQ(*end, size) << first << ", " << second;
      }
    EXPECT_EQ(*end_by_reading(fd_.get(), {}), size);
    EXPECT_EQ(*end_by_reading(fd_.get(), {UINT64_MAX}), size);
  }
}

TEST_F(EndByReading, FailsWhereNothingCanBeRead) {
  const UniqueFd writer(open(path_.c_str(), O_WRONLY | O_CLOEXEC));
  const auto end = end_by_reading(writer.get(), {7});
  ASSERT_FALSE(end);
  EXPECT_TRUE(end.error().is(static_cast<Code>(EBADF))) << end.error().message();
}

}  // namespace
}  // namespace larder::source
