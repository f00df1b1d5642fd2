// CachedFileSystem: the FileSystem over a source, a catalog and the cache.
//
// Changes go through to the source; what the catalog and the cache know follows.  The rules of
// coherence are in docs/SEMANTICS.md.  Split by concern:
//   cached_file_system.cc  nodes, paths, attributes and how answers of the source are taken in
//   places.cc              where things are at the source
//   lookup.cc              names: look-ups, also while the source is down
//   disproof.cc            what ends when the source says that it is not so
//   namespace.cc           making, removing, renaming
//   files.cc               open, create, release, and how the kernel reads a file
//   file_operations.cc     read, write and the rest on open files; changes of attributes
//   made_up_size.cc        files whose sizes say nothing of their content
//   directories.cc         listings
//   parted_files.cc        handles of what may not be the node's file any more
//   late_errors.cc         sync, close, and writes that the source did not keep
//   extended_attributes.cc
//   warm.cc                loading by path
//   open_files_watched.cc  what changes at the source while it is open
//   housekeeping.cc        what the janitor's duties ask
//
// Invariants: see Node.  Nodes refer to this object and must be gone before it.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/metrics.h"
#include "cache/environment.h"
#include "cache/readahead.h"
#include "catalog/catalog.h"
#include "fs/access_recorder.h"
#include "fs/cut_files.h"
#include "fs/disproof.h"
#include "fs/file_system.h"
#include "fs/handle_set.h"
#include "fs/node.h"
#include "fs/node_table.h"
#include "fs/open_mode.h"
#include "fs/open_numbers.h"
#include "fs/open_watch.h"
#include "fs/same_file.h"
#include "fs/sent_back.h"
#include "fs/source_directories.h"
#include "io/async_shared_mutex.h"
#include "source/source.h"

namespace larder::fs {

// The name does not lead to the file any more.
bool is_gone(const Error& error);
// What a file was opened by leads to a symbolic link, a socket or a directory.
bool is_no_file(const Error& error);

// How long what the source said is believed.
struct CoherenceOptions {
  Nanos attributes_ttl = std::chrono::seconds(3);
  Nanos negative_ttl = std::chrono::seconds(3);
  bool revalidate_at_open = true;  // close-to-open
};

struct FileMetrics {
  explicit FileMetrics(Registry& registry);
  Counter& lookup_hits;
  Counter& lookup_misses;
  Counter& attribute_hits;
  Counter& attribute_misses;
  Counter& opens_passthrough;
  Counter& opens_direct;
  Counter& opens_cached;
  Counter& opens(OpenMode mode);
  Counter& stale_opens;
  Counter& served_offline;
  Counter& listings_ahead;
  Counter& parted;
  Gauge& handles;
};

class CachedFileSystem final : public FileSystem {
 public:
  static constexpr size_t kDirectoriesMax = 1024;
  // All of these outlive the file system.  directories_max: of the source's, held open.
  CachedFileSystem(cache::Environment& environment, source::Source& source,
                   std::vector<io::Reactor*> reactors, const CoherenceOptions& coherence,
                   Registry& registry, size_t directories_max = kDirectoriesMax);
  ~CachedFileSystem() override;

  // Asks the source for the root's attributes, or takes what the catalog knows; kNotFound when
  // neither does.
  io::Task<Result<void>> load_root();
  // After the last request: closes what is still open and lets go of the nodes the kernel held.
  void shut_down();
  // Frees the node's object to make room (cache::Residents).
  bool evict(NodeId node, uint64_t wanted_bytes);

