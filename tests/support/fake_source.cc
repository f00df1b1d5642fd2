#include "support/fake_source.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/check.h"

namespace larder::testing {

using source::AttributeChange;

struct FakeSource::Inode {
  Attributes attributes;
  std::string data;  // a symlink's target, too
  std::map<std::string, InodePtr> children;
  std::map<std::string, std::string> xattrs;
  uint64_t descriptors = 0;       // opened so far
  uint64_t ends_descriptors = 0;  // so many of them end at end_bytes
  uint64_t end_bytes = 0;
  bool takes_room = true;

  bool is_directory() const { return S_ISDIR(attributes.mode); }
  Attributes shown() const {
    Attributes shown = attributes;
    shown.size_bytes = data.size();
    shown.blocks_512 = takes_room ? (data.size() + 511) / 512 : 0;
    return shown;
  }
};

namespace {

// An inode that stays the same wherever it is moved.
class FakeDirectory final : public source::Directory {
 public:
  FakeDirectory(std::shared_ptr<void> inode, uint64_t number,
                std::shared_ptr<const std::atomic<bool>> current)
      : inode_(std::move(inode)), number_(number), current_(std::move(current)) {}
  uint64_t number() const override { return number_; }
  bool is_current() const override { return current_ == nullptr || current_->load(); }
  const std::shared_ptr<void>& inode() const { return inode_; }

 private:
  const std::shared_ptr<void> inode_;
  const uint64_t number_;
  const std::shared_ptr<const std::atomic<bool>> current_;  // null: the root
};

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

Error error_of(int number) {
  return Error(static_cast<Code>(number));
}

}  // namespace

class FakeSourceFile final : public source::SourceFile {
 public:
  FakeSourceFile(FakeSource& source, FakeSource::InodePtr inode, int flags)
      : source_(source), inode_(std::move(inode)), flags_(flags), number_(inode_->descriptors++) {}

  bool fails_by_ending() const override { return source_.fails_by_ending_; }

