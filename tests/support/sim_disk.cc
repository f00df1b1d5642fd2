#include "support/sim_disk.h"

#include <algorithm>
#include <set>

#include "base/check.h"
#include "support/sim_inode.h"

namespace larder::testing {

namespace {

io::FileInfo info_of(const SimInode& inode) {
  return {.size_bytes = inode.size(), .allocated_bytes = inode.page_count() * SimInode::kPageBytes};
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

bool is_beneath(const std::string& path, const std::string& top) {
  return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
}

class SimMapping final : public io::Mapping {
 public:
  SimMapping(std::shared_ptr<SimInode> inode, uint64_t offset, size_t length)
      : Mapping(std::span(inode->live() + offset, length)), inode_(std::move(inode)) {}

 private:
  std::shared_ptr<SimInode> inode_;  // keeps the memory, also after a crash
};

}  // namespace

class SimFile final : public io::File {
 public:
  SimFile(SimDisk& disk, std::string path, std::shared_ptr<SimInode> inode, uint64_t life,
          bool is_writable)
      : File(-1),
        disk_(disk),
        path_(std::move(path)),
        inode_(std::move(inode)),
        life_(life),
        is_writable_(is_writable) {
    inode_->add_opening(1);
  }
  ~SimFile() override { inode_->add_opening(-1); }
  SimFile(const SimFile&) = delete;
  SimFile& operator=(const SimFile&) = delete;

 protected:
  Result<size_t> do_read(std::span<std::byte> into, uint64_t offset) override {
    const MutexLock lock(disk_.mutex_);
    TRY(begin(SimOperation::kRead));
    if (offset >= inode_->size() || into.empty()) return 0;
    const size_t size = disk_.shorten(std::min<uint64_t>(into.size(), inode_->size() - offset));
    inode_->read(into.first(size), offset);
    return size;
  }

  Result<size_t> do_write(std::span<const std::byte> from, uint64_t offset) override {
    const MutexLock lock(disk_.mutex_);
    TRY(begin_change(SimOperation::kWrite));
    if (offset + from.size() > SimDisk::kFileSizeMax) return fail(Code::kNoSpace, path_);
    const size_t size = disk_.shorten(from.size());
    TRY(disk_.charge(*inode_, offset, size));
    if (auto stepped = disk_.step(); !stepped) {
      // The process died in the middle of the write.
      if (!disk_.is_crashed_ || from.size() < 2) return fail(stepped.error());
      if (disk_.steps_ == disk_.crash_step_) inode_->write(from.first(from.size() / 2), offset);
      return fail(stepped.error());
    }
    inode_->write(from.first(size), offset);
    return size;
  }

  Result<void> do_sync_data() override {
    const MutexLock lock(disk_.mutex_);
    TRY(alive());
    if (auto ok = disk_.check_fault(SimOperation::kSync, path_); !ok) {
      inode_->forget_unsynced();
      return ok;
    }
    TRY(disk_.step());
    inode_->sync();
    return {};
  }

  Result<void> do_truncate(uint64_t size_bytes) override {
    const MutexLock lock(disk_.mutex_);
    TRY(begin_change(SimOperation::kTruncate));
    if (size_bytes > SimDisk::kFileSizeMax) return fail(Code::kNoSpace, path_);
    TRY(disk_.step());
    inode_->set_size(size_bytes);
    inode_->free_pages(size_bytes, SimDisk::kFileSizeMax);
    return {};
  }

  Result<void> do_allocate(uint64_t offset, uint64_t length) override {
    const MutexLock lock(disk_.mutex_);
    TRY(begin_change(SimOperation::kAllocate));
    if (offset + length > SimDisk::kFileSizeMax) return fail(Code::kNoSpace, path_);
    TRY(disk_.charge(*inode_, offset, length));
    TRY(disk_.step());
    if (offset + length > inode_->size()) inode_->set_size(offset + length);
    return {};
  }

  Result<void> do_punch(uint64_t offset, uint64_t length) override {
    const MutexLock lock(disk_.mutex_);
    TRY(begin_change(SimOperation::kPunch));
    TRY(disk_.step());
    if (offset < inode_->size()) {
      inode_->zero(offset, std::min(length, inode_->size() - offset));
      // The page with the end goes when the range reaches the page's end, not just the file's.
      inode_->free_pages(offset, length);
    }
    return {};
  }