  // FileSystem
  io::Reactor& home(KernelId id) override;
  void attach(KernelPort& kernel) override { kernel_ = &kernel; }
  std::optional<Result<NodeReply>> lookup_hit(KernelId parent, std::string_view name,
                                              pid_t asker) override;
  std::optional<Result<AttributesReply>> attributes_hit(KernelId id) override;
  std::optional<Attributes> last_seen(KernelId id) override;
  std::optional<Result<OpenReply>> open_hit(KernelId id, int flags, pid_t opener) override;
  bool read_hit(uint64_t handle, uint64_t offset, size_t length, ReadReply& reply) override;
  bool release_hit(uint64_t handle) override;
  void forget(KernelId id, uint64_t lookups) override;
  void count_lookup(const DirectoryEntryReply& entry) override;
  io::Task<Result<NodeReply>> lookup(KernelId parent, std::string name, pid_t asker) override;
  io::Task<Result<AttributesReply>> attributes(KernelId id, pid_t asker) override;
  io::Task<Result<AttributesReply>> set_attributes(KernelId id, AttributeChange change,
                                                   uint64_t handle) override;
  io::Task<Result<std::string>> read_link(KernelId id) override;
  io::Task<Result<NodeReply>> make_node(KernelId parent, std::string name, uint32_t mode,
                                        uint64_t rdev, Caller caller) override;
  io::Task<Result<NodeReply>> make_directory(KernelId parent, std::string name, uint32_t mode,
                                             Caller caller) override;
  io::Task<Result<NodeReply>> make_symlink(KernelId parent, std::string name, std::string target,
                                           Caller caller) override;
  io::Task<Result<NodeReply>> link(KernelId id, KernelId new_parent, std::string new_name) override;
  io::Task<Result<void>> unlink(KernelId parent, std::string name) override;
  io::Task<Result<void>> remove_directory(KernelId parent, std::string name) override;
  io::Task<Result<void>> rename(KernelId parent, std::string name, KernelId new_parent,
                                std::string new_name, unsigned flags) override;
  io::Task<Result<OpenReply>> open(KernelId id, int flags, pid_t opener) override;
  io::Task<Result<CreateReply>> create(KernelId parent, std::string name, uint32_t mode, int flags,
                                       Caller caller) override;
  io::Task<Result<ReadReply>> read(uint64_t handle, uint64_t offset, size_t length) override;
  io::Task<Result<size_t>> write(uint64_t handle, buffer::BufferRef data, uint64_t offset,
                                 int flags) override;
  io::Task<Result<void>> flush(uint64_t handle) override;
  io::Task<Result<void>> sync(uint64_t handle, bool data_only) override;
  io::Task<void> release(uint64_t handle) override;
  io::Task<Result<void>> allocate(uint64_t handle, int mode, uint64_t offset,
                                  uint64_t length) override;
  io::Task<Result<uint64_t>> seek(uint64_t handle, uint64_t offset, int whence) override;
  io::Task<Result<size_t>> copy_range(uint64_t handle, uint64_t offset, uint64_t to_handle,
                                      uint64_t to_offset, size_t length) override;
  io::Task<Result<uint64_t>> open_directory(KernelId id) override;
  io::Task<Result<std::vector<DirectoryEntryReply>>> read_directory(uint64_t handle,
                                                                    uint64_t offset,
                                                                    size_t budget_bytes,
                                                                    bool with_attributes) override;
  void release_directory(uint64_t handle) override;
  io::Task<Result<void>> sync_directory(uint64_t handle, bool data_only) override;
  io::Task<Result<struct statvfs>> space() override;
  io::Task<Result<std::string>> get_xattr(KernelId id, std::string name) override;
  io::Task<Result<void>> set_xattr(KernelId id, std::string name, std::string value, int flags,
                                   std::optional<Credentials> as) override;
  io::Task<Result<std::vector<std::string>>> list_xattr(KernelId id) override;
  io::Task<Result<void>> remove_xattr(KernelId id, std::string name) override;

  // --- warming (fs/warm.cc).  Paths are relative to the mount's root.
  enum class WarmOutcome { kLoaded, kMissing, kSkipped };  // kSkipped: not a regular file
  struct Warmed {
    WarmOutcome outcome = WarmOutcome::kLoaded;
    uint64_t bytes = 0;
    bool is_directory = false;
    std::vector<std::string> children;  // of a directory, when asked for
  };
  // Loads the file's data; of a directory lists the children's names.
  // A file that is larger than the whole cache is kLimit: it would only push out all others.
  io::Task<Result<Warmed>> warm(std::string path, std::shared_ptr<cache::FetchWatch> watch);
  // --- housekeeping (fs/housekeeping.cc)
  // The objects of the files in memory.
  std::unordered_set<ObjectId> objects_in_memory();
  // A regular file's data; null when there is no such node.
  std::shared_ptr<cache::FileOwner> owner_of(NodeId node);
  // Its path as far as it is known, for messages.
  std::string path_for_message(NodeId node);
  // cache::Trimmer::IfAbsent.
  bool if_absent(NodeId node, const std::function<void()>& act) {
    return table_.if_absent(node, act);
  }
  // Blocks of it were found damaged and dropped: the kernel forgets its pages, and where it reads
  // the object itself they are fetched again now.
  void blocks_dropped(NodeId node);