  FakeSource::Outcome<size_t> read(buffer::BufferRef into, size_t length,
                                   uint64_t offset) override {
    return source_.call<size_t>(
        FakeSource::CallKind::kRead,
        [this, inode = inode_, into, length, offset]() -> Result<size_t> {
          const std::string& data = inode->data;
          const size_t end = number_ < inode->ends_descriptors ? inode->end_bytes : data.size();
          const size_t from = std::min<size_t>(offset, end);
          const size_t got = std::min(length, end - from);
          std::memcpy(into.bytes().data(), data.data() + from, got);
          into.set_size(got);
          return got;
        });
  }
  FakeSource::Outcome<void> write(buffer::BufferRef from, uint64_t offset) override {
    return write(std::move(from), offset, (flags_ & O_APPEND) != 0);
  }
  FakeSource::Outcome<void> append(buffer::BufferRef from) override {
    return write(std::move(from), 0, true);
  }
  FakeSource::Outcome<void> write(buffer::BufferRef from, uint64_t offset, bool at_end) {
    return source_.call<void>(
        FakeSource::CallKind::kWrite,
        [this, inode = inode_, from, offset, at_end]() NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
          if ((flags_ & O_ACCMODE) == O_RDONLY) return fail(error_of(EBADF));
          const uint64_t at = at_end ? inode->data.size() : offset;
          const auto bytes = from.data();
          source_.write_to(*inode, at, reinterpret_cast<const char*>(bytes.data()), bytes.size());
          return {};
        });
  }
  FakeSource::Outcome<void> flush() override {
    return source_.call<void>(FakeSource::CallKind::kFlush, [] { return Result<void>(); });
  }
  FakeSource::Outcome<void> sync(bool) override {
    return source_.call<void>(FakeSource::CallKind::kSync, [] { return Result<void>(); });
  }
  FakeSource::Outcome<Attributes> attributes() override {
    return source_.call<Attributes>(
        FakeSource::CallKind::kAttributes,
        [inode = inode_]() -> Result<Attributes> { return inode->shown(); });
  }
  FakeSource::Outcome<Attributes> set_attributes(AttributeChange change) override {
    return source_.call<Attributes>(FakeSource::CallKind::kSetAttributes,
                                    [this, inode = inode_, change]() NO_THREAD_SAFETY_ANALYSIS {
                                      return source_.change(*inode, change);
                                    });
  }
  FakeSource::Outcome<void> allocate(int mode, uint64_t offset, uint64_t length) override {
    return source_.call<void>(
        FakeSource::CallKind::kAllocate,
        [this, inode = inode_, mode, offset, length]() NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
          if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0)
            return fail(Code::kNotSupported);
          std::string& data = inode->data;
          if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && data.size() < offset + length)
            data.resize(offset + length);
          if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0 && offset < data.size())
            std::fill_n(data.begin() + static_cast<ptrdiff_t>(offset),
                        std::min<size_t>(length, data.size() - offset), '\0');
          source_.changed(*inode);
          return {};
        });
  }
  FakeSource::Outcome<uint64_t> seek(uint64_t offset, int whence) override {
    return source_.call<uint64_t>(FakeSource::CallKind::kSeek,
                                  [inode = inode_, offset, whence]() -> Result<uint64_t> {
                                    if (offset >= inode->data.size()) return fail(error_of(ENXIO));
                                    return whence == SEEK_DATA ? offset : inode->data.size();
                                  });
  }
  FakeSource::Outcome<size_t> copy_range(uint64_t offset, std::shared_ptr<SourceFile> to,
                                         uint64_t to_offset, size_t length) override {
    return source_.call<size_t>(FakeSource::CallKind::kCopyRange,
                                [this, inode = inode_, offset, to, to_offset, length]()
                                    NO_THREAD_SAFETY_ANALYSIS -> Result<size_t> {
                                      auto& target = static_cast<FakeSourceFile&>(*to);
                                      if (offset >= inode->data.size()) return size_t{0};
                                      const std::string bytes = inode->data.substr(offset, length);
                                      source_.write_to(*target.inode_, to_offset, bytes.data(),
                                                       bytes.size());
                                      return bytes.size();
                                    });
  }

  void bypass_page_cache() override {}  // it has none
  FakeSource::Outcome<source::Opened> reopen(int flags) override {
    return source_.call<source::Opened>(FakeSource::CallKind::kOpen,
                                        [this, inode = inode_, flags]()
                                            NO_THREAD_SAFETY_ANALYSIS -> Result<source::Opened> {
                                              return source_.open_inode(inode, flags);
                                            });
  }
  FakeSource::Outcome<std::string> get_xattr(std::string name) override {
    return source_.call<std::string>(FakeSource::CallKind::kGetXattr,
                                     [inode = inode_, name]() -> Result<std::string> {
                                       const auto it = inode->xattrs.find(name);
                                       if (it == inode->xattrs.end())
                                         return fail(error_of(ENODATA));
                                       return it->second;
                                     });
  }
  FakeSource::Outcome<void> set_xattr(std::string name, std::string value, int,
                                      std::optional<Credentials>) override {
    return source_.call<void>(FakeSource::CallKind::kSetXattr,
                              [this, inode = inode_, name, value]()
                                  NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
                                    inode->xattrs[name] = value;
                                    inode->attributes.times.ctime = source_.stamp();
                                    return {};
                                  });
  }
  FakeSource::Outcome<std::vector<std::string>> list_xattr() override {
    using Names = std::vector<std::string>;
    return source_.call<Names>(FakeSource::CallKind::kListXattr,
                               [inode = inode_]() -> Result<Names> {
                                 Names names;
                                 for (const auto& [name, value] : inode->xattrs)
                                   names.push_back(name);
                                 return names;
                               });
  }
  FakeSource::Outcome<void> remove_xattr(std::string name) override {
    return source_.call<void>(FakeSource::CallKind::kRemoveXattr,
                              [this, inode = inode_, name]()
                                  NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
                                    if (inode->xattrs.erase(name) == 0)
                                      return fail(error_of(ENODATA));
                                    inode->attributes.times.ctime = source_.stamp();
                                    return {};
                                  });
  }

 private:
  FakeSource& source_;
  const FakeSource::InodePtr inode_;
  const int flags_;
  const uint64_t number_;
};

// --- holds, faults, counts

void FakeSource::Hold::wait_for_calls(int count) {
  MutexLock lock(mutex_);
  while (arrived_ < count) changed_.wait(mutex_);
}

