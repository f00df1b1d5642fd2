// FakeSource: a slow directory in memory, for tests of what stands on source::Source.
//
// Behaves as a local file system does (attributes, times, links, unlinked open files), without
// permissions.  Tests change it from outside, hold calls back, make them fail, take it down, and
// count what was asked.
//
// Times come from the clock; each change gets a later one than the change before, unless a
// granularity is set.  Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "io/completion.h"
#include "source/call_kind.h"
#include "source/source.h"

namespace larder::testing {

class FakeSource final : public source::Source {
 public:
  using CallKind = source::CallKind;
  template <class T>
  using Outcome = source::Outcome<T>;

  explicit FakeSource(const Clock& clock);
  ~FakeSource() override;

  // --- changes from outside.  The parent directories are made.
  void put(const std::string& path, std::string content);
  // Overwrites or appends in place; the file must exist.
  void overwrite(const std::string& path, uint64_t offset, const std::string& bytes);
  void cut(const std::string& path, uint64_t size_bytes);
  void mkdir(const std::string& path);
  void put_link(const std::string& path, std::string target);
  void put_node(const std::string& path, uint32_t mode, uint64_t rdev);
  // Another name of the file.
  void put_name(const std::string& path, const std::string& new_path);
  void remove(const std::string& path);
  void move(const std::string& path, const std::string& new_path);
  void exchange(const std::string& path, const std::string& other);

  // --- looking
  std::string content(const std::string& path) const;
  Attributes attributes_of(const std::string& path) const;
  bool exists(const std::string& path) const;
  // Of all regular files, in order.
  std::vector<std::string> files() const;
  uint64_t calls(CallKind kind) const;
  uint64_t calls() const;

  // --- faults
  // Answers everything with the code; nullopt: it is back.
  void set_down(std::optional<Code> code);
  // The next call of that kind fails without having been carried out.
  void fail_next(CallKind kind, Code code);
  // The next call of that kind is carried out, and fails all the same.
  void fail_after_next(CallKind kind, Code code);
  // Descriptors of the file that are open now, or all there will be, too, end there when they are
  // read, whatever its size.
  enum class Which { kOpen, kAll };
  void end_reads(const std::string& path, uint64_t end_bytes, Which which);
  void set_fails_by_ending(bool fails);
  // Of the file: no room, as files have whose size is made up.
  void take_no_room(const std::string& path);
  // What was open beneath the root is of no use any more.
  void lose_root();
  void set_inode_numbers(source::InodeNumbers numbers);
  // What is made next gets that inode number, as if it were free again.
  void set_next_inode(uint64_t inode);
  // Otherwise directories keep the times they have, whatever becomes of their entries.
  void set_directory_times_kept(bool kept);
  // All files made from now on have times of 0, and keep them.
  void set_times_zero();
  // Times are rounded down to it, and may be the same for several changes.
  void set_time_granularity(Nanos granularity);

  // Calls of one kind wait, before or after they are carried out, until the hold is released (or
  // destroyed).
  enum class Stage { kBefore, kAfter };
  class Hold {
   public:
    ~Hold() { release(); }
    // Until so many calls have come.
    void wait_for_calls(int count);
    int arrived() const;
    void release();

   private:
    friend class FakeSource;
    mutable Mutex mutex_;
    CondVar changed_;
    int arrived_ GUARDED_BY(mutex_) = 0;
    std::shared_ptr<io::Event> opened_ = std::make_shared<io::Event>();
  };
  std::shared_ptr<Hold> hold(CallKind kind, Stage stage = Stage::kBefore);

