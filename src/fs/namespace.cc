// CachedFileSystem: making, removing and renaming.  Each goes to the source first; what is known
// here follows.

#include "base/limited_log.h"
#include "fs/cached_file_system.h"

namespace larder::fs {

io::Task<Result<NodeReply>> CachedFileSystem::finish_making(NodePtr parent, std::string name,
                                                            Ask<Attributes> make) {
  io::Task<Result<source::Place>> placing = place_in(parent, name);
  CO_TRY_ASSIGN(source::Place place, co_await std::move(placing));
  change_directory(*parent);
  source::Outcome<Attributes> making = make(std::move(place));
  const Result<Attributes> made = co_await std::move(making);
  change_directory(
      *parent);  // also after a failure: a call that timed out may have been carried out
  if (!made) co_return fail(disproved(Asked::kMake, made.error(), {.target = {parent, name}}));
  const NodePtr node = adopt(parent, name, *made, changes().tick());
  if (!node) co_return fail(Code::kIo, "no node id");
  co_return reply_to_lookup(node);
}

io::Task<Result<NodeReply>> CachedFileSystem::make_node(KernelId parent_id, std::string name,
                                                        uint32_t mode, uint64_t rdev,
                                                        Caller caller) {
  CO_TRY_ASSIGN(const NodePtr parent, node(parent_id));
  io::Task<Result<NodeReply>> making =
      finish_making(parent, std::move(name), [this, mode, rdev, caller](source::Place place) {
        return source_.make_node(std::move(place), mode, rdev, caller);
      });
  co_return co_await std::move(making);
}

io::Task<Result<NodeReply>> CachedFileSystem::make_directory(KernelId parent_id, std::string name,
                                                             uint32_t mode, Caller caller) {
  CO_TRY_ASSIGN(const NodePtr parent, node(parent_id));
  io::Task<Result<NodeReply>> making =
      finish_making(parent, std::move(name), [this, mode, caller](source::Place place) {
        return source_.make_directory(std::move(place), mode, caller);
      });
  co_return co_await std::move(making);
}

io::Task<Result<NodeReply>> CachedFileSystem::make_symlink(KernelId parent_id, std::string name,
                                                           std::string target, Caller caller) {
  CO_TRY_ASSIGN(const NodePtr parent, node(parent_id));
  io::Task<Result<NodeReply>> making =
      finish_making(parent, std::move(name), [this, target, caller](source::Place place) {
        return source_.make_symlink(target, std::move(place), caller);
      });
  co_return co_await std::move(making);
}

io::Task<Result<NodeReply>> CachedFileSystem::link(KernelId id, KernelId new_parent_id,
                                                   std::string new_name) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  CO_TRY_ASSIGN(const NodePtr parent, this->node(new_parent_id));
  io::Task<Result<source::Place>> finding = name_of(node);
  CO_TRY_ASSIGN(source::Place place, co_await std::move(finding));
  io::Task<Result<source::Place>> placing = place_in(parent, new_name);
  CO_TRY_ASSIGN(source::Place new_place, co_await std::move(placing));
  change_directory(*parent);
  expire(*node);
  source::Outcome<Attributes> linking = source_.link(std::move(place), std::move(new_place));
  const Result<Attributes> linked = co_await std::move(linking);
  change_directory(*parent);
  expire(*node);
  if (!linked)
    co_return fail(disproved(Asked::kMake, linked.error(),
                             {.name = first_name(*node), .target = {parent, new_name}}));
  if (cache::CachedFile* file = node->cached_file()) file->expect_ctime_change();
  add_name(node, parent, new_name);
  apply(*node, *linked, changes().tick());
  remember_child(*parent, new_name, node->id(), coherence_.attributes_ttl, changes().tick());
  catalog::Batch batch;
  record_name(batch, *parent, new_name, *node);
  if (S_ISREG(linked->mode) && linked->inode != 0) batch.put_inode(linked->inode, node->id());
  if (!env_.catalog.apply(batch)) env_.metrics.store_errors.add();
  co_return reply_to_lookup(node);
}