int FakeSource::Hold::arrived() const {
  MutexLock lock(mutex_);
  return arrived_;
}

void FakeSource::Hold::release() {
  opened_->set();
}

std::shared_ptr<FakeSource::Hold> FakeSource::hold(CallKind kind, Stage stage) {
  auto made = std::make_shared<Hold>();
  MutexLock lock(mutex_);
  holds_[{kind, stage}] = made;
  return made;
}

std::shared_ptr<FakeSource::Hold> FakeSource::arrive(CallKind kind, Stage stage) {
  std::shared_ptr<Hold> held;
  {
    MutexLock lock(mutex_);
    if (stage == Stage::kBefore) ++calls_[static_cast<size_t>(kind)];
    const auto it = holds_.find({kind, stage});
    if (it != holds_.end()) held = it->second.lock();
  }
  if (!held || held->opened_->is_set()) return nullptr;
  MutexLock lock(held->mutex_);
  ++held->arrived_;
  held->changed_.notify_all();
  return held;
}

std::optional<Code> FakeSource::take_fault(CallKind kind, Stage stage) {
  if (stage == Stage::kBefore && down_) return down_;
  const auto it = std::ranges::find_if(
      faults_, [&](const Fault& fault) { return fault.kind == kind && fault.stage == stage; });
  if (it == faults_.end()) return std::nullopt;
  const Code code = it->code;
  faults_.erase(it);
  return code;
}

template <class T>
source::Outcome<T> FakeSource::call(CallKind kind, std::function<Result<T>()> operation) {
  // The event, not the hold: a hold that is destroyed must let go.
  std::shared_ptr<io::Event> opened;
  if (const auto held = arrive(kind, Stage::kBefore)) opened = held->opened_;
  if (opened) co_await *opened;
  Result<T> answer = fail(Code::kCancelled);
  {
    MutexLock lock(mutex_);
    if (const auto code = take_fault(kind, Stage::kBefore)) {
      answer = fail(*code, "injected");
    } else {
      answer = operation();
      if (const auto late = take_fault(kind, Stage::kAfter)) answer = fail(*late, "injected");
    }
  }
  opened.reset();
  if (const auto held = arrive(kind, Stage::kAfter)) opened = held->opened_;
  if (opened) co_await *opened;
  co_return answer;
}

void FakeSource::set_down(std::optional<Code> code) {
  MutexLock lock(mutex_);
  down_ = code;
}

void FakeSource::fail_next(CallKind kind, Code code) {
  MutexLock lock(mutex_);
  faults_.push_back({kind, Stage::kBefore, code});
}

void FakeSource::fail_after_next(CallKind kind, Code code) {
  MutexLock lock(mutex_);
  faults_.push_back({kind, Stage::kAfter, code});
}

void FakeSource::end_reads(const std::string& path, uint64_t end_bytes, Which which) {
  MutexLock lock(mutex_);
  const InodePtr inode = must_find(path);
  inode->end_bytes = end_bytes;
  inode->ends_descriptors = which == Which::kAll ? UINT64_MAX : inode->descriptors;
}

void FakeSource::set_fails_by_ending(bool fails) {
  fails_by_ending_ = fails;
}

void FakeSource::take_no_room(const std::string& path) {
  MutexLock lock(mutex_);
  must_find(path)->takes_room = false;
}

void FakeSource::set_inode_numbers(source::InodeNumbers numbers) {
  MutexLock lock(mutex_);
  inode_numbers_ = numbers;
}

void FakeSource::set_next_inode(uint64_t inode) {
  MutexLock lock(mutex_);
  next_inode_ = inode;
}

void FakeSource::lose_root() {
  MutexLock lock(mutex_);
  attached_->store(false);
  attached_ = std::make_shared<std::atomic<bool>>(true);
}

void FakeSource::set_directory_times_kept(bool kept) {
  MutexLock lock(mutex_);
  directory_times_kept_ = kept;
}

bool FakeSource::directory_times_are_kept() const {
  MutexLock lock(mutex_);
  return directory_times_kept_;
}

void FakeSource::set_times_zero() {
  MutexLock lock(mutex_);
  times_zero_ = true;
}

