#include "app/preflight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "app/mount_table.h"

namespace larder::app {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
namespace files = std::filesystem;

// A place with a source, a mountpoint and a cache, all as they should be.
class Preflight : public testing::Test {
 protected:
  Preflight() {
    std::string name = files::temp_directory_path() / "larder-preflight-XXXXXX";
    root_ = files::canonical(mkdtemp(name.data())).string();
    for (const char* directory : {"source", "mnt", "bin"})
      files::create_directory(root_ + "/" + directory);
    touch("fuse");
    chmod((root_ + "/fuse").c_str(), 0666);
    touch("bin/fusermount3");
    chmod((root_ + "/bin/fusermount3").c_str(), 0755);
    config_.cache_dir = root_ + "/cache";
    around_.uid = 0;
    around_.home = root_;
    around_.fuse_device = root_ + "/fuse";
    around_.fstab = root_ + "/fstab";
    around_.system_cache = root_ + "/var";
    around_.fuse_conf = root_ + "/fuse.conf";
    around_.search_path = "/nonexistent:" + root_ + "/bin";
    source_ = root_ + "/source";
    mountpoint_ = root_ + "/mnt";
  }
  ~Preflight() override { files::remove_all(root_); }

  void touch(const std::string& name, const std::string& text = "") {
    std::ofstream(root_ + "/" + name) << text;
  }
  Result<CheckedPaths> check() { return preflight(config_, source_, mountpoint_, around_); }
  std::string error() {
    const auto paths = check();
    const std::string line = paths ? "no error" : paths.error().detail();
    EXPECT_THAT(line, Not(HasSubstr("\n")));
    return line;
  }

