// CachedFileSystem: names.  A name is asked of the source unless it was within its time to live;
// while the source is down, what the catalog knows is used.

#include <fcntl.h>

#include <algorithm>

#include "base/log.h"
#include "fs/cached_file_system.h"

namespace larder::fs {
namespace {

// A name that changes as fast as it is asked for is taken as the last answer has it.
constexpr int kOvertakenMax = 8;
// Likewise a link that is replaced as fast as it is read.
constexpr int kLinkReadsMax = 3;

}  // namespace

std::optional<Result<NodeReply>> CachedFileSystem::lookup_hit(KernelId parent_id,
                                                              std::string_view name, pid_t asker) {
  const NodePtr parent = table_.find(NodeId{parent_id.node()});
  if (!parent) return std::nullopt;
  bool negative = false;
  const NodePtr child = fresh_child(*parent, name, &negative);
  if (negative) {
    metrics_.lookup_hits.add();
    return NodeReply{{}, {}, Nanos(0), Nanos(0)};
  }
  if (!child) return std::nullopt;
  if (!sent_back_.empty() && sent_back_.awaits(asker, now())) return std::nullopt;
  metrics_.lookup_hits.add();
  add_name(child, parent, name);  // from the catalog it comes without
  return reply_to_lookup(child);
}

CachedFileSystem::NodePtr CachedFileSystem::fresh_child(Node& parent, std::string_view name,
                                                        bool* negative) {
  NodeId id;
  {
    MutexLock lock(parent.mutex_);
    const auto& known = parent.children().by_name;
    const auto it = known.find(name);
    if (it != known.end()) {
      if (now() >= it->second.valid_until) return nullptr;
      if (!it->second.child) {
        *negative = true;
        return nullptr;
      }
      id = it->second.child;
    }
  }
  const bool remembered = !id;
  if (remembered) {
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
  // What was confirmed may have been another name of the file.
  if (remembered && !node->was_confirmed_as(parent.id(), name)) return nullptr;
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
  const auto& known = parent.children().by_name;
  const auto it = known.find(name);
  if (it == known.end() || it->second.child) return Nanos(0);
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
    reply = describe_locked(*node, epoch);
  }
  // From now on neither kernel inode's attributes are cached: they do not hear of each other.
  invalidate_attributes(*node, others);
  return reply;
}

io::Task<Result<NodeReply>> CachedFileSystem::lookup(KernelId parent_id, std::string name,
                                                     pid_t asker) {
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
  CO_TRY_ASSIGN(NodePtr child, co_await std::move(resolving));
  if (child && sent_back_.awaits(asker, now())) {
    io::Task<NodePtr> opening = open_for_returned(parent, name, std::move(child), asker);
    child = co_await std::move(opening);
  }
  if (!child) co_return NodeReply{{}, {}, Nanos(0), absence_left(*parent, name)};
  co_return reply_to_lookup(child);
}

// What an opener who was sent back finds by the name; open, so that it is this one that is opened
// next, whatever the name leads to by then.  An error the opener meets again.
io::Task<CachedFileSystem::NodePtr> CachedFileSystem::open_for_returned(NodePtr parent,
                                                                        std::string name,
                                                                        NodePtr found,
                                                                        pid_t opener) {
  if (!found->is_regular()) co_return found;
  std::shared_ptr<source::SourceFile> file;
  io::Task<Result<source::Place>> placing = place_in(parent, name);
  if (Result<source::Place> place = co_await std::move(placing)) {
    const uint64_t asked_at = changes().tick();
    source::Outcome<source::Opened> asking = source_.open_file(std::move(*place), O_RDONLY);
    if (Result<source::Opened> opened = co_await std::move(asking)) {
      if (NodePtr node = adopt(parent, name, opened->attributes, asked_at)) {
        found = std::move(node);
        file = std::move(opened->file);
      }
    }
  }
  sent_back_.provide(opener, found, file);
  co_return found;
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
        if (!node->recorded_name_) return;
        recorded_parent = node->recorded_name_->parent;
        name = node->recorded_name_->name;
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
  io::AsyncSharedMutex::Guard unmoved;
  // An answer from before a change of the name made here would undo what is known of it since.
  for (int attempt = 0; attempt < kOvertakenMax; ++attempt) {
    known = known_child(*parent, name);
    const source::Wait wait =
        known && load(*known) ? source::Wait::kPatiently : source::Wait::kForAnswer;
    io::Task<Result<source::Place>> placing = place_in(parent, name);
    Result<source::Place> place = co_await std::move(placing);
    // That the directory is not found says nothing about the name in it.
    if (!place && !is_outage(place.error())) co_return fail(place.error());
    if (!place) {
      attributes = fail(place.error());
      break;
    }
    // At last so that no directory is renamed meanwhile.
    if (attempt == kOvertakenMax - 1) unmoved = co_await moving_.lock_shared();
    asked_at = changes().tick();
    source::Outcome<Attributes> asking = source_.attributes(std::move(*place), wait);
    attributes = co_await std::move(asking);
    bool overtaken = known_child(*parent, name) != known;
    if (!unmoved) {
      for (const auto& renamed : renames_under_way(parent.get())) {
        overtaken = true;
        co_await *renamed;
      }
    }
    MutexLock lock(parent->mutex_);
    if (!overtaken && asked_at >= parent->children().renamed_in_at) break;
  }
  if (attributes) co_return adopt(parent, name, *attributes, asked_at);
  if (attributes.error().is(Code::kNotFound)) {
    bool overtaken = false;
    {
      MutexLock lock(parent->mutex_);
      overtaken = asked_at < parent->children().changed_at;
    }
    if (!overtaken) {
      if (known) forget_listing(*parent);
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
  NodePtr node = load_child(*parent, name);
  // Never "no such file" for what may exist: only the source can say that.
  if (!node) return fail(std::move(error));
  add_name(node, parent, name);
  metrics_.served_offline.add();
  return node;
}

FileIs CachedFileSystem::compare_locked(const Node& node, const Attributes& now,
                                        bool is_other_version) const {
  return compare_files(source_.inode_numbers(), number_locked(node), now.inode, is_other_version);
}

bool CachedFileSystem::same_file(Node& node, const Attributes& attributes) const {
  MutexLock lock(node.mutex_);
  if (node.attributes_.mode == 0) return true;  // never seen
  if ((node.attributes_.mode & S_IFMT) != (attributes.mode & S_IFMT)) return false;
  // The kernel takes a device's number once for each of its inodes.
  const bool is_device = S_ISCHR(attributes.mode) || S_ISBLK(attributes.mode);
  if (is_device && node.attributes_.rdev != attributes.rdev) return false;
  return compare_locked(node, attributes, false) != FileIs::kAnother;
}

// Whether the node's file is still what its name leads to.  Where inode numbers may be given to
// other files, one of several names may have been given to another file alone.
bool CachedFileSystem::is_again(Node& node, const Name& name, const Attributes& attributes) {
  if (!same_file(node, attributes)) return false;
  // A directory keeps its number while it is open, also where numbers say nothing of what is not.
  if (const auto open = S_ISDIR(attributes.mode) ? directories_.find(node.id()) : nullptr;
      open && open->number() != 0 && open->number() != attributes.inode)
    return false;
  {
    MutexLock lock(node.mutex_);
    if (node.deleted_) return false;  // open still, while its inode's number is used again
  }
  if (source_.inodes_are_stable() || !S_ISREG(attributes.mode)) return true;
  bool has_others = false;
  {
    ReaderLock lock(tree_mutex_);
    has_others = std::ranges::any_of(node.names_, [&](const Name& known) {
      return known.parent != name.parent || known.name != name.name;
    });
  }
  MutexLock lock(node.mutex_);
  return !has_others || node.attributes_.inode == attributes.inode;
}

// Which node the file with these attributes is, that was seen under this name.
CachedFileSystem::NodePtr CachedFileSystem::identify(const NodePtr& parent, const std::string& name,
                                                     const Attributes& attributes) {
  if (NodePtr moved = find_moved(attributes)) return moved;
  if (NodePtr renamed = find_renamed(attributes)) {
    const auto id = known_child(*parent, name);
    if (id && *id != renamed->id()) drop_name(parent, name);
    return renamed;
  }
  std::optional<NodeId> numbered;
  if (const auto id = known_child(*parent, name)) {
    NodePtr node = load(*id);
    if (node && is_again(*node, {parent, name}, attributes)) return node;
    if (node)
      drop_name(parent, name);  // another file has taken the name
    else
      numbered = *id;  // by a listing, which has shown it; not looked at until now
  }
  // It may be known by another name: a file has several, a directory may have been moved.
  const bool several_names = is_found_by_number(attributes);
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
        agrees = S_ISDIR(attributes.mode)
                     ? number_locked(*node) == attributes.inode
                     : node->attributes_.inode == attributes.inode &&
                           source_.validator(node->attributes_) == source_.validator(attributes);
      }
      if (agrees && node->is_directory()) {
        // The number may be another's since: what is known of its names has to be asked for.
        MutexLock lock(node->mutex_);
        for (auto& child : node->children().by_name) child.second.valid_until = Nanos(0);
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
  const bool was_known = known_child(*parent, name).has_value();
  NodePtr node = identify(parent, name, attributes);
  if (!node) return nullptr;
  if (!was_known) forget_listing(*parent);
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
  apply(*node, attributes, asked_at);
  remember_child(*parent, name, node->id(), coherence_.attributes_ttl, asked_at);
  catalog::Batch batch;
  const auto stored = env_.catalog.name(parent->id(), name);
  if (!stored || !*stored || (*stored)->node != node->id())
    record_name(batch, *parent, name, *node);
  if (is_found_by_number(attributes) && (is_new || !S_ISDIR(attributes.mode)))
    batch.put_inode(attributes.inode, node->id());
  if (!env_.catalog.apply(batch)) env_.metrics.store_errors.add();
  return node;
}

bool CachedFileSystem::is_found_by_number(const Attributes& attributes) const {
  if (attributes.inode == 0) return false;
  return S_ISDIR(attributes.mode) ? source_.inode_numbers() != source::InodeNumbers::kUnreliable
                                  : S_ISREG(attributes.mode) && attributes.nlink > 1;
}

// The directory that is open at the source is the one with the same number, wherever it is seen.
CachedFileSystem::NodePtr CachedFileSystem::find_moved(const Attributes& attributes) {
  const bool tells = source_.inode_numbers() != source::InodeNumbers::kUnreliable;
  if (!S_ISDIR(attributes.mode) || attributes.inode == 0 || !tells) return nullptr;
  const auto id = directories_.node_of(attributes.inode);
  NodePtr node = id ? load(*id) : nullptr;
  if (!node) return nullptr;
  MutexLock lock(node->mutex_);
  return node->deleted_ || !S_ISDIR(node->attributes_.mode) ? nullptr : node;
}

// Likewise a file that larder has open: no other gets its number as long as that lasts.
CachedFileSystem::NodePtr CachedFileSystem::find_renamed(const Attributes& attributes) {
  if (!S_ISREG(attributes.mode) || attributes.inode == 0) return nullptr;
  const auto id = open_numbers_.node_of(attributes.inode);
  NodePtr node = id ? load(*id) : nullptr;
  if (!node || !held_source(*node)) return nullptr;
  MutexLock lock(node->mutex_);
  const bool is_it = number_locked(*node) == attributes.inode;
  return is_it && !node->deleted_ && node->handles_ > 0 ? node : nullptr;
}

io::Task<Result<std::string>> CachedFileSystem::read_link(KernelId id) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  for (int attempt = 0;; ++attempt) {
    bool is_out = false;
    if (!is_fresh(*node)) {
      io::Task<Result<void>> refreshing = refresh(node);
      const Result<void> refreshed = co_await std::move(refreshing);
      if (!refreshed && !is_outage(refreshed.error())) co_return fail(refreshed.error());
      is_out = !refreshed;
    }
    Validator version;
    {
      MutexLock lock(node->mutex_);
      version = source_.validator(node->attributes_);
      const std::string& text =
          is_out ? node->link_text().last_known() : node->link_text().of(version);
      if (is_out && !text.empty()) metrics_.served_offline.add();
      if (!text.empty()) co_return text;
    }
    io::Task<Result<std::string>> reading = ask_at<std::string>(
        node, [this](source::Place place) { return source_.read_link(std::move(place)); });
    const Result<std::string> read = co_await std::move(reading);
    if (!read) co_return fail(disproved(Asked::kUse, read.error(), {first_name(*node)}));
    // A source whose links' sizes are made up says the same again.
    const bool is_last = attempt == kLinkReadsMax;
    if (!keep_link_text(*node, *read, version, is_last)) continue;
    if (!node->persist({})) env_.metrics.store_errors.add();
    co_return *read;
  }
}

// Text that was read when the link was of that version.  False when it was replaced meanwhile, with
// other attributes, which are asked for again then.
bool CachedFileSystem::keep_link_text(Node& node, const std::string& text, const Validator& version,
                                      bool is_last) {
  MutexLock lock(node.mutex_);
  const bool is_that_version =
      source_.validator(node.attributes_) == version && text.size() == node.attributes_.size_bytes;
  if (!is_that_version && !is_last) {
    node.valid_until_ = Nanos(0);
    return false;
  }
  node.link_text().keep(text, version, is_that_version && !is_doubtful(node.attributes_));
  return true;
}

}  // namespace larder::fs