void FakeSource::set_time_granularity(Nanos granularity) {
  MutexLock lock(mutex_);
  granularity_ns_ = granularity.count();
}

source::InodeNumbers FakeSource::inode_numbers() const {
  MutexLock lock(mutex_);
  return inode_numbers_;
}

bool FakeSource::is_up() const {
  MutexLock lock(mutex_);
  return !down_;
}

uint64_t FakeSource::calls(CallKind kind) const {
  MutexLock lock(mutex_);
  return calls_[static_cast<size_t>(kind)];
}

uint64_t FakeSource::calls() const {
  MutexLock lock(mutex_);
  return std::accumulate(calls_.begin(), calls_.end(), uint64_t{0});
}

// --- the tree

FakeSource::FakeSource(const Clock& clock) : clock_(clock) {
  MutexLock lock(mutex_);
  root_ = std::make_shared<Inode>();
  root_->attributes.inode = next_inode_++;
  root_->attributes.mode = S_IFDIR | 0755;
  root_->attributes.nlink = 2;
  changed(*root_);
}

FakeSource::~FakeSource() = default;

Timestamp FakeSource::stamp() {
  if (times_zero_) return {};
  const int64_t now = clock_.wall().count();
  if (granularity_ns_ != 0) return Timestamp::of(Nanos(now / granularity_ns_ * granularity_ns_));
  last_stamp_ns_ = std::max(now, last_stamp_ns_ + 1);
  return Timestamp::of(Nanos(last_stamp_ns_));
}

void FakeSource::changed(Inode& inode) {
  const bool is_new = inode.attributes.times == FileTimes{};
  if (inode.is_directory() && !directory_times_kept_ && !is_new) return;
  inode.attributes.times.mtime = inode.attributes.times.ctime = stamp();
}

Result<FakeSource::InodePtr> FakeSource::find(const std::string& path) const {
  InodePtr at = root_;
  for (size_t from = 0; from < path.size();) {
    const size_t slash = std::min(path.find('/', from), path.size());
    if (!at->is_directory()) return fail(error_of(ENOTDIR));
    const auto child = at->children.find(path.substr(from, slash - from));
    if (child == at->children.end()) return fail(Code::kNotFound, path);
    at = child->second;
    from = slash + 1;
  }
  return at;
}

FakeSource::InodePtr FakeSource::must_find(const std::string& path) const {
  auto found = find(path);
  CHECK_MSG(found.has_value(), path);
  return *found;
}

FakeSource::Spot FakeSource::must_spot(const std::string& path) const {
  auto found = spot(path);
  CHECK_MSG(found.has_value(), path);
  return *found;
}

Result<FakeSource::Spot> FakeSource::spot(const std::string& path) const {
  TRY_ASSIGN(InodePtr directory, find(parent_of(path)));
  const size_t slash = path.rfind('/');
  return Spot{std::move(directory), slash == std::string::npos ? path : path.substr(slash + 1)};
}

FakeSource::Spot FakeSource::spot(const source::Place& place) {
  const auto* directory = dynamic_cast<const FakeDirectory*>(place.directory.get());
  CHECK(directory != nullptr);
  return {std::static_pointer_cast<Inode>(directory->inode()), place.name};
}

Result<FakeSource::InodePtr> FakeSource::find(const Spot& at) {
  if (at.name.empty()) return at.directory;
  if (!at.directory->is_directory()) return fail(error_of(ENOTDIR));
  const auto child = at.directory->children.find(at.name);
  if (child == at.directory->children.end()) return fail(Code::kNotFound, at.name);
  return child->second;
}

Result<FakeSource::InodePtr> FakeSource::find(const source::Place& place) {
  TRY_ASSIGN(InodePtr inode, find(spot(place)));
  if (place.number != 0 && place.number != inode->attributes.inode) return fail(Code::kStale);
  return inode;
}

