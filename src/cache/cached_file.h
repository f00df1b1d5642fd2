// CachedFile: the local copy of one regular file's data, while its node is in memory.
//
// A block is in one of these states:
//   absent    only the source has it
//   fetching  a Fetch is under way; readers wait for it, whoever they are (single flight)
//   present   the object holds it, right and whole up to the end of the file
// A present block becomes *claimed* when the catalog says so, after its bytes were synced
// (cache/claims).
//
// Invariants
//   - Once an object exists, its size is size_bytes_, so that the kernel can read it in
//   passthrough;
//     during a renewal it is object_bytes(), which is less (cache/cached_file_renew.cc).
//   - A present block has no holes, so that writing to it takes no more of the disk.
//   - A block is set present only by whoever wrote the whole of it to object_, under mutex_, after
//     checking that neither the object nor the block's bytes changed meanwhile (Fetch::detached).
//   - While changes_in_progress_ > 0, or until the version was observed after the last change, the
//     record says data_stable = false.
//   - object_ is replaced, never emptied, when the data are dropped: whoever still reads the old
//     object's file reads the old version's bytes.  When the source's file was changed in place, an
//     object that the kernel reads stays, and its bytes are renewed.
//   - What Residents counts for the node is held_bytes(): the sum of disk_bytes() of the present
//     blocks, plus extra_bytes_, by which the file system was last found to take more (or less) for
//     the object; both change with it, under mutex_.
//   - listed_ is set exactly while object_file_ or reader_ is.
//   - Of a file whose size is made up nothing is cached.
//   - While punching_, no absent block becomes present but through fetches begun before, none of
//     which is in the range on its way out.
//
// Locking: mutex_ guards everything below it and is held for memory operations only.  The owner's
// locks may be held when calling; owner_ is called without mutex_.  Coroutines run on the node's
// home reactor.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/attributes.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "cache/block_map.h"
#include "cache/block_ranges.h"
#include "cache/chunk_list.h"
#include "cache/early_end.h"
#include "cache/environment.h"
#include "cache/fetch_watch.h"
#include "cache/incarnation.h"
#include "cache/object_room.h"
#include "cache/open_files.h"
#include "cache/rules.h"
#include "cache/slice.h"
#include "cache/unsynced.h"
#include "catalog/records.h"
#include "io/completion.h"
#include "io/task.h"
#include "source/source.h"

namespace larder::cache {

// The node a file belongs to.
class FileOwner {
 public:
  virtual ~FileOwner() = default;
  virtual NodeId id() const = 0;
  // Keeps the owner, and so the file, alive.
  virtual std::shared_ptr<FileOwner> self() = 0;
  // Opens the source's file for reading; kStale when it is not the version cached here.
  virtual io::Task<Result<std::shared_ptr<source::SourceFile>>> open_source() = 0;
  // What the user wants of the file, by its path.  Thread-safe.
  virtual Hints hints() { return {}; }
  // Which file it is, for people.  Thread-safe.
  virtual std::string name_for_message() { return std::to_string(id().value); }
  // Stores the node's record as it is now, together with `extra`, in one batch.  Thread-safe.
  virtual Result<void> persist(catalog::Batch extra) = 0;
  virtual class CachedFile& file() = 0;
};

// What it means that the source shows another version, by a change that was not made here.
enum class OtherVersion : uint8_t {
  kInPlace,       // the file has other content: whoever has it open sees that
  kMaybeAnother,  // or the name leads to another file, nobody can tell
  kAnother,       // the name leads to another file
};

class CachedFile {
 public:
  // racy: see observe().
  CachedFile(Environment& environment, FileOwner& owner, uint64_t size_bytes, Validator version,
             bool racy);
  ~CachedFile();
  CachedFile(const CachedFile&) = delete;
  CachedFile& operator=(const CachedFile&) = delete;

  // Takes over what an earlier run left, if it can be trusted; to be called once, before use.
  void load(const catalog::NodeRecord& record);
  // Writes the data part of the record.
  void describe(catalog::NodeRecord& record) const;

  // None: nothing is cached, nor was asked for.
  ObjectId object() const;
  uint64_t size_bytes() const;
  uint64_t block_bytes() const { return 1ULL << block_shift_; }
  // Every block present and no change under way: may be opened in passthrough.
  bool resident() const;
  // The data may be dropped soon: at the next observation, though the file be the same (racy, see
  // observe()), or as others have changed the file in this run and may do so again.
  bool is_restless() const;
  // Drops what was fetched while one more change could hide behind the same times, and says whether
  // there was any; for a file that nobody has open.
  bool drop_doubtful();
  // Nothing is cached and nothing is being fetched.
  bool empty() const;

