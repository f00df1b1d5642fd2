// As mount(8) and mount.fuse3(8) call it.
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr int kOk = 0, kMountFailed = 32;

class MountHelper : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = LarderMount::why_unavailable(); !why.empty()) GTEST_SKIP() << why;
    if (geteuid() != 0) GTEST_SKIP() << "mount(8) is for root";
    std::string pattern = fs::temp_directory_path().string() + "/larder-helper-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    home_ = fs::canonical(pattern);
    for (const char* name : {"source", "mount"}) fs::create_directory(in(name));
    for (const char* name : {"mount.larder", "mount.fuse.larder"})
      fs::create_symlink(LarderMount::program(), in(name));
    ASSERT_EQ(write_file(in("source/file"), "hello"), 0);
  }
  void TearDown() override {
    if (home_.empty()) return;
    unmount();
    std::error_code ignored;
    fs::remove_all(home_, ignored);
  }
  std::string in(const std::string& name) const { return home_ + "/" + name; }
  std::string options() const { return "rw,cache_dir=" + in("cache") + ",size=1G"; }
  CommandResult call(const std::vector<std::string>& words) const { return run_command(words); }
  bool is_mounted() const { return read_file(in("mount/file")).data == "hello"; }
  void unmount() const { run_command({LarderMount::program(), "umount", in("mount")}); }
  unsigned long flags() const {
    struct statvfs found{};
    EXPECT_EQ(statvfs(in("mount").c_str(), &found), 0);
    return found.f_flag;
  }
  CommandResult remount(const std::string& options) const {
    return call({in("mount.fuse.larder"), in("source"), in("mount"), "-t", "fuse.larder", "-o",
                 "rw,relatime,user_id=0,group_id=0,default_permissions,max_read=1048576,remount," +
                     options});
  }

  std::string home_;
};

TEST_F(MountHelper, EveryWayMounts) {
  const std::string source = in("source"), mountpoint = in("mount");
  const std::vector<std::vector<std::string>> ways{
      {in("mount.larder"), source, mountpoint, "-n", "-o", options()},
      {in("mount.fuse.larder"), source, mountpoint, "-v", "-t", "fuse.larder", "-o", options()},
      {in("mount.fuse.larder"), "larder#" + source, mountpoint, "-o", options()},
      {LarderMount::program(), source, mountpoint, "-o", options() + ",dev,suid"}};
  for (const std::vector<std::string>& words : ways) {
    SCOPED_TRACE(testing::PrintToString(words));
    const auto result = call(words);
    EXPECT_EQ(result.exit_code, kOk) << result.err;
    EXPECT_TRUE(is_mounted());
    // `mount -a` once more.
    const auto again = call(words);
    EXPECT_EQ(again.exit_code, kOk);
    EXPECT_THAT(again.err, HasSubstr("already; nothing is changed"));
    unmount();
    EXPECT_FALSE(is_mounted());
  }
}

TEST_F(MountHelper, RemountChangesWhatTheKernelCanAndNamesTheRest) {
  ASSERT_EQ(call({in("mount.larder"), in("source"), in("mount"), "-o", options()}).exit_code, kOk);
  EXPECT_EQ(remount("size=1G,cache_dir=" + in("cache")).exit_code, kOk) << "as it is";
  EXPECT_EQ(remount("ro,nosuid").exit_code, kOk);
  EXPECT_EQ(flags() & (ST_RDONLY | ST_NOSUID), ST_RDONLY | ST_NOSUID);
  EXPECT_EQ(write_file(in("mount/new"), "x"), EROFS);
  EXPECT_EQ(remount("suid").exit_code, kOk);
  EXPECT_EQ(flags() & (ST_RDONLY | ST_NOSUID), 0u);
  EXPECT_EQ(write_file(in("mount/new"), "x"), 0);

  const auto refused = remount("size=2G,memory=64M,noexec");
  EXPECT_EQ(refused.exit_code, kMountFailed);
  EXPECT_THAT(refused.err, HasSubstr("-o remount cannot change size (is 1G, not 2G), memory (is "
                                     "256M, not 64M): unmount"));
  EXPECT_EQ(flags() & ST_NOEXEC, 0u) << "all or nothing";
  EXPECT_THAT(remount("sise=1G").err, HasSubstr("did you mean 'size'?"));
  EXPECT_THAT(remount("sync").err, HasSubstr("cannot change sync (is off, not on)"));
  EXPECT_EQ(remount("async").exit_code, kOk) << "as it is";
  EXPECT_THAT(remount("strictatime").err, HasSubstr("strictatime is not possible"));
  unmount();
  ASSERT_EQ(
      call({in("mount.larder"), in("source"), in("mount"), "-o", options() + ",ro,sync"}).exit_code,
      kOk);
  EXPECT_EQ(remount("ro,sync").exit_code, kOk) << "as it is";
  EXPECT_THAT(remount("ro,async").err, HasSubstr("cannot change sync (is on, not off)"));
  EXPECT_THAT(remount("rw").err, HasSubstr("cannot change ro"));
  EXPECT_EQ(remount("ro").exit_code, kOk);
}

}  // namespace
}  // namespace larder::testing_support