Result<FakeSource::InodePtr> FakeSource::make(const Spot& at, uint32_t mode, Caller caller) {
  if (!at.directory->is_directory()) return fail(error_of(ENOTDIR));
  if (at.directory->attributes.nlink == 0) return fail(Code::kNotFound, "removed");
  if (at.directory->children.contains(at.name)) return fail(Code::kExists, at.name);
  auto inode = std::make_shared<Inode>();
  inode->attributes.inode = next_inode_++;
  inode->attributes.mode = mode;
  inode->attributes.nlink = S_ISDIR(mode) ? 2 : 1;
  inode->attributes.uid = caller.uid;
  inode->attributes.gid = caller.gid;
  changed(*inode);
  at.directory->children[at.name] = inode;
  if (S_ISDIR(mode)) ++at.directory->attributes.nlink;
  changed(*at.directory);
  return inode;
}

Result<void> FakeSource::remove_name(const Spot& at, bool directory) {
  const auto it = at.directory->children.find(at.name);
  if (it == at.directory->children.end()) return fail(Code::kNotFound, at.name);
  const InodePtr inode = it->second;
  if (directory != inode->is_directory()) return fail(error_of(directory ? ENOTDIR : EISDIR));
  if (!inode->children.empty()) return fail(error_of(ENOTEMPTY));
  at.directory->children.erase(it);
  inode->attributes.nlink = directory ? 0 : inode->attributes.nlink - 1;
  inode->attributes.times.ctime = stamp();
  if (directory) --at.directory->attributes.nlink;
  changed(*at.directory);
  return {};
}

bool FakeSource::is_beneath(const Inode& inode, const Inode& top) {
  if (&inode == &top) return true;
  return std::ranges::any_of(top.children,
                             [&](const auto& child) { return is_beneath(inode, *child.second); });
}

Result<void> FakeSource::do_rename(const Spot& from, const Spot& to, unsigned flags) {
  const auto moved_at = from.directory->children.find(from.name);
  if (moved_at == from.directory->children.end()) return fail(Code::kNotFound, from.name);
  if (!to.directory->is_directory()) return fail(error_of(ENOTDIR));
  if (to.directory->attributes.nlink == 0) return fail(Code::kNotFound, "removed");
  const InodePtr moved = moved_at->second;
  if (is_beneath(*to.directory, *moved)) return fail(Code::kInvalid);
  const auto other_at = to.directory->children.find(to.name);
  const InodePtr other = other_at == to.directory->children.end() ? nullptr : other_at->second;
  if ((flags & RENAME_EXCHANGE) != 0) {
    if (!other) return fail(Code::kNotFound, to.name);
    from.directory->children[from.name] = other;
    to.directory->children[to.name] = moved;
    other->attributes.times.ctime = stamp();
  } else {
    if (other && (flags & RENAME_NOREPLACE) != 0) return fail(Code::kExists);
    if (other == moved) return {};
    if (other) {
      if (other->is_directory() != moved->is_directory())
        return fail(error_of(other->is_directory() ? EISDIR : ENOTDIR));
      if (!other->children.empty()) return fail(error_of(ENOTEMPTY));
      other->attributes.nlink = other->is_directory() ? 0 : other->attributes.nlink - 1;
      other->attributes.times.ctime = stamp();
    }
    from.directory->children.erase(from.name);
    to.directory->children[to.name] = moved;
  }
  moved->attributes.times.ctime = stamp();
  changed(*from.directory);
  changed(*to.directory);
  return {};
}

Result<Attributes> FakeSource::change(Inode& inode, const AttributeChange& change) {
  Attributes& a = inode.attributes;
  a.times.ctime = stamp();
  if (change.permissions) a.mode = (a.mode & S_IFMT) | *change.permissions;
  a.mode &= ~change.cleared_permissions;
  if (change.uid) a.uid = *change.uid;
  if (change.gid) a.gid = *change.gid;
  if (change.size_bytes) {
    inode.data.resize(*change.size_bytes);
    changed(inode);
  }
  if (change.atime) a.times.atime = *change.atime;
  if (change.atime_now) a.times.atime = stamp();
  if (change.mtime) a.times.mtime = *change.mtime;
  if (change.mtime_now) a.times.mtime = stamp();
  return inode.shown();
}

void FakeSource::write_to(Inode& inode, uint64_t offset, const char* bytes, size_t length) {
  if (inode.data.size() < offset + length) inode.data.resize(offset + length);
  std::copy_n(bytes, length, inode.data.begin() + static_cast<ptrdiff_t>(offset));
  changed(inode);
}

// --- changes from outside, and looking

