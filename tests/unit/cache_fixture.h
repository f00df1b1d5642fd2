// What the tests of CachedFile share: a file of a fake source, cached on a simulated disk, with an
// owner that does no more than keep its record.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/cached_file.h"
#include "support/cache_stack.h"
#include "support/fake_source.h"
#include "support/sim_disk.h"

namespace larder::cache {

class TestOwner final : public FileOwner, public std::enable_shared_from_this<TestOwner> {
 public:
  TestOwner(testing::CacheStack& stack, testing::FakeSource& source, NodeId id, std::string path)
      : stack_(stack), source_(source), id_(id), path_(std::move(path)) {
    const auto stored = stack_.catalog->node(id_);
    const bool known = stored && *stored && (**stored).object;
    const Validator version =
        known ? (**stored).version : source_.validator(source_.attributes_of(path_));
    file_ = std::make_unique<CachedFile>(*stack_.environment, *this, version.size_bytes, version,
                                         false);
    if (known) file_->load(**stored);
  }

  NodeId id() const override { return id_; }
  std::shared_ptr<FileOwner> self() override { return shared_from_this(); }
  CachedFile& file() override { return *file_; }
  io::Task<Result<std::shared_ptr<source::SourceFile>>> open_source() override {
    const uint64_t asked_at = stack_.changes.tick();
    source::Outcome<source::Opened> asking = source_.open_file({source_.root(), path_}, O_RDONLY);
    CO_TRY_ASSIGN(source::Opened opened, co_await std::move(asking));
    if (file_->observe(source_.validator(opened.attributes), asked_at, racy_))
      co_return fail(Code::kStale);
    co_return std::move(opened.file);
  }
  Hints hints() override { return wanted; }
  Hints wanted;  // set before use
  Result<void> persist(catalog::Batch extra) override {
    MutexLock lock(record_mutex_);
    catalog::NodeRecord record;
    file_->describe(record);
    extra.put(id_, record);
    return stack_.catalog->apply(extra);
  }
  // As an attribute answer of the source would; true when data were dropped.  racy: also for what
  // is seen at opening from now on.
  bool observe(bool racy = false) {
    racy_ = racy;
    const uint64_t asked_at = stack_.changes.tick();
    return file_->observe(source_.validator(source_.attributes_of(path_)), asked_at, racy);
  }
  const std::string& path() const { return path_; }

 private:
  testing::CacheStack& stack_;
  testing::FakeSource& source_;
  const NodeId id_;
  const std::string path_;
  std::atomic<bool> racy_{false};
  Mutex record_mutex_;
  std::unique_ptr<CachedFile> file_;
};

class CachedFileTest : public ::testing::Test {
 protected:
  using CallKind = testing::FakeSource::CallKind;
  using Stage = testing::FakeSource::Stage;
  static constexpr uint64_t kBlock = 4096;

  ~CachedFileTest() override { let_go(); }

  void start(const testing::StackOptions& options = {}) {
    options_ = options;
    stack_ = std::make_unique<testing::CacheStack>(disk_, clock_, options_);
  }
  // The file with this content, cached by a fresh owner.
  void make(const std::string& content, const testing::StackOptions& options = {}) {
    if (!stack_) start(options);
    source_.put("file", content);
    node_ = *stack_->catalog->allocate_node();
    owner_ = std::make_shared<TestOwner>(*stack_, source_, node_, "file");
  }
  // Ends the process: nothing more reaches the disk.
  void let_go() {
    if (stack_) {
      stack_->settle();
      disk_.crash_at_step(1);
      stack_->stop();
    }
    owner_.reset();
    stack_.reset();
  }
  void restart() {
    start(options_);
    owner_ = std::make_shared<TestOwner>(*stack_, source_, node_, "file");
  }
  void kill_and_restart() {
    let_go();
    disk_.process_death();
    restart();
  }
  void lose_power_and_restart(uint64_t seed) {
    let_go();
    disk_.power_loss(seed);
    restart();
  }

  CachedFile& file() { return owner_->file(); }
  template <class T>
  T run(io::Task<T> task) {
    return testing::start_on(stack_->reactor(), std::move(task)).get();
  }
  static io::Task<Result<std::string>> read_task(std::shared_ptr<TestOwner> owner, uint64_t offset,
                                                 size_t length) {
    std::vector<Slice> slices;
    auto reading = owner->file().read(offset, length, &slices);
    const auto done = co_await std::move(reading);
    if (!done) co_return fail(done.error());
    co_return testing::text_of(slices);
  }
  std::future<Result<std::string>> start_read(uint64_t offset, size_t length) {
    return testing::start_on(stack_->reactor(), read_task(owner_, offset, length));
  }
  Result<std::string> try_read(uint64_t offset, size_t length) {
    return start_read(offset, length).get();
  }
  std::string read(uint64_t offset, size_t length) {
    const auto text = try_read(offset, length);
    EXPECT_TRUE(text) << text.error().message();
    return text.value_or("");
  }
  std::string read_all() { return read(0, file().size_bytes()); }
  // Reads everything and waits until it is stored.
  void fill() {
    EXPECT_EQ(read_all(), source_.content("file"));
    stack_->settle();
  }
  std::shared_ptr<source::SourceFile> open_source(int flags) {
    auto opened = run(source_.open_file({source_.root(), "file"}, flags));
    EXPECT_TRUE(opened);
    return opened->file;
  }
  Result<uint64_t> write(const std::string& bytes, uint64_t offset, bool append = false) {
    const auto file = open_source(O_RDWR | (append ? O_APPEND : 0));
    return run(owner_->file().write(file, testing::buffer_of(stack_->pool, bytes), offset,
                                    append ? CachedFile::Place::kEnd : CachedFile::Place::kOffset));
  }
  // As fs/ truncates.
  void truncate(uint64_t size_bytes) {
    run(file().begin_change(std::min(size_bytes, file().size_bytes()), UINT64_MAX));
    source_.cut("file", size_bytes);
    file().end_truncate(size_bytes);
  }
  bool change_permissions(uint32_t permissions) {
    source::AttributeChange change;
    change.permissions = permissions;
    return run(source_.set_attributes({source_.root(), "file"}, change)).has_value();
  }
  bool change_mtime(int64_t mtime_ns) {
    source::AttributeChange change;
    change.mtime = Timestamp::of(Nanos(mtime_ns));
    return run(source_.set_attributes({source_.root(), "file"}, change)).has_value();
  }
  uint64_t reads() const { return source_.calls(CallKind::kRead); }
  // The chunk the catalog claims, if it does.
  std::optional<catalog::ChunkRecord> claimed(uint64_t chunk = 0) {
    const auto record = stack_->catalog->node(node_);
    if (!record || !*record || !(**record).object || !(**record).data_stable) return std::nullopt;
    const auto found = *stack_->catalog->chunk(**record, chunk);
    return found && found->present != 0 ? found : std::nullopt;
  }
  // Of the first chunk, whether the record is stable or not.
  uint64_t claimed_blocks() {
    const auto record = stack_->catalog->node(node_);
    EXPECT_TRUE(record && *record);
    return (**record).first_chunk.value_or(catalog::ChunkRecord{}).present;
  }
  int64_t bypassed() const { return stack_->metric("larder_bypassed_bytes_total"); }
  int64_t store_errors() const { return stack_->metric("larder_store_errors_total"); }

  ManualClock clock_;
  testing::SimDisk disk_;
  testing::FakeSource source_{clock_};
  testing::StackOptions options_;
  NodeId node_;
  std::unique_ptr<testing::CacheStack> stack_;
  std::shared_ptr<TestOwner> owner_;
};

}  // namespace larder::cache
