// What the tests of CachedFileSystem share: the file system over a fake source, without a kernel.
// The test is the kernel: it counts its look-ups and gives them back.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fs/cached_file_system.h"
#include "support/cache_stack.h"
#include "support/fake_kernel.h"
#include "support/fake_source.h"
#include "support/sim_disk.h"

namespace larder::fs {

inline constexpr KernelId kRoot = KernelId::make(kRootNode.value, 0);

// One run of larder below fuse/.
class FsStack {
 public:
  FsStack(io::Disk& disk, const Clock& clock, testing::FakeSource& source,
          const testing::StackOptions& options = {}, const CoherenceOptions& coherence = {})
      : stack(disk, clock, options) {
    files = std::make_unique<CachedFileSystem>(*stack.environment, source, stack.reactors(),
                                               coherence, stack.registry, options.directories_max);
    stack.residents->set_evict(
        [this](NodeId node, uint64_t wanted) { return files->evict(node, wanted); });
    files->attach(kernel);
    loaded = run(files->load_root());
  }
  // As a crash would leave it.
  ~FsStack() {
    stop();
    files.reset();
  }
  // Takes it down as app/ does; close() then closes the store.
  void stop() {
    if (!files || std::exchange(stopped_, true)) return;
    stack.settle();
    stack.stop();
    files->shut_down();
  }
  void close() {
    stop();
    files.reset();
    stack.close();
  }
  // On the home of the node.
  template <class T>
  std::future<T> start(KernelId home, io::Task<T> task) {
    return testing::start_on(files->home(home), std::move(task));
  }
  template <class T>
  T run(io::Task<T> task, KernelId home = kRoot) {
    return start(home, std::move(task)).get();
  }

  testing::FakeKernel kernel;
  testing::CacheStack stack;
  std::unique_ptr<CachedFileSystem> files;
  Result<void> loaded;

 private:
  bool stopped_ = false;
};

class FsTest : public ::testing::Test {
 protected:
  using CallKind = testing::FakeSource::CallKind;
  using Stage = testing::FakeSource::Stage;
  static constexpr uint64_t kBlock = 4096;
  static constexpr pid_t kUser = 1;  // and who looks names up
  static constexpr Caller kCaller{1000, 1000, 1, 022};

  FsTest() { clock_.advance(std::chrono::hours(1)); }

  virtual io::Disk& disk() { return sim_disk_; }
  void mount(const CoherenceOptions& coherence = {}, const testing::StackOptions& options = {}) {
    coherence_ = coherence;
    options_ = options;
    fs_ = std::make_unique<FsStack>(disk(), clock_, source_, options_, coherence_);
    lookups_.clear();
  }
  void remount() {
    fs_->close();
    fs_.reset();
    mount(coherence_, options_);
  }
  CachedFileSystem& files() { return *fs_->files; }
  testing::FakeKernel& kernel() { return fs_->kernel; }
  // So that nothing is racy, and what was learned is no longer fresh.
  void let_ttl_pass() { clock_.advance(coherence_.attributes_ttl + std::chrono::seconds(3)); }