void FakeSource::mkdir(const std::string& path) {
  MutexLock lock(mutex_);
  for (size_t end = 0; end < path.size(); ++end) {
    end = std::min(path.find('/', end), path.size());
    const std::string part = path.substr(0, end);
    if (!find(part)) CHECK(make(must_spot(part), S_IFDIR | 0755, {}).has_value());
  }
}

void FakeSource::put(const std::string& path, std::string content) {
  mkdir(parent_of(path));
  MutexLock lock(mutex_);
  put_new(path, S_IFREG | 0644)->data = std::move(content);
}

// In the place of what is there.
FakeSource::InodePtr FakeSource::put_new(const std::string& path, uint32_t mode) {
  if (find(path)) CHECK(remove_name(must_spot(path), false).has_value());
  const auto made = make(must_spot(path), mode, {});
  CHECK(made.has_value());
  return *made;
}

void FakeSource::put_link(const std::string& path, std::string target) {
  MutexLock lock(mutex_);
  put_new(path, S_IFLNK | 0777)->data = std::move(target);
}

void FakeSource::put_node(const std::string& path, uint32_t mode, uint64_t rdev) {
  MutexLock lock(mutex_);
  put_new(path, mode)->attributes.rdev = rdev;
}

void FakeSource::put_name(const std::string& path, const std::string& new_path) {
  MutexLock lock(mutex_);
  const InodePtr inode = must_find(path);
  const Spot to = must_spot(new_path);
  const bool is_new = to.directory->children.emplace(to.name, inode).second;
  CHECK(is_new);
  ++inode->attributes.nlink;
  inode->attributes.times.ctime = stamp();
  changed(*to.directory);
}

void FakeSource::overwrite(const std::string& path, uint64_t offset, const std::string& bytes) {
  MutexLock lock(mutex_);
  const InodePtr inode = must_find(path);
  write_to(*inode, offset, bytes.data(), bytes.size());
}

void FakeSource::cut(const std::string& path, uint64_t size_bytes) {
  MutexLock lock(mutex_);
  const InodePtr inode = must_find(path);
  inode->data.resize(size_bytes);
  changed(*inode);
}

void FakeSource::remove(const std::string& path) {
  MutexLock lock(mutex_);
  CHECK(remove_name(must_spot(path), must_find(path)->is_directory()).has_value());
}

void FakeSource::move(const std::string& path, const std::string& new_path) {
  MutexLock lock(mutex_);
  CHECK(do_rename(must_spot(path), must_spot(new_path), 0).has_value());
}

void FakeSource::exchange(const std::string& path, const std::string& other) {
  MutexLock lock(mutex_);
  CHECK(do_rename(must_spot(path), must_spot(other), RENAME_EXCHANGE).has_value());
}

std::string FakeSource::content(const std::string& path) const {
  MutexLock lock(mutex_);
  return must_find(path)->data;
}

Attributes FakeSource::attributes_of(const std::string& path) const {
  MutexLock lock(mutex_);
  return must_find(path)->shown();
}

bool FakeSource::exists(const std::string& path) const {
  MutexLock lock(mutex_);
  return find(path).has_value();
}

std::vector<std::string> FakeSource::files() const {
  std::vector<std::string> files;
  std::vector<std::pair<std::string, InodePtr>> left;
  MutexLock lock(mutex_);
  left.emplace_back("", root_);
  while (!left.empty()) {
    const auto [path, inode] = left.back();
    left.pop_back();
    if (S_ISREG(inode->attributes.mode)) files.push_back(path);
    for (const auto& [name, child] : inode->children) {
      std::string below = path.empty() ? name : path + "/" + name;
      left.emplace_back(std::move(below), child);
    }
  }
  std::ranges::sort(files);
  return files;
}

// --- source::Source

// What the operations below do happens under the mutex, which call() holds.
#define UNDER_MUTEX NO_THREAD_SAFETY_ANALYSIS

source::DirectoryPtr FakeSource::root() const {
  MutexLock lock(mutex_);
  return std::make_shared<FakeDirectory>(root_, 0, nullptr);
}