  Result<io::FileInfo> do_info() override {
    const MutexLock lock(disk_.mutex_);
    TRY(alive());
    return info_of(*inode_);
  }

  Result<std::unique_ptr<io::Mapping>> do_map(uint64_t offset, size_t length) override {
    const MutexLock lock(disk_.mutex_);
    TRY(begin_change(SimOperation::kMap));
    if (offset % SimInode::kPageBytes != 0 || length == 0 || offset + length > inode_->size())
      return fail(Code::kInvalid, "map " + path_);
    CHECK_MSG(inode_->missing_pages(offset, length) == 0, "mapped without having been allocated");
    inode_->add_mapping(offset, length);
    return std::make_unique<SimMapping>(inode_, offset, length);
  }

  Result<bool> do_is_used_elsewhere() override {
    const MutexLock lock(disk_.mutex_);
    TRY(alive());
    if (!disk_.tells_use_) return File::do_is_used_elsewhere();
    return inode_->is_used_elsewhere();
  }

 private:
  Result<void> alive() REQUIRES(disk_.mutex_) {
    if (disk_.is_crashed_ || life_ != disk_.life_)
      return fail(Code::kCancelled, "crashed " + path_);
    return {};
  }
  Result<void> begin(SimOperation operation) REQUIRES(disk_.mutex_) {
    TRY(alive());
    return disk_.check_fault(operation, path_);
  }
  Result<void> begin_change(SimOperation operation) REQUIRES(disk_.mutex_) {
    TRY(begin(operation));
    if (!is_writable_) return fail(Code::kInvalid, "not open for writing: " + path_);
    return {};
  }

