// Sources whose files end before their sizes say so: a server behind sshfs that cannot read its
// disk, and the kernel's own files.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "support/files.h"
#include "support/larder_mount.h"
#include "support/slow_source_mount.h"
#include "support/source_directory.h"

namespace larder::testing_support {
namespace {

// What of `right` is not what can be read of the file, whatever cannot be read.
size_t wrong_bytes(const std::string& path, const std::string& right) {
  const Descriptor file(path, O_RDONLY);
  size_t wrong = 0;
  std::string part(128 << 10, '\0');
  for (size_t at = 0; at < right.size(); at += part.size()) {
    const ssize_t got = pread(file.get(), part.data(), part.size(), static_cast<off_t>(at));
    for (ssize_t i = 0; i < got; ++i) wrong += part[i] != right[at + i];
  }
  return wrong;
}

TEST(ShortReads, OfAServerThatFailsAreErrorsAndNotZeros) {
  for (const std::string& why : {LarderMount::why_unavailable(), SlowSourceMount::why_unavailable(),
                                 SshfsDirectory::why_unavailable()})
    if (!why.empty()) GTEST_SKIP() << why;
  SlowSourceMount disk;
  ASSERT_TRUE(disk.mounted()) << disk.problem();
  const std::string data = pattern(6 << 20, 1);
  ASSERT_EQ(write_file(disk.directory() + "/file", data), 0);
  SshfsDirectory source(disk.mountpoint());
  ASSERT_TRUE(source.ready()) << source.problem();
  LarderMount mount(source.directory(), {"attr_ttl=100ms"});
  ASSERT_TRUE(mount.mounted()) << mount.problem();
  ASSERT_TRUE(disk.set("fail", "read:EIO:*:17"));
  EXPECT_EQ(wrong_bytes(mount.at("file"), data), 0U) << "while the server fails";
  EXPECT_NE(read_file(mount.at("file")).error, 0) << "it fails still";
  ASSERT_TRUE(disk.set("fail", ""));
  EXPECT_EQ(read_file(mount.at("file")), (FileContent{0, data}));
  ASSERT_EQ(mount.stop(), 0);
  ASSERT_TRUE(mount.start()) << mount.problem();
  EXPECT_EQ(read_file(mount.at("file")), (FileContent{0, data}));
}

TEST(ShortReads, OfTheKernelsFilesAreTheirContent) {
  if (const std::string why = LarderMount::why_unavailable(); !why.empty()) GTEST_SKIP() << why;
  for (const auto& [directory, name] :
       {std::pair<std::string, std::string>{"/sys/kernel", "fscaps"},
        {"/proc/sys/kernel", "ostype"}}) {
    const FileContent right = read_file(directory + "/" + name);
    if (right.error != 0) continue;
    ASSERT_FALSE(right.data.empty());
    LarderMount mount(directory, {"attr_ttl=100ms"});
    ASSERT_TRUE(mount.mounted()) << mount.problem();
    for (int i = 0; i < 2; ++i) EXPECT_EQ(read_file(mount.at(name)), right) << directory;
  }
}

}  // namespace
}  // namespace larder::testing_support
