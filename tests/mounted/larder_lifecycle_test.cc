// Mounting, unmounting, and working without privileges.
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <thread>

#include "larder_fixture.h"
#include "support/slow_source/connection.h"

namespace larder::testing_support {
namespace {

using testing::HasSubstr;

constexpr uid_t kNobody = 65534;

class Lifecycle : public LarderTest, public testing::WithParamInterface<int> {};

TEST_P(Lifecycle, ASignalUnmountsCleanly) {
  const std::string data = pattern(kBlockBytes);
  ASSERT_TRUE(mount());
  put_and_cache("file", data);
  EXPECT_EQ(mount_->stop(GetParam()), 0);
  EXPECT_LT(slow_source::connection_of(mount_->mountpoint()), 0);
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  source_->reset_requests();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data}));
  EXPECT_EQ(data_requests(), 0u);
}

TEST_P(Lifecycle, SignalsThatComeWhileItEndsAreHarmless) {
  const std::string data = pattern(kBlockBytes);
  ASSERT_TRUE(mount());
  put_and_cache("file", data);
  {
    const Descriptor program(static_cast<int>(syscall(SYS_pidfd_open, mount_->pid(), 0)));
    ASSERT_GE(program.get(), 0);
    const std::jthread more([&](const std::stop_token& done) {
      while (!done.stop_requested()) {
        syscall(SYS_pidfd_send_signal, program.get(), GetParam(), nullptr, 0);
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
    });
    EXPECT_EQ(mount_->stop(GetParam()), 0);
  }
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  source_->reset_requests();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data}));
  EXPECT_EQ(data_requests(), 0u);
}

TEST_P(Lifecycle, ASignalEndsABusyMountToo) {
  const std::string data = pattern(kBlockBytes);
  ASSERT_TRUE(mount());
  put_and_cache("file", data);
  ASSERT_EQ(mkdir(at("directory").c_str(), 0755), 0);
  const Descriptor file(at("file"), O_RDONLY);
  const Descriptor writer(at("written"), O_RDWR | O_CREAT);
  const Descriptor directory(at("directory"), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(file.valid() && writer.valid() && directory.valid());
  EXPECT_EQ(write(writer.get(), "abc", 3), 3);
  EXPECT_EQ(mount_->stop(GetParam()), 0);
  EXPECT_LT(slow_source::connection_of(mount_->mountpoint()), 0);
  EXPECT_EQ(read_file(real("written")).data, "abc");
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data}));
}

TEST_P(Lifecycle, ASignalEndsAMountWhoseSourceHangs) {
  put("file", pattern(kBlockBytes));
  ASSERT_TRUE(mount({"source_timeout=1h"}));
  EXPECT_EQ(stat_error(at("file")), 0);
  ASSERT_TRUE(source_->set("hang", "1"));
  FileContent hurt;
  std::jthread reader([&] { hurt = read_file(at("file")); });
  ASSERT_TRUE(source_->wait_hung(1));
  ASSERT_EQ(kill(mount_->pid(), GetParam()), 0);
  EXPECT_TRUE(mount_->completes([&] { reader.join(); }));
  EXPECT_NE(hurt.error, 0);
  EXPECT_TRUE(LarderMount::eventually(
      [&] { return slow_source::connection_of(mount_->mountpoint()) < 0; }));
  // The kernel keeps the process for as long as one of its threads hangs in the source.
  ASSERT_TRUE(source_->set("hang", "0"));
  EXPECT_EQ(mount_->stop(0), 0);
}

INSTANTIATE_TEST_SUITE_P(Signals, Lifecycle, testing::Values(SIGTERM, SIGINT),
                         [](const auto& way) { return std::string(sigabbrev_np(way.param)); });

class Background : public LarderTest {
 protected:
  void SetUp() override {
    LarderTest::SetUp();
    if (IsSkipped()) return;
    home_ = std::filesystem::canonical(source_->directory() + "/..");
    mountpoint_ = home_ + "/mountpoint";
    ASSERT_EQ(mkdir(mountpoint_.c_str(), 0755), 0);
  }
  void TearDown() override {
    umount2(mountpoint_.c_str(), MNT_DETACH);
    LarderTest::TearDown();
  }
  CommandResult larder(std::vector<std::string> words, const CommandOptions& options = {}) const {
    words.insert(words.begin(), LarderMount::program());
    return run_command(words, options);
  }
  std::string home_;
  std::string mountpoint_;
};