  // Asks about some of the open files whose attributes are out of date.
  cache::NextStep watch_step();
  // Called, on any thread, when there is something for it to do; before the first open.
  void set_watch_wake(std::function<void()> wake) { watch_.set_wake(std::move(wake)); }

  // --- recording what is accessed
  AccessRecorder& recorder() { return recorder_; }
  // The node's path as it is known in memory; none: it has no name (any more), or was forgotten.
  std::optional<std::string> path_in_memory(NodeId node) const;

  // Any reactor will do for warm().
  io::Reactor& reactor(uint64_t n) { return *reactors_[n % reactors_.size()]; }

  // --- for Node
  source::Source& source() { return source_; }
  catalog::Catalog& catalog() { return env_.catalog; }
  cache::Environment& cache_environment() { return env_; }
  cache::ChangeClock& changes() { return env_.changes; }
  NodeTable& table() { return table_; }
  Result<std::string> path_of(const Node& node) const;
  // Asks the source about the node, by what `ask` makes of the node's place.  kStale when it has no
  // name.
  template <class T>
  using Ask = std::move_only_function<source::Outcome<T>(source::Place)>;
  template <class T>
  io::Task<Result<T>> ask_at(std::shared_ptr<Node> node, Ask<T> ask);
  // was_lost: it had one in this run and has none left.
  Name first_name(const Node& node, bool* was_lost = nullptr) const;
  // While the catalog has no room only what has data is recorded, and directories, by which that is
  // found; the rest is known as long as it is in memory.
  bool is_to_be_recorded(const catalog::NodeRecord& record) const;
  // Takes in what the source said of the node in answer to a question asked at `asked_at`.  True
  // when cached data were dropped because of it.
  bool apply(Node& node, const Attributes& attributes, uint64_t asked_at);
  // Whether these can be the attributes of the node's file.
  bool same_file(Node& node, const Attributes& attributes) const;
  // The file with these attributes, beside what was last seen of the node.
  FileIs compare_locked(const Node& node, const Attributes& now, bool is_other_version) const
      REQUIRES(node.mutex_);
  // Changed so short a time ago that one more change might leave the same times.
  bool is_racy(const Attributes& attributes) const;
  static bool has_no_times(const Attributes& attributes);
  // One more change might leave the same times: it is racy, or the source keeps none.
  bool is_doubtful(const Attributes& attributes) const;

 private:
  struct OpenFile;
  struct OpenDirectory;
  class RenameUnderWay;
  using NodePtr = std::shared_ptr<Node>;

  // kStale when the kernel asks for what is not known.
  Result<NodePtr> node(KernelId id);
  // In memory or from the catalog; null when neither has it.
  NodePtr load(NodeId id);
  static OpenFile& file_of(uint64_t handle) { return HandleSet<OpenFile>::get(handle); }
  static OpenDirectory& directory_of(uint64_t handle) {
    return HandleSet<OpenDirectory>::get(handle);
  }
  Nanos now() const { return env_.clock.monotonic(); }

  // places
  bool has_name(const Node& node) const;  // or is the root
  // A directory that is open itself, else by its name.
  io::Task<Result<source::Place>> place_of(NodePtr node);
  // By its first name; kStale when it has none.
  io::Task<Result<source::Place>> name_of(NodePtr node);
  io::Task<Result<source::Place>> place_in(NodePtr parent, std::string name);
  // The directory itself, open.
  io::Task<Result<source::DirectoryPtr>> directory_at(NodePtr node);
  source::DirectoryPtr find_directory(Node& node);  // null: it is not open
  io::Task<Result<source::DirectoryPtr>> open_directory_at(source::Place place);
  io::Task<Result<source::DirectoryPtr>> open_child(source::DirectoryPtr directory, NodePtr child,
                                                    std::string name);
  struct NamedNode {
    NodePtr node;
    Name name;
  };
  io::Task<Result<source::DirectoryPtr>> open_by_names(NodePtr node, NamedNode* lost);
  io::Task<Result<void>> learn_name(NamedNode lost, Error error);
  NodePtr lost_in(const Node& node);  // the directory it had its last name in; null: not known
  io::Task<bool> was_moved(NodePtr node, Name asked);
  // The number that tells the node's file from others; 0: the source's do not, or not yet.
  uint64_t number_of(Node& node) const;
  uint64_t number_locked(const Node& node) const REQUIRES(node.mutex_);
  bool is_found_by_number(const Attributes& attributes) const;
  NodePtr find_moved(const Attributes& attributes);
  NodePtr find_renamed(const Attributes& attributes);

