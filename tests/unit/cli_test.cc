#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <semaphore>
#include <thread>

#include "app/daemonize.h"
#include "app/exit_codes.h"
#include "app/interrupt.h"
#include "app/mount_users.h"
#include "app/path_list.h"
#include "app/stop_signals.h"
#include "app/warm_progress.h"
#include "command_line_testing.h"

namespace larder::app {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> all_paths(const std::string& list, std::optional<char> separator = {}) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  std::thread writer([&] {
    EXPECT_EQ(write(ends[1], list.data(), list.size()), static_cast<ssize_t>(list.size()));
    close(ends[1]);
  });
  PathReader reader(ends[0], separator);
  std::vector<std::string> paths;
  while (true) {
    const auto path = reader.next();
    EXPECT_TRUE(path);
    if (!path || !*path) break;
    paths.push_back(**path);
  }
  writer.join();
  close(ends[0]);
  return paths;
}

TEST(CommandLine, HelpIsCompleteAndSucceeds) {
  const auto top = run({"--help"});
  EXPECT_EQ(top.code, kExitOk);
  for (const char* command : {"mount", "umount", "status", "warm"}) {
    EXPECT_THAT(top.out, HasSubstr(command));
    const auto help = run({command, "--help"});
    EXPECT_EQ(help.code, kExitOk);
    EXPECT_THAT(help.out, HasSubstr("MOUNTPOINT")) << command;
  }
  EXPECT_THAT(run({"mount", "--help"}).out, AllOf(HasSubstr("cache_dir"), HasSubstr("block_size")));
  EXPECT_THAT(run({"--version"}).out, HasSubstr("larder "));
}

TEST(CommandLine, HelpIsACommandToo) {
  EXPECT_EQ(run({"help"}).out, run({"--help"}).out);
  EXPECT_EQ(run({"help", "mount"}).out, run({"mount", "--help"}).out);
  const auto unknown = run({"help", "mout"});
  EXPECT_EQ(unknown.code, kExitUsage);
  EXPECT_EQ(unknown.err, "larder: unknown command 'mout': did you mean 'mount'?\n");
  EXPECT_EQ(run({"-V"}).out, run({"--version"}).out);
}

TEST(CommandLine, AMisspeltCommandIsGuessed) {
  EXPECT_EQ(run({"statsu", "/mnt"}).err,
            "larder: unknown command 'statsu': did you mean 'status'?\n");
  EXPECT_EQ(run({"unmount", "/mnt"}).err,
            "larder: unknown command 'unmount': did you mean 'umount'?\n");
  EXPECT_EQ(run({"frobnicate"}).err,
            "larder: unknown command 'frobnicate': the commands are mount, umount, status, warm, "
            "record, simulate, check, inspect, help\n");
}

// As mount.fuse3(8) calls it for fuse.larder and larder#SOURCE.
TEST(CommandLine, MountsWithoutACommand) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"/nonexistent/source", "/mnt", "-o", "rw,dev,suid"},
        std::vector<std::string>{"-o", "ro", "/nonexistent/source", "/mnt"},
        std::vector<std::string>{"-n", "-s", "-v", "larder#/nonexistent/source", "/mnt"}}) {
    const auto outcome = run(words);
    EXPECT_EQ(outcome.code, kExitMountFailed);
    EXPECT_EQ(outcome.err,
              "larder: SOURCE '/nonexistent/source' does not exist: create it or correct the "
              "path\n");
  }
  EXPECT_EQ(run({"/usr", "/mnt", "-o", "sise=1G"}).code, kExitUsage);
}

TEST(CommandLine, UsageErrorsAreOneLineAndExitWith2) {
  const std::vector<std::vector<std::string>> wrong{{},
                                                    {"frob"},
                                                    {"--frob"},
                                                    {"mount"},
                                                    {"mount", "a"},
                                                    {"mount", "-x", "a", "b"},
                                                    {"umount"},
                                                    {"warm"},
                                                    {"mount", "-o", "colour=blue", "/usr", "/mnt"},
                                                    {"mount", "-o", "size=huge", "/usr", "/mnt"},
                                                    {"mount", "-c", "/nonexistent", "/usr", "/mnt"},
                                                    {"umount", "--timeout", "5", "/mnt"}};
  for (const auto& words : wrong) {
    const auto outcome = run(words);
    EXPECT_EQ(outcome.code, kExitUsage) << testing::PrintToString(words);
    EXPECT_THAT(outcome.err, testing::StartsWith("larder: "));
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
    EXPECT_THAT(outcome.out, IsEmpty());
  }
  EXPECT_THAT(run({"frob"}).err, HasSubstr("unknown command 'frob'"));
}