source::Outcome<source::DirectoryPtr> FakeSource::open_directory(source::Place place) {
  using Opened = source::DirectoryPtr;
  return call<Opened>(CallKind::kOpenDirectory, [this, place]() UNDER_MUTEX -> Result<Opened> {
    TRY_ASSIGN(const InodePtr inode, find(place));
    if (!inode->is_directory()) return fail(error_of(ENOTDIR));
    return std::make_shared<const FakeDirectory>(inode, inode->attributes.inode, attached_);
  });
}

source::Outcome<Attributes> FakeSource::attributes(source::Place place, source::Wait) {
  return call<Attributes>(CallKind::kAttributes, [place]() UNDER_MUTEX -> Result<Attributes> {
    TRY_ASSIGN(const InodePtr inode, find(spot(place)));
    return inode->shown();
  });
}

source::Outcome<std::string> FakeSource::read_link(source::Place place) {
  return call<std::string>(CallKind::kReadLink, [place]() UNDER_MUTEX -> Result<std::string> {
    TRY_ASSIGN(const InodePtr inode, find(place));
    if (!S_ISLNK(inode->attributes.mode)) return fail(Code::kInvalid);
    return inode->data;
  });
}

source::Outcome<source::Listing> FakeSource::list(source::DirectoryPtr directory, source::Wait) {
  return call<source::Listing>(
      CallKind::kList, [directory]() UNDER_MUTEX -> Result<source::Listing> {
        const InodePtr inode = spot({directory, {}}).directory;
        source::Listing listing;
        for (const auto& [name, child] : inode->children)
          listing.entries.push_back(
              {name, child->attributes.inode, child->attributes.mode & S_IFMT});
        return listing;
      });
}

source::Outcome<source::Opened> FakeSource::open_file(source::Place place, int flags) {
  return call<source::Opened>(
      CallKind::kOpen, [this, place, flags]() UNDER_MUTEX -> Result<source::Opened> {
        const bool truncates = (flags & O_TRUNC) != 0;
        TRY_ASSIGN(const InodePtr inode, truncates ? find(place) : find(spot(place)));
        return open_inode(inode, flags);
      });
}

Result<source::Opened> FakeSource::open_inode(const InodePtr& inode, int flags) {
  if (!S_ISREG(inode->attributes.mode)) return fail(Code::kInvalid);
  if ((flags & O_TRUNC) != 0) {
    inode->data.clear();
    changed(*inode);
  }
  return source::Opened{std::make_shared<FakeSourceFile>(*this, inode, flags), inode->shown()};
}

source::Outcome<source::Opened> FakeSource::create_file(source::Place place, int flags,
                                                        uint32_t mode, Caller caller) {
  return call<source::Opened>(
      CallKind::kCreate,
      [this, place, flags, mode, caller]() UNDER_MUTEX -> Result<source::Opened> {
        auto found = find(spot(place));
        if (found && (flags & O_EXCL) != 0) return fail(Code::kExists);
        if (!found) found = make(spot(place), S_IFREG | (mode & 07777 & ~caller.umask), caller);
        if (!found) return fail(found.error());
        if ((flags & O_TRUNC) != 0) {
          (*found)->data.clear();
          changed(**found);
        }
        return source::Opened{std::make_shared<FakeSourceFile>(*this, *found, flags | O_RDWR),
                              (*found)->shown()};
      });
}

source::Outcome<Attributes> FakeSource::make_directory(source::Place place, uint32_t mode,
                                                       Caller caller) {
  return call<Attributes>(
      CallKind::kMakeDirectory, [this, place, mode, caller]() UNDER_MUTEX -> Result<Attributes> {
        TRY_ASSIGN(const InodePtr inode,
                   make(spot(place), S_IFDIR | (mode & 07777 & ~caller.umask), caller));
        return inode->shown();
      });
}

source::Outcome<Attributes> FakeSource::make_node(source::Place place, uint32_t mode, uint64_t rdev,
                                                  Caller caller) {
  return call<Attributes>(
      CallKind::kMakeNode, [this, place, mode, rdev, caller]() UNDER_MUTEX -> Result<Attributes> {
        TRY_ASSIGN(const InodePtr inode, make(spot(place), mode & ~caller.umask, caller));
        inode->attributes.rdev = rdev;
        return inode->shown();
      });
}

