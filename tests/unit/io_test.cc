// The reactor: every test runs on both engines.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <future>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/failpoint.h"
#include "io/async_semaphore.h"
#include "io/completion.h"
#include "io/posix_disk.h"
#include "io/reactor.h"
#include "io/when_all.h"

namespace larder::io {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// Sanitizers slow everything down.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kMany = 2'000;
#else
constexpr int kMany = 20'000;
#endif

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

Task<void> call_after(Task<void> task, std::promise<void>* done) {
  co_await std::move(task);
  done->set_value();
}

class ReactorTest : public testing::TestWithParam<EngineKind> {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "io_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    disk_ = std::move(*open_posix_disk(root_.string()));
    reactor_ = start();
  }
  void TearDown() override {
    reactor_.reset();
    fs::remove_all(root_);
  }

  ReactorOptions options() const {
    return {.engine = GetParam(), .depth_max = 64, .threads_max = 4, .name = "test"};
  }
  std::unique_ptr<Reactor> start() { return start(options()); }
  std::unique_ptr<Reactor> start(const ReactorOptions& options) {
    auto reactor = Reactor::start(options, registry_);
    EXPECT_TRUE(reactor) << reactor.error().message();
    EXPECT_EQ((*reactor)->engine(), options.engine);
    return std::move(*reactor);
  }
  std::unique_ptr<File> create(const std::string& name) {
    return std::move(*disk_->open(name, OpenMode::kCreateNew));
  }
  // Runs the task on the reactor and waits for its end.
  static void run(Reactor& reactor, Task<void> task) {
    std::promise<void> done;
    reactor.spawn(call_after(std::move(task), &done));
    done.get_future().wait();
  }
  void run(Task<void> task) { run(*reactor_, std::move(task)); }

  fs::path root_;
  std::unique_ptr<Disk> disk_;
  Registry registry_;
  std::unique_ptr<Reactor> reactor_;
};

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

// Counts how many there are, to find values destroyed twice or never.
struct Counted {
  explicit Counted(std::atomic<int>* live_in) : live(live_in) { ++*live; }
  Counted(Counted&& other) noexcept : live(other.live) { ++*live; }
  Counted& operator=(Counted&&) = delete;
  ~Counted() { --*live; }
  std::atomic<int>* live;
};

Task<void> await_completion(Completion<std::unique_ptr<Counted>> completion, int* got) {
  const std::unique_ptr<Counted> value = co_await completion;
  EXPECT_NE(value, nullptr);
  ++*got;
}

TEST_P(ReactorTest, CompletionMayBeSetBeforeAndAfterTheAwait) {
  std::atomic<int> live = 0;
  int got = 0;
  const Completion<std::unique_ptr<Counted>> early;
  EXPECT_TRUE(early.set(std::make_unique<Counted>(&live)));
  EXPECT_FALSE(early.set(std::make_unique<Counted>(&live)));
  run(await_completion(early, &got));
  EXPECT_FALSE(early.set(std::make_unique<Counted>(&live))) << "also not when it was taken";

  const Completion<std::unique_ptr<Counted>> late;
  std::promise<void> done;
  reactor_->spawn(call_after(await_completion(late, &got), &done));
  std::promise<void> waiting;
  reactor_->post([&] { waiting.set_value(); });
  waiting.get_future().wait();
  EXPECT_TRUE(late.set(std::make_unique<Counted>(&live)));
  EXPECT_FALSE(late.set(std::make_unique<Counted>(&live)));
  done.get_future().wait();
  reactor_->stop();
  EXPECT_EQ(got, 2);
  EXPECT_EQ(live, 0);
}

Task<void> sum_completion(Completion<int> completion, int* sum) {
  *sum += co_await completion;
}

TEST_P(ReactorTest, RacingSettersGiveOneValue) {
  int sum = 0;
  std::atomic<int> accepted = 0;
  std::vector<Completion<int>> completions(kMany / 10);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        for (const auto& completion : completions) accepted += completion.set(1) ? 1 : 0;
      });
    }
    for (const auto& completion : completions) reactor_->spawn(sum_completion(completion, &sum));
  }
  reactor_->stop();
  EXPECT_EQ(accepted, static_cast<int>(completions.size()));
  EXPECT_EQ(sum, accepted);
}

Task<void> await_event(Event* event, std::atomic<int>* woken, Reactor* own) {
  co_await *event;
  EXPECT_EQ(Reactor::current(), own);
  ++*woken;
}