TEST(CommandLine, AFailedMountExitsWith32) {
  const auto outcome = run({"mount", "-o", "ro", "/nonexistent/source", "/"});
  EXPECT_EQ(outcome.code, kExitMountFailed);
  EXPECT_EQ(outcome.err,
            "larder: SOURCE '/nonexistent/source' does not exist: create it or correct the path\n");
}

TEST(CommandLine, WhatIsNoLarderMountIsAFailure) {
  for (const char* command : {"umount", "status", "warm"}) {
    const auto outcome = run({command, "/proc"});
    EXPECT_EQ(outcome.code, kExitFailed) << command;
    EXPECT_THAT(outcome.err, HasSubstr("larder mount")) << command;
  }
}

TEST(MountHelper, TakesWhatMountPasses) {
  const auto fake =
      run({"/usr", "/mnt", "-sfnv", "-o", "rw,noauto,x-foo,size=1G"}, "/sbin/mount.larder");
  EXPECT_EQ(fake.code, kExitOk) << fake.err;
  const auto bad = run({"/usr", "/mnt", "-f", "-o", "rw,sise=1G"}, "/sbin/mount.larder");
  EXPECT_EQ(bad.code, kExitUsage);
  EXPECT_THAT(bad.err, HasSubstr("did you mean 'size'"));
  EXPECT_EQ(run({"/nonexistent", "/mnt", "-o", "rw"}, "mount.larder").code, kExitMountFailed);
  EXPECT_EQ(
      run({"/nonexistent", "/mnt", "-t", "fuse.larder", "-o", "rw"}, "mount.fuse.larder").code,
      kExitMountFailed);
  const auto other = run({"/usr", "/mnt", "-N", "/proc/1/ns/mnt"}, "mount.larder");
  EXPECT_EQ(other.code, kExitUsage);
  EXPECT_THAT(other.err, HasSubstr("nsenter --mount=/proc/1/ns/mnt"));
}

TEST(MountHelper, RemountNeedsAMount) {
  const auto outcome = run({"/usr", "/mnt", "-o", "remount,ro"}, "mount.larder");
  EXPECT_EQ(outcome.code, kExitMountFailed);
  EXPECT_EQ(outcome.err,
            "larder: -o remount: '/mnt' is not a larder mount: `larder status` lists them\n");
}

TEST(Background, ParentGetsTheErrorLineAndCode) {
  testing::internal::CaptureStderr();
  const int code = run_in_background([](StartReport& report) {
    report.failed(kExitMountFailed, "no room");
    return kExitMountFailed;
  });
  EXPECT_EQ(code, kExitMountFailed);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "larder: no room\n");
}

TEST(Background, ParentNoticesAChildThatDies) {
  testing::internal::CaptureStderr();
  const int code = run_in_background([](StartReport&) -> int {
    raise(SIGKILL);
    return 0;
  });
  EXPECT_EQ(code, kExitMountFailed);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("ended by signal 9"));
}

TEST(Background, ParentReturnsWhenReadyAndTheChildHasLeftTheTerminal) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const int code = run_in_background([&](StartReport& report) {
    report.ready();
    report.failed(kExitFailed, "too late to be told");
    const std::string where = std::filesystem::current_path().string();
    const std::string output = std::filesystem::read_symlink("/proc/self/fd/1").string();
    const std::string line =
        (getsid(0) == getpid() ? "leader " : "follower ") + where + " " + output;
    return write(ends[1], line.data(), line.size()) < 0 ? 1 : 0;
  });
  EXPECT_EQ(code, kExitOk);
  close(ends[1]);
  char text[256];
  const ssize_t got = read(ends[0], text, sizeof text);
  ASSERT_GT(got, 0);
  EXPECT_EQ(std::string(text, static_cast<size_t>(got)), "leader / /dev/null");
  close(ends[0]);
}

