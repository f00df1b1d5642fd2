// CachedFile's objects in the hands of the kernel: open in passthrough, or mapped by a program that
// has closed the file since, of which nobody tells but the disk.

#include <algorithm>

#include "base/check.h"
#include "cache/cached_file.h"

namespace larder::cache {

Result<CachedFile::Pin> CachedFile::pin() {
  // An object without a byte is of no use, and would be one more file that nobody counts.
  if (size_bytes() == 0) return fail(Code::kNotSupported, "empty");
  if (!env_.open_files.may_hold()) return fail(Code::kNoDescriptors, "object");
  ObjectId object;
  TRY_ASSIGN(auto file, existing_object_file(&object));
  MutexLock lock(mutex_);
  if (object_ != object || !resident_locked() || probes_ > 0) return fail(Code::kStale, "object");
  ++pins_;
  ++exposures_;
  exposed_ = true;
  return Pin{std::move(file), generation_};
}

void CachedFile::pin_again(uint64_t generation) {
  MutexLock lock(mutex_);
  if (uint32_t* pins = pins_of(generation)) ++*pins;
}

void CachedFile::unpin(uint64_t generation) {
  MutexLock lock(mutex_);
  uint32_t* pins = pins_of(generation);
  CHECK(pins != nullptr && *pins > 0);
  --*pins;
  std::erase_if(lingering_, [](const Lingering& old) { return old.pins == 0; });
}

uint32_t* CachedFile::pins_of(uint64_t generation) {
  if (generation == generation_) return &pins_;
  const auto old = std::ranges::find(lingering_, generation, &Lingering::generation);
  return old == lingering_.end() ? nullptr : &old->pins;
}

std::shared_ptr<io::File> CachedFile::file_to_change(ObjectId object) {
  {
    MutexLock lock(mutex_);
    if (object_ == object && object_file_) return object_file_;
  }
  auto opened = env_.objects.open(object);
  return opened ? std::move(*opened) : nullptr;
}

// Nobody is let in meanwhile: the kernel, opening the object for him, would have to wait, or turn
// him away (O_NONBLOCK).
Result<bool> CachedFile::is_used(io::File& file) {
  {
    MutexLock lock(mutex_);
    if (pins_ > 0) return true;
    ++probes_;
  }
  const auto used = file.is_used_elsewhere();
  MutexLock lock(mutex_);
  --probes_;
  return used;
}

// False: it is not told.
bool CachedFile::look_for_mappings() {
  ObjectId object;
  std::shared_ptr<io::File> file;
  uint64_t exposures = 0;
  {
    MutexLock lock(mutex_);
    if (!exposed_ || pins_ > 0) return true;
    object = object_;
    file = object_file_;
    exposures = exposures_;
  }
  if (!file) {
    auto opened = env_.objects.open(object);
    // At the limit of descriptors it could be told another time.
    if (!opened) return opened.error().is(Code::kNoDescriptors);
    file = std::move(*opened);
  }
  const auto used = is_used(*file);
  if (!used) return false;
  MutexLock lock(mutex_);
  if (object_ == object && exposures_ == exposures) exposed_ = *used;
  return true;
}

bool CachedFile::is_exposed() {
  const bool is_told = look_for_mappings();
  MutexLock lock(mutex_);
  return pins_ > 0 || (exposed_ && is_told);
}

}  // namespace larder::cache