  // names
  std::optional<NodeId> known_child(Node& parent, std::string_view name);
  NodePtr load_child(Node& parent, std::string_view name);  // null: it is not known
  void recall_names(NodePtr node);
  io::Task<NodePtr> open_for_returned(NodePtr parent, std::string name, NodePtr found,
                                      pid_t opener);
  NodePtr adopt(const NodePtr& parent, const std::string& name, const Attributes& attributes,
                uint64_t asked_at);
  bool is_again(Node& node, const Name& name, const Attributes& attributes);
  NodePtr identify(const NodePtr& parent, const std::string& name, const Attributes& attributes);
  void add_name(const NodePtr& node, const NodePtr& parent, std::string_view name);
  // Those that change names in the directory; null: all.
  std::vector<std::shared_ptr<io::Event>> renames_under_way(const Node* directory);
  bool forget_name(Node& node, const Name& gone);
  void drop_name(const NodePtr& parent, const std::string& name);
  void record_name(catalog::Batch& batch, const Node& parent, const std::string& name, Node& node);
  void remember_child(Node& parent, const std::string& name, NodeId child, Nanos ttl,
                      uint64_t asked_at);
  void forget_children(Node& parent);
  // Brackets a change of the directory's entries made here.
  void change_directory(Node& parent);
  // `asked`: the epoch it has to be.
  NodeReply reply_to_lookup(const NodePtr& node, std::optional<uint64_t> asked = std::nullopt);
  NodeReply describe(Node& node);
  // By the kernel inode of that epoch.
  NodeReply describe_locked(Node& node, uint64_t epoch) REQUIRES(node.mutex_);
  // The node a name leads to, asked of the source unless what is known is fresh; null: no such
  // name.
  io::Task<Result<NodePtr>> resolve(NodePtr parent, std::string name);
  Result<NodePtr> resolve_offline(const NodePtr& parent, const std::string& name, Error error);
  NodePtr fresh_child(Node& parent, std::string_view name, bool* negative);
  Nanos absence_left(Node& parent, std::string_view name);
  io::Task<Result<NodeReply>> finish_making(NodePtr parent, std::string name, Ask<Attributes> make);
  void after_unlink(const NodePtr& node);
  bool keep_link_text(Node& node, const std::string& text, const Validator& version, bool is_last);
  // Ends what the source's error says is not so; gives the error back.
  struct Involved {
    Name name{};    // that was to be there
    Name target{};  // that was to be made
  };
  Error disproved(Asked asked, Error error, const Involved& involved);
  bool doubt(const Name& name);
  void doubt_attributes(Node& node);
  void doubt_way_to(NodePtr directory);
  void doubt_listing(const Name& name);
  io::Task<void> hold_data(NodePtr node);