  std::string root_, source_, mountpoint_;
  Config config_ = *make_config({});
  Surroundings around_;
};

TEST_F(Preflight, ResolvesAndCreatesTheCachePrivately) {
  files::create_directory_symlink(source_, root_ + "/link");
  source_ = root_ + "/link";
  config_.cache_dir = root_ + "/deep/cache";
  const auto paths = check();
  ASSERT_TRUE(paths) << paths.error().detail();
  EXPECT_EQ(paths->source, root_ + "/source");
  EXPECT_EQ(paths->mountpoint, mountpoint_);
  EXPECT_EQ(paths->cache_dir, root_ + "/deep/cache");
  struct stat status;
  ASSERT_EQ(stat(paths->cache_dir.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
  EXPECT_TRUE(files::is_empty(paths->cache_dir));
}

TEST_F(Preflight, ANonEmptyMountpointIsAllowed) {
  touch("mnt/file");
  touch("source/file");
  EXPECT_EQ(error(), "no error");
}

TEST_F(Preflight, SourceMissing) {
  source_ += "/missing";
  EXPECT_EQ(error(), "SOURCE '" + source_ + "' does not exist: create it or correct the path");
}

TEST_F(Preflight, APlaceOnAnotherMachineIsToBeMountedFirst) {
  source_ = "host:/dir";
  EXPECT_EQ(
      error(),
      "SOURCE 'host:/dir' does not exist: larder caches directories: mount it first, as with "
      "`sshfs host:/dir DIRECTORY` or `mount -t nfs host:/dir DIRECTORY`, and give DIRECTORY");
  source_ = "s3://bucket";
  EXPECT_THAT(error(), HasSubstr("mount it first, as with rclone(1) or s3fs(1)"));
  source_ = root_ + "/with:colon";
  EXPECT_THAT(error(), HasSubstr("create it or correct the path"));
}

TEST_F(Preflight, SwappedArgumentsAreRefused) {
  touch("mnt/file");
  EXPECT_EQ(error(), "SOURCE '" + source_ + "' is empty and MOUNTPOINT '" + mountpoint_ +
                         "' is not: it is `larder mount SOURCE MOUNTPOINT`; if it is meant so, "
                         "give -o nonempty");
  around_.mounts = {{mountpoint_, "autofs", "systemd-1"}};  // which must not be looked into
  EXPECT_EQ(error(), "no error");
  around_.mounts = {};
  config_.nonempty = true;
  EXPECT_EQ(error(), "no error");
  config_.nonempty = false;
  touch("source/file");
  EXPECT_EQ(error(), "no error");
}

TEST_F(Preflight, WhatTheControlDirectoryHidesIsAnnounced) {
  EXPECT_TRUE(check()->notes.empty());
  files::create_directory(source_ + "/.larder");
  EXPECT_THAT(check()->notes,
              testing::ElementsAre("SOURCE has a '.larder' of its own, which the control directory "
                                   "hides: name that otherwise with -o control_dir=NAME"));
  config_.control_dir = ".control";
  EXPECT_TRUE(check()->notes.empty());
}

TEST_F(Preflight, ACacheInAnEmptyMountPointOfFstab) {
  const std::string disk = root_ + "/my ssd";
  files::create_directory(disk);
  config_.cache_dir = disk + "/larder/photos";
  touch("fstab",
        "# comment\nUUID=1 / ext4 rw 0 1\nLABEL=ssd " + root_ + "/my\\040ssd ext4 x 0 2\n");
  EXPECT_EQ(error(), "cache_dir '" + config_.cache_dir + "' lies in " + disk + ", which " + root_ +
                         "/fstab mounts and which is not mounted: `mount " + disk +
                         "` first, or choose another directory");
  EXPECT_FALSE(files::exists(disk + "/larder"));
  around_.mounts = {{"/", "ext4", "/dev/sda"}, {disk, "ext4", "/dev/sdb"}};
  EXPECT_EQ(error(), "no error");
}

TEST_F(Preflight, ACacheThatWasOnAnotherFileSystem) {
  const std::string disk = root_ + "/ssd";
  files::create_directory(disk);
  config_.cache_dir = disk + "/larder";
  const std::vector<MountEntry> without = {{"/", "ext4", "/dev/sda"}};
  around_.mounts = without;
  EXPECT_EQ(error(), "no error");
  around_.mounts.push_back({disk, "ext4", "/dev/sdb"});
  EXPECT_EQ(error(), "no error");
  EXPECT_EQ(error(), "no error");
  around_.mounts = without;
  EXPECT_THAT(error(), MatchesRegex("cache_dir '.*/ssd/larder' was on the file system of .*/ssd, "
                                    "which is not mounted: mount it first; if the cache is to be "
                                    "here from now on, remove .*/var/larder/.disks/[0-9a-f]{16}"));
  files::remove_all(root_ + "/var/larder/.disks");
  EXPECT_EQ(error(), "no error");
}

TEST_F(Preflight, SourceIsAFile) {
  touch("file");
  source_ = root_ + "/file";
  EXPECT_EQ(error(),
            "SOURCE '" + source_ + "' is not a directory: name the directory to be cached");
}

TEST_F(Preflight, SourceBehindAFileCannotBeReached) {
  touch("file");
  source_ = root_ + "/file/below";
  EXPECT_EQ(error(), "SOURCE '" + source_ + "' cannot be reached: Not a directory");
}

TEST_F(Preflight, MountpointMissing) {
  mountpoint_ += "2";
  EXPECT_EQ(error(), "MOUNTPOINT '" + mountpoint_ + "' does not exist: create it with `mkdir " +
                         mountpoint_ + "`");
}

TEST_F(Preflight, MountpointIsAFile) {
  touch("file");
  mountpoint_ = root_ + "/file";
  EXPECT_EQ(error(),
            "MOUNTPOINT '" + mountpoint_ + "' is not a directory: name an empty directory");
}

TEST_F(Preflight, SameDirectory) {
  mountpoint_ = source_ + "/../source/";
  EXPECT_EQ(error(), "SOURCE and MOUNTPOINT are the same directory '" + source_ +
                         "': choose another MOUNTPOINT");
}

TEST_F(Preflight, MountpointInsideSource) {
  files::create_directory(source_ + "/in");
  mountpoint_ = source_ + "/in";
  EXPECT_EQ(error(), "MOUNTPOINT '" + mountpoint_ + "' lies inside SOURCE '" + source_ +
                         "': choose one outside");
}

TEST_F(Preflight, SourceInsideMountpointAlsoThroughASymlink) {
  files::create_directory(mountpoint_ + "/in");
  files::create_directory_symlink(mountpoint_ + "/in", root_ + "/link");
  source_ = root_ + "/link";
  EXPECT_THAT(error(),
              HasSubstr("SOURCE '" + mountpoint_ + "/in' lies inside MOUNTPOINT '" + mountpoint_));
}

TEST_F(Preflight, ANameThatOnlyBeginsAlikeIsNotInside) {
  files::create_directory(source_ + "2");
  mountpoint_ = source_ + "2";
  EXPECT_EQ(error(), "no error");
}

TEST_F(Preflight, AlreadyALarderMount) {
  around_.mounts = {{mountpoint_, "fuse.larder", "/far"}};
  EXPECT_EQ(error(), "MOUNTPOINT '" + mountpoint_ +
                         "' already is a larder mount of /far: `larder umount " + mountpoint_ +
                         "` ends it");
}

TEST_F(Preflight, OtherwiseMounted) {
  around_.mounts = {{mountpoint_, "ext4", "/dev/sdx"}};
  EXPECT_EQ(error(),
            "MOUNTPOINT '" + mountpoint_ +
                "' already has /dev/sdx (ext4) mounted on it: unmount that or choose another "
                "directory");
}

TEST_F(Preflight, AnAutomountWaitsForThisMount) {
  around_.mounts = {{mountpoint_, "autofs", "systemd-1"}};
  EXPECT_EQ(error(), "no error");
}

TEST_F(Preflight, CacheInTheWrongPlace) {
  config_.cache_dir = source_ + "/cache";
  EXPECT_THAT(error(),
              HasSubstr("lies inside SOURCE '" + source_ + "': choose a directory outside both"));
  EXPECT_FALSE(files::exists(config_.cache_dir));
  config_.cache_dir = mountpoint_ + "/cache";
  EXPECT_THAT(error(), HasSubstr("lies inside MOUNTPOINT '" + mountpoint_ + "'"));
  config_.cache_dir = source_;
  EXPECT_THAT(error(), HasSubstr("lies inside SOURCE"));
  config_.cache_dir = root_;
  EXPECT_THAT(error(), HasSubstr("cache_dir '" + root_ + "' contains SOURCE '" + source_ + "'"));
  files::create_directories(root_ + "/above/mnt");
  mountpoint_ = root_ + "/above/mnt";
  config_.cache_dir = root_ + "/above";
  EXPECT_THAT(error(), HasSubstr("contains MOUNTPOINT '" + mountpoint_ + "'"));
}

TEST_F(Preflight, CacheIsAFileOrBehindOne) {
  touch("cache");
  EXPECT_EQ(error(), "cache_dir '" + root_ +
                         "/cache' is not a directory: choose another with -o cache_dir=DIR");
  config_.cache_dir = root_ + "/cache/below";
  EXPECT_THAT(error(), HasSubstr("cache_dir '" + root_ + "/cache/below'"));
}

TEST_F(Preflight, CacheWhereNothingCanBeCreated) {
  config_.cache_dir = "/proc/larder";
  EXPECT_THAT(error(),
              HasSubstr("cache_dir '/proc/larder' cannot be used: No such file or directory"));
}

TEST_F(Preflight, CacheNotOurs) {
  chmod(root_.c_str(), 0755);
  files::create_directory(root_ + "/cache");
  chmod((root_ + "/cache").c_str(), 0700);
  std::string line;
  // A user without rights there; credentials belong to a thread.
  std::thread([&] {
    if (geteuid() == 0) {
      ASSERT_EQ(syscall(SYS_setresuid, 65534, 65534, 65534), 0);
    } else {
      chmod((root_ + "/cache").c_str(), 0500);
    }
    line = error();
  }).join();
  EXPECT_EQ(line, "cache_dir '" + root_ +
                      "/cache' is not yours to read and write: change its owner or "
                      "choose another with -o cache_dir=DIR");
}

// A small disk of its own under the cache directory.
class PreflightDisk : public Preflight {
 protected:
  ~PreflightDisk() override { umount(disk_.c_str()); }
  bool mount_disk(unsigned long flags) {
    files::create_directory(disk_);
    config_.cache_dir = disk_ + "/cache";
    return mount("none", disk_.c_str(), "tmpfs", flags, "size=16k") == 0;
  }
  std::string disk_ = root_ + "/disk";
};

TEST_F(PreflightDisk, CacheOnAFullDisk) {
  if (!mount_disk(0)) GTEST_SKIP() << "mounting a tmpfs is not permitted here";
  EXPECT_EQ(error(), "cache_dir '" + config_.cache_dir +
                         "' is on a full disk: free some space or choose another disk");
  EXPECT_TRUE(files::is_empty(config_.cache_dir));
}

TEST_F(PreflightDisk, CacheOnAReadOnlyFileSystem) {
  if (!mount_disk(MS_RDONLY)) GTEST_SKIP() << "mounting a tmpfs is not permitted here";
  EXPECT_EQ(error(), "cache_dir '" + config_.cache_dir +
                         "' is on a read-only file system: choose a writable local disk");
}

TEST_F(Preflight, FuseDeviceMissing) {
  around_.fuse_device = root_ + "/none";
  EXPECT_EQ(error(),
            root_ +
                "/none is missing: load the module with `modprobe fuse`, or give the container "
                "`--device /dev/fuse`");
}

TEST_F(Preflight, FuseDeviceNotToBeOpened) {
  around_.fuse_device = root_;  // a directory cannot be opened for writing
  EXPECT_THAT(
      error(),
      HasSubstr(root_ + " cannot be opened: Is a directory: run as root, or let your user"));
}

TEST_F(Preflight, FusermountMissing) {
  around_.uid = 1000;
  around_.search_path = "/nonexistent";
  EXPECT_EQ(error(), "fusermount3 is not installed: `apt install fuse3`");
}

TEST_F(Preflight, AllowOtherNeedsTheLineInFuseConf) {
  around_.uid = 1000;
  config_.allow_other = true;
  const std::string refusal = "allow_other is for root only, unless " + around_.fuse_conf +
                              " has the line user_allow_other";
  EXPECT_EQ(error(), refusal);
  touch("fuse.conf", "#user_allow_other\n");
  EXPECT_EQ(error(), refusal);
  touch("fuse.conf", "# x\nuser_allow_other \n");
  EXPECT_EQ(error(), "no error");
}

TEST_F(Preflight, UsersCannotMountWithRightsOfRoot) {
  for (const std::string word : {"suid", "dev"}) {
    config_ = *make_config({{word, "on", "-o"}});
    config_.cache_dir = root_ + "/cache";
    around_.uid = 0;
    EXPECT_EQ(error(), "no error");
    around_.uid = 1000;
    EXPECT_EQ(error(), word + ": only root can mount with it");
  }
}

TEST_F(Preflight, NoHomeNoCache) {
  around_.uid = 1000;
  around_.home.clear();
  config_.cache_dir.clear();
  EXPECT_EQ(error(), "there is no place for the cache, HOME is not set: give -o cache_dir=DIR");
}

TEST_F(Preflight, DefaultCacheDirectoryTellsSourcesApart) {
  around_.system_cache = "/var/cache";
  EXPECT_THAT(default_cache_dir("/data/my photos", around_),
              MatchesRegex("/var/cache/larder/my_photos-[0-9a-f]{16}"));
  EXPECT_NE(default_cache_dir("/a/x", around_), default_cache_dir("/b/x", around_));
  EXPECT_THAT(default_cache_dir("/", around_), HasSubstr("/larder/root-"));
  around_.uid = 1000;
  EXPECT_THAT(default_cache_dir("/a", around_), HasSubstr(root_ + "/.cache/larder/a-"));
  around_.xdg_cache_home = "/xdg";
  EXPECT_THAT(default_cache_dir("/a", around_), HasSubstr("/xdg/larder/a-"));
}

TEST(MountTable, ReadsMountinfo) {
  const auto table = parse_mountinfo(
      "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
      "40 22 0:50 / /mnt/with\\040space rw,nosuid - fuse.larder /far\\040away rw,user_id=0\n"
      "41 22 0:51 / /mnt rw - tmpfs tmpfs rw\n"
      "garbage\n");
  ASSERT_EQ(table.size(), 3u);
  EXPECT_EQ(table[1].mountpoint, "/mnt/with space");
  EXPECT_EQ(table[1].source, "/far away");
  EXPECT_TRUE(table[1].is_larder());
  EXPECT_EQ(find_mount(table, "/mnt")->type, "tmpfs");
  EXPECT_FALSE(find_mount(table, "/mnt/none"));
  EXPECT_EQ(find_mount_of(table, "/mnt/with space/a/b")->type, "fuse.larder");
  EXPECT_EQ(find_mount_of(table, "/mnt/without")->type, "tmpfs");
  EXPECT_EQ(find_mount_of(table, "/usr")->type, "ext4");
}

TEST(MountTable, TheLastOfSeveralMountsOnOnePlaceIsSeen) {
  const auto table =
      parse_mountinfo("1 0 0:1 / /m rw - ext4 a rw\n2 0 0:2 / /m rw - fuse.larder b rw\n");
  EXPECT_EQ(find_mount(table, "/m")->source, "b");
  EXPECT_EQ(find_mount_of(table, "/m/x")->source, "b");
}

}  // namespace
}  // namespace larder::app