TEST_P(ReactorTest, EventWakesAllOnTheirOwnReactors) {
  const auto other = start();
  Event event;
  std::atomic<int> woken = 0;
  for (int i = 0; i < 100; ++i) {
    reactor_->spawn(await_event(&event, &woken, reactor_.get()));
    other->spawn(await_event(&event, &woken, other.get()));
  }
  EXPECT_FALSE(event.is_set());
  event.set();
  event.set();
  reactor_->spawn(await_event(&event, &woken, reactor_.get()));
  reactor_->stop();
  other->stop();
  EXPECT_TRUE(event.is_set());
  EXPECT_EQ(woken, 201);
}

struct Critical {
  AsyncMutex mutex;
  int inside = 0;  // guarded by mutex, as TSan sees
  int entered = 0;
};

Task<void> enter_critical(Critical* critical, Reactor* own, int times) {
  for (int i = 0; i < times; ++i) {
    AsyncMutex::Guard guard = co_await critical->mutex.lock();
    EXPECT_EQ(Reactor::current(), own);
    EXPECT_EQ(++critical->inside, 1);
    if (i % 7 == 0) co_await own->sleep(Nanos::zero());  // held across a wait
    --critical->inside;
    ++critical->entered;
  }
}

TEST_P(ReactorTest, AsyncMutexExcludesAcrossReactors) {
  const auto other = start();
  Critical critical;
  constexpr int kCoroutines = 20;
  for (int i = 0; i < kCoroutines; ++i) {
    reactor_->spawn(enter_critical(&critical, reactor_.get(), 50));
    other->spawn(enter_critical(&critical, other.get(), 50));
  }
  reactor_->stop();
  other->stop();
  EXPECT_EQ(critical.entered, 2 * kCoroutines * 50);
}

Task<void> lock_and_note(AsyncMutex* mutex, int id, std::vector<int>* order) {
  const AsyncMutex::Guard guard = co_await mutex->lock();
  order->push_back(id);
}

Task<void> lock_in_order(AsyncMutex* mutex, std::vector<int>* order) {
  AsyncMutex::Guard held = co_await mutex->lock();
  TaskGroup group;
  for (int i = 0; i < 100; ++i) group.add(lock_and_note(mutex, i, order));
  EXPECT_TRUE(order->empty());
  held.unlock();
  group.add(lock_and_note(mutex, 100, order));  // comes last, though the lock was just given up
  co_await group.wait();
}

