// The reactor: every test runs on both engines.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <future>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/failpoint.h"
#include "io/completion.h"
#include "io/posix_disk.h"
#include "io/reactor.h"
#include "io/when_all.h"
#include "io_fixture.h"

namespace larder::io {
namespace {

// A file in memory that has no descriptor, can be held up, and notes what it is asked.
class MemoryFile final : public File {
 public:
  MemoryFile() : File(-1) {}

  void hold() {
    MutexLock lock(mutex_);
    held_ = true;
  }
  void let_go() {
    MutexLock lock(mutex_);
    held_ = false;
    changed_.notify_all();
  }
  void wait_for_entered(size_t n) {
    MutexLock lock(mutex_);
    while (offsets_.size() < n) changed_.wait(mutex_);
  }
  std::vector<uint64_t> offsets() {
    MutexLock lock(mutex_);
    return offsets_;
  }
  size_t inside_max() {
    MutexLock lock(mutex_);
    return inside_max_;
  }

 private:
  void enter(uint64_t offset) {
    MutexLock lock(mutex_);
    offsets_.push_back(offset);
    inside_max_ = std::max(inside_max_, ++inside_);
    changed_.notify_all();
    while (held_) changed_.wait(mutex_);
    --inside_;
  }
  Result<size_t> do_read(std::span<std::byte> into, uint64_t offset) override {
    enter(offset);
    MutexLock lock(mutex_);
    if (offset >= data_.size()) return size_t{0};
    const size_t n = std::min(into.size(), data_.size() - offset);
    std::memcpy(into.data(), data_.data() + offset, n);
    return n;
  }
  Result<size_t> do_write(std::span<const std::byte> from, uint64_t offset) override {
    enter(offset);
    MutexLock lock(mutex_);
    data_.resize(std::max(data_.size(), offset + from.size()));
    std::memcpy(data_.data() + offset, from.data(), from.size());
    return from.size();
  }
  Result<void> do_sync_data() override { return fail(Code::kIo, "this file never syncs"); }
  Result<void> do_truncate(uint64_t) override { return fail(Code::kNotSupported); }
  Result<void> do_allocate(uint64_t, uint64_t) override { return fail(Code::kNotSupported); }
  Result<void> do_punch(uint64_t, uint64_t) override { return fail(Code::kNotSupported); }
  Result<FileInfo> do_info() override { return fail(Code::kNotSupported); }
  Result<std::unique_ptr<Mapping>> do_map(uint64_t, size_t) override {
    return fail(Code::kNotSupported);
  }

  Mutex mutex_;
  CondVar changed_;
  bool held_ GUARDED_BY(mutex_) = false;
  size_t inside_ GUARDED_BY(mutex_) = 0;
  size_t inside_max_ GUARDED_BY(mutex_) = 0;
  std::vector<uint64_t> offsets_ GUARDED_BY(mutex_);
  std::vector<std::byte> data_ GUARDED_BY(mutex_);
};

// Any descriptor as a File; only its number is used.
class DescriptorFile final : public File {
 public:
  explicit DescriptorFile(int fd) : File(fd) {}