  // attributes
  // Asks the source again what it has.  An outage is an error like any other: the caller knows
  // whether what was known before will do.
  io::Task<Result<void>> refresh(NodePtr node, source::Wait wait = source::Wait::kPatiently,
                                 bool* by_name = nullptr);
  // The same for who has the file open, whatever the name leads to by now.
  io::Task<Result<void>> refresh_open(NodePtr node);
  bool is_fresh(Node& node);
  void expire(Node& node);
  bool may_follow_name(Node& node) const;
  // Where a node without a name is still open; null when it has one, or is not.
  static std::shared_ptr<source::SourceFile> held_source(Node& node);
  static Result<std::shared_ptr<source::SourceFile>> what_is_left(Node& node, const Error& error);
  void drop_doubtful(Node& node);
  bool came_again(Node& node, pid_t asker);
  std::optional<AttributesReply> change_nameless(Node& node, const AttributeChange& change);
  // is_cut: the file became shorter elsewhere.
  void invalidate_kernel(Node& node, std::optional<uint64_t> except_epoch, bool is_cut = false);
  bool hold_back_growth(Node& node, uint64_t old_size_bytes) REQUIRES(node.mutex_);
  void drop_pages(Node& node, KernelId id);
  void pages_dropped(KernelId id);
  io::Task<void> await_shown(NodePtr node, KernelId id);
  static bool is_read_elsewhere(Node& node, uint64_t epoch);
  io::Task<void> await_others_dropped(NodePtr node, uint64_t epoch);
  bool is_cut_for_kernel(Node& node, const cache::CachedFile& file, uint64_t new_size_bytes);
  void invalidate_kernel_attributes(Node& node);
  // Of these inodes of the node, at once or, while the kernel must learn nothing of the file,
  // later.
  void invalidate_attributes(Node& node, const std::vector<KernelId>& known);
  std::vector<KernelId> known_to_kernel(Node& node);

  // files that are open while they change elsewhere
  bool is_watching() const;
  Nanos watch_period() const;
  void watch(Node& node);
  io::Task<void> look_before_change(NodePtr node, std::shared_ptr<source::SourceFile> by);
  void look_after_change(Node& node);
  static io::Task<void> look_after_change_task(CachedFileSystem* self, NodePtr node);
  static io::Task<void> ask_open_task(CachedFileSystem* self, NodePtr node, OpenWatch::Turn turn);
  void note_cut(Node& node);
  static io::Task<void> drop_pages_task(CachedFileSystem* self, NodePtr node);
  void renew_if_wanted(Node& node);
  static io::Task<void> renew_task(CachedFileSystem* self, NodePtr node);
  io::Task<void> await_growth(NodePtr node);
  io::Task<void> await_version(NodePtr node);

  // files
  static constexpr pid_t kNoOpener = -1;  // nobody would come again
  struct Opening {
    KernelId id;
    int flags = 0;
    pid_t opener = 0;
    bool returned = false;                            // was sent back before: must be let in
    bool has_looked_up = false;                       // since then
    std::shared_ptr<source::SourceFile> opened = {};  // by the look-up
    OpenWish wish = wish_of(flags);
    std::shared_ptr<cache::Incarnation> incarnation = {};  // what the source's answer was about
    bool writes() const;
    bool truncates() const;
    // It came again by no name: it cannot come to another file.
    bool is_nameless() const { return returned && !has_looked_up; }
    static OpenWish wish_of(int flags);
  };
  struct Decision {
    OpenReply reply;
    OpenMode mode = OpenMode::kCached;
    uint64_t generation = 0;  // pinned, in passthrough
    bool stale = false;       // the kernel knows another version of the file by this inode
    bool past_cache = false;  // the size is made up: only reading tells what there is
  };
  Error look_again(Node& node, const Error& error, const Opening& opening);
  std::unexpected<Error> send_back(Node& node, const Opening& opening) REQUIRES(node.mutex_);
  std::optional<OpenMode> choose_mode(Node& node, const KernelInode* inode, const Opening& opening)
      REQUIRES(node.mutex_);
  void note_handle(Node& node, KernelInode& inode, const Opening& opening) REQUIRES(node.mutex_);
  Result<Decision> decide_mode(const NodePtr& node, cache::CachedFile& file, Opening& opening);
  cache::CachedFile* fresh_file(Node& node);
  Result<void> decide_pinned(Node& node, Opening& opening,
                             const std::optional<cache::CachedFile::Pin>& pin, Decision& decision);
  static bool is_open_cached(Node& node, KernelId id);
  io::Task<Result<OpenReply>> try_open(NodePtr node, Opening opening);
  Result<OpenReply> finish_open(const NodePtr& node, Opening& opening,
                                std::shared_ptr<source::SourceFile> source);
  io::Task<Result<void>> settle(OpenFile* open);
  io::Task<Result<void>> sync_by(OpenFile* open, std::shared_ptr<source::SourceFile> by,
                                 bool data_only);
  io::Task<void> take_back(NodePtr node, std::shared_ptr<source::SourceFile> by, Error error);
  io::Task<Result<std::shared_ptr<source::SourceFile>>> opened(NodePtr node, KernelId id);
  io::Task<Result<std::shared_ptr<source::SourceFile>>> writer_of(OpenFile* open, bool append);
  // Whether the source must be told at the open that a file is appended to (FUSE): else the kernel
  // decides where the end is.
  bool appends_by_open() const {
    return source_.inode_numbers() == source::InodeNumbers::kUnreliable;
  }