  // --- versions
  // The source was seen to have `version`, in answer to a question asked when the ChangeClock
  // showed `asked_at`. `racy`: the file was changed so shortly before that a further change might
  // not show; what is fetched meanwhile is served, and dropped at the first observation after. True
  // when cached data had to be dropped, or are to be renewed (wants_renewal): the file was changed
  // in place, and the kernel reads the object.
  // meaning: of a version that is another, by a change not made here.  kMaybeAnother: the
  // incarnation that handles have open is parted, and given in `parted`.
  bool observe(const Validator& version, uint64_t asked_at, bool racy,
               OtherVersion meaning = OtherVersion::kMaybeAnother,
               std::shared_ptr<Incarnation>* parted = nullptr);
  // Whether an observe() of that version would find nothing new.
  bool is_settled_on(const Validator& version) const;
  // What is opened now.
  std::shared_ptr<Incarnation> incarnation();
  // Whether any has been parted: nearly always none has.
  bool has_parted() const { return has_parted_.load(std::memory_order_acquire); }
  // A change of attributes or names through this mount moved ctime; a version that differs in ctime
  // only is the same data at the next observe().
  void expect_ctime_change();
  // Whether observe() was told of this version when it could not use the answer, as a change or a
  // renewal had overtaken it.
  bool is_behind(const Validator& seen) const;
  // After a change made here, until the next observe(): any version of the size that it left is
  // taken for what it made.
  bool awaits_own_version() const;
  // The same for a change of mtime: any version of the same size is the same data at the next
  // observe().
  void expect_mtime_change();
  // Drops all data, as if changed outside.
  void drop();
  // Drops all data to make room; false when it may not be done now (exposed, or being changed).
  // Where the disk does not tell of mappings a file that may be mapped goes all the same.
  bool evict();
  // Whether so much more than wanted is held that punch() is to be called instead, which a mapping
  // does not forbid.
  bool is_large(uint64_t wanted_bytes);
  // Takes at least so many bytes from the end of a large object, whole chunks of blocks at a time,
  // and syncs the catalog before: not on a reactor.  False when nothing of it may go now.
  bool punch(uint64_t wanted_bytes);

  // --- reading.  Offsets and lengths are clamped to the file's size.
  // Answers from memory or the page cache without waiting; appends slices and returns true, or
  // returns false and leaves `out` as it was.  resident: as resident(), at that moment.
  bool read_hit(uint64_t offset, size_t length, std::vector<Slice>& out, bool* resident);
  // kStale: the source has another version; look at its attributes and try again.
  // True when the source had to be waited for.
  io::Task<Result<bool>> read(uint64_t offset, size_t length, std::vector<Slice>* out);
  // Starts fetching what is absent in the range; waits for nothing.  On a reactor's thread.
  void prefetch(uint64_t offset, uint64_t length);
  // Fetches all that is absent and waits for it; likewise of a range.  `watch` may be null.
  io::Task<Result<void>> fetch_all(std::shared_ptr<FetchWatch> watch = nullptr) {
    return fetch_range(0, UINT64_MAX, std::move(watch));
  }
  io::Task<Result<void>> fetch_range(uint64_t offset, uint64_t length,
                                     std::shared_ptr<FetchWatch> watch = nullptr);
  // Lets the reader use this open file of the source (same version), if it is of the incarnation
  // that the file is still in; else those who opened that get it.
  void offer_source(std::shared_ptr<source::SourceFile> file,
                    const std::shared_ptr<Incarnation>& of = nullptr);
  std::shared_ptr<source::SourceFile> source_file() const;
  // The same, opened now if it is not open.
  io::Task<Result<std::shared_ptr<source::SourceFile>>> reader();
  // --- what is not believed (cache/cached_file_doubt.cc)
  // The source's file ends elsewhere than its size says, and that is its content: it is read by
  // read_past_cache() only.
  bool size_is_made_up() const;
  // Reads what the source has there, past the size too; less at the end.
  io::Task<Result<void>> read_past_cache(uint64_t offset, size_t length, std::vector<Slice>* out);
  // Leaves a line in the log when the source has failed; limited.
  void warn_of_source(const Error& error);
  // Whether data were dropped since the last call because their source was not to be believed.
  bool take_doubt();
  // The last name is about to go (true), or it did not: whether the open source is the only way to
  // the file and must be kept until the last handle is closed.
  void hold_source(bool hold);

