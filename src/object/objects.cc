#include "object/objects.h"

#include <fmt/format.h>

#include <set>

namespace larder::object {
namespace {

constexpr const char* kTop = "objects";
// From here on one syncfs costs less than a sync of each file (every one of which is a journal
// commit of the local file system); below, syncfs would make us wait for other programs' writes.
constexpr size_t kSyncAllFrom = 8;

}  // namespace

Result<std::unique_ptr<Objects>> Objects::open(io::Disk& disk) {
  TRY(disk.make_directory(kTop));
  return std::unique_ptr<Objects>(new Objects(disk));
}

std::string Objects::directory(ObjectId object) {
  return fmt::format("{}/{:02x}", kTop, object.value & 0xff);
}

std::string Objects::path(ObjectId object) {
  return fmt::format("{}/{:016x}", directory(object), object.value);
}

Result<std::shared_ptr<io::File>> Objects::create(ObjectId object, uint64_t size_bytes) {
  std::atomic<bool>& made = directory_made_[object.value & 0xff];
  if (!made.load(std::memory_order_relaxed)) {
    TRY(disk_.make_directory(directory(object)));
    made.store(true, std::memory_order_relaxed);
  }
  TRY_ASSIGN(std::unique_ptr<io::File> file, disk_.open(path(object), io::OpenMode::kCreateNew));
  if (size_bytes != 0) TRY(file->truncate(size_bytes));
  return std::shared_ptr<io::File>(std::move(file));
}

Result<std::shared_ptr<io::File>> Objects::open(ObjectId object) {
  TRY_ASSIGN(std::unique_ptr<io::File> file, disk_.open(path(object), io::OpenMode::kReadWrite));
  return std::shared_ptr<io::File>(std::move(file));
}

Result<void> Objects::remove(ObjectId object) {
  auto removed = disk_.remove(path(object));
  if (!removed && removed.error().is(Code::kNotFound)) return {};
  return removed;
}

Result<void> Objects::sync(std::span<const Dirty> objects) {
  if (objects.empty()) return {};
  if (objects.size() >= kSyncAllFrom) return disk_.sync_all();
  std::set<std::string> directories{kTop, ""};
  for (const Dirty& dirty : objects) {
    TRY(dirty.file->sync_data());
    directories.insert(directory(dirty.object));
  }
  for (const std::string& name : directories) TRY(disk_.sync_directory(name));
  return {};
}

}  // namespace larder::object