TEST_P(ReactorTest, AsyncMutexIsFair) {
  AsyncMutex mutex;
  std::vector<int> order;
  run(lock_in_order(&mutex, &order));
  ASSERT_EQ(order.size(), 101u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

Task<void> take_units(AsyncSemaphore* semaphore, uint64_t units, int id, std::vector<int>* order) {
  const AsyncSemaphore::Permit permit = co_await semaphore->acquire(units);
  order->push_back(id);
}

Task<void> contend(AsyncSemaphore* semaphore, std::vector<int>* order) {
  AsyncSemaphore::Permit first = co_await semaphore->acquire(2);
  TaskGroup group;
  group.add(take_units(semaphore, 3, 0, order));   // large: waits for all
  group.add(take_units(semaphore, 1, 1, order));   // would fit, but came later
  group.add(take_units(semaphore, 99, 2, order));  // counts as all there are
  EXPECT_TRUE(order->empty());
  EXPECT_FALSE(semaphore->try_acquire()) << "others wait";
  first.release();
  co_await group.wait();
}

TEST_P(ReactorTest, SemaphoreServesInOrder) {
  AsyncSemaphore semaphore(3);
  std::vector<int> order;
  run(contend(&semaphore, &order));
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(semaphore.available(), 3u);
  AsyncSemaphore::Permit all = semaphore.try_acquire(3);
  EXPECT_TRUE(all);
  EXPECT_FALSE(semaphore.try_acquire());
}

struct Load {
  AsyncSemaphore semaphore{3};
  std::atomic<int> inside = 0;
  std::atomic<int> inside_max = 0;
  std::atomic<int> ended = 0;
};

Task<void> hold_permit(Load* load, Reactor* own) {
  const AsyncSemaphore::Permit permit = co_await load->semaphore.acquire();
  const int now_inside = ++load->inside;
  int seen = load->inside_max;
  while (seen < now_inside && !load->inside_max.compare_exchange_weak(seen, now_inside)) {
  }
  co_await own->sleep(1us);
  --load->inside;
  ++load->ended;
}

TEST_P(ReactorTest, SemaphoreBoundsAcrossReactors) {
  const auto other = start();
  Load load;
  for (int i = 0; i < 500; ++i) {
    reactor_->spawn(hold_permit(&load, reactor_.get()));
    other->spawn(hold_permit(&load, other.get()));
  }
  reactor_->stop();
  other->stop();
  EXPECT_EQ(load.ended, 1000);
  EXPECT_LE(load.inside_max, 3);
  EXPECT_EQ(load.semaphore.available(), 3u);
}

Task<Result<int>> doubled(Reactor* reactor, int n) {
  if (n < 0) co_return fail(Code::kInvalid, "negative");
  if (n % 2 == 0) co_await reactor->sleep(Nanos(1'000 * (100 - n)));
  co_return 2 * n;
}

Task<void> double_all(Reactor* reactor) {
  std::vector<Task<Result<int>>> tasks;
  for (int i = -1; i < 100; ++i) tasks.push_back(doubled(reactor, i));
  const std::vector<Result<int>> results = co_await when_all(std::move(tasks));
  EXPECT_EQ(results.size(), 101u);
  EXPECT_FALSE(results[0]);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(results[i + 1], 2 * i);
  std::vector<Task<Result<int>>> none;
  const std::vector<Result<int>> nothing = co_await when_all(std::move(none));
  EXPECT_TRUE(nothing.empty());
}

TEST_P(ReactorTest, WhenAllKeepsTheOrderOfResults) {
  run(double_all(reactor_.get()));
}

// Locals of coroutines are on the heap; the stack is where a plain function is called.
[[gnu::noinline]] uintptr_t stack_top() {
  return reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
}

Task<uintptr_t> stack_position() {
  co_return stack_top();
}

Task<uintptr_t> stack_position_after_wait(Reactor* reactor) {
  co_await reactor->sleep(Nanos::zero());
  co_return stack_top();
}

// Frames of the same call may differ by a little with where it was resumed; growth would be 16
// bytes or more for each await.
bool near(uintptr_t a, uintptr_t b) {
  return std::max(a, b) - std::min(a, b) < 16 * 1024;
}

Task<void> await_often(Reactor* reactor) {
  const uintptr_t first = co_await stack_position();
  int grown = 0;
  for (int i = 0; i < 100'000; ++i) {
    const uintptr_t here = co_await stack_position();
    grown += near(here, first) ? 0 : 1;
  }
  const uintptr_t later = co_await stack_position_after_wait(reactor);
  for (int i = 0; i < 5'000; ++i) {
    const uintptr_t here = co_await stack_position_after_wait(reactor);
    grown += near(here, later) ? 0 : 1;
  }
  EXPECT_EQ(grown, 0);
}

TEST_P(ReactorTest, LoopsOfAwaitsUseConstantStack) {
  run(await_often(reactor_.get()));
}

Task<int> depth_of(Reactor* reactor, int depth) {
  if (depth == 0) {
    co_await reactor->sleep(Nanos::zero());
    co_return 0;
  }
  const int below = co_await depth_of(reactor, depth - 1);
  co_return below + 1;
}

Task<void> nest(Reactor* reactor) {
  EXPECT_EQ(co_await depth_of(reactor, 1'000), 1'000);
}

TEST_P(ReactorTest, TasksNest) {
  run(nest(reactor_.get()));
}

Task<Result<std::unique_ptr<Counted>>> make_counted(std::atomic<int>* live, bool wait) {
  if (wait) co_await Reactor::current()->sleep(Nanos::zero());
  co_return std::make_unique<Counted>(live);
}

Task<Result<void>> fails_when(bool failing) {
  if (failing) co_return fail(Code::kStale, "as asked");
  co_return {};
}

Task<Result<int>> uses_macros(std::atomic<int>* live) {
  CO_TRY(co_await fails_when(false));
  CO_TRY_ASSIGN(const auto first, co_await make_counted(live, false));
  CO_TRY_ASSIGN(const auto second, co_await make_counted(live, true));
  EXPECT_EQ(*live, 2);
  CO_TRY(co_await fails_when(true));
  co_return 1;
}

Task<void> check_macros(std::atomic<int>* live) {
  const Result<int> result = co_await uses_macros(live);
  EXPECT_FALSE(result);
  EXPECT_EQ(result.error().code(), Code::kStale);
  EXPECT_EQ(*live, 0);
}

TEST_P(ReactorTest, ErrorsPassThroughCoroutines) {
  std::atomic<int> live = 0;
  run(check_macros(&live));
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

Task<void> suspend_for_ever() {
  co_await std::suspend_always();
}

TEST(TaskDeathTest, AStartedTaskMustEndBeforeItIsDestroyed) {
  EXPECT_DEATH(
      {
        auto task = std::make_unique<Task<void>>(suspend_for_ever());
        auto started = std::move(*task).operator co_await();
        (void)started.await_suspend(std::noop_coroutine());
        task.reset();
      },
      "done");
}

TEST(Task, MayBeDroppedUnstarted) {
  const auto held = std::make_shared<int>(0);
  {
    const auto coroutine = [](std::shared_ptr<int> copy) -> Task<void> {
      ++*copy;
      co_return;
    };
    const Task<void> task = coroutine(held);
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_EQ(*held, 0);
}

}  // namespace
}  // namespace larder::io