  // --- fs/parted_objects.cc
  struct PartedObject {
    KernelId id;
    std::shared_ptr<cache::Incarnation> incarnation;
  };
  static std::vector<PartedObject> parted_objects(Node& node);
  static bool is_read_in_passthrough(Node& node, const cache::Incarnation& incarnation);
  io::Task<void> catch_up(NodePtr node);
  io::Task<void> show_to_parted(NodePtr node, uint64_t offset, uint64_t end);
  io::Task<Result<void>> take_on(PartedObject parted, uint64_t offset, uint64_t end);

  // handles whose incarnation was parted
  static std::shared_ptr<cache::Incarnation> parted(Node& node, KernelId id);
  static std::shared_ptr<source::SourceFile> parted_reader(const OpenFile& open);
  void invalidate_parted(const OpenFile& open);
  static AttributesReply describe_parted(Node& node, Attributes attributes);
  void want_reader(const NodePtr& node, const OpenFile& open);
  static io::Task<void> keep_reader(std::weak_ptr<Node> opened_node,
                                    std::shared_ptr<cache::Incarnation> incarnation);
  io::Task<Result<ReadReply>> read_parted(OpenFile* open, uint64_t offset, size_t length);
  io::Task<Result<size_t>> write_parted(OpenFile* open, buffer::BufferRef data, uint64_t offset,
                                        bool append);
  io::Task<Result<void>> allocate_parted(OpenFile* open, int mode, uint64_t offset,
                                         uint64_t length);
  io::Task<Result<AttributesReply>> parted_attributes(
      NodePtr node, std::shared_ptr<cache::Incarnation> incarnation);
  io::Task<Result<AttributesReply>> set_parted_attributes(
      NodePtr node, std::shared_ptr<cache::Incarnation> incarnation, AttributeChange change,
      uint64_t handle);
  static void note_direct_write(Node& node, uint64_t epoch);
  // --- fs/made_up_size.cc
  bool size_is_made_up(const cache::CachedFile& file) const;
  io::Task<void> look_into_size(NodePtr node);
  static io::Task<Result<ReadReply>> read_past_cache(NodePtr node, uint64_t offset, size_t length);
  // True when that was the node's last handle.
  bool close_inode(Node& node, const OpenFile& open);
  io::Task<Result<std::shared_ptr<source::SourceFile>>> open_for_writing(NodePtr node, Opening how);
  io::Task<Result<std::shared_ptr<source::SourceFile>>> revalidate_for_reading(NodePtr node,
                                                                               Opening opening);
  // by_name: set to whether the name led to it.
  io::Task<Result<Attributes>> ask_attributes(NodePtr node, source::Wait wait,
                                              bool* by_name = nullptr);
  io::Task<Result<std::shared_ptr<source::SourceFile>>> source_of(OpenFile* open);