  // --- passthrough: while pinned, the object stays as it is (but for write-through).
  struct Pin {
    std::shared_ptr<io::File> file;
    uint64_t generation = 0;  // to be given to unpin
  };
  Result<Pin> pin();
  // Once more what is pinned already, resident or not, also of an older generation.
  void pin_again(uint64_t generation);
  void unpin(uint64_t generation);
  // Whether the kernel reads the object by itself: it is open in passthrough, or a program has it
  // mapped.  Where the disk does not tell of mappings, only the first counts.
  bool is_exposed();
  // Grows each time the data are dropped: a new generation is a new object.
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

  // --- changing, write-through (cache/write_through.cc).  The caller serialises changes of one
  // file. Writes to `file` and, when the source has taken it, to the object.  The offset written at
  // is returned (append: where the source put it).  kStale: `of`, which `file` was opened in, has
  // been parted; nothing has happened.
  enum class Place {
    kOffset,
    kEnd,
    kUnprovenEnd,  // nobody can tell for sure where that was
  };
  io::Task<Result<uint64_t>> write(std::shared_ptr<source::SourceFile> file, buffer::BufferRef data,
                                   uint64_t offset, Place place,
                                   std::shared_ptr<Incarnation> of = nullptr);
  // Brackets any other change of [offset, offset + length): what was cached of it is not trusted
  // afterwards, and the size becomes new_size if given.
  io::Task<void> begin_change(uint64_t offset, uint64_t length);
  // The same through a descriptor that was opened in `of`.  False: that has been parted, and no
  // change has begun.
  io::Task<bool> begin_change_of(std::shared_ptr<Incarnation> of, uint64_t offset, uint64_t length);
  void end_change(uint64_t offset, uint64_t length, std::optional<uint64_t> new_size_bytes);
  // After end_change of the range: brings what it dropped back into an object that is exposed,
  // where readers see the object whatever is known of its blocks.  Does nothing otherwise.
  io::Task<void> refill_exposed(uint64_t offset, uint64_t length);
  // end_change and that, for a change that failed: how much of it arrived the source's size shows
  // (a full disk in the middle of a write).
  io::Task<void> end_failed_change(std::shared_ptr<source::SourceFile> file, uint64_t offset,
                                   uint64_t length);
  // end_change for a truncation that succeeded: what lies below the new size stays.
  void end_truncate(uint64_t new_size_bytes);
  // end_change for a range that reads as zeros now.
  void end_zeros(uint64_t offset, uint64_t length, std::optional<uint64_t> new_size_bytes);

  // --- renewal (cache/cached_file_renew.cc): new bytes in an object that the kernel reads.
  bool wants_renewal() const;
  // True: the caller carries it out, with the following three.
  bool begin_renewal();
  // Afterwards the object has the file's size, or the error says why not.  The caller serialises it
  // with changes.
  io::Task<Result<void>> renew_end();
  io::Task<Result<void>> renew_rest();
  // True: the file was changed again meanwhile, and the caller goes on with renew_end().  A renewal
  // that failed is still wanted.
  bool end_renewal(bool is_done);
  // How much the object's readers find, when that is less than the file's size.
  std::optional<uint64_t> visible_bytes() const;

  // --- late errors (cache/unsynced.h)
  // A handle has changed the file, and what a close would report is not known: what was written is
  // not claimed until it is, or a sync has succeeded.
  void expect_flush();
  void flushed();
  uint64_t begin_sync() const;
  void synced(uint64_t begun);
  // The source did not keep all that it took since the last sync: drops that.  Within the caller's
  // bracket of changes.
  io::Task<void> take_back(std::shared_ptr<source::SourceFile> file);

  // --- claiming (cache/claims.cc)
  struct ClaimableState {
    ObjectId object;
    std::shared_ptr<io::File> file;
    uint64_t changed_at = 0;
    uint64_t present_blocks = 0;
    std::vector<std::pair<uint64_t, catalog::ChunkRecord>> chunks;
  };
  // What could be claimed once object is synced; nullopt when nothing can be now.
  std::optional<ClaimableState> begin_claim();
  // After the sync: what to store beside the node's record, which has chunk 0.  Claims nothing when
  // things changed meanwhile.
  // allocated_bytes: what the object takes on the disk now.
  catalog::Batch end_claim(const ClaimableState& state, uint64_t allocated_bytes);