  // --- as the kernel asks
  NodeReply note(const Result<NodeReply>& reply) {
    EXPECT_TRUE(reply) << reply.error().message();
    if (!reply) return {};
    if (reply->id.value != 0) ++lookups_[reply->id.value];
    return *reply;
  }
  Result<NodeReply> try_lookup(KernelId parent, const std::string& name) {
    if (auto hit = files().lookup_hit(parent, name, kUser)) return *hit;
    return fs_->run(files().lookup(parent, name, kUser), parent);
  }
  NodeReply lookup(KernelId parent, const std::string& name) {
    return note(try_lookup(parent, name));
  }
  NodeReply walk(const std::string& path) {
    NodeReply at;
    at.id = kRoot;
    for (size_t from = 0; from < path.size();) {
      const size_t slash = std::min(path.find('/', from), path.size());
      at = lookup(at.id, path.substr(from, slash - from));
      from = slash + 1;
    }
    return at;
  }
  Result<AttributesReply> try_attributes(KernelId id) {
    if (auto hit = files().attributes_hit(id)) return *hit;
    return fs_->run(files().attributes(id, kUser), id);
  }
  AttributesReply attributes(KernelId id) {
    const auto reply = try_attributes(id);
    EXPECT_TRUE(reply) << reply.error().message();
    return reply.value_or(AttributesReply{});
  }
  void forget_all() {
    for (const auto& [id, count] : lookups_) files().forget(KernelId{id}, count);
    lookups_.clear();
  }
  Result<OpenReply> try_open(KernelId id, int flags = O_RDONLY, pid_t opener = kUser) {
    if (auto hit = files().open_hit(id, flags, opener)) return *hit;
    return fs_->run(files().open(id, flags, opener), id);
  }
  OpenReply open(KernelId id, int flags = O_RDONLY, pid_t opener = kUser) {
    const auto reply = try_open(id, flags, opener);
    EXPECT_TRUE(reply) << reply.error().message();
    return reply.value_or(OpenReply{});
  }
  // As open(2) does: the kernel's idea of the name first, and once more when sent back.
  OpenReply reopen(KernelId known, const std::string& path, int flags = O_RDONLY) {
    const auto reply = try_open(known, flags);
    if (!reply && reply.error().is(Code::kStale)) return open(walk(path).id, flags);
    EXPECT_TRUE(reply) << reply.error().message();
    return reply.value_or(OpenReply{});
  }
  void release(const OpenReply& open) {
    if (!files().release_hit(open.handle)) fs_->run(files().release(open.handle));
  }
  Result<std::string> try_read(const OpenReply& open, uint64_t offset = 0,
                               size_t length = 1 << 20) {
    const auto reply = fs_->run(files().read(open.handle, offset, length));
    if (!reply) return fail(reply.error());
    return testing::text_of(reply->slices);
  }
  std::string read(const OpenReply& open, uint64_t offset = 0, size_t length = 1 << 20) {
    const auto text = try_read(open, offset, length);
    EXPECT_TRUE(text) << text.error().message();
    return text.value_or("");
  }
  std::string read_path(const std::string& path) {
    const OpenReply opened = open(walk(path).id);
    const std::string text = read(opened);
    fs_->stack.settle();
    release(opened);
    return text;
  }
  Result<size_t> write(const OpenReply& open, const std::string& bytes, uint64_t offset = 0,
                       int flags = 0) {
    return fs_->run(
        files().write(open.handle, testing::buffer_of(fs_->stack.pool, bytes), offset, flags));
  }
  CreateReply create(KernelId parent, const std::string& name, int flags = O_RDWR | O_EXCL) {
    const auto reply = fs_->run(files().create(parent, name, 0644, flags, kCaller), parent);
    EXPECT_TRUE(reply) << reply.error().message();
    if (!reply) return {};
    note(reply->node);
    return *reply;
  }
  Result<std::vector<std::string>> try_list(KernelId id, bool with_attributes = false) {
    const auto handle = fs_->run(files().open_directory(id), id);
    if (!handle) return fail(handle.error());
    std::vector<std::string> names;
    for (uint64_t offset = 0;;) {
      auto batch = fs_->run(files().read_directory(*handle, offset, 500, with_attributes), id);
      if (!batch) {
        files().release_directory(*handle);
        return fail(batch.error());
      }
      if (batch->empty()) break;
      for (const DirectoryEntryReply& entry : *batch) {
        if (entry.node.id.value != 0) {
          files().count_lookup(entry);
          ++lookups_[entry.node.id.value];
        }
        if (entry.name != "." && entry.name != "..") names.push_back(entry.name);
        offset = entry.next_offset;
      }
    }
    files().release_directory(*handle);
    return names;
  }
  std::vector<std::string> list(KernelId id, bool with_attributes = false) {
    const auto names = try_list(id, with_attributes);
    EXPECT_TRUE(names) << names.error().message();
    return names.value_or(std::vector<std::string>{});
  }
  int64_t nodes_in_memory() { return fs_->stack.metric("larder_nodes_in_memory"); }
  uint64_t calls(CallKind kind) const { return source_.calls(kind); }

  ManualClock clock_;
  testing::SimDisk sim_disk_;
  testing::FakeSource source_{clock_};
  CoherenceOptions coherence_;
  testing::StackOptions options_;
  std::map<uint64_t, uint64_t> lookups_;  // the kernel's, by kernel id
  std::unique_ptr<FsStack> fs_;
};

}  // namespace larder::fs
