#include "cache/mapped_objects.h"

#include <algorithm>

#include "base/limited_log.h"
#include "cache/audit.h"

namespace larder::cache {

MappedObjects::MappedObjects(catalog::Catalog& catalog, object::Objects& objects,
                             Registry& registry, const Clock& clock, size_t objects_max)
    : catalog_(catalog), objects_(objects), clock_(clock), objects_max_(objects_max) {
  registry.gauge_callback("larder_mapped_objects",
                          "Removed objects that a program still has mapped or open.",
                          [this] { return static_cast<int64_t>(count()); });
}

bool MappedObjects::is_used(ObjectId object, std::shared_ptr<io::File> file) const {
  if (!file) {
    auto opened = objects_.open(object);
    // At the limit of descriptors it is told another time.
    if (!opened) return opened.error().is(Code::kNoDescriptors);
    file = std::move(*opened);
  }
  return file->is_used_elsewhere().value_or(false);
}

bool MappedObjects::keep(ObjectId object, std::shared_ptr<ObjectRoom> room,
                         std::shared_ptr<io::File> file) {
  if (!is_used(object, std::move(file))) return false;
  {
    const MutexLock lock(mutex_);
    // The audit may have taken one that its file was about to bring for an orphan.
    if (std::ranges::find(kept_, object, &Kept::object) != kept_.end()) return true;
    if (kept_.size() == objects_max_) {
      room->leave();
      return false;
    }
    kept_.push_back({object, std::move(room)});
    count_ = kept_.size();
    look_at_ = clock_.monotonic() + kFirstPause;
    pause_ = 2 * kFirstPause;
  }
  if (wake_) wake_();
  return true;
}

NextStep MappedObjects::step() {
  if (look_at_some()) return kAtOnce;
  const MutexLock lock(mutex_);
  if (kept_.empty()) return kWhenPoked;
  // Looks that were asked for do not count.
  if (const Nanos now = clock_.monotonic(); now >= look_at_) {
    look_at_ = now + pause_;
    pause_ = std::min(2 * pause_, kLongestPause);
  }
  return look_at_;
}

bool MappedObjects::look_at_some() {
  size_t looks = 0;
  {
    const MutexLock lock(mutex_);
    if (left_of_round_ == 0) left_of_round_ = kept_.size();
    looks = std::min(left_of_round_, kLooksPerStep);
    left_of_round_ -= looks;
  }
  for (; looks > 0; --looks) {
    Kept first;
    {
      const MutexLock lock(mutex_);
      first = kept_.front();
    }
    const bool stays = is_used(first.object, nullptr);
    if (!stays) remove(first);
    const MutexLock lock(mutex_);
    kept_.pop_front();
    if (stays) kept_.push_back(std::move(first));
    count_ = kept_.size();
  }
  const MutexLock lock(mutex_);
  return left_of_round_ > 0;
}

void MappedObjects::remove(const Kept& kept) {
  const auto removed = objects_.remove(kept.object);
  if (removed) return;
  log::limited_warning("cannot remove an object", kept.object.value, [&] {
    return fmt::format("cannot remove {}: {}; a later mount will try again",
                       object::Objects::path(kept.object), removed.error().message());
  });
  kept.room->leave();
  owe_audit();
}

void MappedObjects::owe_audit() {
  if (const auto owed = Audit::owe_later(catalog_); !owed)
    log::limited_warning("cannot note that an audit is owed", 0, [&] {
      return fmt::format("cannot note that an audit is owed: {}", owed.error().message());
    });
}

void MappedObjects::end() {
  {
    const MutexLock lock(mutex_);
    left_of_round_ = 0;  // all of them once more
  }
  while (look_at_some()) {
  }
  if (count() != 0) owe_audit();
}

void MappedObjects::add_to(std::unordered_set<ObjectId>& objects) const {
  const MutexLock lock(mutex_);
  for (const Kept& kept : kept_) objects.insert(kept.object);
}

}  // namespace larder::cache