  // --- housekeeping (cache/cached_file_verify.cc).  Not on a reactor: these wait for the disk.
  // Reads the chunk's present blocks from the object, and drops those that do not agree with their
  // checksums: their claims first, durably.  The blocks dropped; none when the file is being
  // changed.  Who has the object open besides keeps their bytes from being punched out.
  std::vector<uint64_t> drop_bad_blocks(ObjectId object, uint64_t chunk);
  // Punches out of the object what no present block accounts for, which a crash may have left, and
  // counts what it takes then; false when it is in use.
  bool tidy();

  // No handle is open any more: closes descriptors.
  void idle();
  // Closes what can be opened again when it is needed; false when nothing can be closed now.
  bool close_for_now();

 private:
  struct Fetch {
    uint64_t first_block = 0;
    uint64_t blocks = 0;
    uint64_t offset = 0;
    size_t length = 0;
    bool storing = false;   // the object is being written; guarded by the file's mutex_
    bool detached = false;  // guarded by the file's mutex_: its bytes may be old, do not store them
    ObjectId object;        // the object it was begun for
    Nanos took{0};          // the source's read
    // Set before `done`:
    std::optional<Error> error;
    buffer::BufferRef buffer;
    io::Event done;    // readers may go on
    io::Event stored;  // the object has been written, or will not be
  };
  struct Piece;