TEST_F(Background, MountReturnsWhenItAnswersAndUmountWhenItIsGone) {
  put("file", "hello");
  const auto mounted =
      larder({"mount", "-o", "cache_dir=" + home_ + "/cache", source_->mountpoint(), mountpoint_});
  ASSERT_EQ(mounted.exit_code, 0) << mounted.err;
  EXPECT_EQ(mounted.out + mounted.err, "");
  EXPECT_EQ(read_file(mountpoint_ + "/file").data, "hello");
  const auto listed = larder({"status", "--json"});
  EXPECT_THAT(listed.out, HasSubstr(mountpoint_));
  const auto again =
      larder({"mount", "-o", "cache_dir=" + home_ + "/cache", source_->mountpoint(), mountpoint_});
  EXPECT_EQ(again.exit_code, 32);
  const auto unmounted = larder({"umount", mountpoint_});
  EXPECT_EQ(unmounted.exit_code, 0) << unmounted.err;
  // Its daemon is gone: the cache directory is free at once.
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(
        larder({"mount", "-o", "cache_dir=" + home_ + "/cache", source_->mountpoint(), mountpoint_})
            .exit_code,
        0);
    EXPECT_EQ(read_file(mountpoint_ + "/file").data, "hello");
    const auto ended = larder({"umount", mountpoint_});
    ASSERT_EQ(ended.exit_code, 0) << ended.err;
  }
}

TEST_F(Background, UmountSaysWhoIsInTheWay) {
  ASSERT_EQ(
      larder({"mount", "-o", "cache_dir=" + home_ + "/cache", source_->mountpoint(), mountpoint_})
          .exit_code,
      0);
  put("file", "hello");
  {
    const Descriptor file(mountpoint_ + "/file", O_RDONLY);
    ASSERT_TRUE(file.valid());
    const auto busy = larder({"umount", mountpoint_});
    EXPECT_EQ(busy.exit_code, 1);
    EXPECT_THAT(busy.err, HasSubstr("busy"));
    EXPECT_THAT(busy.err, HasSubstr(std::to_string(getpid())));
    EXPECT_EQ(read_at(file.get(), 0, 10).data, "hello");
  }
  const auto ended = larder({"umount", mountpoint_});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
}

// It still writes down what it knows when umount(8) has returned.
TEST_F(Background, CanBeMountedAtOnceAfterUmount) {
  const std::string data = pattern(kBlockBytes);
  put("file", data);
  for (int i = 0; i < 5; ++i) {
    const auto mounted = larder(
        {"mount", "-o", "cache_dir=" + home_ + "/cache", source_->mountpoint(), mountpoint_});
    ASSERT_EQ(mounted.exit_code, 0) << mounted.err;
    EXPECT_EQ(read_file(mountpoint_ + "/file").data, data);
    EXPECT_TRUE(LarderMount::eventually([&] { return umount(mountpoint_.c_str()) == 0; }));
  }
}