source::Outcome<Attributes> FakeSource::make_symlink(std::string target, source::Place place,
                                                     Caller caller) {
  return call<Attributes>(
      CallKind::kMakeSymlink, [this, target, place, caller]() UNDER_MUTEX -> Result<Attributes> {
        TRY_ASSIGN(const InodePtr inode, make(spot(place), S_IFLNK | 0777, caller));
        inode->data = target;
        return inode->shown();
      });
}

source::Outcome<Attributes> FakeSource::link(source::Place place, source::Place new_place) {
  return call<Attributes>(CallKind::kLink,
                          [this, place, new_place]() UNDER_MUTEX -> Result<Attributes> {
                            TRY_ASSIGN(const InodePtr inode, find(place));
                            const Spot at = spot(new_place);
                            if (at.directory->children.contains(at.name))
                              return fail(Code::kExists);
                            at.directory->children[at.name] = inode;
                            ++inode->attributes.nlink;
                            inode->attributes.times.ctime = stamp();
                            changed(*at.directory);
                            return inode->shown();
                          });
}

source::Outcome<void> FakeSource::unlink(source::Place place) {
  return call<void>(CallKind::kUnlink,
                    [this, place]() UNDER_MUTEX { return remove_name(spot(place), false); });
}

source::Outcome<void> FakeSource::remove_directory(source::Place place) {
  return call<void>(CallKind::kRemoveDirectory,
                    [this, place]() UNDER_MUTEX { return remove_name(spot(place), true); });
}

source::Outcome<void> FakeSource::rename(source::Place place, source::Place new_place,
                                         unsigned flags) {
  return call<void>(CallKind::kRename, [this, place, new_place, flags]() UNDER_MUTEX {
    return do_rename(spot(place), spot(new_place), flags);
  });
}

source::Outcome<Attributes> FakeSource::set_attributes(source::Place place,
                                                       AttributeChange wanted) {
  return call<Attributes>(CallKind::kSetAttributes,
                          [this, place, wanted]() UNDER_MUTEX -> Result<Attributes> {
                            TRY_ASSIGN(const InodePtr inode, find(place));
                            return change(*inode, wanted);
                          });
}

source::Outcome<void> FakeSource::sync_directory(source::DirectoryPtr, bool) {
  return call<void>(CallKind::kSyncDirectory, [] { return Result<void>(); });
}

source::Outcome<std::string> FakeSource::get_xattr(source::Place place, std::string name) {
  return call<std::string>(CallKind::kGetXattr, [place, name]() UNDER_MUTEX -> Result<std::string> {
    TRY_ASSIGN(const InodePtr inode, find(place));
    const auto it = inode->xattrs.find(name);
    if (it == inode->xattrs.end()) return fail(error_of(ENODATA));
    return it->second;
  });
}

source::Outcome<void> FakeSource::set_xattr(source::Place place, std::string name,
                                            std::string value, int, std::optional<Credentials>) {
  return call<void>(CallKind::kSetXattr, [this, place, name, value]() UNDER_MUTEX -> Result<void> {
    TRY_ASSIGN(const InodePtr inode, find(place));
    inode->xattrs[name] = value;
    inode->attributes.times.ctime = stamp();
    return {};
  });
}

source::Outcome<std::vector<std::string>> FakeSource::list_xattr(source::Place place) {
  using Names = std::vector<std::string>;
  return call<Names>(CallKind::kListXattr, [place]() UNDER_MUTEX -> Result<Names> {
    TRY_ASSIGN(const InodePtr inode, find(place));
    Names names;
    for (const auto& [name, value] : inode->xattrs) names.push_back(name);
    return names;
  });
}

source::Outcome<void> FakeSource::remove_xattr(source::Place place, std::string name) {
  return call<void>(CallKind::kRemoveXattr, [this, place, name]() UNDER_MUTEX -> Result<void> {
    TRY_ASSIGN(const InodePtr inode, find(place));
    if (inode->xattrs.erase(name) == 0) return fail(error_of(ENODATA));
    inode->attributes.times.ctime = stamp();
    return {};
  });
}

source::Outcome<struct statvfs> FakeSource::space() {
  return call<struct statvfs>(CallKind::kSpace,
                              [] { return Result<struct statvfs>(std::in_place); });
}

}  // namespace larder::testing
