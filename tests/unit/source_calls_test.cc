// The source when it hangs, fails and goes away.  The clock is a manual one: nothing times out, and
// no probe is due, unless a test says so.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <thread>

#include "source/root.h"
#include "source_fixture.h"

namespace larder::source {
namespace {

using namespace std::chrono_literals;

class SourceCalls : public SourceTest {
 protected:
  SourceCalls() {
    // The watchdog sleeps by these in real time: short, so that it looks at the manual clock often.
    options_.timeout = 5ms;
    options_.breaker.probe_delay_min = 4ms;
    options_.breaker.probe_delay_max = 8ms;
    options_.breaker.faults_max = 1000;
  }
  ~SourceCalls() override { source_.reset(); }  // its watchdog looks at clock_
  void open() { SourceTest::open(options_, clock_); }
  int64_t hung() { return metric(*registry_, "larder_source_calls_hung"); }
  int64_t recovered() { return metric(*registry_, "larder_source_calls_recovered"); }

  ManualClock clock_;
  SourceOptions options_;
};

TEST_F(SourceCalls, AHungCallTimesOutWhileOthersProceed) {
  open();
  Gate gate("source.attributes");
  auto hanging = start(source_->attributes(at("")));
  gate.wait_entered(1);
  EXPECT_TRUE(run(source_->list(directory_at(""))));
  EXPECT_EQ(metric(*registry_, "larder_source_calls_in_flight"), 1);
  clock_.advance(options_.timeout);
  EXPECT_EQ(hanging.get().error().code(), Code::kTimedOut);
  EXPECT_EQ(hung(), 1);
  EXPECT_TRUE(run(source_->list(directory_at(""))));
  gate.open();
  EXPECT_TRUE(eventually([&] { return hung() == 0; }));
  EXPECT_EQ(recovered(), 1);
  EXPECT_TRUE(run(source_->attributes(at(""))));
  const Labels kind = {{"kind", "attributes"}};
  EXPECT_EQ(metric(*registry_, "larder_source_calls_total", kind), 2);
  EXPECT_EQ(metric(*registry_, "larder_source_errors_total", kind), 1);
  EXPECT_EQ(metric(*registry_, "larder_source_timeouts_total"), 1);
  EXPECT_EQ(metric(*registry_, "larder_source_calls_in_flight"), 0);
}

TEST_F(SourceCalls, TheDeadlineCoversTheQueue) {
  options_.threads_max = 2;
  open();
  Gate gate("source.attributes");
  auto first = start(source_->attributes(at("")));
  auto second = start(source_->attributes(at("")));
  gate.wait_entered(2);
  auto queued = start(source_->make_directory(at("made"), 0755, self()));
  EXPECT_TRUE(eventually([&] { return metric(*registry_, "larder_source_calls_in_flight") == 3; }));
  clock_.advance(options_.timeout);
  EXPECT_EQ(first.get().error().code(), Code::kTimedOut);
  EXPECT_EQ(second.get().error().code(), Code::kTimedOut);
  EXPECT_EQ(queued.get().error().code(), Code::kTimedOut);
  EXPECT_EQ(hung(), 2) << "a queued call holds no thread";
  gate.open();
  EXPECT_TRUE(run(source_->attributes(at(""))));
  EXPECT_FALSE(std::filesystem::exists(root() / "made")) << "given up before it began";
}

TEST_F(SourceCalls, AFullQueueRefuses) {
  options_.threads_max = 1;
  options_.queue_max = 1;
  open();
  Gate gate("source.attributes");
  auto running = start(source_->attributes(at("")));
  gate.wait_entered(1);
  auto queued = start(source_->list(directory_at("")));
  EXPECT_EQ(run(source_->list(directory_at(""))).error().code(), Code::kLimit);
  gate.open();
  EXPECT_TRUE(running.get());
  EXPECT_TRUE(queued.get());
}

TEST_F(SourceCalls, ALateCreationClosesItsDescriptor) {
  open();
  EXPECT_TRUE(run(source_->attributes(at(""))));
  const size_t before = open_descriptors();
  Gate gate("source.create");
  auto late = start(source_->create_file(at("late"), O_RDWR, 0644, self()));
  gate.wait_entered(1);
  clock_.advance(options_.timeout);
  EXPECT_EQ(late.get().error().code(), Code::kTimedOut);
  gate.open();
  EXPECT_TRUE(eventually([&] { return recovered() == 1; }));
  EXPECT_TRUE(std::filesystem::exists(root() / "late"));
  EXPECT_TRUE(eventually([&] { return open_descriptors() == before; }));
}

TEST_F(SourceCalls, AFileIsClosedThoughAllWorkersHang) {
  options_.threads_max = 1;
  options_.queue_max = 1;
  open();
  write_file(root() / "f", "text");
  const size_t before = open_descriptors();
  auto opened = run(source_->open_file(at("f"), O_RDONLY));
  ASSERT_TRUE(opened);
  EXPECT_EQ(open_descriptors(), before + 1);
  Gate gate("source.attributes");
  auto running = start(source_->attributes(at("")));
  gate.wait_entered(1);
  auto queued = start(source_->list(directory_at("")));
  EXPECT_EQ(run(source_->list(directory_at(""))).error().code(), Code::kLimit);
  opened->file.reset();
  EXPECT_TRUE(eventually([&] { return open_descriptors() == before; }));
  gate.open();
  EXPECT_TRUE(running.get());
  EXPECT_TRUE(queued.get());
}

TEST_F(SourceCalls, AFileMayOutliveTheSource) {
  open();
  write_file(root() / "f", "text");
  const size_t before = open_descriptors();
  auto opened = run(source_->open_file(at("f"), O_RDONLY));
  ASSERT_TRUE(opened);
  source_.reset();
  EXPECT_EQ(run(opened->file->attributes()).error().code(), Code::kCancelled);
  opened->file.reset();
  EXPECT_TRUE(eventually([&] { return open_descriptors() < before; }));
}

TEST_F(SourceCalls, AHungThreadMayOutliveAll) {
  write_file(root() / "f", "text");
  open();
  auto opened = run(source_->open_file(at("f"), O_RDONLY));
  ASSERT_TRUE(opened);
  Gate gate("source.read");
  auto hanging = start(opened->file->read(buffers_.allocate(4096), 4096, 0));
  gate.wait_entered(1);
  auto& hung_now = *registry_;
  std::function<int64_t()> read_hung;
  for (const auto& entry : hung_now.entries())
    if (entry.name == "larder_source_calls_hung") read_hung = entry.read;
  ASSERT_TRUE(read_hung);
  source_.reset();
  EXPECT_EQ(hanging.get().error().code(), Code::kCancelled);
  opened->file.reset();
  registry_.reset();
  EXPECT_EQ(read_hung(), 1);
  EXPECT_GT(buffers_.in_use_bytes(), 0u) << "the thread still reads into it";
  gate.open();
  EXPECT_TRUE(eventually([&] { return read_hung() == 0 && buffers_.in_use_bytes() == 0; }));
}

TEST_F(SourceCalls, TheBreakerOpensAndAProbeClosesIt) {
  options_.breaker.faults_max = 3;
  open();
  std::atomic<int> ups{0}, downs{0};
  source_->on_state_change([&](bool up) { ++(up ? ups : downs); });
  const auto not_connected = [] {
    errno = ENOTCONN;
    return true;
  };
  std::atomic<int> probes{0};
  failpoint::arm("source.attributes", not_connected);
  failpoint::arm("source.probe", [&] {
    ++probes;
    return not_connected();
  });
  for (uint32_t i = 0; i < options_.breaker.faults_max; ++i) {
    EXPECT_TRUE(source_->is_up());
    EXPECT_EQ(run(source_->attributes(at(""))).error().code(), code_of(ENOTCONN));
  }
  EXPECT_FALSE(source_->is_up());
  EXPECT_TRUE(eventually([&] { return downs == 1; }));
  EXPECT_EQ(metric(*registry_, "larder_source_breaker_state"),
            static_cast<int64_t>(BreakerState::kOpen));
  EXPECT_EQ(run(source_->list(directory_at(""))).error().code(), Code::kSourceDown);
  EXPECT_EQ(probes, 0) << "none is due";
  clock_.advance(options_.breaker.probe_delay_max);
  EXPECT_TRUE(eventually([&] { return probes == 1; }));
  EXPECT_EQ(run(source_->list(directory_at(""))).error().code(), Code::kSourceDown);
  EXPECT_EQ(ups, 0);
  failpoint::disarm("source.attributes");
  failpoint::disarm("source.probe");
  EXPECT_TRUE(eventually([&] {
    clock_.advance(options_.breaker.probe_delay_max);
    return source_->is_up();
  }));
  EXPECT_TRUE(eventually([&] { return ups == 1; }));
  EXPECT_EQ(metric(*registry_, "larder_source_breaker_state"),
            static_cast<int64_t>(BreakerState::kClosed));
  EXPECT_EQ(downs, 1);
  EXPECT_TRUE(run(source_->list(directory_at(""))));
}

TEST_F(SourceCalls, AHungProbeIsFollowedByAnother) {
  options_.breaker.faults_max = 1;
  open();
  failpoint::arm("source.attributes", [] {
    errno = EHOSTDOWN;
    return true;
  });
  EXPECT_FALSE(run(source_->attributes(at(""))));
  failpoint::disarm("source.attributes");
  Gate gate("source.probe");
  clock_.advance(options_.breaker.probe_delay_max);
  gate.wait_entered(1);
  EXPECT_TRUE(eventually([&] {
    clock_.advance(options_.timeout);
    return gate.entered() >= 2;
  }));
  EXPECT_GE(hung(), 1);
  EXPECT_FALSE(source_->is_up());
  gate.open();
  EXPECT_TRUE(eventually([&] {
    clock_.advance(options_.breaker.probe_delay_max);
    return source_->is_up();
  }));
}

TEST_F(SourceCalls, ARemovedRootIsALostSourceNotAnEmptyOne) {
  open();
  EXPECT_EQ(run(source_->attributes(at("f"))).error().code(), Code::kNotFound);
  EXPECT_TRUE(source_->is_up());
  std::filesystem::remove(directory_.path());
  EXPECT_EQ(run(source_->attributes(at("f"))).error().code(), Code::kSourceDown);
  EXPECT_FALSE(source_->is_up());
  std::filesystem::create_directory(directory_.path());
  write_file(root() / "f", "back");
  EXPECT_TRUE(eventually([&] {
    clock_.advance(options_.breaker.probe_delay_max);
    return source_->is_up();
  }));
  EXPECT_EQ(run(source_->attributes(at("f")))->size_bytes, std::string("back").size());
}

TEST_F(SourceCalls, StartsWhileTheSourceIsDown) {
  failpoint::arm("source.probe", [] {
    errno = ENOTCONN;
    return true;
  });
  open();
  EXPECT_FALSE(source_->is_up());
  EXPECT_EQ(source_->inode_numbers(), InodeNumbers::kUnreliable);
  EXPECT_FALSE(source_->directory_times_are_kept());
  EXPECT_EQ(run(source_->attributes(at(""))).error().code(), Code::kSourceDown);
  std::atomic<int> ups{0}, downs{0};
  source_->on_state_change([&](bool up) { ++(up ? ups : downs); });
  EXPECT_TRUE(eventually([&] { return downs == 1; }));
  failpoint::disarm("source.probe");
  EXPECT_TRUE(eventually([&] {
    clock_.advance(options_.breaker.probe_delay_max);
    return source_->is_up();
  }));
  EXPECT_TRUE(eventually([&] { return ups == 1; }));
  EXPECT_TRUE(run(source_->attributes(at(""))));
}

TEST_F(SourceCalls, AMissingRootIsAnError) {
  const auto opened =
      Source::open((root() / "none").string(), options_, *registry_, Clock::system());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Code::kNotFound);
}

TEST_F(SourceCalls, DestructionAnswersAllCalls) {
  options_.threads_max = 1;
  open();
  Gate gate("source.attributes");
  auto running = start(source_->attributes(at("")));
  gate.wait_entered(1);
  auto queued = start(source_->list(directory_at("")));
  EXPECT_TRUE(eventually([&] { return metric(*registry_, "larder_source_calls_in_flight") == 2; }));
  source_.reset();
  EXPECT_EQ(running.get().error().code(), Code::kCancelled);
  EXPECT_EQ(queued.get().error().code(), Code::kCancelled);
}

// Inode numbers repeat from file system to file system (and from Btrfs subvolume to subvolume).
TEST(SourceRoot, FilesOfOtherDevicesBeneathItKeepApart) {
  TempDirectory directory;
  Root root(directory.path().string());
  ASSERT_TRUE(root.attach());
  struct stat own = {};
  ASSERT_EQ(::stat(directory.path().c_str(), &own), 0);
  EXPECT_EQ(root.file_number(12, own.st_dev), 12u);
  const uint64_t other = root.file_number(12, own.st_dev + 1);
  EXPECT_NE(other, 12u);
  if (root.inode_numbers() != InodeNumbers::kUnreliable)
    EXPECT_EQ(other, 0u);
  else
    EXPECT_NE(other, root.file_number(12, own.st_dev + 2));
}

TEST(SourceRoot, DirectoriesKeepTheirTimesWhereThatIsKnown) {
  constexpr uint64_t kExt = 0xEF53, kNfs = 0x6969, kTmpfs = 0x01021994;
  constexpr uint64_t kFuse = 0x65735546, kSmb2 = 0xFE534D42, kFat = 0x4d44, kExfat = 0x2011BAB0;
  for (const uint64_t type : {kExt, kNfs, kTmpfs}) EXPECT_TRUE(type_keeps_directory_times(type));
  for (const uint64_t type : {kFuse, kSmb2, kFat, kExfat})
    EXPECT_FALSE(type_keeps_directory_times(type));
}

TEST(SourceRoot, TheBareDirectoryUnderAnUnmountedSourceIsNotTheSource) {
  TempDirectory directory;
  const std::string path = directory.path().string();
  if (::mount("none", path.c_str(), "tmpfs", 0, nullptr) != 0)
    GTEST_SKIP() << "cannot mount here: " << Error::from_errno().message();
  Root root(path);
  EXPECT_TRUE(root.attach());
  EXPECT_EQ(root.inode_numbers(), InodeNumbers::kWhileMounted);
  EXPECT_TRUE(root.directory_times_are_kept());
  EXPECT_EQ(::umount2(path.c_str(), MNT_DETACH), 0);
  const auto bare = root.attach();
  ASSERT_FALSE(bare);
  EXPECT_EQ(bare.error().code(), Code::kSourceDown);
  ASSERT_EQ(::mount("none", path.c_str(), "tmpfs", 0, nullptr), 0);
  EXPECT_TRUE(root.attach());
  EXPECT_EQ(::umount2(path.c_str(), MNT_DETACH), 0);
}

}  // namespace
}  // namespace larder::source
