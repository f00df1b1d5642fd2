// The flags of mount(8): what they promise is kept, whichever way they are given.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>

#include "support/command.h"
#include "support/files.h"
#include "support/larder_mount.h"

namespace larder::testing_support {
namespace {

namespace fs = std::filesystem;
constexpr uid_t kOther = 65534;

class MountFlags : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = LarderMount::why_unavailable(); !why.empty()) GTEST_SKIP() << why;
    if (geteuid() != 0) GTEST_SKIP() << "set-id bits and devices are honoured of root only";
    std::string pattern = fs::temp_directory_path().string() + "/larder-flags-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    home_ = fs::canonical(pattern);
    ASSERT_EQ(chmod(home_.c_str(), 0755), 0);
    for (const char* name : {"source", "mount"}) fs::create_directory(in(name));
    fs::copy_file("/usr/bin/id", in("source/id"));
    ASSERT_EQ(chmod(in("source/id").c_str(), 04755), 0);
    ASSERT_EQ(mknod(in("source/null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
    ASSERT_EQ(chmod(in("source/null").c_str(), 0666), 0);
    // Else what the test looks for would be forbidden there as well.
    struct statvfs space;
    ASSERT_EQ(statvfs(home_.c_str(), &space), 0);
    if ((space.f_flag & (ST_NOSUID | ST_NODEV | ST_NOEXEC)) != 0)
      GTEST_SKIP() << home_ << " is on a file system without set-id bits, devices or programs";
  }
  void TearDown() override {
    if (home_.empty()) return;
    umount2(in("mount").c_str(), MNT_DETACH);
    std::error_code ignored;
    fs::remove_all(home_, ignored);
  }
  std::string in(const std::string& name) const { return home_ + "/" + name; }
  std::string options(const std::string& flags) const {
    return "allow_other,size=1G,cache_dir=" + in("cache") + (flags.empty() ? "" : "," + flags);
  }
  void mount(const std::vector<std::string>& words) {
    const auto result = run_command(words);
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  void mount_with(const std::string& flags) {
    mount({LarderMount::program(), "mount", "-o", options(flags), in("source"), in("mount")});
  }
  void unmount() const {
    const auto result = run_command({LarderMount::program(), "umount", in("mount")});
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  // Who another user is as a set-id program of root's; "" where it does not start.
  std::string effective_user() const {
    return run_command({in("mount/id"), "-u"}, {.uid = kOther, .gid = kOther}).out;
  }
  bool opens_device() const { return Descriptor(in("mount/null"), O_RDONLY).error() == 0; }
  unsigned long kernel_flags() const {
    struct statvfs space{};
    EXPECT_EQ(statvfs(in("mount").c_str(), &space), 0);
    return space.f_flag;
  }

  std::string home_;
};

constexpr const char* kRoot = "0\n";
constexpr const char* kSelf = "65534\n";

TEST_F(MountFlags, ASetIdProgramGetsNoRightsWithNosuid) {
  mount_with("");
  EXPECT_EQ(effective_user(), kRoot);
  EXPECT_TRUE(opens_device());
  unmount();
  mount_with("nosuid");
  EXPECT_EQ(effective_user(), kSelf);
  EXPECT_TRUE(opens_device());
  unmount();
}

TEST_F(MountFlags, NorDevicesWithNodevNorAnyProgramWithNoexec) {
  mount_with("nodev,noexec");
  EXPECT_EQ(effective_user(), "");
  EXPECT_FALSE(opens_device());
  unmount();
}

TEST_F(MountFlags, TheFileSetsThemAndTheLineOfFstab) {
  ASSERT_EQ(write_file(in("larder.ini"), "[mount]\nnosuid = on\nnodev = on\n"), 0);
  mount({LarderMount::program(), "mount", "-c", in("larder.ini"), "-o", options(""), in("source"),
         in("mount")});
  EXPECT_EQ(effective_user(), kSelf);
  EXPECT_FALSE(opens_device());
  unmount();
  // As mount(8) calls it for a line of fstab.
  fs::create_symlink(LarderMount::program(), in("mount.larder"));
  mount({in("mount.larder"), in("source"), in("mount"), "-o", options("rw,user,exec,_netdev")});
  EXPECT_EQ(effective_user(), kSelf);
  EXPECT_FALSE(opens_device());
  unmount();
}

TEST_F(MountFlags, TheKernelHasThem) {
  constexpr unsigned long kAll = ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_NOATIME | ST_SYNCHRONOUS;
  mount_with("nosuid,nodev,noexec,noatime,sync");
  EXPECT_EQ(kernel_flags() & kAll, kAll);
  unmount();
  mount_with("nosuid,nodev,noexec,noatime,sync,suid,dev,exec,atime,async");
  EXPECT_EQ(kernel_flags() & kAll, 0U);
  unmount();
}

}  // namespace
}  // namespace larder::testing_support
