#include "catalog/catalog.h"

#include <algorithm>

#include "base/check.h"

namespace larder::catalog {
namespace {

// Ids reserved with one sync.  Large, so that a sync is rare; ids are 64-bit, so waste is no
// concern (56 bits of node id remain beside the kernel's epoch: 2^36 reservations).
constexpr uint64_t kReservation = 1 << 20;
// Entries of one listing part: about 64 KiB with common names.
constexpr size_t kListingPartEntries = 1500;

template <class T, class DecodeFunction>
Result<std::optional<T>> get_as(journal::Store& store, const std::string& key,
                                DecodeFunction decode) {
  TRY_ASSIGN(const std::optional<std::string> value, store.get(key));
  if (!value) return std::optional<T>();
  return decode(*value);
}

}  // namespace

void Batch::put(NodeId node, const NodeRecord& record) {
  changes_.push_back({node_key(node), encode(record)});
}
void Batch::remove(NodeId node) {
  changes_.push_back({node_key(node), std::nullopt});
}
void Batch::put(NodeId parent, std::string_view name, const NameRecord& record) {
  changes_.push_back({name_key(parent, name), encode(record)});
}
void Batch::remove(NodeId parent, std::string_view name) {
  changes_.push_back({name_key(parent, name), std::nullopt});
}
void Batch::put(ObjectId object, uint64_t chunk, const ChunkRecord& record) {
  changes_.push_back({chunk_key(object, chunk), encode(record)});
}
void Batch::remove(ObjectId object, uint64_t chunk) {
  changes_.push_back({chunk_key(object, chunk), std::nullopt});
}
uint32_t Batch::put_listing(NodeId directory, const std::vector<ListingEntry>& entries) {
  uint32_t parts = 0;
  size_t first = 0;
  do {
    const size_t last = std::min(entries.size(), first + kListingPartEntries);
    const std::vector<ListingEntry> part(entries.begin() + static_cast<ptrdiff_t>(first),
                                         entries.begin() + static_cast<ptrdiff_t>(last));
    changes_.push_back({listing_key(directory, parts++), encode(part)});
    first = last;
  } while (first < entries.size());
  return parts;
}
void Batch::remove_listing_part(NodeId directory, uint32_t part) {
  changes_.push_back({listing_key(directory, part), std::nullopt});
}
std::vector<Batch> Batch::split() const {
  std::vector<Batch> batches(changes_.size());
  for (size_t i = 0; i < changes_.size(); ++i) batches[i].changes_.push_back(changes_[i]);
  return batches;
}
void Batch::put_inode(uint64_t source_inode, NodeId node) {
  changes_.push_back({inode_key(source_inode), encode_number(node.value)});
}
void Batch::remove_inode(uint64_t source_inode) {
  changes_.push_back({inode_key(source_inode), std::nullopt});
}

void Batch::put_number(std::string_view name, uint64_t number) {
  changes_.push_back({meta_key(name), encode_number(number)});
}

Result<std::unique_ptr<Catalog>> Catalog::open(journal::Store& store, ObjectId last_object) {
  std::unique_ptr<Catalog> catalog(new Catalog(store));
  {
    MutexLock lock(catalog->mutex_);
    // What was reserved before may have been handed out: start behind it.
    TRY_ASSIGN(const auto nodes, get_as<uint64_t>(store, meta_key(kNodeLimit), decode_number));
    catalog->nodes_.next = catalog->nodes_.limit = nodes.value_or(kRootNode.value + 1);
    TRY_ASSIGN(const auto objects, get_as<uint64_t>(store, meta_key(kObjectLimit), decode_number));
    catalog->objects_.next = catalog->objects_.limit = objects.value_or(last_object.value + 1);
    catalog->first_object_ = ObjectId{catalog->objects_.next};
    TRY(catalog->reserve(kNodeLimit, catalog->nodes_));
    TRY(catalog->reserve(kObjectLimit, catalog->objects_));
  }
  TRY(store.commit());
  return catalog;
}

Result<void> Catalog::reserve(std::string_view counter, Range& range) {
  const uint64_t limit = range.limit + kReservation;
  const journal::Change change{meta_key(counter), encode_number(limit)};
  TRY(store_.apply({&change, 1}));
  range.limit = limit;
  return {};
}

Result<uint64_t> Catalog::allocate(std::string_view counter, Range& range) {
  if (range.next == range.limit) {
    TRY(reserve(counter, range));
    // Rare (once in a million ids); the ids of the new range must not be seen before it is durable.
    TRY(store_.commit());
  }
  return range.next++;
}

Result<NodeId> Catalog::allocate_node() {
  MutexLock lock(mutex_);
  TRY_ASSIGN(const uint64_t id, allocate(kNodeLimit, nodes_));
  return NodeId{id};
}

Result<ObjectId> Catalog::allocate_object() {
  MutexLock lock(mutex_);
  TRY_ASSIGN(const uint64_t id, allocate(kObjectLimit, objects_));
  return ObjectId{id};
}

Result<std::optional<NodeRecord>> Catalog::node(NodeId node) {
  return get_as<NodeRecord>(store_, node_key(node), decode_node);
}
Result<std::optional<NameRecord>> Catalog::name(NodeId parent, std::string_view name) {
  return get_as<NameRecord>(store_, name_key(parent, name), decode_name);
}
Result<std::optional<ChunkRecord>> Catalog::chunk(const NodeRecord& node, uint64_t chunk) {
  if (chunk == 0 && node.first_chunk) return node.first_chunk;
  return get_as<ChunkRecord>(store_, chunk_key(node.object, chunk), decode_chunk);
}
Result<std::optional<NodeId>> Catalog::by_inode(uint64_t source_inode) {
  TRY_ASSIGN(const auto number, get_as<uint64_t>(store_, inode_key(source_inode), decode_number));
  if (!number) return std::optional<NodeId>();
  return NodeId{*number};
}
Result<std::optional<uint64_t>> Catalog::number(std::string_view name) {
  return get_as<uint64_t>(store_, meta_key(name), decode_number);
}

Result<std::optional<std::vector<ListingEntry>>> Catalog::listing(NodeId directory,
                                                                  uint32_t parts) {
  std::vector<ListingEntry> all;
  for (uint32_t part = 0; part < parts; ++part) {
    TRY_ASSIGN(auto entries, get_as<std::vector<ListingEntry>>(store_, listing_key(directory, part),
                                                               decode_listing));
    if (!entries) return std::optional<std::vector<ListingEntry>>();
    std::move(entries->begin(), entries->end(), std::back_inserter(all));
  }
  return all;
}

Result<void> Catalog::apply(const Batch& batch) {
  if (batch.empty()) return {};
  TRY(store_.apply(batch.changes_));
  return {};
}

Result<void> Catalog::for_each_node(const std::function<bool(NodeId, const NodeRecord&)>& visit) {
  return store_.scan([&](std::string_view key, std::string_view value) {
    const auto parsed = parse_key(key);
    if (!parsed || parsed->kind != RecordKind::kNode) return true;
    const auto record = decode_node(value);
    return !record || visit(NodeId{parsed->id}, *record);
  });
}

Result<std::optional<journal::Address>> Catalog::visit_records(journal::Address from,
                                                               size_t records_max,
                                                               const RecordVisitor& visitor) {
  return store_.scan_stretch(from, records_max, [&](std::string_view key, std::string_view value) {
    const auto parsed = parse_key(key);
    if (!parsed) return;
    if (parsed->kind == RecordKind::kNode && visitor.node) {
      if (const auto record = decode_node(value)) visitor.node(NodeId{parsed->id}, *record);
    } else if (parsed->kind == RecordKind::kName && visitor.name) {
      if (const auto record = decode_name(value))
        visitor.name(NodeId{parsed->id}, parsed->name, *record);
    } else if (parsed->kind == RecordKind::kInode && visitor.inode) {
      if (const auto node = decode_number(value)) visitor.inode(parsed->id, NodeId{*node});
    }
  });
}

}  // namespace larder::catalog