  uint64_t block_length(uint64_t block) const REQUIRES(mutex_);
  bool resident_locked() const REQUIRES(mutex_);
  // Whether `now` may part handles from a file whose object is whole, but not open.
  bool lacks_copy(const Validator& now);
  // As visible_bytes(), of what is known to have been stored.
  std::optional<uint64_t> noted_bytes() const;
  uint64_t object_bytes() const REQUIRES(mutex_) {
    return renewal_.object_bytes.value_or(size_bytes_);
  }
  void want_renewal(uint64_t new_size_bytes) REQUIRES(mutex_);
  io::Task<void> settle_renewal();
  std::shared_ptr<Fetch> fetch_at_end(std::vector<std::shared_ptr<Fetch>>* started);
  void note_unsynced(uint64_t begin, uint64_t end);
  io::Task<uint64_t> next_data(uint64_t offset);
  io::Task<bool> grow_over_hole();
  bool changed_since(ObjectId object, uint64_t changed_at) const;
  bool punched_since(uint64_t punches) const;
  std::vector<Piece> plan(uint64_t offset, size_t length,
                          std::vector<std::shared_ptr<Fetch>>* started) REQUIRES(mutex_);
  std::shared_ptr<Fetch> start_fetch(uint64_t first_block, uint64_t last_block) REQUIRES(mutex_);
  static io::Task<void> run_fetch(std::shared_ptr<FileOwner> keep, CachedFile* file,
                                  std::shared_ptr<Fetch> fetch);
  Result<void> ensure_object_id();
  io::Task<Result<void>> fetch_from_source(std::shared_ptr<Fetch> fetch);
  Error ended_early(const Fetch& fetch, const std::shared_ptr<source::SourceFile>& reader,
                    uint64_t end_bytes);
  io::Task<void> store(std::shared_ptr<Fetch> fetch);
  bool end_store(const Fetch& fetch, bool has_begun, const std::vector<uint32_t>& checksums,
                 uint64_t bytes);
  void note_stored(const Fetch& fetch);
  void finish(const std::shared_ptr<Fetch>& fetch);
  void keep_in_memory(const Fetch& fetch) REQUIRES(mutex_);
  void spawn_fetches(const std::vector<std::shared_ptr<Fetch>>& started);
  io::Task<Result<void>> read_object(std::shared_ptr<io::File> file, uint64_t offset, size_t length,
                                     std::vector<Slice>* out);
  // The file of the object, made if there is none yet, for which room was reserved; kStale when the
  // object is another by now.
  Result<std::shared_ptr<io::File>> object_file(ObjectId object);
  Result<std::shared_ptr<io::File>> make_object_file(ObjectId* object);
  // kStale: there is none.
  Result<std::shared_ptr<io::File>> existing_object_file(ObjectId* object);
  io::Task<Result<std::shared_ptr<io::File>>> object_file_in_time(ObjectId* object);
  ObjectRoom& room() REQUIRES(mutex_);
  uint32_t* pins_of(uint64_t generation) REQUIRES(mutex_);
  void list_if_open() REQUIRES(mutex_);
  io::Task<void> update_object(buffer::BufferRef data, uint64_t offset, uint64_t old_size_bytes);
  struct Update;
  void admit_update(Update& update);
  io::Task<bool> write_object(const Update* update, buffer::BufferRef data);
  void end_update(const Update& update, const buffer::BufferRef& data, bool is_written);
  void count_object(const Update& update);
  void end_change_locked() REQUIRES(mutex_);
  bool resize(uint64_t new_size_bytes);
  void detach(uint64_t first_block, uint64_t last_block,
              std::vector<std::shared_ptr<Fetch>>* storing) REQUIRES(mutex_);
  // What is left to do, without the lock, after the data were dropped.
  struct Dropped {
    ObjectId object;
    std::shared_ptr<io::File> file;
    std::shared_ptr<source::SourceFile> reader;
    catalog::Batch batch;
    std::shared_ptr<ObjectRoom> room;
    bool is_exposed = false;
  };
  // What is punched out of an object.
  struct Hole {
    ObjectId object;
    std::shared_ptr<io::File> file;
    std::vector<uint64_t> chunks = {};
    uint64_t bytes = 0;
    std::vector<uint64_t> relinked = {};  // chunks that name another next one now
  };
  std::optional<Hole> begin_punch(ObjectId object, std::shared_ptr<io::File> file,
                                  uint64_t wanted_bytes) REQUIRES(mutex_);
  Result<void> unclaim(const Hole& hole);
  Result<void> carry_out(const Hole& hole);
  void keep_doubtful(const std::shared_ptr<source::SourceFile>& reader) REQUIRES(mutex_);
  void distrust(const std::shared_ptr<source::SourceFile>& reader, Dropped& dropped)
      REQUIRES(mutex_);
  Dropped drop_locked() REQUIRES(mutex_);
  void finish_drop(Dropped dropped);
  // Logs what went wrong with this file's cache or source, if it has not been said just now.
  // Without mutex_.
  void warn(std::string_view what, const Error& error);
  bool remove_object(ObjectId object);
  // The object's open file, or one opened now; null when it is gone, which who reads it finds out.
  std::shared_ptr<io::File> file_to_change(ObjectId object);
  // By anybody but this file's own `file` of the object; kNotSupported where that is not told.
  Result<bool> is_used(io::File& file);
  bool look_for_mappings();
  struct Snapshot;
  std::optional<Snapshot> snapshot(ObjectId object, uint64_t chunk) const;
  uint64_t withdraw(const std::vector<uint64_t>& blocks) REQUIRES(mutex_);
  Result<void> unclaim(ObjectId object, uint64_t chunk, const std::vector<uint64_t>& blocks);
  struct Range {
    uint64_t offset = 0;
    uint64_t length = 0;
  };
  std::vector<Range> absent_ranges() const REQUIRES(mutex_);
  // Of a block, what of begin..end is in it.
  Range part_of(uint64_t block, uint64_t begin, uint64_t end) const;
  std::vector<Range> holes_before(uint64_t offset, uint64_t old_size_bytes,
                                  const std::vector<uint64_t>& keep) const;
  static bool fill_holes(io::File* file, const std::vector<Range>& holes);
  uint64_t bytes_of_object(const catalog::NodeRecord& record) const;
  bool load_chunks(const catalog::NodeRecord& record) REQUIRES(mutex_);
  // Forgets the blocks; returns what they took.
  uint64_t clear_blocks(uint64_t first_block, uint64_t last_block) REQUIRES(mutex_);
  // So many bytes of blocks that are no longer present are gone from the disk, too, or still there:
  // then they count until a claim has looked.
  void count_freed(uint64_t bytes) REQUIRES(mutex_);
  void count_left(uint64_t bytes) REQUIRES(mutex_);
  uint64_t disk_bytes(uint64_t block) const REQUIRES(mutex_) {
    return disk_bytes(block, size_bytes_);
  }
  // Of the block in a file of that size.
  uint64_t disk_bytes(uint64_t block, uint64_t size_bytes) const;
  uint64_t block_bytes_held() const REQUIRES(mutex_);
  uint64_t held_bytes() const REQUIRES(mutex_);
  uint64_t last_block(uint64_t offset, uint64_t length) const {
    return length == 0 ? offset >> block_shift_ : (offset + length - 1) >> block_shift_;
  }

  Environment& env_;
  FileOwner& owner_;