// Before a file's name goes: what its readers still need must stay within reach.
io::Task<void> CachedFileSystem::hold_data(NodePtr node) {
  {
    MutexLock lock(node->mutex_);
    if (node->handles_ == 0 || !S_ISREG(node->attributes_.mode)) co_return;
  }
  cache::CachedFile& file = node->file();
  file.hold_source(true);
  // Also of a resident one: its object may be evicted, and its attributes are asked for.
  io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = file.reader();
  if (const auto opened = co_await std::move(opening); !opened)
    log::limited_warning("an open file is being removed and cannot be held", node->id().value, [&] {
      return fmt::format("{}: an open file is being removed and cannot be held: {}",
                         path_for_message(node->id()), opened.error().message());
    });
}

void CachedFileSystem::after_unlink(const NodePtr& node) {
  bool gone = false;
  {
    ReaderLock lock(tree_mutex_);
    gone = node->names_.empty();
  }
  {
    MutexLock lock(node->mutex_);
    node->attributes_changed_at_ = changes().tick();
    node->valid_until_ = Nanos(0);
    node->validated_at_ns_ = 0;
    if (node->attributes_.nlink > 0) --node->attributes_.nlink;
    // Other names may be known to the source alone.
    const bool last = S_ISDIR(node->attributes_.mode) || node->attributes_.nlink == 0;
    node->deleted_ = gone && last;
    if (node->deleted_) node->attributes_.nlink = 0;
    if (node->file_ && !node->deleted_) node->file_->hold_source(false);
  }
  directories_.remove(node->id());
  if (cache::CachedFile* file = node->cached_file()) file->expect_ctime_change();
  if (!node->persist({})) env_.metrics.store_errors.add();
}

io::Task<Result<void>> CachedFileSystem::unlink(KernelId parent_id, std::string name) {
  CO_TRY_ASSIGN(const NodePtr parent, node(parent_id));
  io::Task<Result<source::Place>> placing = place_in(parent, name);
  CO_TRY_ASSIGN(source::Place place, co_await std::move(placing));
  // Also one that nobody uses: its record and its object go with it.
  const NodePtr child = load_child(*parent, name);
  if (child) {
    io::Task<void> holding = hold_data(child);
    co_await std::move(holding);
    expire(*child);
  }
  change_directory(*parent);
  source::Outcome<void> removing = source_.unlink(std::move(place));
  const Result<void> removed = co_await std::move(removing);
  change_directory(*parent);
  if (!removed) co_return fail(disproved(Asked::kUnlink, removed.error(), {{parent, name}}));
  drop_name(parent, name);
  if (child) {
    if (child->is_regular()) child->file();  // so that the object goes when the node does
    after_unlink(child);
  }
  co_return Result<void>();
}

io::Task<Result<void>> CachedFileSystem::remove_directory(KernelId parent_id, std::string name) {
  CO_TRY_ASSIGN(const NodePtr parent, node(parent_id));
  io::Task<Result<source::Place>> placing = place_in(parent, name);
  CO_TRY_ASSIGN(source::Place place, co_await std::move(placing));
  const NodePtr child = load_child(*parent, name);
  if (child) expire(*child);
  change_directory(*parent);
  source::Outcome<void> removing = source_.remove_directory(std::move(place));
  const Result<void> removed = co_await std::move(removing);
  change_directory(*parent);
  if (!removed)
    co_return fail(disproved(Asked::kRemoveDirectory, removed.error(), {{parent, name}}));
  drop_name(parent, name);
  if (child) after_unlink(child);
  co_return Result<void>();
}