  // directories
  static bool is_removed(Node& node);
  // What is open for this long is opened at the source, too, if it is not yet.
  static constexpr Nanos kKeepOpenAfter = std::chrono::milliseconds(20);
  static io::Task<void> keep_directory(std::weak_ptr<Node> opened_node);
  io::Task<void> hold_directory(NodePtr node);
  void note_directory_handle(const NodePtr& node);
  bool sends_away(Node& node);
  io::Task<Result<void>> load_listing(OpenDirectory* open);
  io::Task<Result<source::Listing>> list_at(NodePtr node, source::Wait wait);
  bool keeps_times(const Attributes& directory) const;
  bool listing_is_current(const Node& node) const REQUIRES(node.mutex_);
  void forget_listing(Node& directory);
  NodeId known_entry(const NodePtr& directory, const source::DirectoryEntry& entry,
                     uint64_t asked_at);
  NodeId node_of_inode(uint64_t inode, const std::unordered_map<uint64_t, NodeId>& listed);
  std::vector<catalog::ListingEntry> number_entries(const NodePtr& directory,
                                                    std::vector<source::DirectoryEntry> entries,
                                                    uint64_t asked_at);
  void store_listing(const NodePtr& directory, const std::vector<catalog::ListingEntry>& entries,
                     const Attributes& attributes, uint64_t asked_at, Nanos listed_at);
  io::Task<void> fetch_attributes(OpenDirectory* open, size_t first, size_t count);
  // The directory is being read from its start: lists others ahead when that is part of a walk.
  void follow_walk(OpenDirectory& open);
  io::Task<void> list_ahead(NodePtr directory);
  // Listed ahead and not read yet, with the children, so that what was asked about them is still
  // known when the walker comes.
  struct Ahead {
    NodeId directory;
    Nanos asked_at{0};
    std::vector<NodePtr> children;
  };
  void keep_ahead(Ahead listed);
  bool was_asked_ahead(NodeId directory);
  std::optional<std::vector<NodePtr>> take_ahead(NodeId directory);
  io::Task<Result<std::vector<std::string>>> child_names(uint64_t handle);
  static io::Task<void> refill_task(std::shared_ptr<Node> node);
  void record_read(const OpenFile& open, uint64_t offset, size_t length);
  bool may_be_misread(const OpenFile& open, uint64_t offset, size_t length,
                      const ReadReply& reply) const;
  io::Task<Error> refuse(NodeId node);
  static bool may_be_incomplete(const OpenFile& open, uint64_t offset);
  static void note_write(const OpenFile& open, uint64_t offset, uint64_t length);
  static void note_read(const OpenFile& open, uint64_t offset, uint64_t length);
  static io::Task<void> prefetch_task(std::shared_ptr<Node> node, cache::Readahead::Range range);

  cache::Environment& env_;
  source::Source& source_;
  const std::vector<io::Reactor*> reactors_;
  const CoherenceOptions coherence_;
  FileMetrics metrics_;
  AccessRecorder recorder_;
  KernelPort* kernel_ = nullptr;
  SourceDirectories directories_;
  NodeTable table_;
  HandleSet<OpenFile> open_files_;
  HandleSet<OpenDirectory> open_directories_;
  SentBack sent_back_;
  OpenWatch watch_;
  CutFiles cut_files_;
  OpenNumbers open_numbers_;
  mutable SharedMutex tree_mutex_;  // guards all nodes' names_
  NodePtr root_;
  std::atomic<size_t> listings_ahead_{0};  // under way
  Mutex ahead_mutex_;
  std::deque<Ahead> ahead_ GUARDED_BY(ahead_mutex_);  // oldest first
  struct Rename {
    const Node* parent;
    const Node* new_parent;
    std::shared_ptr<io::Event> over;  // set when the names here have followed
  };
  Mutex renames_mutex_;
  std::vector<Rename> renames_ GUARDED_BY(renames_mutex_);
  // Alone while a directory is renamed at the source and here; shared on the way by names.
  io::AsyncSharedMutex moving_;
  Mutex space_mutex_;
  std::optional<struct statvfs> space_ GUARDED_BY(space_mutex_);
  Nanos space_valid_until_ GUARDED_BY(space_mutex_){0};
};

template <class T>
io::Task<Result<T>> CachedFileSystem::ask_at(NodePtr node, Ask<T> ask) {
  constexpr int kTriesMax = 8;
  for (int attempt = 0;; ++attempt) {
    const Name name = first_name(*node);
    io::Task<Result<source::Place>> placing = place_of(node);
    CO_TRY_ASSIGN(source::Place place, co_await std::move(placing));
    source::Outcome<T> asking = ask(std::move(place));
    Result<T> answer = co_await std::move(asking);
    if (answer || !is_gone(answer.error()) || attempt == kTriesMax) co_return answer;
    io::Task<bool> looking = was_moved(node, name);
    if (!co_await std::move(looking)) co_return answer;
  }
}

// The source cannot be asked now: what is cached may be used beyond its time.
bool is_outage(const Error& error);

}  // namespace larder::fs
