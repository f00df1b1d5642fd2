#include "object/objects.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

namespace larder::object {
namespace {

// From here on one syncfs costs less than a sync of each file (every one of which is a journal
// commit of the local file system); below, syncfs would make us wait for other programs' writes.
constexpr size_t kSyncAllFrom = 8;

}  // namespace

Result<std::unique_ptr<Objects>> Objects::open(io::Disk& disk, DescriptorLimit* limit) {
  TRY(disk.make_directory(kTop));
  return std::unique_ptr<Objects>(new Objects(disk, limit));
}

Result<ObjectId> Objects::last(io::Disk& disk) {
  ObjectId last;
  for (size_t number = 0; number < kDirectories; ++number) {
    const auto names = disk.list(directory(number));
    if (!names && names.error().is(Code::kNotFound)) continue;
    if (!names) return fail(names.error());
    for (const std::string& name : *names)
      if (const auto object = object_of(number, name)) last = std::max(last, *object);
  }
  return last;
}

Result<std::shared_ptr<io::File>> Objects::open_counted(ObjectId object, io::OpenMode mode) {
  struct Counted {  // the slot is given back after the file is closed
    DescriptorLimit::Slot slot;
    std::unique_ptr<io::File> file;
  };
  const auto counted = std::make_shared<Counted>();
  if (limit_ != nullptr) {
    TRY_ASSIGN(counted->slot, limit_->take(DescriptorLimit::Use::kReopenable));
  }
  TRY_ASSIGN(counted->file, disk_.open(path(object), mode));
  return std::shared_ptr<io::File>(counted, counted->file.get());
}

std::string Objects::directory(size_t number) {
  return fmt::format("{}/{:02x}", kTop, number);
}

std::string Objects::path(ObjectId object) {
  return fmt::format("{}/{:016x}", directory(directory_number(object)), object.value);
}

std::optional<ObjectId> Objects::object_of(size_t directory, std::string_view name) {
  ObjectId object;
  const char* const end = name.data() + name.size();
  // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): its end is given
  if (std::from_chars(name.data(), end, object.value, 16).ptr != end) return std::nullopt;
  // Leading zeros and lower case, as it is written.
  if (!object || directory_number(object) != directory ||
      name != fmt::format("{:016x}", object.value))
    return std::nullopt;
  return object;
}

bool Objects::is_directory_name(std::string_view name) {
  return name.size() == 2 && name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<std::shared_ptr<io::File>> Objects::create(ObjectId object, uint64_t size_bytes) {
  std::atomic<bool>& made = directory_made_[directory_number(object)];
  if (!made.load(std::memory_order_relaxed)) {
    TRY(disk_.make_directory(directory(directory_number(object))));
    made.store(true, std::memory_order_relaxed);
  }
  TRY_ASSIGN(auto file, open_counted(object, io::OpenMode::kCreateNew));
  if (size_bytes != 0) TRY(file->truncate(size_bytes));
  return file;
}

Result<std::shared_ptr<io::File>> Objects::open(ObjectId object) {
  return open_counted(object, io::OpenMode::kReadWrite);
}

Result<io::FileInfo> Objects::info(ObjectId object) {
  return disk_.info(path(object));
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
    auto file = dirty.file ? Result<std::shared_ptr<io::File>>(dirty.file) : open(dirty.object);
    if (!file && file.error().is(Code::kNotFound)) continue;
    if (!file) return fail(file.error());
    TRY((*file)->sync_data());
    directories.insert(directory(directory_number(dirty.object)));
  }
  for (const std::string& name : directories) TRY(disk_.sync_directory(name));
  return {};
}

}  // namespace larder::object