// umount(8) does not wait for the releases of files that a program has just closed: they are in the
// queue when the connection ends.
TEST_F(Background, AnUnmountWithReleasesUnderWayIsAnEndLikeAnyOther) {
  constexpr int kRounds = 5, kFiles = 500;
  for (int i = 0; i < kFiles; ++i) put(fmt::format("file{}", i), "x");
  for (int round = 0; round < kRounds; ++round) {
    const pid_t daemon =
        start_command({LarderMount::program(), "mount", "-f", "-o", "cache_dir=" + home_ + "/cache",
                       source_->mountpoint(), mountpoint_},
                      home_ + "/log");
    ASSERT_GT(daemon, 0);
    ASSERT_TRUE(
        LarderMount::eventually([&] { return read_file(mountpoint_ + "/file0").data == "x"; }));
    {
      std::deque<Descriptor> open;
      for (int i = 0; i < kFiles; ++i)
        open.emplace_back(fmt::format("{}/file{}", mountpoint_, i), O_RDONLY);
    }
    ASSERT_EQ(umount(mountpoint_.c_str()), 0) << strerror(errno);
    int status = -1;
    ASSERT_TRUE(wait_for_exit(daemon, 30'000, &status));
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << status << ": " << read_file(home_ + "/log").data;
  }
}

// As a file manager does, or `larder status` of all mounts.
TEST_F(Background, UmountIsNotStoppedByWhoJustLooks) {
  put("file", "hello");
  std::atomic<bool> stop{false};
  std::vector<std::jthread> lookers;
  for (int i = 0; i < 2; ++i)
    lookers.emplace_back([&] {
      while (!stop) {
        larder({"status"});
      }
    });
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(
        larder({"mount", "-o", "cache_dir=" + home_ + "/cache", source_->mountpoint(), mountpoint_})
            .exit_code,
        0);
    const auto ended = larder({"umount", mountpoint_});
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
  }
  stop = true;
}

// A container that was started meanwhile has its own copy of the mount.
TEST_F(Background, AMountThatLivesOnElsewhereIsNamedWithItsProcess) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root for a mount namespace";
  const std::string cache = home_ + "/cache";
  const std::vector<std::string> mount = {"mount", "-o", "cache_dir=" + cache,
                                          source_->mountpoint(), mountpoint_};
  ASSERT_EQ(larder(mount).exit_code, 0);
  const auto elsewhere = [&] {
    const pid_t child = start_command(
        {"unshare", "-m", "--propagation", "private", "sleep", "1000"}, home_ + "/log");
    EXPECT_TRUE(LarderMount::eventually(
        [&] { return read_file("/proc/" + std::to_string(child) + "/comm").data == "sleep\n"; }));
    return child;
  };
  const auto expect_named = [&](const CommandResult& result, int code, pid_t child) {
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_THAT(result.err, HasSubstr("lives on in the mount namespace of sleep (pid " +
                                      std::to_string(child) + ")"));
  };
  const auto end = [](pid_t child) {
    kill(child, SIGKILL);
    int status = 0;
    EXPECT_TRUE(wait_for_exit(child, 10'000, &status));
  };
  pid_t child = elsewhere();
  ASSERT_EQ(umount(mountpoint_.c_str()), 0);
  expect_named(larder(mount), 32, child);
  expect_named(larder({"umount", mountpoint_}), 1, child);
  expect_named(larder({"status", mountpoint_}), 1, child);
  const auto all = larder({"status"});  // there may be other mounts, which have other ends
  expect_named(all, all.exit_code, child);
  expect_named(larder({"check", cache}), 1, child);
  end(child);
  ASSERT_EQ(larder(mount).exit_code, 0);

  child = elsewhere();
  expect_named(larder({"umount", mountpoint_}), 1, child);
  end(child);
  ASSERT_EQ(larder(mount).exit_code, 0);
  EXPECT_EQ(larder({"umount", mountpoint_}).exit_code, 0);
}

TEST_F(Background, ErrorsBeforeItIsReadyReachTheTerminal) {
  ASSERT_EQ(mkdir((home_ + "/foreign").c_str(), 0755), 0);
  ASSERT_EQ(write_file(home_ + "/foreign/notes", "x"), 0);
  const auto failed = larder(
      {"mount", "-o", "cache_dir=" + home_ + "/foreign", source_->mountpoint(), mountpoint_});
  EXPECT_EQ(failed.exit_code, 32);
  EXPECT_THAT(failed.err, HasSubstr("notes"));
  EXPECT_LT(slow_source::connection_of(mountpoint_), 0);
}

// In a mount namespace of this process's own, gives it a /dev/fuse that is open to users, as it is
// on most machines.  Empty, or why that cannot be done.
std::string open_the_device_to_users() {
  if (unshare(CLONE_NEWNS) != 0) return std::string("unshare: ") + strerror(errno);
  const std::string node = testing::TempDir() + "larder-fuse-" + std::to_string(getpid());
  const dev_t fuse = makedev(10, 229);
  std::string problem;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mknod(node.c_str(), S_IFCHR | 0666, fuse) != 0 || chmod(node.c_str(), 0666) != 0 ||
      ::mount(node.c_str(), "/dev/fuse", nullptr, MS_BIND, nullptr) != 0)
    problem = std::string("a device node of our own: ") + strerror(errno);
  unlink(node.c_str());
  return problem;
}

// As nobody, with fusermount3 and without passthrough.
class Unprivileged : public LarderTest {
 protected:
  void SetUp() override {
    if (run_command({"fusermount3", "--version"}).exit_code != 0)
      GTEST_SKIP() << "fusermount3 is not installed";
    if (!device_is_open()) {
      const std::string problem = open_the_device_to_users();
      if (!problem.empty() || !device_is_open())
        GTEST_SKIP() << "/dev/fuse is not open to users: " << problem;
    }
    LarderTest::SetUp();
  }
  bool device_is_open() const {
    return run_command({"sh", "-c", ": <>/dev/fuse"}, as_).exit_code == 0;
  }
  const CommandOptions as_{.uid = kNobody, .gid = kNobody};
};

TEST_F(Unprivileged, EverythingWorksWithoutPassthrough) {
  const std::string data = pattern(3 * kBlockBytes + 10);
  put("file", data);
  put("private", "secret");
  ASSERT_EQ(chmod(real("private").c_str(), 0600), 0);
  ASSERT_EQ(chmod(real("").c_str(), 0777), 0);
  settle();
  mount_ = std::make_unique<LarderMount>(source_->mountpoint(), std::vector<std::string>{}, as_);
  ASSERT_TRUE(mount_->mounted()) << mount_->problem();
  for (int i = 0; i < 2; ++i) {
    const auto read = run_command({"cat", at("file")}, as_);
    EXPECT_EQ(read.exit_code, 0) << read.err;
    EXPECT_EQ(read.out, data);
    if (i == 0) source_->reset_requests();
  }
  EXPECT_EQ(data_requests(), 0u);
  EXPECT_NE(run_command({"cat", at("private")}, as_).exit_code, 0);
  EXPECT_EQ(run_command({"sh", "-c",
                         "echo new > " + at("made") + " && mkdir " + at("d") + " && mv " +
                             at("made") + " " + at("d/moved")},
                        as_)
                .exit_code,
            0);
  EXPECT_EQ(read_file(real("d/moved")).data, "new\n");
  EXPECT_EQ(
      run_command({"sh", "-c",
                   "echo more >> " + at("d/moved") + " && ln " + at("d/moved") + " " +
                       at("linked") + " && chmod 640 " + at("linked") + " && truncate -s 6 " +
                       at("linked") + " && flock " + at("linked") + " true && rm " + at("d/moved")},
                  as_)
          .exit_code,
      0);
  EXPECT_EQ(read_file(real("linked")).data, "new\nmo");
  EXPECT_EQ(rename(real("linked").c_str(), real("d/moved").c_str()), 0);
  struct stat status;
  ASSERT_EQ(stat(real("d/moved").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, kNobody);
  const auto stats =
      run_command({LarderMount::program(), "status", "--json", mount_->mountpoint()}, as_);
  ASSERT_EQ(stats.exit_code, 0) << stats.err;
  const auto json = nlohmann::json::parse(stats.out);
  EXPECT_THAT(json["passthrough"], HasSubstr("off"));
  EXPECT_EQ(json["metrics"]["other"]["opens"]["passthrough"], 0);
  EXPECT_EQ(
      run_command({LarderMount::program(), "warm", mount_->mountpoint(), "file"}, as_).exit_code,
      0);
  EXPECT_EQ(mount_->stop(), 0);
  EXPECT_LT(slow_source::connection_of(mount_->mountpoint()), 0);
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  source_->reset_requests();
  EXPECT_EQ(run_command({"cat", at("file")}, as_).out, data);
  EXPECT_EQ(data_requests(), 0u);
  const auto ended = run_command({LarderMount::program(), "umount", mount_->mountpoint()}, as_);
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_LT(slow_source::connection_of(mount_->mountpoint()), 0);
}

}  // namespace
}  // namespace larder::testing_support