 private:
  Result<size_t> do_read(std::span<std::byte> into, uint64_t offset) override {
    const ssize_t n = ::pread(fd(), into.data(), into.size(), static_cast<off_t>(offset));
    if (n < 0) return fail_errno();
    return static_cast<size_t>(n);
  }
  Result<size_t> do_write(std::span<const std::byte> from, uint64_t offset) override {
    const ssize_t n = ::pwrite(fd(), from.data(), from.size(), static_cast<off_t>(offset));
    if (n < 0) return fail_errno();
    return static_cast<size_t>(n);
  }
  Result<void> do_sync_data() override {
    if (::fdatasync(fd()) < 0) return fail_errno();
    return {};
  }
  Result<void> do_truncate(uint64_t) override { return fail(Code::kNotSupported); }
  Result<void> do_allocate(uint64_t, uint64_t) override { return fail(Code::kNotSupported); }
  Result<void> do_punch(uint64_t, uint64_t) override { return fail(Code::kNotSupported); }
  Result<FileInfo> do_info() override { return fail(Code::kNotSupported); }
  Result<std::unique_ptr<Mapping>> do_map(uint64_t, size_t) override {
    return fail(Code::kNotSupported);
  }
};

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}
std::span<std::byte> buffer_of(std::string& text) {
  return std::as_writable_bytes(std::span(text));
}

INSTANTIATE_TEST_SUITE_P(Engines, ReactorTest,
                         testing::Values(EngineKind::kUring, EngineKind::kThreads),
                         [](const auto& tested) {
                           return tested.param == EngineKind::kUring ? "Uring" : "Threads";
                         });

Task<void> round_trip(Reactor* reactor, File* file, uint64_t offset, size_t size) {
  const std::string text(size, static_cast<char>('a' + offset % 26));
  const auto written = co_await reactor->write(*file, bytes_of(text), offset);
  EXPECT_TRUE(written) << written.error().message();
  const auto synced = co_await reactor->sync_data(*file);
  EXPECT_TRUE(synced) << synced.error().message();
  std::string back(size, '?');
  const auto n = co_await reactor->read(*file, buffer_of(back), offset);
  EXPECT_EQ(n, size);
  EXPECT_EQ(back, text);
}

TEST_P(ReactorTest, ReadsBackWhatWasWritten) {
  const auto file = create("f");
  run(round_trip(reactor_.get(), file.get(), 0, 10));
  run(round_trip(reactor_.get(), file.get(), 12345, 3 << 20));
  EXPECT_EQ(file->info()->size_bytes, 12345u + (3 << 20));
}

Task<void> read_round_the_end(Reactor* reactor, File* file) {
  const std::string text = "0123456789";
  EXPECT_TRUE(co_await reactor->write(*file, bytes_of(text), 0));
  std::string back(100, '?');
  EXPECT_EQ(co_await reactor->read(*file, buffer_of(back), 4), 6u);
  EXPECT_EQ(back.substr(0, 7), "456789?");
  EXPECT_EQ(co_await reactor->read(*file, buffer_of(back), 10), 0u);
  EXPECT_EQ(co_await reactor->read(*file, buffer_of(back), 1000), 0u);
  EXPECT_EQ(co_await reactor->read(*file, std::span<std::byte>(), 0), 0u);
  EXPECT_TRUE(co_await reactor->write(*file, std::span<const std::byte>(), 0));
}

TEST_P(ReactorTest, ReadIsShortOnlyAtTheEnd) {
  const auto file = create("f");
  run(read_round_the_end(reactor_.get(), file.get()));
  MemoryFile memory;
  run(read_round_the_end(reactor_.get(), &memory));
}

Task<void> expect_errors(Reactor* reactor, File* file, Code of_read, Code of_write, Code of_sync) {
  std::string text(10, 'x');
  const auto outcome = [](const auto& result) {
    return result ? static_cast<Code>(0) : result.error().code();
  };
  const auto was_read = co_await reactor->read(*file, buffer_of(text), 0);
  EXPECT_EQ(outcome(was_read), of_read);
  const auto written = co_await reactor->write(*file, bytes_of(text), 0);
  EXPECT_EQ(outcome(written), of_write);
  const auto synced = co_await reactor->sync_data(*file);
  EXPECT_EQ(outcome(synced), of_sync);
  const auto beyond = co_await reactor->read(*file, buffer_of(text), UINT64_MAX);
  EXPECT_EQ(outcome(beyond), Code::kInvalid);
  const auto overflow = co_await reactor->write(*file, bytes_of(text), INT64_MAX - 5);
  EXPECT_EQ(outcome(overflow), Code::kInvalid);
}

TEST_P(ReactorTest, ReportsErrors) {
  constexpr Code kNone{};
  constexpr Code kBadDescriptor{EBADF};
  create("f");
  const auto read_only = std::move(*disk_->open("f", OpenMode::kReadOnly));
  run(expect_errors(reactor_.get(), read_only.get(), kNone, kBadDescriptor, kNone));
  // The highest number a process could use, and does not.
  DescriptorFile closed(static_cast<int>(::sysconf(_SC_OPEN_MAX)) - 1);
  run(expect_errors(reactor_.get(), &closed, kBadDescriptor, kBadDescriptor, kBadDescriptor));
  const int directory_fd = ::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DescriptorFile directory(directory_fd);
  run(expect_errors(reactor_.get(), &directory, Code{EISDIR}, kBadDescriptor, kNone));
  ::close(directory_fd);
  MemoryFile memory;
  run(expect_errors(reactor_.get(), &memory, kNone, kNone, Code::kIo));
  const Labels labels = {{"reactor", "test"}};
  EXPECT_EQ(registry_.counter("larder_io_errors_total", "", labels).value(), 1u + 3 + 2 + 1);
}

Task<void> read_at(Reactor* reactor, File* file, uint64_t offset, std::vector<uint64_t>* ended) {
  std::string text(1, '?');
  EXPECT_TRUE(co_await reactor->read(*file, buffer_of(text), offset));
  ended->push_back(offset);
}

Task<void> read_all(Reactor* reactor, File* file, size_t count, std::vector<uint64_t>* ended) {
  TaskGroup group;
  for (size_t i = 0; i < count; ++i) group.add(read_at(reactor, file, i, ended));
  co_await group.wait();
}

TEST_P(ReactorTest, QueuesBeyondTheDepthInOrder) {
  ReactorOptions shallow = options();
  shallow.depth_max = 1;
  shallow.name = "shallow";
  const auto reactor = start(shallow);
  constexpr size_t kReads = 50;
  MemoryFile memory;
  memory.hold();
  std::vector<uint64_t> ended;
  std::promise<void> done;
  reactor->spawn(call_after(read_all(reactor.get(), &memory, kReads, &ended), &done));
  memory.wait_for_entered(1);
  std::promise<void> turned;  // all reads were begun in the turn before
  reactor->post([&] { turned.set_value(); });
  turned.get_future().wait();
  const Labels labels = {{"reactor", "shallow"}};
  EXPECT_EQ(registry_.gauge("larder_io_in_flight_operations", "", labels).value(), 1);
  EXPECT_EQ(registry_.gauge("larder_io_queued_operations", "", labels).value(), kReads - 1);
  memory.let_go();
  done.get_future().wait();
  EXPECT_EQ(registry_.gauge("larder_io_in_flight_operations", "", labels).value(), 0);
  EXPECT_EQ(registry_.gauge("larder_io_queued_operations", "", labels).value(), 0);
  std::vector<uint64_t> in_order(kReads);
  std::iota(in_order.begin(), in_order.end(), 0);
  EXPECT_EQ(memory.offsets(), in_order);
  EXPECT_EQ(memory.inside_max(), 1u);
  EXPECT_EQ(ended, in_order);

  const auto file = create("f");  // the same with a descriptor
  ended.clear();
  run(*reactor, read_all(reactor.get(), file.get(), kReads, &ended));
  EXPECT_EQ(ended, in_order);
  const Labels reads = {{"reactor", "shallow"}, {"kind", "read"}};
  EXPECT_EQ(registry_.counter("larder_io_operations_total", "", reads).value(), 2 * kReads);
  EXPECT_EQ(registry_.histogram("larder_io_operation_seconds", "", labels).count(), 2 * kReads);
}

TEST_P(ReactorTest, FilesWithoutDescriptorUseBoundedThreads) {
  MemoryFile memory;
  memory.hold();
  std::vector<uint64_t> ended;
  std::promise<void> done;
  reactor_->spawn(call_after(read_all(reactor_.get(), &memory, 20, &ended), &done));
  memory.wait_for_entered(options().threads_max);
  memory.let_go();
  done.get_future().wait();
  EXPECT_EQ(memory.inside_max(), options().threads_max);
  EXPECT_EQ(ended.size(), 20u);
}

Task<void> count_round_trip(Reactor* reactor, File* file, uint64_t index, int* ended) {
  const std::string text = std::to_string(index + 10'000'000);
  const uint64_t offset = index * text.size();
  EXPECT_TRUE(co_await reactor->write(*file, bytes_of(text), offset));
  std::string back(text.size(), '?');
  EXPECT_TRUE(co_await reactor->read(*file, buffer_of(back), offset));
  EXPECT_EQ(back, text);
  ++*ended;  // no lock: one reactor
}

TEST_P(ReactorTest, RunsThousandsOfCoroutinesSpawnedFromManyThreads) {
  const auto file = create("f");
  int ended = 0;
  constexpr int kThreads = 4;
  {
    std::vector<std::jthread> spawners;
    for (int t = 0; t < kThreads; ++t) {
      spawners.emplace_back([&, t] {
        for (int i = t; i < kMany; i += kThreads)
          reactor_->spawn(count_round_trip(reactor_.get(), file.get(), i, &ended));
      });
    }
  }
  reactor_->stop();
  EXPECT_EQ(ended, kMany) << "stop waits for all";
  EXPECT_EQ(file->info()->size_bytes, kMany * std::string("10000000").size());
}

Task<void> spawn_chain(Reactor* reactor, int length, int* ended) {
  co_await reactor->sleep(10us);
  if (length > 1) reactor->spawn(spawn_chain(reactor, length - 1, ended));
  ++*ended;
}

TEST_P(ReactorTest, StopWaitsForSleepersAndWhatTheySpawn) {
  int ended = 0;
  reactor_->spawn(spawn_chain(reactor_.get(), 100, &ended));
  reactor_->stop();
  EXPECT_EQ(ended, 100);
  reactor_->stop();
  const auto dropped = std::make_shared<int>(0);
  reactor_->post([dropped] { ++*dropped; });
  EXPECT_EQ(dropped.use_count(), 1) << "a job after the end is destroyed";
  reactor_->spawn(spawn_chain(reactor_.get(), 1, &ended));
  EXPECT_EQ(*dropped, 0);
  EXPECT_EQ(ended, 100);
}

TEST_P(ReactorTest, KnowsItsThread) {
  EXPECT_EQ(Reactor::current(), nullptr);
  std::promise<Reactor*> seen;
  reactor_->post([&] { seen.set_value(Reactor::current()); });
  EXPECT_EQ(seen.get_future().get(), reactor_.get());
}

TEST_P(ReactorTest, PostsRunInOrder) {
  std::vector<int> order;
  for (int i = 0; i < kMany; ++i) reactor_->post([&order, i] { order.push_back(i); });
  reactor_->stop();
  ASSERT_EQ(order.size(), static_cast<size_t>(kMany));
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

Task<void> sleep_and_note(Reactor* reactor, Nanos duration, int id, std::vector<int>* order) {
  co_await reactor->sleep(duration);
  order->push_back(id);
}

Task<void> sleep_in_disorder(Reactor* reactor, std::vector<int>* order) {
  TaskGroup group;
  group.add(sleep_and_note(reactor, 300ms, 3, order));
  group.add(sleep_and_note(reactor, 100ms, 1, order));
  group.add(sleep_and_note(reactor, 200ms, 2, order));
  group.add(sleep_and_note(reactor, -1ms, 0, order));
  co_await group.wait();
}

TEST_P(ReactorTest, SleepersWakeInOrderOfTheirEnds) {
  std::vector<int> order;
  const Nanos before = Clock::system().monotonic();
  run(sleep_in_disorder(reactor_.get(), &order));
  EXPECT_GE(Clock::system().monotonic() - before, 300ms);
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3}));
}

