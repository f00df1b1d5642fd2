#include "fs/node.h"

#include <fcntl.h>

#include <algorithm>

#include "base/check.h"
#include "fs/cached_file_system.h"

namespace larder::fs {
namespace {

// A file's decides what is evicted first, a directory's only what is forgotten after weeks.
constexpr int64_t kUsedGrainNs = 600'000'000'000;
constexpr int64_t kDirectoryUsedGrainNs = 86'400'000'000'000;

}  // namespace

Node::Node(CachedFileSystem& fs, NodeId id) : id_(id), fs_(fs) {}

Node::Node(CachedFileSystem& fs, NodeId id, const catalog::NodeRecord& record)
    : id_(id),
      attributes_(record.attributes),
      fs_(fs),
      validated_at_ns_(record.validated_at_ns),
      used_at_ns_(record.used_at_ns),
      recorded_name_(std::make_unique<RecordedName>(record.parent, record.name)),
      stored_hash_(hash64(catalog::encode(record))) {
  if (record.object || record.block_shift != 0)
    stored_data_ = std::make_unique<catalog::NodeRecord>(record);
  if (record.listing_parts != 0) {
    children_ = std::make_unique<Children>();
    children_->listing_parts = record.listing_parts;
    children_->listing_times = {{}, record.listing_mtime, record.listing_ctime};
  }
  if (!record.symlink_target.empty()) {
    link_text_ = std::make_unique<LinkText>();
    link_text_->keep(record.symlink_target, fs.source().validator(attributes_), true);
  }
}

Node::~Node() {
  // The last reader of an unlinked file is gone: so go its data.
  if (deleted_ && file_) file_->drop();
  fs_.table().erase(*this);
}

uint32_t Node::type() const {
  MutexLock lock(mutex_);
  return attributes_.mode & S_IFMT;
}

io::Task<Result<std::shared_ptr<source::SourceFile>>> Node::open_source() {
  const std::shared_ptr<cache::Incarnation> incarnation = file().incarnation();
  const uint64_t asked_at = fs_.changes().tick();
  io::Task<Result<source::Opened>> asking = fs_.ask_at<source::Opened>(
      shared_from_this(),
      [this](source::Place place) { return fs_.source().open_file(std::move(place), O_RDONLY); });
  Result<source::Opened> found = co_await std::move(asking);
  if (found && !fs_.same_file(*this, found->attributes))
    found = fail(Code::kStale, "replaced outside");
  if (!found && is_no_file(found.error())) found = fail(Code::kStale, "replaced outside");
  if (!found && !is_gone(found.error())) co_return fail(found.error());
  if (!found) {
    // The name leads elsewhere, or nowhere.
    io::Task<Result<source::Opened>> holding = open_held(incarnation, found.error());
    found = co_await std::move(holding);
    if (!found) co_return fail(found.error());
  }
  source::Opened& opened = *found;
  if (fs_.apply(*this, opened.attributes, asked_at)) {
    // Changed in place, it is the file all the same, and by the time the caller tries again its
    // name may lead elsewhere.
    if (!incarnation->is_parted()) file().offer_source(std::move(opened.file));
    co_return fail(Code::kStale, "changed outside");
  }
  // Another answer may have overtaken this one.
  if (incarnation->is_parted()) co_return fail(Code::kStale, "replaced outside");
  co_return std::move(opened.file);
}

// What is open for writing alone leads to its file for certain where that is told by its number.
std::shared_ptr<source::SourceFile> Node::what_can_be_reopened(
    const cache::Incarnation& incarnation) const {
  if (auto doubtful = incarnation.doubtful()) return doubtful;
  const bool is_certain = fs_.source().inode_numbers() != source::InodeNumbers::kUnreliable;
  return is_certain ? incarnation.any() : nullptr;
}

// By what a handle has open; `error` when that is nothing, or another file.
io::Task<Result<source::Opened>> Node::open_held(std::shared_ptr<cache::Incarnation> incarnation,
                                                 Error error) {
  source::Opened held{incarnation->readable(), {}};
  if (held.file) {
    source::Outcome<Attributes> looking = held.file->attributes();
    CO_TRY_ASSIGN(held.attributes, co_await std::move(looking));
  } else if (const auto other = what_can_be_reopened(*incarnation)) {
    source::Outcome<source::Opened> reopening = other->reopen(O_RDONLY);
    CO_TRY_ASSIGN(held, co_await std::move(reopening));
  }
  if (!held.file || !fs_.same_file(*this, held.attributes)) co_return fail(std::move(error));
  co_return held;
}

cache::CachedFile& Node::file() {
  Validator seen;
  cache::CachedFile* loaded = nullptr;
  {
    MutexLock lock(mutex_);
    CHECK(S_ISREG(attributes_.mode));
    if (file_) return *file_;
    seen = fs_.source().validator(attributes_);
    const bool known = stored_data_ && stored_data_->object && stored_data_->block_shift != 0;
    const Validator version = known ? stored_data_->version : seen;
    file_ = std::make_unique<cache::CachedFile>(fs_.cache_environment(), *this, version.size_bytes,
                                                version, fs_.is_doubtful(attributes_));
    loaded = file_.get();
    const auto stored = std::exchange(stored_data_, nullptr);
    if (!known) return *loaded;
    // Under the lock, though its records may have to come from the cache disk: whoever finds file_
    // must find it loaded, and this is once in the life of a node that is opened.
    loaded->load(*stored);
  }
  // The attributes may have moved on since the data were cached.
  loaded->observe(seen, fs_.changes().tick(), false);
  return *loaded;
}

cache::CachedFile* Node::cached_file() {
  {
    MutexLock lock(mutex_);
    if (!file_ && (!object() || !S_ISREG(attributes_.mode))) return nullptr;
  }
  return &file();
}

cache::CachedFile* Node::file_if_any() const {
  MutexLock lock(mutex_);
  return file_.get();
}

cache::Hints Node::hints() {
  const cache::Rules& rules = fs_.cache_environment().options.rules;
  if (rules.empty()) return {};
  const auto path = fs_.path_of(*this);
  return path ? rules.match(*path) : cache::Hints{};  // without a name no rule is for it
}

std::string Node::name_for_message() {
  return fs_.path_for_message(id_);
}

Result<void> Node::persist(catalog::Batch extra) {
  MutexLock record_lock(record_mutex_);
  bool lost_name = false;
  Name name = fs_.first_name(*this, &lost_name);
  {
    MutexLock lock(mutex_);
    if (deleted_) {
      const uint32_t parts = children_ ? std::exchange(children_->listing_parts, 0) : 0;
      for (uint32_t part = 0; part < parts; ++part) extra.remove_listing_part(id_, part);
      extra.remove(id_);
      stored_hash_ = 0;
    } else {
      catalog::NodeRecord record;
      describe(record);
      if (name.parent || lost_name) {  // or else it is loaded without a name: the record's stays
        record.parent = name.parent ? name.parent->id() : NodeId{};
        record.name = std::move(name.name);
      }
      const uint64_t hash = hash64(catalog::encode(record));
      if (hash == stored_hash_ && extra.empty()) return {};
      if (!fs_.is_to_be_recorded(record)) {
        forget_record(record, extra);
        return fs_.catalog().apply(extra);
      }
      stored_hash_ = hash;
      if (record.object && std::exchange(has_unrecorded_name_, false) && record.parent)
        extra.put(record.parent, record.name, {id_, attributes_.mode & S_IFMT});
      extra.put(id_, record);
    }
  }
  return fs_.catalog().apply(extra);
}

void Node::describe(catalog::NodeRecord& record) {
  if (stored_data_) record = *stored_data_;
  if (file_) file_->describe(record);
  record.attributes = attributes_;
  record.validated_at_ns = validated_at_ns_;
  record.used_at_ns = used_at_ns_;
  record.parent = recorded_name_ ? recorded_name_->parent : NodeId{};
  record.name = recorded_name_ ? recorded_name_->name : std::string();
  record.symlink_target =
      link_text_ ? link_text_->of(fs_.source().validator(attributes_)) : std::string();
  record.listing_parts = children_ ? children_->listing_parts : 0;
  record.listing_mtime = children_ ? children_->listing_times.mtime : Timestamp{};
  record.listing_ctime = children_ ? children_->listing_times.ctime : Timestamp{};
}

ObjectId Node::object() const {
  if (file_) return file_->object();
  return stored_data_ ? stored_data_->object : ObjectId{};
}

Children& Node::children() {
  if (!children_) children_ = std::make_unique<Children>();
  return *children_;
}

LinkText& Node::link_text() {
  if (!link_text_) link_text_ = std::make_unique<LinkText>();
  return *link_text_;
}

Node::Turns& Node::turns() {
  MutexLock lock(mutex_);
  if (!turns_) turns_ = std::make_unique<Turns>();
  return *turns_;
}

io::AsyncMutex& Node::listing() {
  MutexLock lock(mutex_);
  return children().listing;
}

// Its data have gone, and the catalog has no room for what has none.
void Node::forget_record(const catalog::NodeRecord& record, catalog::Batch& batch) {
  if (stored_hash_ == 0) return;
  stored_hash_ = 0;
  batch.remove(id_);
  if (!record.parent) return;
  const auto name = fs_.catalog().name(record.parent, record.name);
  if (name && *name && (*name)->node != id_) return;
  batch.remove(record.parent, record.name);
  has_unrecorded_name_ = true;
}

bool Node::note_use(Nanos wall) {
  const int64_t grain_ns = S_ISDIR(attributes_.mode) ? kDirectoryUsedGrainNs : kUsedGrainNs;
  if (wall.count() - used_at_ns_ <= grain_ns) return false;
  used_at_ns_ = wall.count();
  return true;
}

KernelInode* Node::find_kernel_inode(uint64_t epoch) {
  for (KernelInode& inode : kernel_inodes_)
    if (inode.epoch == epoch) return &inode;
  return nullptr;
}

KernelInode& Node::kernel_inode(uint64_t epoch) {
  if (KernelInode* known = find_kernel_inode(epoch)) return *known;
  KernelInode inode;
  inode.epoch = static_cast<uint8_t>(epoch);
  // An answer from before a change made here may have been overtaken by it.
  if (attributes_asked_at_ >= attributes_changed_at_) inode.version = content_version_;
  return kernel_inodes_.emplace_back(std::move(inode));
}

bool Node::was_confirmed_as(NodeId parent, std::string_view name) const {
  const bool is_recorded_name =
      recorded_name_ && recorded_name_->parent == parent && recorded_name_->name == name;
  const bool has_one_name = S_ISDIR(attributes_.mode) || attributes_.nlink <= 1;
  return is_recorded_name && has_one_name && !seen_in_this_run_;
}

void Node::raise_epoch() {
  for (uint64_t ahead = 1; ahead < kVirtualEpoch; ++ahead) {
    const uint64_t epoch = (epoch_ + ahead) % kVirtualEpoch;
    if (find_kernel_inode(epoch) != nullptr) continue;
    epoch_ = epoch;
    return;
  }
}

void Node::leave_stale_epoch() {
  const KernelInode* newest = find_kernel_inode(epoch_);
  const bool has_content = S_ISREG(attributes_.mode) || S_ISLNK(attributes_.mode);
  if (newest != nullptr && is_stale(*newest) && has_content) raise_epoch();
}

void Node::note_no_handles() {
  const auto is_shown_less = [](const KernelInode& inode) { return inode.held_back != nullptr; };
  // An object that is mapped still may be behind its file.
  if (has_peculiar_inodes_ && !file_->wants_renewal())
    has_peculiar_inodes_ = std::ranges::any_of(kernel_inodes_, is_shown_less);
}

void Node::drop_idle_kernel_inodes() {
  std::erase_if(kernel_inodes_, [](const KernelInode& inode) { return inode.idle(); });
}

}  // namespace larder::fs