  SimDisk& disk_;
  const std::string path_;
  const std::shared_ptr<SimInode> inode_;
  const uint64_t life_;
  const bool is_writable_;
};

SimDisk::SimDisk() = default;
SimDisk::~SimDisk() = default;

// --- Crashes ---

void SimDisk::power_loss(uint64_t seed) {
  const MutexLock lock(mutex_);
  Random random(seed);
  notice_mapped_stores();
  Tree tree = durable_;
  for (const DirectoryChange& change : changes_)
    if (random.one_in(2)) apply(tree, change);
  // What is in a directory that was never made is gone with it; the map is in order, parents first.
  std::erase_if(tree, [&](const auto& entry) {
    const std::string parent = parent_of(entry.first);
    return !parent.empty() && !tree.contains(parent);
  });
  std::map<Inode, Inode> replaced;
  for (auto& [path, inode] : tree) {
    auto [it, is_new] = replaced.try_emplace(inode);
    if (is_new) it->second = inode->after_power_loss(random);
    inode = it->second;
  }
  live_ = durable_ = std::move(tree);
  changes_.clear();
  ++life_;
  is_crashed_ = false;
  crash_step_ = UINT64_MAX;
}

void SimDisk::process_death() {
  const MutexLock lock(mutex_);
  notice_mapped_stores();
  std::map<Inode, Inode> replaced{{nullptr, nullptr}};
  const auto replace = [&](Inode& inode) {
    auto [it, is_new] = replaced.try_emplace(inode);
    if (is_new) it->second = inode->after_process_death();
    inode = it->second;
  };
  for (auto& [path, inode] : live_) replace(inode);
  for (auto& [path, inode] : durable_) replace(inode);
  for (DirectoryChange& change : changes_)
    for (auto& [path, inode] : change.names) replace(inode);
  ++life_;
  is_crashed_ = false;
  crash_step_ = UINT64_MAX;
}

void SimDisk::crash_at_step(uint64_t n) {
  const MutexLock lock(mutex_);
  crash_step_ = steps_ + n;
}

uint64_t SimDisk::step_count() const {
  const MutexLock lock(mutex_);
  return steps_;
}

bool SimDisk::is_crashed() const {
  const MutexLock lock(mutex_);
  return is_crashed_;
}

Result<void> SimDisk::step() {
  if (is_crashed_) return fail(Code::kCancelled, "crashed");
  notice_mapped_stores();
  if (++steps_ < crash_step_) return {};
  is_crashed_ = true;
  return fail(Code::kCancelled, "crash");
}

void SimDisk::notice_mapped_stores() {
  // A removed file cannot come back with more than it has; only named ones matter.
  for (const auto& [path, inode] : live_) inode->notice();
}

// --- Faults ---

void SimDisk::inject(SimFault fault) {
  const MutexLock lock(mutex_);
  faults_.push_back(std::move(fault));
}

void SimDisk::clear_faults() {
  const MutexLock lock(mutex_);
  faults_.clear();
}

void SimDisk::set_short_io(std::optional<uint64_t> seed) {
  const MutexLock lock(mutex_);
  if (seed)
    short_io_.emplace(*seed);
  else
    short_io_.reset();
}

void SimDisk::set_capacity_bytes(uint64_t bytes) {
  const MutexLock lock(mutex_);
  capacity_bytes_ = bytes;
}

Result<void> SimDisk::check_fault(SimOperation operation, const std::string& path) {
  if (is_crashed_) return fail(Code::kCancelled, "crashed");
  for (SimFault& fault : faults_) {
    if (fault.operation != operation || fault.times == 0) continue;
    if (path.find(fault.path_part) == std::string::npos) continue;
    if (fault.skip > 0) {
      --fault.skip;
      continue;
    }
    --fault.times;
    return fail(fault.code, "injected, " + path);
  }
  return {};
}

size_t SimDisk::shorten(size_t size) {
  if (!short_io_ || size < 2) return size;
  return 1 + short_io_->below(size);
}

uint64_t SimDisk::allocated_bytes() const {
  std::set<Inode> seen;
  uint64_t pages = 0;
  for (const auto& [path, inode] : live_)
    if (seen.insert(inode).second) pages += inode->page_count();
  return pages * SimInode::kPageBytes;
}

Result<void> SimDisk::charge(SimInode& inode, uint64_t offset, uint64_t length) {
  const uint64_t wanted = inode.missing_pages(offset, length) * SimInode::kPageBytes;
  if (wanted > 0 && allocated_bytes() + wanted > capacity_bytes_)
    return fail(Code::kNoSpace, "full");
  inode.allocate_pages(offset, length);
  return {};
}

void SimDisk::set_can_exchange(bool can_exchange) {
  const MutexLock lock(mutex_);
  can_exchange_ = can_exchange;
}

std::function<void(bool is_used)> SimDisk::use_elsewhere(const std::string& path) {
  const MutexLock lock(mutex_);
  const Inode inode = live_.at(path);
  inode->set_used_elsewhere(true);
  return [this, inode](bool is_used) {
    const MutexLock inner_lock(mutex_);
    inode->set_used_elsewhere(is_used);
  };
}

void SimDisk::set_tells_use(bool tells_use) {
  const MutexLock lock(mutex_);
  tells_use_ = tells_use;
}

// --- For tests to look and meddle ---

std::vector<std::string> SimDisk::paths() const {
  const MutexLock lock(mutex_);
  std::vector<std::string> paths;
  for (const auto& [path, inode] : live_) paths.push_back(path);
  return paths;
}

std::string SimDisk::content(const std::string& path) const {
  const MutexLock lock(mutex_);
  const auto it = live_.find(path);
  CHECK_MSG(it != live_.end(), path);
  std::string content(it->second->size(), '\0');
  it->second->read(std::as_writable_bytes(std::span(content)), 0);
  return content;
}

void SimDisk::corrupt(const std::string& path, uint64_t offset, uint8_t flipped_bits) {
  const MutexLock lock(mutex_);
  const auto it = live_.find(path);
  CHECK_MSG(it != live_.end(), path);
  it->second->corrupt(offset, flipped_bits);
}

void SimDisk::put(const std::string& path, const std::string& content) {
  const MutexLock lock(mutex_);
  auto inode = std::make_shared<SimInode>(false, kFileSizeMax);
  inode->allocate_pages(0, content.size());
  inode->write(std::as_bytes(std::span(content)), 0);
  inode->sync();
  live_[path] = durable_[path] = inode;
}

void SimDisk::erase(const std::string& path) {
  const MutexLock lock(mutex_);
  live_.erase(path);
  durable_.erase(path);
}

std::unique_ptr<SimDisk> SimDisk::clone() const {
  auto copy = std::make_unique<SimDisk>();
  const MutexLock lock(mutex_);
  const MutexLock copy_lock(copy->mutex_);
  for (const auto& [path, inode] : live_) {
    auto twin = inode->after_process_death();
    twin->sync();
    copy->live_[path] = copy->durable_[path] = twin;
  }
  return copy;
}

// --- Directories ---

Result<void> SimDisk::check_parent(const std::string& path) const {
  const std::string parent = parent_of(path);
  if (parent.empty()) return {};
  const auto it = live_.find(parent);
  if (it == live_.end() || !it->second->is_directory()) return fail(Code::kNotFound, parent);
  return {};
}

void SimDisk::swap_trees(Tree& tree, const std::string& one, const std::string& other) {
  Tree swapped;
  for (auto& [path, inode] : tree) {
    const bool is_of_one = is_beneath(path, one);
    const std::string& from = is_of_one ? one : other;
    if (is_of_one || is_beneath(path, other))
      swapped[(is_of_one ? other : one) + path.substr(from.size())] = inode;
    else
      swapped[path] = inode;
  }
  tree = std::move(swapped);
}

// What happened in the two before is made durable: it is kept by path, and the paths change.
void SimDisk::swap(const std::string& one, const std::string& other) {
  const auto is_in_them = [&](const DirectoryChange& change) {
    return std::ranges::any_of(change.names, [&](const auto& name) {
      return is_beneath(name.first, one) || is_beneath(name.first, other);
    });
  };
  for (const DirectoryChange& before : changes_)
    if (is_in_them(before)) apply(durable_, before);
  std::erase_if(changes_, is_in_them);
  change({.names = {{one, nullptr}, {other, nullptr}}, .is_swap = true});
}

void SimDisk::apply(Tree& tree, const DirectoryChange& change) {
  if (change.is_swap) return swap_trees(tree, change.names[0].first, change.names[1].first);
  for (const auto& [path, inode] : change.names) {
    if (inode)
      tree[path] = inode;
    else
      tree.erase(path);
  }
}

void SimDisk::change(DirectoryChange change) {
  apply(live_, change);
  changes_.push_back(std::move(change));
}

Result<std::unique_ptr<io::File>> SimDisk::do_open(const std::string& path, io::OpenMode mode) {
  if (before_open_) before_open_(path);
  const MutexLock lock(mutex_);
  TRY(check_fault(SimOperation::kOpen, path));
  TRY(check_parent(path));
  const auto it = live_.find(path);
  const bool may_create = mode == io::OpenMode::kCreate || mode == io::OpenMode::kCreateNew;
  Inode inode;
  if (it != live_.end()) {
    if (mode == io::OpenMode::kCreateNew) return fail(Code::kExists, path);
    if (it->second->is_directory()) return fail(static_cast<Code>(EISDIR), path);
    inode = it->second;
  } else {
    if (!may_create) return fail(Code::kNotFound, path);
    TRY(step());
    inode = std::make_shared<SimInode>(false, kFileSizeMax);
    change({.names = {{path, inode}}});
  }
  return std::make_unique<SimFile>(*this, path, inode, life_, mode != io::OpenMode::kReadOnly);
}

Result<void> SimDisk::do_rename(const std::string& from, const std::string& to) {
  const MutexLock lock(mutex_);
  TRY(check_fault(SimOperation::kRename, from));
  TRY(check_parent(to));
  const auto it = live_.find(from);
  if (it == live_.end()) return fail(Code::kNotFound, from);
  const auto old = live_.find(to);
  const bool is_directory = it->second->is_directory();
  if (is_directory && old != live_.end() && from != to)
    return fail(Code::kNotSupported, "rename of a directory to a name that is there, " + to);
  if (!is_directory && old != live_.end() && old->second->is_directory())
    return fail(static_cast<Code>(EISDIR), to);
  TRY(step());
  if (from == to) return {};
  if (is_directory) {
    swap(from, to);
    return {};
  }
  const Inode inode = it->second;
  change({.names = {{from, nullptr}, {to, inode}}});
  return {};
}

Result<void> SimDisk::do_exchange(const std::string& one, const std::string& other) {
  const MutexLock lock(mutex_);
  TRY(check_fault(SimOperation::kRename, one));
  if (!can_exchange_) return Disk::do_exchange(one, other);
  for (const std::string& path : {one, other})
    if (!live_.contains(path)) return fail(Code::kNotFound, path);
  TRY(step());
  if (one != other) swap(one, other);
  return {};
}

Result<void> SimDisk::do_remove(const std::string& path) {
  if (before_remove_) before_remove_(path);
  const MutexLock lock(mutex_);
  TRY(check_fault(SimOperation::kRemove, path));
  const auto it = live_.find(path);
  if (it == live_.end()) return fail(Code::kNotFound, path);
  for (const auto& [name, inode] : live_)
    if (parent_of(name) == path) return fail(static_cast<Code>(ENOTEMPTY), path);
  TRY(step());
  change({.names = {{path, nullptr}}});
  return {};
}

Result<void> SimDisk::do_make_directory(const std::string& path) {
  const MutexLock lock(mutex_);
  TRY(check_fault(SimOperation::kMakeDirectory, path));
  TRY(check_parent(path));
  if (path.empty()) return {};
  if (const auto it = live_.find(path); it != live_.end()) {
    if (!it->second->is_directory()) return fail(Code::kExists, path);
    return {};
  }
  TRY(step());
  change({.names = {{path, std::make_shared<SimInode>(true, kFileSizeMax)}}});
  return {};
}

Result<io::FileInfo> SimDisk::do_path_info(const std::string& path) {
  const MutexLock lock(mutex_);
  if (is_crashed_) return fail(Code::kCancelled, "crashed");
  if (path.empty()) return io::FileInfo{};
  const auto it = live_.find(path);
  if (it == live_.end()) return fail(Code::kNotFound, path);
  return info_of(*it->second);
}

Result<std::vector<std::string>> SimDisk::do_list(const std::string& directory) {
  const MutexLock lock(mutex_);
  if (is_crashed_) return fail(Code::kCancelled, "crashed");
  if (!directory.empty()) {
    const auto it = live_.find(directory);
    if (it == live_.end()) return fail(Code::kNotFound, directory);
    if (!it->second->is_directory()) return fail(static_cast<Code>(ENOTDIR), directory);
  }
  std::vector<std::string> names;
  for (const auto& [path, inode] : live_)
    if (parent_of(path) == directory)
      names.push_back(directory.empty() ? path : path.substr(directory.size() + 1));
  return names;
}

Result<void> SimDisk::do_sync_directory(const std::string& directory) {
  const MutexLock lock(mutex_);
  TRY(check_fault(SimOperation::kSyncDirectory, directory));
  TRY(step());
  // Newest first: a change goes to the medium when it is in the directory, or when a later one that
  // goes there has a name in common with it.
  std::set<std::string> names;
  std::vector<bool> is_synced(changes_.size());
  for (size_t i = changes_.size(); i-- > 0;) {
    const auto& change_names = changes_[i].names;
    is_synced[i] = std::ranges::any_of(change_names, [&](const auto& name) {
      return parent_of(name.first) == directory || names.contains(name.first);
    });
    if (!is_synced[i]) continue;
    for (const auto& name : change_names) names.insert(name.first);
  }
  std::vector<DirectoryChange> unsynced;
  for (size_t i = 0; i < changes_.size(); ++i) {
    if (is_synced[i])
      apply(durable_, changes_[i]);
    else
      unsynced.push_back(changes_[i]);
  }
  changes_ = std::move(unsynced);
  return {};
}

Result<void> SimDisk::do_sync_all() {
  const MutexLock lock(mutex_);
  if (auto ok = check_fault(SimOperation::kSync, ""); !ok) {
    for (const auto& [path, inode] : live_) inode->forget_unsynced();
    return ok;
  }
  TRY(step());
  for (const auto& [path, inode] : live_) inode->sync();
  durable_ = live_;
  changes_.clear();
  return {};
}

Result<io::SpaceInfo> SimDisk::do_space() {
  const MutexLock lock(mutex_);
  if (is_crashed_) return fail(Code::kCancelled, "crashed");
  const uint64_t used = std::min(allocated_bytes(), capacity_bytes_);
  return io::SpaceInfo{.total_bytes = capacity_bytes_, .free_bytes = capacity_bytes_ - used};
}

}  // namespace larder::testing