// The reactor ends as soon as its last coroutine has been woken from outside.
TEST_P(ReactorTest, MayEndWhileAPostIsStillUnderWay) {
  for (int i = 0; i < 200; ++i) {
    auto reactor = start();
    Completion<int> completion;
    int sum = 0;
    reactor->spawn(sum_completion(completion, &sum));
    std::jthread setter([completion] { completion.set(1); });
    reactor.reset();
    EXPECT_EQ(sum, 1);
  }
}

TEST(Reactor, FallsBackToThreadsWhenTheRingIsRefused) {
  Registry registry;
  failpoint::arm("io.ring_open", [] { return true; });
  const auto demanded = Reactor::start({.engine = EngineKind::kUring}, registry);
  const auto fallen_back = Reactor::start({.engine = EngineKind::kAuto, .name = "f"}, registry);
  failpoint::disarm("io.ring_open");
  ASSERT_FALSE(demanded);
  EXPECT_EQ(demanded.error().code(), Code::kNotSupported);
  ASSERT_TRUE(fallen_back);
  EXPECT_EQ((*fallen_back)->engine(), EngineKind::kThreads);
  EXPECT_EQ(registry.gauge("larder_io_uring", "", {{"reactor", "f"}}).value(), 0);
  int sum = 0;
  Completion<int> completion;
  (*fallen_back)->spawn(sum_completion(completion, &sum));
  completion.set(3);
  (*fallen_back)->stop();
  EXPECT_EQ(sum, 3);
}

TEST(Reactor, RefusesOptionsThatMakeNoSense) {
  Registry registry;
  EXPECT_EQ(Reactor::start({.depth_max = 0}, registry).error().code(), Code::kInvalid);
  EXPECT_EQ(Reactor::start({.depth_max = 1 << 20}, registry).error().code(), Code::kInvalid);
  EXPECT_EQ(Reactor::start({.threads_max = 0}, registry).error().code(), Code::kInvalid);
}

}  // namespace
}  // namespace larder::io
