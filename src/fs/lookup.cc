// CachedFileSystem: names.  A name is asked of the source unless it was within its time to live;
// while the source is down, what the catalog knows is used.

#include "base/log.h"
#include "fs/cached_file_system.h"

namespace larder::fs {
namespace {

// A name that changes as fast as it is asked for is taken as the last answer has it.
constexpr int kOvertakenMax = 8;

}  // namespace

std::optional<Result<NodeReply>> CachedFileSystem::lookup_hit(KernelId parent_id,
                                                              std::string_view name) {
  const NodePtr parent = table_.find(NodeId{parent_id.node()});
  if (!parent) return std::nullopt;
  bool negative = false;
  const NodePtr child = fresh_child(*parent, name, &negative);
  if (negative) {
    metrics_.lookup_hits.add();
    return NodeReply{{}, {}, Nanos(0), Nanos(0)};
  }
  if (!child) return std::nullopt;
  metrics_.lookup_hits.add();
  add_name(child, parent, name);  // from the catalog it comes without
  return reply_to_lookup(child);
}

CachedFileSystem::NodePtr CachedFileSystem::fresh_child(Node& parent, std::string_view name,
                                                        bool* negative) {
  NodeId id;
  {
    MutexLock lock(parent.mutex_);
    const auto it = parent.children_.find(name);
    if (it != parent.children_.end()) {
      if (now() >= it->second.valid_until) return nullptr;
      if (!it->second.child) {
        *negative = true;
        return nullptr;
      }
      id = it->second.child;
    }
  }
  if (!id) {
    // Remembered from before: believed only where times to live are long enough to outlast a
    // restart.
    if (coherence_.attributes_ttl < std::chrono::minutes(1)) return nullptr;
    const auto record = env_.catalog.name(parent.id(), name);
    if (!record || !*record) return nullptr;
    id = (*record)->node;
  }
  NodePtr node = load(id);
  if (!node) return nullptr;
  MutexLock lock(node->mutex_);
  if (now() >= node->valid_until_) {
    const Nanos age = env_.clock.wall() - Nanos(node->validated_at_ns_);
    if (node->validated_at_ns_ == 0 || age < Nanos(0) || age >= coherence_.attributes_ttl)
      return nullptr;
    node->valid_until_ = now() + (coherence_.attributes_ttl - age);
  }
  return node;
}

// For how long the kernel may believe that there is no such name.
Nanos CachedFileSystem::absence_left(Node& parent, std::string_view name) {
  MutexLock lock(parent.mutex_);
  const auto it = parent.children_.find(name);
  if (it == parent.children_.end() || it->second.child) return Nanos(0);
  return std::max(Nanos(0), it->second.valid_until - now());
}

NodeReply CachedFileSystem::reply_to_lookup(const NodePtr& node, std::optional<uint64_t> asked) {
  std::vector<KernelId> others;
  NodeReply reply;
  {
    MutexLock lock(node->mutex_);
    if (!asked) node->leave_stale_epoch();
    const uint64_t epoch = asked.value_or(node->epoch_);
    KernelInode& inode = node->kernel_inode(epoch);
    if (inode.lookups++ == 0)
      for (const KernelInode& other : node->kernel_inodes_)
        if (other.epoch != epoch) others.push_back(KernelId::make(node->id().value, other.epoch));
    if (!node->keep_) node->keep_ = node;
    reply = describe_locked(*node);
    reply.id = KernelId::make(node->id().value, epoch);
  }
  // From now on neither kernel inode's attributes are cached: they do not hear of each other.
  for (const KernelId other : others) kernel_->invalidate_attributes(other);
  return reply;
}

io::Task<Result<NodeReply>> CachedFileSystem::lookup(KernelId parent_id, std::string name) {
  CO_TRY_ASSIGN(const NodePtr parent, node(parent_id));
  if (name == ".") {  // asked for by an NFS server, or open_by_handle_at(2)
    {
      MutexLock lock(parent->mutex_);
      if (parent->deleted_) co_return fail(Code::kStale);
    }
    recall_names(parent);
    co_return reply_to_lookup(parent,
                              parent_id.epoch());  // or the kernel takes it for another file
  }
  if (name == "..") {
    const Name up = first_name(*parent);
    co_return reply_to_lookup(up.parent ? up.parent : parent);
  }
  io::Task<Result<NodePtr>> resolving = resolve(parent, name);
  CO_TRY_ASSIGN(const NodePtr child, co_await std::move(resolving));
  if (!child) co_return NodeReply{{}, {}, Nanos(0), absence_left(*parent, name)};
  co_return reply_to_lookup(child);
}

// One that comes back from the catalog by its number alone has no name yet: takes the one it was
// recorded with, if that is still its own, and so on upwards.
void CachedFileSystem::recall_names(NodePtr node) {
  constexpr int kDepthMax = 4096;
  for (int depth = 0; depth < kDepthMax && node->id() != kRootNode; ++depth) {
    NodePtr parent = first_name(*node).parent;
    if (!parent) {
      NodeId recorded_parent;
      std::string name;
      {
        MutexLock lock(node->mutex_);
        recorded_parent = node->stored_.parent;
        name = node->stored_.name;
      }
      const auto named = env_.catalog.name(recorded_parent, name);
      if (!named || !*named || (*named)->node != node->id()) return;
      parent = load(recorded_parent);
      if (!parent || !parent->is_directory()) return;
      add_name(node, parent, name);
    }
    node = std::move(parent);
  }
}

io::Task<Result<CachedFileSystem::NodePtr>> CachedFileSystem::resolve(NodePtr parent,
                                                                      std::string name) {
  bool negative = false;
  if (NodePtr fresh = fresh_child(*parent, name, &negative); fresh || negative) {
    if (fresh) add_name(fresh, parent, name);
    co_return fresh;
  }
  metrics_.lookup_misses.add();
  uint64_t asked_at = 0;
  std::optional<NodeId> known;
  Result<Attributes> attributes = fail(Code::kStale);
  // An answer from before a change of the name made here would undo what is known of it since.
  for (int attempt = 0; attempt < kOvertakenMax; ++attempt) {
    known = known_child(*parent, name);
    asked_at = changes().tick();
    const source::Wait wait =
        known && load(*known) ? source::Wait::kPatiently : source::Wait::kForAnswer;
    io::Task<Result<source::Place>> placing = place_in(parent, name);
    Result<source::Place> place = co_await std::move(placing);
    if (place) {
      source::Outcome<Attributes> asking = source_.attributes(std::move(*place), wait);
      attributes = co_await std::move(asking);
    } else {
      attributes = fail(place.error());
    }
    if (known_child(*parent, name) == known) break;
  }
  if (attributes) co_return adopt(parent, name, *attributes, asked_at);
  if (attributes.error().is(Code::kNotFound)) {
    bool overtaken = false;
    {
      MutexLock lock(parent->mutex_);
      overtaken = asked_at < parent->directory_changed_at_;
    }
    if (!overtaken) {
      drop_name(parent, name);
      remember_child(*parent, name, NodeId{}, coherence_.negative_ttl, asked_at);
    }
    co_return NodePtr();
  }
  if (is_outage(attributes.error())) co_return resolve_offline(parent, name, attributes.error());
  co_return fail(attributes.error());
}

Result<CachedFileSystem::NodePtr> CachedFileSystem::resolve_offline(const NodePtr& parent,
                                                                    const std::string& name,
                                                                    Error error) {
  const std::optional<NodeId> id = known_child(*parent, name);
  NodePtr node = id ? load(*id) : nullptr;
  // Never "no such file" for what may exist: only the source can say that.
  if (!node) return fail(std::move(error));
  add_name(node, parent, name);
  metrics_.served_offline.add();
  return node;
}

FileIs CachedFileSystem::compare_locked(const Node& node, const Attributes& now,
                                        bool is_other_version) const {
  const source::InodeNumbers numbers = source_.inode_numbers();
  const Attributes& before = node.attributes_;
  // A number from an earlier run may be another file's since.
  const bool is_known = node.seen_in_this_run_ || numbers == source::InodeNumbers::kStable;
  return compare_files(numbers, is_known ? before.inode : 0, now.inode, is_other_version);
}

bool CachedFileSystem::same_file(Node& node, const Attributes& attributes) const {
  MutexLock lock(node.mutex_);
  if (node.attributes_.mode == 0) return true;  // never seen
  if ((node.attributes_.mode & S_IFMT) != (attributes.mode & S_IFMT)) return false;
  return compare_locked(node, attributes, false) != FileIs::kAnother;
}

// Which node the file with these attributes is, that was seen under this name.
CachedFileSystem::NodePtr CachedFileSystem::identify(const NodePtr& parent, const std::string& name,
                                                     const Attributes& attributes) {
  std::optional<NodeId> numbered;
  if (const auto id = known_child(*parent, name)) {
    NodePtr node = load(*id);
    if (node && same_file(*node, attributes)) return node;
    if (node)
      drop_name(parent, name);  // another file has taken the name
    else
      numbered = *id;  // by a listing, which has shown it; not looked at until now
  }
  const bool several_names =
      S_ISREG(attributes.mode) && attributes.nlink > 1 && attributes.inode != 0;
  if (several_names) {
    const auto id = env_.catalog.by_inode(attributes.inode);
    if (id && *id) {
      NodePtr node = load(**id);
      // Where inode numbers may be given to other files, everything else has to agree.
      bool agrees = node != nullptr && same_file(*node, attributes);
      if (agrees) {
        MutexLock lock(node->mutex_);
        agrees = !node->deleted_;  // open still, while its inode's number is used again
      }
      if (agrees && !source_.inodes_are_stable()) {
        MutexLock lock(node->mutex_);
        agrees = node->attributes_.inode == attributes.inode &&
                 source_.validator(node->attributes_) == source_.validator(attributes);
      }
      if (agrees) return node;
    }
  }
  const Result<NodeId> id = numbered ? *numbered : env_.catalog.allocate_node();
  if (!id) return nullptr;
  return table_.find_or_make(*id, [&] { return std::make_shared<Node>(*this, *id); });
}

CachedFileSystem::NodePtr CachedFileSystem::adopt(const NodePtr& parent, const std::string& name,
                                                  const Attributes& attributes, uint64_t asked_at) {
  NodePtr node = identify(parent, name, attributes);
  if (!node) return nullptr;
  bool is_new = false;
  {
    MutexLock lock(node->mutex_);
    is_new = node->attributes_.mode == 0;
    if (is_new) {
      node->attributes_ = attributes;  // the type must be known from the start
      node->seen_in_this_run_ = true;
    }
  }
  add_name(node, parent, name);
  // On a source whose numbers are not stable the node may be another directory from now on.
  if (const auto open = directories_.find(node->id());
      open && open->number() != 0 && open->number() != attributes.inode)
    directories_.remove(node->id());
  apply(*node, attributes, asked_at);
  remember_child(*parent, name, node->id(), coherence_.attributes_ttl, asked_at);
  catalog::Batch batch;
  const auto stored = env_.catalog.name(parent->id(), name);
  if (!stored || !*stored || (*stored)->node != node->id())
    record_name(batch, *parent, name, *node);
  if (S_ISREG(attributes.mode) && attributes.nlink > 1 && attributes.inode != 0)
    batch.put_inode(attributes.inode, node->id());
  if (!env_.catalog.apply(batch)) env_.metrics.store_errors.add();
  return node;
}

io::Task<Result<std::string>> CachedFileSystem::read_link(KernelId id) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  {
    // A symlink's text never changes; another one under its name is another file.
    MutexLock lock(node->mutex_);
    if (!node->symlink_target_.empty() && source_.inodes_are_stable() &&
        node->attributes_.inode != 0)
      co_return node->symlink_target_;
  }
  io::Task<Result<std::string>> reading = ask_at<std::string>(
      node, [this](source::Place place) { return source_.read_link(std::move(place)); });
  const Result<std::string> target = co_await std::move(reading);
  MutexLock lock(node->mutex_);
  if (target) {
    node->symlink_target_ = *target;
  } else if (is_outage(target.error()) && !node->symlink_target_.empty()) {
    metrics_.served_offline.add();
    co_return node->symlink_target_;
  }
  co_return target;
}

}  // namespace larder::fs