// While a rename has been carried out at the source and not yet here, what is asked of the source
// by the old name is not found.
class CachedFileSystem::RenameUnderWay {
 public:
  RenameUnderWay(CachedFileSystem& fs, NodePtr parent, NodePtr new_parent)
      : fs_(fs), parent_(std::move(parent)), new_parent_(std::move(new_parent)) {
    note();
    MutexLock lock(fs_.renames_mutex_);
    fs_.renames_.push_back({parent_.get(), new_parent_.get(), over_});
  }
  ~RenameUnderWay() {
    note();
    {
      MutexLock lock(fs_.renames_mutex_);
      std::erase_if(fs_.renames_, [this](const Rename& rename) { return rename.over == over_; });
    }
    over_->set();
  }
  RenameUnderWay(const RenameUnderWay&) = delete;
  RenameUnderWay& operator=(const RenameUnderWay&) = delete;

 private:
  void note() {
    for (const NodePtr& directory : {parent_, new_parent_}) {
      MutexLock lock(directory->mutex_);
      directory->children().renamed_in_at = fs_.changes().tick();
    }
  }

  CachedFileSystem& fs_;
  const NodePtr parent_;
  const NodePtr new_parent_;
  const std::shared_ptr<io::Event> over_ = std::make_shared<io::Event>();
};

io::Task<Result<void>> CachedFileSystem::rename(KernelId parent_id, std::string name,
                                                KernelId new_parent_id, std::string new_name,
                                                unsigned flags) {
  CO_TRY_ASSIGN(const NodePtr parent, node(parent_id));
  CO_TRY_ASSIGN(const NodePtr new_parent, node(new_parent_id));
  io::Task<Result<source::Place>> placing = place_in(parent, name);
  CO_TRY_ASSIGN(source::Place place, co_await std::move(placing));
  io::Task<Result<source::Place>> placing_new = place_in(new_parent, new_name);
  CO_TRY_ASSIGN(source::Place new_place, co_await std::move(placing_new));
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  NodePtr moved = load_child(*parent, name);
  NodePtr other = load_child(*new_parent, new_name);
  if (other && !exchange) {
    io::Task<void> holding = hold_data(other);
    co_await std::move(holding);
  }
  // Nobody is on the way by names while a directory has no certain one.  What is not known may be
  // one.
  io::AsyncSharedMutex::Guard alone;
  if (!moved || moved->is_directory() || (exchange && (!other || other->is_directory()))) {
    alone = co_await moving_.lock();
    // Who was on the way may have learned of others by these names.
    moved = load_child(*parent, name);
    other = load_child(*new_parent, new_name);
  }
  for (const NodePtr& node : {moved, other})
    if (node) expire(*node);
  change_directory(*parent);
  change_directory(*new_parent);
  const RenameUnderWay under_way(*this, parent, new_parent);
  source::Outcome<void> renaming = source_.rename(std::move(place), std::move(new_place), flags);
  const Result<void> renamed = co_await std::move(renaming);
  change_directory(*parent);
  change_directory(*new_parent);
  if (!renamed)
    co_return fail(disproved(Asked::kRename, renamed.error(),
                             {.name = {parent, name}, .target = {new_parent, new_name}}));
  if (moved && moved == other) co_return Result<void>();  // two names of one file: nothing happens

  drop_name(parent, name);
  drop_name(new_parent, new_name);
  catalog::Batch batch;
  const auto settle = [&](const NodePtr& node, const NodePtr& in, const std::string& as) {
    add_name(node, in, as);
    expire(*node);
    if (cache::CachedFile* file = node->cached_file()) file->expect_ctime_change();
    record_name(batch, *in, as, *node);
    remember_child(*in, as, node->id(), coherence_.attributes_ttl, changes().tick());
  };
  if (moved) settle(moved, new_parent, new_name);
  if (other && exchange) settle(other, parent, name);
  if (!env_.catalog.apply(batch)) env_.metrics.store_errors.add();
  if (moved && !moved->persist({})) env_.metrics.store_errors.add();
  if (other && exchange && !other->persist({})) env_.metrics.store_errors.add();
  if (other && !exchange) {
    if (other->is_regular()) other->file();
    after_unlink(other);
  }
  co_return Result<void>();
}

}  // namespace larder::fs
