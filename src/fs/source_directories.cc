#include "fs/source_directories.h"

#include "base/check.h"

namespace larder::fs {

SourceDirectories::SourceDirectories(size_t max, Registry& registry)
    : max_(max),
      open_(registry.gauge("larder_source_directories_open",
                           "Directories of the source that are held open.")),
      closed_(registry.counter("larder_source_directories_closed_total",
                               "Directories of the source closed to open others.")) {
  CHECK(max_ > 0);
}

source::DirectoryPtr SourceDirectories::find(NodeId node) {
  Entries gone;
  MutexLock lock(mutex_);
  const auto known = by_node_.find(node);
  if (known == by_node_.end()) return nullptr;
  const Entries::iterator entry = known->second;
  if (!entry->directory->is_current()) {
    take_out(entry, gone);
    return nullptr;
  }
  entries_.splice(entries_.begin(), entries_, entry);
  return entry->directory;
}

void SourceDirectories::add(NodeId node, source::DirectoryPtr directory) {
  Entries gone;
  MutexLock lock(mutex_);
  if (const auto known = by_node_.find(node); known != by_node_.end())
    take_out(known->second, gone);
  if (entries_.size() == max_) {
    take_out(std::prev(entries_.end()), gone);
    closed_.add();
  }
  const uint64_t number = directory->number();
  entries_.push_front({node, std::move(directory)});
  by_node_.emplace(node, entries_.begin());
  if (number != 0) by_number_.insert_or_assign(number, node);
  open_.set(static_cast<int64_t>(entries_.size()));
}

void SourceDirectories::remove(NodeId node) {
  Entries gone;
  MutexLock lock(mutex_);
  if (const auto known = by_node_.find(node); known != by_node_.end())
    take_out(known->second, gone);
}

std::optional<NodeId> SourceDirectories::node_of(uint64_t number) const {
  MutexLock lock(mutex_);
  const auto known = by_number_.find(number);
  return known == by_number_.end() ? std::nullopt : std::optional(known->second);
}

void SourceDirectories::clear() {
  Entries gone;
  MutexLock lock(mutex_);
  gone.swap(entries_);
  by_node_.clear();
  by_number_.clear();
  open_.set(0);
}

std::shared_ptr<io::Event> SourceDirectories::begin_opening(NodeId node) {
  MutexLock lock(mutex_);
  const auto [opening, is_new] = openings_.try_emplace(node);
  if (!is_new) return opening->second;
  opening->second = std::make_shared<io::Event>();
  return nullptr;
}

void SourceDirectories::end_opening(NodeId node) {
  std::shared_ptr<io::Event> ended;
  {
    MutexLock lock(mutex_);
    ended = std::move(openings_.extract(node).mapped());
  }
  ended->set();
}

void SourceDirectories::take_out(Entries::iterator entry, Entries& gone) {
  by_node_.erase(entry->node);
  const auto numbered = by_number_.find(entry->directory->number());
  if (numbered != by_number_.end() && numbered->second == entry->node) by_number_.erase(numbered);
  gone.splice(gone.end(), entries_, entry);
  open_.set(static_cast<int64_t>(entries_.size()));
}

}  // namespace larder::fs
