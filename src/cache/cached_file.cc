#include "cache/cached_file.h"

#include <algorithm>
#include <ranges>

#include "base/check.h"
#include "base/limited_log.h"
#include "cache/audit.h"
#include "cache/claims.h"

namespace larder::cache {
namespace {

constexpr uint64_t kDiskBlockBytes = 4096;

uint64_t block_count(uint64_t size_bytes, uint8_t shift) {
  return (size_bytes + (1ULL << shift) - 1) >> shift;
}

bool same_but_ctime(const Validator& a, const Validator& b) {
  return a.size_bytes == b.size_bytes && a.mtime == b.mtime && a.inode == b.inode;
}

bool has_no_times(const Validator& version) {
  return version.mtime == Timestamp{} && version.ctime == Timestamp{};
}

}  // namespace

CachedFile::CachedFile(Environment& environment, FileOwner& owner, uint64_t size_bytes,
                       Validator version, bool racy)
    : env_(environment),
      owner_(owner),
      block_shift_(environment.options.block_shift),
      size_bytes_(size_bytes),
      version_(version),
      racy_(racy) {}

CachedFile::~CachedFile() {
  if (listed_) env_.open_files.remove(*listed_);
}

void CachedFile::load(const catalog::NodeRecord& record) {
  if (!record.object) return;
  MutexLock lock(mutex_);
  object_ = record.object;
  object_created_ = true;
  // A program may have it mapped, through the mount that was killed.
  exposed_ = env_.options.is_after_crash;
  block_shift_ = record.block_shift;
  ctime_moved_ = record.ctime_moved;
  cached_at_ns_ = record.cached_at_ns;
  first_chunk_ = record.first_chunk;
  const bool is_whole = load_chunks(record);
  const uint64_t object_bytes = bytes_of_object(record);
  extra_bytes_ = static_cast<int64_t>(object_bytes) - static_cast<int64_t>(block_bytes_held());
  const uint64_t blocks = block_count(size_bytes_, block_shift_);
  const bool plausible = blocks == 0 || blocks_.present_in(blocks, UINT64_MAX).empty();
  if (!record.data_stable || record.version.size_bytes != size_bytes_ || !plausible || !is_whole) {
    // Its chunk records go with the object, whose id is never used again; so nothing that is
    // claimed later can bring them back.
    untrusted_ = true;
    unsettled_ = true;
    first_chunk_.reset();
    blocks_.clear_all();
    extra_bytes_ = static_cast<int64_t>(object_bytes);
  }
  env_.residents.meet(owner_.id(), object_bytes, record.cached_at_ns);
  env_.residents.settle(owner_.id(), object_bytes);  // if the census had only the record
}

// False: not all is known.
bool CachedFile::load_chunks(const catalog::NodeRecord& record) {
  const auto load_one = [&](uint64_t chunk) REQUIRES(mutex_) -> std::optional<uint64_t> {
    const auto found = env_.catalog.chunk(record, chunk);
    if (!found || !*found) return std::nullopt;
    blocks_.load(chunk, **found);
    return (**found).next;
  };
  load_one(0);
  if (record.further_chunks) {
    further_chunks_.emplace();
    std::vector<uint64_t> chunks;
    std::optional<uint64_t> chunk = record.further_chunks;
    while (chunk && *chunk != 0) {
      if (further_chunks_->has(*chunk)) return false;  // a circle
      further_chunks_->add(*chunk);
      chunks.push_back(*chunk);
      chunk = load_one(*chunk);
    }
    further_chunks_.emplace();
    for (const uint64_t known : chunks | std::views::reverse) further_chunks_->add(known);
    return chunk.has_value();
  }
  // As older larders left it.  A file of more chunks (with the usual blocks, of 8 TiB) is fetched
  // again.
  constexpr uint64_t kUnlistedChunksMax = 1 << 20;
  further_chunks_.reset();
  const uint64_t chunks = (block_count(size_bytes_, block_shift_) + catalog::kBlocksPerChunk - 1) /
                          catalog::kBlocksPerChunk;
  for (uint64_t chunk = 1; chunk < std::min(chunks, kUnlistedChunksMax); ++chunk) load_one(chunk);
  return chunks <= kUnlistedChunksMax;
}

uint64_t CachedFile::bytes_of_object(const catalog::NodeRecord& record) const {
  if (!env_.options.is_after_crash) return record.object_bytes;
  const auto info = env_.objects.info(record.object);
  return info ? info->allocated_bytes : record.object_bytes;
}

void CachedFile::describe(catalog::NodeRecord& record) const {
  MutexLock lock(mutex_);
  record.object = object_created_ ? object_ : ObjectId{};
  record.cached_at_ns = object_created_ ? cached_at_ns_ : 0;
  record.first_chunk = object_created_ ? first_chunk_ : std::nullopt;
  record.further_chunks =
      object_created_ && further_chunks_ ? std::optional(further_chunks_->first()) : std::nullopt;
  record.version = version_;
  record.block_shift = block_shift_;
  record.data_stable = !unsettled_ && !racy_;
  record.ctime_moved = ctime_moved_;
  record.object_bytes = held_bytes();
}

ObjectId CachedFile::object() const {
  MutexLock lock(mutex_);
  return object_;
}

uint64_t CachedFile::size_bytes() const {
  MutexLock lock(mutex_);
  return size_bytes_;
}

bool CachedFile::resident_locked() const {
  return changes_in_progress_ == 0 && !untrusted_ &&
         blocks_.present_blocks() == block_count(size_bytes_, block_shift_);
}

bool CachedFile::resident() const {
  MutexLock lock(mutex_);
  return resident_locked();
}

bool CachedFile::is_restless() const {
  MutexLock lock(mutex_);
  return racy_ || is_changed_elsewhere_;
}

bool CachedFile::empty() const {
  MutexLock lock(mutex_);
  return blocks_.present_blocks() == 0 && fetches_.empty();
}

uint64_t CachedFile::block_length(uint64_t block) const {
  const uint64_t start = block << block_shift_;
  return std::min(block_bytes(), size_bytes_ - start);
}

uint64_t CachedFile::disk_bytes(uint64_t block, uint64_t size_bytes) const {
  const uint64_t start = block << block_shift_;
  const uint64_t length = start < size_bytes ? std::min(block_bytes(), size_bytes - start) : 0;
  return (length + kDiskBlockBytes - 1) / kDiskBlockBytes * kDiskBlockBytes;
}

uint64_t CachedFile::block_bytes_held() const {
  // All blocks are whole but the one at the end.
  uint64_t bytes = blocks_.present_blocks() << block_shift_;
  const uint64_t end = size_bytes_ >> block_shift_;
  if (blocks_.has(end)) bytes -= block_bytes() - disk_bytes(end);
  return bytes;
}

uint64_t CachedFile::held_bytes() const {
  const int64_t bytes = static_cast<int64_t>(block_bytes_held()) + extra_bytes_;
  return static_cast<uint64_t>(std::max<int64_t>(bytes, 0));
}

bool CachedFile::observe(const Validator& now, uint64_t asked_at, bool racy, OtherVersion meaning,
                         std::shared_ptr<Incarnation>* parted) {
  Dropped dropped;
  bool claim = false;
  const bool is_in_place = meaning == OtherVersion::kInPlace;
  const bool is_renewable = is_in_place && is_exposed();
  ObjectId kept_object;
  std::shared_ptr<io::File> kept;
  if (!is_in_place && lacks_copy(now))
    if (auto opened = existing_object_file(&kept_object)) kept = std::move(*opened);
  {
    MutexLock lock(mutex_);
    // A change overtook the question: the answer says nothing about what is here now.
    if (changes_in_progress_ > 0 || asked_at < changed_at_) return false;
    bool same = version_ == now || (ctime_moved_ && same_but_ctime(version_, now));
    // What was fetched while one more change could still hide behind the same times is not trusted
    // once that time is over; where there are no times it never is.
    const bool says_nothing = (racy_ && !racy) || has_no_times(now);
    if (same && says_nothing && blocks_.present_blocks() + fetches_.size() > 0) same = false;
    if (own_change_) same = now.size_bytes == size_bytes_;
    const bool own = own_change_ || (same && version_ != now);
    racy_ = racy && !own && (racy_ || version_ != now);
    const bool other_file = !is_in_place && (now.inode == 0 || now.inode != version_.inode);
    const bool other_version = version_ != now;
    if (other_version) ctime_moved_ = false;
    version_ = now;
    own_change_ = false;
    is_changed_elsewhere_ |= !same;
    if (same) {
      claim = unsettled_ || !blocks_.dirty_chunks().empty();
    } else if (is_renewable && object_created_ && !untrusted_) {
      want_renewal(now.size_bytes);
    } else {
      Incarnation::Copy copy;
      if (resident_locked())
        copy = {object_ == kept_object && kept ? kept : object_file_, size_bytes_, room_};
      dropped = drop_locked();
      size_bytes_ = now.size_bytes;
      size_is_made_up_ = false;
      // The open source goes on being the file while the inode says so, or no name leads there.
      if (other_file && !held_) dropped.reader = std::exchange(reader_, nullptr);
      const bool is_open = incarnation_.use_count() > 1;
      if (other_file && other_version && !held_ && is_open) {
        has_parted_.store(true, std::memory_order_release);
        incarnation_->part(dropped.reader, copy);
        if (parted != nullptr) *parted = incarnation_;
        incarnation_.reset();
        keeps_doubtful_ = false;
        unsynced_.take();  // of the other file
      } else if (is_open && dropped.reader) {
        keep_doubtful(dropped.reader);
      }
      list_if_open();
    }
    if (same && !claim) return false;
    if (!claim) env_.metrics.invalidations.add();
  }
  if (claim) {
    env_.claims.add(owner_.self());
    return false;
  }
  finish_drop(std::move(dropped));
  return true;
}

bool CachedFile::is_settled_on(const Validator& version) const {
  MutexLock lock(mutex_);
  return version_ == version && !racy_ && !own_change_ && !has_no_times(version);
}

bool CachedFile::lacks_copy(const Validator& now) {
  MutexLock lock(mutex_);
  const bool has_handles = incarnation_ && incarnation_.use_count() > 1;
  return has_handles && version_ != now && object_created_ && !object_file_ && resident_locked();
}

void CachedFile::expect_ctime_change() {
  MutexLock lock(mutex_);
  changed_at_ = env_.changes.tick();
  ctime_moved_ = true;
}

bool CachedFile::is_behind(const Validator& seen) const {
  MutexLock lock(mutex_);
  return version_ != seen && !own_change_;
}

bool CachedFile::awaits_own_version() const {
  MutexLock lock(mutex_);
  return own_change_;
}

void CachedFile::expect_mtime_change() {
  MutexLock lock(mutex_);
  changed_at_ = env_.changes.tick();
  own_change_ = true;
  unsettled_ = true;
}

void CachedFile::drop() {
  Dropped dropped;
  {
    MutexLock lock(mutex_);
    dropped = drop_locked();
  }
  finish_drop(std::move(dropped));
}

bool CachedFile::drop_doubtful() {
  if (!is_restless() || is_exposed()) return false;
  Dropped dropped;
  {
    MutexLock lock(mutex_);
    if (!racy_ || changes_in_progress_ > 0 || blocks_.present_blocks() + fetches_.size() == 0)
      return false;
    dropped = drop_locked();
    env_.metrics.invalidations.add();
  }
  finish_drop(std::move(dropped));
  return true;
}

CachedFile::Dropped CachedFile::drop_locked() {
  Dropped dropped;
  for (auto& [block, fetch] : fetches_) fetch->detached = true;
  fetches_.clear();
  if (object_) {
    env_.memory.erase_object(object_);
    if (object_created_) {
      dropped.object = object_;
      for (const uint64_t chunk : blocks_.chunks())
        if (chunk != 0 || !first_chunk_) dropped.batch.remove(object_, chunk);
    }
  }
  if (renewal_.must_settle) --changes_in_progress_;
  renewal_ = Renewal{.is_running = renewal_.is_running};
  room().removed(env_.residents.let_go(owner_.id()));
  dropped.room = std::exchange(room_, nullptr);
  dropped.is_exposed = std::exchange(exposed_, false);
  // Whoever holds a pin goes on reading the old object.
  if (pins_ > 0) lingering_.push_back({generation_, std::exchange(pins_, 0), dropped.room});
  dropped.file = std::exchange(object_file_, nullptr);
  list_if_open();
  object_ = {};
  object_created_ = false;
  first_chunk_.reset();
  further_chunks_.reset();
  untrusted_ = false;
  extra_bytes_ = 0;
  blocks_.reset();
  through_reader_.clear();
  ++generation_;
  return dropped;
}

void CachedFile::finish_drop(Dropped dropped) {
  if (!dropped.object) return;
  // The record goes first: an object without a record is garbage, a record without its object a
  // claim on nothing (found out when it is opened).
  const auto stored = owner_.persist(std::move(dropped.batch));
  if (!stored) {
    // It is counted again when its record is read.
    env_.metrics.store_errors.add();
    remove_object(dropped.object);
    return;
  }
  if (dropped.is_exposed && env_.mapped.keep(dropped.object, dropped.room, dropped.file)) return;
  if (!remove_object(dropped.object)) dropped.room->leave();
}

void CachedFile::warn(std::string_view what, const Error& error) {
  log::limited_warning(what, owner_.id().value, [&] {
    return fmt::format("{}: {}: {}", owner_.name_for_message(), what, error.message());
  });
}

// What cannot be removed is an orphan from now on, for the audit of a later mount.
bool CachedFile::remove_object(ObjectId object) {
  const auto removed = env_.objects.remove(object);
  if (removed) return true;
  log::limited_warning("cannot remove an object", object.value, [&] {
    return fmt::format("cannot remove {}: {}; a later mount will try again",
                       object::Objects::path(object), removed.error().message());
  });
  if (const auto owed = Audit::owe_later(env_.catalog); !owed) env_.metrics.store_errors.add();
  return false;
}

ObjectRoom& CachedFile::room() {
  if (!room_) room_ = std::make_shared<ObjectRoom>(env_.residents);
  return *room_;
}

uint64_t CachedFile::clear_blocks(uint64_t first_block, uint64_t last_block) {
  // The memory tier may hold more than the object does: what was refused room on disk, or was
  // overtaken by a change while it was stored.
  constexpr uint64_t kErasedOneByOneMax = 64;
  if (object_ && last_block - first_block >= kErasedOneByOneMax)
    env_.memory.erase_object(object_, first_block);
  else if (object_)
    for (uint64_t block = first_block; block <= last_block; ++block)
      env_.memory.erase({object_, block});
  uint64_t bytes = 0;
  for (const uint64_t block : blocks_.present_in(first_block, last_block)) {
    bytes += disk_bytes(block);
    blocks_.clear(block);
  }
  return bytes;
}

void CachedFile::count_freed(uint64_t bytes) {
  env_.residents.release(owner_.id(), bytes);
}

void CachedFile::count_left(uint64_t bytes) {
  extra_bytes_ += static_cast<int64_t>(bytes);
}

Result<void> CachedFile::ensure_object_id() {
  bool untrusted = false;
  {
    MutexLock lock(mutex_);
    untrusted = untrusted_;
    if (object_ && !untrusted) return {};
  }
  if (untrusted) drop();
  TRY_ASSIGN(const ObjectId object, env_.catalog.allocate_object());
  MutexLock lock(mutex_);
  if (!object_) object_ = object;
  return {};
}

Result<std::shared_ptr<io::File>> CachedFile::existing_object_file(ObjectId* object) {
  {
    MutexLock lock(mutex_);
    if (!object_created_ || untrusted_) return fail(Code::kStale, "object");
    *object = object_;
  }
  return object_file(*object);
}

Result<std::shared_ptr<io::File>> CachedFile::make_object_file(ObjectId* object) {
  TRY(ensure_object_id());
  {
    MutexLock lock(mutex_);
    *object = object_;
  }
  return object_file(*object);
}

Result<std::shared_ptr<io::File>> CachedFile::object_file(ObjectId object) {
  uint64_t size_bytes = 0;
  bool created = false;
  bool is_longer = false;  // it may be: it is still to be cut
  {
    MutexLock lock(mutex_);
    if (!object || object_ != object || untrusted_) return fail(Code::kStale, "object");
    if (object_file_) return object_file_;
    size_bytes = object_bytes();
    created = object_created_;
    is_longer = renewal_.must_settle;
  }
  auto file = created ? env_.objects.open(object) : env_.objects.create(object, size_bytes);
  // Another thread was quicker.
  if (!file && file.error().is(Code::kExists)) file = env_.objects.open(object);
  if (file && created) {
    const auto info = (*file)->info();
    const bool is_right =
        info && (info->size_bytes == size_bytes || (is_longer && info->size_bytes > size_bytes));
    if (!is_right) file = fail(Code::kNotFound, "object");
  }
  if (!file) {
    if (!file.error().is(Code::kNotFound)) return file;
    drop();  // gone: removed by hand, or lost in a crash
    return fail(Code::kStale, "object");
  }
  uint64_t size_now = 0;
  bool was_dropped = false;
  {
    MutexLock lock(mutex_);
    was_dropped = object_ != object;
    if (!was_dropped && object_file_) return object_file_;
    if (!was_dropped) {
      room();
      file = object_file_ = ObjectRoom::hold(room_, std::move(*file));
      list_if_open();
      if (!object_created_) {
        object_created_ = true;
        cached_at_ns_ = env_.clock.wall().count();
        first_chunk_.emplace();
        further_chunks_.emplace();
      }
      size_now = object_bytes();
    }
  }
  if (was_dropped) {
    // Whoever dropped it before it was made had nothing to remove.
    remove_object(object);
    return fail(Code::kStale, "object");
  }
  while (size_now != size_bytes) {
    TRY((*file)->truncate(size_now));
    size_bytes = size_now;
    MutexLock lock(mutex_);
    size_now = object_bytes();
  }
  if (!created)
    if (const auto stored = owner_.persist({}); !stored) env_.metrics.store_errors.add();
  return file;
}

std::shared_ptr<Incarnation> CachedFile::incarnation() {
  MutexLock lock(mutex_);
  if (!incarnation_) incarnation_ = std::make_shared<Incarnation>();
  return incarnation_;
}

void CachedFile::offer_source(std::shared_ptr<source::SourceFile> file,
                              const std::shared_ptr<Incarnation>& of) {
  MutexLock lock(mutex_);
  if (of && of->is_parted()) return of->add_reader(std::move(file));
  idle_ = false;
  if (!reader_) {
    through_reader_.clear();
    reader_ = std::move(file);
    keep_doubtful(nullptr);
  }
  list_if_open();
}

void CachedFile::hold_source(bool hold) {
  MutexLock lock(mutex_);
  held_ = hold;
}

std::shared_ptr<source::SourceFile> CachedFile::source_file() const {
  MutexLock lock(mutex_);
  return reader_;
}

void CachedFile::idle() {
  std::shared_ptr<io::File> file;  // closed after the lock
  std::shared_ptr<source::SourceFile> reader;
  MutexLock lock(mutex_);
  idle_ = !fetches_.empty() || changes_in_progress_ > 0;
  if (idle_) return;
  reader = std::exchange(reader_, nullptr);
  if (pins_ == 0) file = std::exchange(object_file_, nullptr);
  if (incarnation_.use_count() == 1) keep_doubtful(nullptr);  // nobody is about to open it either
  list_if_open();
}

bool CachedFile::close_for_now() {
  std::shared_ptr<io::File> file;  // closed after the lock
  std::shared_ptr<source::SourceFile> reader;
  MutexLock lock(mutex_);
  if (!fetches_.empty() || changes_in_progress_ > 0 || punching_) return false;
  if (!held_) reader = std::exchange(reader_, nullptr);
  if (pins_ == 0) file = std::exchange(object_file_, nullptr);
  list_if_open();
  return file || reader;
}

void CachedFile::list_if_open() {
  const bool is_open = object_file_ || reader_;
  if (is_open && !listed_) listed_ = env_.open_files.add(owner_.self());
  if (!is_open && listed_) {
    env_.open_files.remove(*listed_);
    listed_.reset();
  }
}

std::optional<CachedFile::ClaimableState> CachedFile::begin_claim() {
  MutexLock lock(mutex_);
  if (own_change_ || racy_ || untrusted_ || changes_in_progress_ > 0 || !object_created_)
    return std::nullopt;
  if (unflushed_ > 0 && !unsynced_.empty()) return std::nullopt;
  ClaimableState state;
  state.object = object_;
  state.file = object_file_;
  state.changed_at = changed_at_;
  state.present_blocks = blocks_.present_blocks();
  for (const uint64_t chunk : blocks_.dirty_chunks())
    state.chunks.emplace_back(chunk, blocks_.record(chunk));
  if (state.chunks.empty() && !unsettled_) return std::nullopt;
  return state;
}

catalog::Batch CachedFile::end_claim(const ClaimableState& state, uint64_t allocated_bytes) {
  catalog::Batch batch;
  MutexLock lock(mutex_);
  if (object_ != state.object || changed_at_ != state.changed_at || own_change_) return batch;
  for (const auto& [chunk, record] : state.chunks) {
    if (chunk != 0) {
      catalog::ChunkRecord listed = record;
      if (further_chunks_) {
        further_chunks_->add(chunk);
        listed.next = further_chunks_->next(chunk);
      }
      batch.put(state.object, chunk, listed);
    } else {
      if (!first_chunk_) batch.remove(state.object, 0);  // where older larders put it
      first_chunk_ = record;
    }
    // Blocks that came meanwhile are still unsynced: they wait for the next round.
    if (blocks_.record(chunk).present == record.present) blocks_.mark_claimed(chunk);
  }
  unsettled_ = false;
  // With more blocks on their way it is not known what is whose; they are claimed in turn.
  if (fetches_.empty() && blocks_.present_blocks() == state.present_blocks) {
    extra_bytes_ = static_cast<int64_t>(allocated_bytes) - static_cast<int64_t>(block_bytes_held());
    env_.residents.settle(owner_.id(), allocated_bytes);
  }
  return batch;
}

}  // namespace larder::cache