TEST(Interrupt, IsARequestOnceAndTheEndThen) {
  using std::chrono::milliseconds;
  {
    const Interrupt interrupt;
    EXPECT_FALSE(interrupt.wait_for(milliseconds(1)));
    std::raise(SIGTERM);
    EXPECT_TRUE(interrupt.wait_for(std::chrono::hours(1)));
    EXPECT_TRUE(interrupt.wait_for(milliseconds(0))) << "it stays one";
    EXPECT_EXIT(std::raise(SIGTERM), testing::KilledBySignal(SIGTERM), "");
  }
  std::signal(SIGHUP, SIG_IGN);
  {
    const Interrupt interrupt;
    std::raise(SIGHUP);
    EXPECT_FALSE(interrupt.wait_for(milliseconds(0)));
  }
  EXPECT_EQ(std::signal(SIGHUP, SIG_DFL), SIG_IGN);
}

TEST(StopSignals, ReachTheCallbackOnAThreadOfItsOwn) {
  StopSignals signals;
  std::counting_semaphore<8> stopped(0);
  signals.watch([&] { stopped.release(); });
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    ASSERT_EQ(kill(getpid(), signal), 0);
    stopped.acquire();
  }
  SUCCEED();
}

TEST(PathList, NewlineOrNulWhicheverComesFirst) {
  EXPECT_THAT(all_paths("a\nb c\n\nlast"), ElementsAre("a", "b c", "last"));
  EXPECT_THAT(all_paths(std::string("a\0b\nc\0", 6)), ElementsAre("a", "b\nc"));
  EXPECT_THAT(all_paths(std::string("a\nb\0", 4), '\0'), ElementsAre("a\nb"));
  EXPECT_THAT(all_paths(""), IsEmpty());
  EXPECT_THAT(all_paths("one"), ElementsAre("one"));
}

TEST(PathList, LongListsAreStreamed) {
  std::string list;
  for (int i = 0; i < 50000; ++i) list += "some/path/number/" + std::to_string(i) + "\n";
  const auto paths = all_paths(list);
  ASSERT_EQ(paths.size(), 50000u);
  EXPECT_EQ(paths.front(), "some/path/number/0");
  EXPECT_EQ(paths.back(), "some/path/number/49999");
}

TEST(PathList, PathsAreBroughtToTheMountsRoot) {
  EXPECT_EQ(*path_on_mount("/mnt/a/b", "/mnt", "/home"), "a/b");
  EXPECT_EQ(*path_on_mount("a/./b/../c/", "/mnt", "/home"), "a/c");
  EXPECT_EQ(*path_on_mount("c", "/mnt", "/mnt/a"), "a/c");
  EXPECT_EQ(*path_on_mount("..", "/mnt", "/mnt/a"), ".");
  EXPECT_EQ(*path_on_mount("/mnt/", "/mnt", "/home"), ".");
  for (const char* outside : {"/etc", "/mnt2/a", "..", "a/../.."}) {
    const auto path = path_on_mount(outside, "/mnt", "/home");
    ASSERT_FALSE(path) << outside;
    EXPECT_EQ(path.error().detail(), std::string("'") + outside + "' is not on the mount /mnt");
  }
}

TEST(WarmText, CountsWhatMatters) {
  EXPECT_EQ(warm_summary({12, 12, 0, 0, 3 << 20, 3 << 20, true, {}, {}}),
            "12 files, 3.0 MiB loaded");
  EXPECT_EQ(warm_summary({12, 9, 1, 2, 0, 0, true, {}, {}}),
            "9 files, 0 B loaded, 1 missing, 2 failed");
  EXPECT_EQ(
      warm_progress_line({4, 2, 0, 0, 2 << 20, 8 << 20, false, {}, {}}, std::chrono::seconds(2)),
      "2 of 4 files, 2.0 MiB of 8.0 MiB, 1.0 MiB/s");
}

TEST(MountUsers, FindsAProcessByItsOpenFile) {
  std::string name = std::filesystem::temp_directory_path() / "larder-users-XXXXXX";
  const std::string directory = std::filesystem::canonical(mkdtemp(name.data())).string();
  EXPECT_THAT(processes_using(directory, 5), IsEmpty());
  const int fd = open((directory + "/file").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  const auto users = processes_using(directory, 5);
  close(fd);
  std::filesystem::remove_all(directory);
  ASSERT_EQ(users.size(), 1u);
  EXPECT_THAT(users.front(), HasSubstr("(pid " + std::to_string(getpid()) + ")"));
}

}  // namespace
}  // namespace larder::app