  // --- source::Source
  void stop() override {}
  source::DirectoryPtr root() const override;
  Outcome<source::DirectoryPtr> open_directory(source::Place place) override;
  Outcome<Attributes> attributes(source::Place place, source::Wait wait) override;
  Outcome<std::string> read_link(source::Place place) override;
  Outcome<source::Listing> list(source::DirectoryPtr directory, source::Wait wait) override;
  Outcome<source::Opened> open_file(source::Place place, int flags) override;
  Outcome<source::Opened> create_file(source::Place place, int flags, uint32_t mode,
                                      Caller caller) override;
  Outcome<Attributes> make_directory(source::Place place, uint32_t mode, Caller caller) override;
  Outcome<Attributes> make_node(source::Place place, uint32_t mode, uint64_t rdev,
                                Caller caller) override;
  Outcome<Attributes> make_symlink(std::string target, source::Place place, Caller caller) override;
  Outcome<Attributes> link(source::Place place, source::Place new_place) override;
  Outcome<void> unlink(source::Place place) override;
  Outcome<void> remove_directory(source::Place place) override;
  Outcome<void> rename(source::Place place, source::Place new_place, unsigned flags) override;
  Outcome<Attributes> set_attributes(source::Place place, source::AttributeChange change) override;
  Outcome<void> sync_directory(source::DirectoryPtr directory, bool data_only) override;
  Outcome<std::string> get_xattr(source::Place place, std::string name) override;
  Outcome<void> set_xattr(source::Place place, std::string name, std::string value, int flags,
                          std::optional<Credentials> as) override;
  Outcome<std::vector<std::string>> list_xattr(source::Place place) override;
  Outcome<void> remove_xattr(source::Place place, std::string name) override;
  Outcome<struct statvfs> space() override;
  source::InodeNumbers inode_numbers() const override;
  bool directory_times_are_kept() const override;
  bool is_up() const override;
  void on_state_change(std::function<void(bool up)>) override {}

 private:
  friend class FakeSourceFile;
  struct Inode;
  using InodePtr = std::shared_ptr<Inode>;
  struct Spot {  // a name in a directory that exists; empty: the directory
    InodePtr directory;
    std::string name;
  };

  // One call: waits at holds, fails as told, or does what `operation` does under the mutex.
  template <class T>
  Outcome<T> call(CallKind kind, std::function<Result<T>()> operation);
  std::shared_ptr<Hold> arrive(CallKind kind, Stage stage);
  std::optional<Code> take_fault(CallKind kind, Stage stage) REQUIRES(mutex_);

  Result<InodePtr> find(const std::string& path) const REQUIRES(mutex_);
  Result<Spot> spot(const std::string& path) const REQUIRES(mutex_);
  Spot must_spot(const std::string& path) const REQUIRES(mutex_);
  static Spot spot(const source::Place& place);
  static Result<InodePtr> find(const Spot& at);
  // kStale when it is not the file that the place says.
  static Result<InodePtr> find(const source::Place& place);
  static bool is_beneath(const Inode& inode, const Inode& top);
  Result<InodePtr> make(const Spot& at, uint32_t mode, Caller caller) REQUIRES(mutex_);
  InodePtr put_new(const std::string& path, uint32_t mode) REQUIRES(mutex_);
  Result<void> remove_name(const Spot& at, bool directory) REQUIRES(mutex_);
  Result<void> do_rename(const Spot& from, const Spot& to, unsigned flags) REQUIRES(mutex_);
  Result<Attributes> change(Inode& inode, const source::AttributeChange& change) REQUIRES(mutex_);
  void write_to(Inode& inode, uint64_t offset, const char* bytes, size_t length) REQUIRES(mutex_);
  InodePtr must_find(const std::string& path) const REQUIRES(mutex_);
  Result<source::Opened> open_inode(const InodePtr& inode, int flags) REQUIRES(mutex_);
  Timestamp stamp() REQUIRES(mutex_);
  void changed(Inode& inode) REQUIRES(mutex_);  // mtime and ctime

  const Clock& clock_;
  mutable Mutex mutex_;
  InodePtr root_ GUARDED_BY(mutex_);
  uint64_t next_inode_ GUARDED_BY(mutex_) = 1;
  int64_t last_stamp_ns_ GUARDED_BY(mutex_) = 0;
  int64_t granularity_ns_ GUARDED_BY(mutex_) = 0;
  source::InodeNumbers inode_numbers_ GUARDED_BY(mutex_) = source::InodeNumbers::kStable;
  std::atomic<bool> fails_by_ending_{false};
  bool directory_times_kept_ GUARDED_BY(mutex_) = true;
  bool times_zero_ GUARDED_BY(mutex_) = false;
  std::optional<Code> down_ GUARDED_BY(mutex_);
  std::shared_ptr<std::atomic<bool>> attached_ GUARDED_BY(mutex_) =
      std::make_shared<std::atomic<bool>>(true);  // what is opened beneath this root is current
  struct Fault {
    CallKind kind;
    Stage stage;
    Code code;
  };
  std::vector<Fault> faults_ GUARDED_BY(mutex_);
  std::map<std::pair<CallKind, Stage>, std::weak_ptr<Hold>> holds_ GUARDED_BY(mutex_);
  std::array<uint64_t, source::kCallKinds> calls_ GUARDED_BY(mutex_){};
};

}  // namespace larder::testing