  // What a hit needs comes first, close together.
  mutable Mutex mutex_;
  uint8_t block_shift_;  // set by the constructor and load() alone: read without the lock
  // object_ is what an earlier run left in the middle of a change: to be dropped before any use.
  bool untrusted_ GUARDED_BY(mutex_) = false;
  // It is pinned, or was: then a program may have it mapped (is_exposed).
  bool exposed_ GUARDED_BY(mutex_) = false;
  bool size_is_made_up_ GUARDED_BY(mutex_) = false;  // of this version
  std::atomic<bool> has_parted_{false};
  bool idle_ GUARDED_BY(mutex_) = false;  // close the descriptors when the last fetch ends
  uint64_t size_bytes_ GUARDED_BY(mutex_);
  uint32_t changes_in_progress_ GUARDED_BY(mutex_) = 0;
  uint32_t pins_ GUARDED_BY(mutex_) = 0;       // of this generation
  uint64_t exposures_ GUARDED_BY(mutex_) = 0;  // pins that were ever taken
  std::atomic<uint64_t> generation_{1};        // changed under mutex_
  ObjectId object_ GUARDED_BY(mutex_);  // taken before the first fetch: the memory tier's key
  std::shared_ptr<io::File> object_file_ GUARDED_BY(mutex_);
  std::shared_ptr<Incarnation> incarnation_ GUARDED_BY(mutex_);  // null: nobody asked for it
  BlockMap blocks_ GUARDED_BY(mutex_);
  std::shared_ptr<source::SourceFile> reader_ GUARDED_BY(mutex_);

  Validator version_ GUARDED_BY(mutex_);
  bool racy_ GUARDED_BY(mutex_) = false;
  bool is_changed_elsewhere_ GUARDED_BY(mutex_) = false;  // in this run
  bool own_change_ GUARDED_BY(mutex_) = false;  // version_ is older than the last change made here
  bool ctime_moved_ GUARDED_BY(mutex_) = false;
  // Changed since the last claim: the record is not stable.
  bool unsettled_ GUARDED_BY(mutex_) = false;
  bool object_created_ GUARDED_BY(mutex_) = false;  // there is a file of that name
  bool punching_ GUARDED_BY(mutex_) = false;
  bool doubted_ GUARDED_BY(mutex_) = false;         // see take_doubt()
  bool keeps_doubtful_ GUARDED_BY(mutex_) = false;  // incarnation_ does
  bool held_ GUARDED_BY(mutex_) = false;            // reader_ cannot be opened again
  uint64_t changed_at_ GUARDED_BY(mutex_) = 0;      // ChangeClock
  int64_t cached_at_ns_ GUARDED_BY(mutex_) = 0;     // of the object
  // What is claimed of chunk 0; nullopt: a record of its own says it.
  std::optional<catalog::ChunkRecord> first_chunk_ GUARDED_BY(mutex_);
  // What is claimed of others; nullopt: an older larder did not list it.
  std::optional<ChunkList> further_chunks_ GUARDED_BY(mutex_);
  std::shared_ptr<ObjectRoom> room_ GUARDED_BY(mutex_);  // null: it was not opened yet
  int64_t extra_bytes_ GUARDED_BY(mutex_) = 0;           // the object's, beyond its blocks
  uint64_t punches_ GUARDED_BY(mutex_) = 0;  // who read the object meanwhile reads again
  std::unordered_map<uint64_t, std::shared_ptr<Fetch>> fetches_ GUARDED_BY(mutex_);  // by block
  BlockRanges through_reader_ GUARDED_BY(mutex_);  // what came through it
  EarlyEnd early_end_ GUARDED_BY(mutex_);
  Unsynced unsynced_ GUARDED_BY(mutex_);
  uint32_t unflushed_ GUARDED_BY(mutex_) = 0;  // handles
  uint32_t probes_ GUARDED_BY(mutex_) = 0;     // calls of is_used() under way
  std::optional<OpenFiles::Position> listed_ GUARDED_BY(mutex_);
  struct Renewal {
    bool is_wanted = false;
    bool is_running = false;   // somebody carries it out
    bool must_settle = false;  // counted in changes_in_progress_
    // What was on its way into the object when it began, of the old version.
    std::vector<std::shared_ptr<Fetch>> storing = {};
    std::optional<uint64_t> object_bytes =
        {};  // the object's size, while it is less than the file's
  };
  Renewal renewal_ GUARDED_BY(mutex_);
  // Objects that were dropped while pinned.
  struct Lingering {
    uint64_t generation = 0;
    uint32_t pins = 0;
    std::shared_ptr<ObjectRoom> room;
  };
  std::vector<Lingering> lingering_ GUARDED_BY(mutex_);

  io::AsyncMutex opening_;  // one opening of the source at a time
};

}  // namespace larder::cache
