// Memory: 8 bytes for each node, some more for each directory and for each file with data.
#include "app/inspect/check_catalog.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "app/inspect/node_paths.h"

namespace larder::app {
namespace {

using catalog::NodeRecord;
using catalog::RecordKey;
using catalog::RecordKind;
using format::RecordView;

class CatalogCheck {
 public:
  CatalogCheck(Examination& examination, journal::Reader& reader, Objects& objects)
      : examination_(examination), reader_(reader), objects_(objects) {}

  void run() {
    nodes_.limit = counter(catalog::kNodeLimit);
    objects_.limit = objects_limit_.limit = counter(catalog::kObjectLimit);
    reader_.scan([&](const RecordView& record) { return look_at(record, &CatalogCheck::gather); },
                 [&](uint64_t address, const Error& error) { add_unread(address, error); });
    std::ranges::sort(node_ids_);
    check_parents();
    check_key_count();
    reader_.scan([&](const RecordView& record) { return look_at(record, &CatalogCheck::relate); },
                 [](uint64_t, const Error&) {});
    check_counter(catalog::kNodeLimit, nodes_);
    check_counter(catalog::kObjectLimit, objects_limit_);
  }

 private:
  // Ids of one kind: those from `limit` on were never given out.
  struct Ids {
    std::optional<uint64_t> limit{};
    uint64_t highest = 0;
  };
  using Look = void (CatalogCheck::*)(const RecordView&, const RecordKey&);

  // --- both readings

  bool look_at(const RecordView& record, Look look) {
    if (look == &CatalogCheck::gather) ++examination_.counts.keys;
    if (const auto key = catalog::parse_key(record.key))
      (this->*look)(record, *key);
    else if (look == &CatalogCheck::gather)
      add_undecoded(record, "a key of no known kind");
    return true;
  }

  std::optional<uint64_t> counter(std::string_view name) {
    const auto value = reader_.get(catalog::meta_key(name));
    if (!value || !*value) return std::nullopt;
    return catalog::decode_number(**value);
  }

  // False, with a finding, for an id that was never given out; the record goes.
  bool check_id(Ids& ids, uint64_t id, const RecordView& record, std::string_view where,
                std::string_view what) {
    if (id != 0 && (!ids.limit || id < *ids.limit)) {
      ids.highest = std::max(ids.highest, id);
      return true;
    }
    examination_.report.add(Kind::kId, where, fmt::format("{} {}", what, id));
    remove(record);
    return false;
  }

  void remove(const RecordView& record) {
    examination_.plan.changes.push_back({std::string(record.key), std::nullopt});
  }
  void add_undecoded(const RecordView& record, std::string_view what) {
    examination_.report.add(Kind::kRecord, reader_.segments().place_of(record.address), what);
    remove(record);
  }
  void add_leftover(const RecordView& record, std::string_view where, std::string_view what) {
    examination_.report.add(Kind::kLeftover, where, what);
    remove(record);
  }
  bool has_node(uint64_t id) const { return std::ranges::binary_search(node_ids_, id); }
  // Or goes, for it is in one that is gone.
  bool is_gone(uint64_t id) const { return !has_node(id) || lost_.contains(NodeId{id}); }

  // --- the first reading: nodes, and whether all decodes

  void gather(const RecordView& record, const RecordKey& key) {
    Counts& counts = examination_.counts;
    switch (key.kind) {
      case RecordKind::kNode:
        ++counts.nodes;
        if (const auto node = catalog::decode_node(record.value))
          return gather_node(record, NodeId{key.id}, *node);
        return add_undecoded(record, fmt::format("the record of node {} does not decode", key.id));
      case RecordKind::kName:
        ++counts.names;
        if (!catalog::decode_name(record.value))
          add_undecoded(record,
                        fmt::format("the name '{}' in node {} does not decode", key.name, key.id));
        return;
      case RecordKind::kChunk:
        if (!catalog::decode_chunk(record.value))
          add_undecoded(record,
                        fmt::format("chunk {} of object {:x} does not decode", key.part, key.id));
        return;
      case RecordKind::kListing:
        ++counts.listing_parts;
        if (!catalog::decode_listing(record.value))
          add_undecoded(record, fmt::format("part {} of the listing of node {} does not decode",
                                            key.part, key.id));
        return;
      case RecordKind::kInode:
      case RecordKind::kMeta:
        if (!catalog::decode_number(record.value))
          add_undecoded(
              record, fmt::format("a number ('{}') does not decode", static_cast<char>(key.kind)));
        return;
    }
  }

  void gather_node(const RecordView& record, NodeId id, const NodeRecord& node) {
    if (!check_id(nodes_, id.value, record, fmt::format("the record of node {}", id.value), "node"))
      return;
    node_ids_.push_back(id.value);
    if (S_ISDIR(node.attributes.mode)) directories_[id] = node.parent;
    if (node.listing_parts != 0) check_listing(id, node);
    if (!node.object) return;
    if (objects_limit_.limit && node.object.value >= *objects_limit_.limit) {
      examination_.report.add(Kind::kId, describe_node(reader_, id),
                              fmt::format("object {:x}", node.object.value));
      return drop_object(id, node);
    }
    objects_limit_.highest = std::max(objects_limit_.highest, node.object.value);
    add_object(id, node);
  }

  void drop_object(NodeId id, NodeRecord node) {
    NodeRecord& wanted = examination_.plan.nodes.try_emplace(id, std::move(node)).first->second;
    forget_object(wanted);
  }

  void add_object(NodeId id, const NodeRecord& node) {
    const ObjectFacts facts{
        .node = id,
        .size_bytes = node.version.size_bytes,
        .block_shift = node.block_shift,
        .has_first_chunk = node.first_chunk.has_value(),
        .is_believed = node.data_stable && node.block_shift != 0 && S_ISREG(node.attributes.mode)};
    const auto [it, is_new] = objects_.facts.try_emplace(node.object, facts);
    if (is_new) return;
    examination_.report.add(
        Kind::kObjectShared, fmt::format("object {:x}", node.object.value),
        fmt::format("{} and {} have it", describe_node(reader_, it->second.node),
                    describe_node(reader_, id)));
    objects_.dropped.insert(node.object);
    drop_object(id, node);
  }

  // All parts are there and decode.
  void check_listing(NodeId id, const NodeRecord& node) {
    for (uint32_t part = 0; part < node.listing_parts; ++part) {
      const auto value = reader_.get(catalog::listing_key(id, part));
      if (value && *value && catalog::decode_listing(**value)) continue;
      examination_.report.add(
          Kind::kListing, describe_node(reader_, id),
          fmt::format("part {} of {} of its listing is missing", part, node.listing_parts));
      auto& wanted = examination_.plan.nodes.try_emplace(id, node).first->second;
      wanted.listing_parts = 0;
      return;
    }
  }

  void add_unread(uint64_t address, const Error& error) {
    ++unread_;
    examination_.report.add(Kind::kIndex, reader_.segments().place_of(address), error.message());
    examination_.plan.rewrite_journal = true;
  }

  void check_key_count() {
    const auto counted = reader_.key_count();
    if (unread_ != 0 || !counted || *counted == examination_.counts.keys) return;
    examination_.report.add(
        Kind::kKeyCount, examination_.journal,
        fmt::format("it counts {} keys, {} are there", *counted, examination_.counts.keys));
    examination_.plan.rewrite_journal = true;
  }

  // --- between the readings

  // Directories lead to the root, or to one whose parent is not known.  Those that do not are gone,
  // with all in them.  A circle is broken up; what hung on it is found in what is left.
  void check_parents() {
    std::unordered_map<NodeId, bool> leads;  // to the root; false while its parents are looked at
    std::vector<NodeId> way;
    for (const auto& [directory, parent] : directories_) {
      way.clear();
      NodeId at = directory;
      while (directories_.contains(at) && at != kRootNode && leads.try_emplace(at, false).second) {
        way.push_back(at);
        at = directories_[at];
      }
      const bool is_circle = std::ranges::find(way, at) != way.end();
      if (is_circle) add_circle(at);
      const auto known = leads.find(at);
      const bool is_right =
          is_circle || (known != leads.end() ? known->second : at == kRootNode || !at);
      for (const NodeId passed : way) {
        leads[passed] = is_right;
        if (!is_right) lost_.insert(passed);
      }
    }
  }
  void add_circle(NodeId at) {
    examination_.report.add(Kind::kParent, fmt::format("node {}", at.value),
                            "its parents lead back to it");
    examination_.plan.changes.push_back({catalog::node_key(at), std::nullopt});
  }

  // --- the second reading: what refers to nodes and objects

  void relate(const RecordView& record, const RecordKey& key) {
    switch (key.kind) {
      case RecordKind::kNode:
        if (const auto node = catalog::decode_node(record.value))
          relate_node(record, NodeId{key.id}, *node);
        return;
      case RecordKind::kName:
        if (const auto name = catalog::decode_name(record.value)) relate_name(record, key, *name);
        return;
      case RecordKind::kChunk:
        return relate_chunk(record, key);
      case RecordKind::kListing:
        if (const auto part = catalog::decode_listing(record.value))
          relate_listing(record, key, *part);
        return;
      case RecordKind::kInode:
        if (const auto node = catalog::decode_number(record.value))
          check_id(nodes_, *node, record, fmt::format("the source's inode {}", key.id),
                   "leads to node");
        return;
      case RecordKind::kMeta:
        return;
    }
  }

  void relate_node(const RecordView& record, NodeId id, const NodeRecord& node) {
    if (!node.parent || !has_node(id.value)) return;
    if (is_gone(node.parent.value))
      return add_leftover(record, fmt::format("node {} ('{}')", id.value, node.name),
                          fmt::format("its directory, node {}, is gone", node.parent.value));
    if (directories_.contains(node.parent)) return;
    examination_.report.add(Kind::kParent, fmt::format("node {} ('{}')", id.value, node.name),
                            fmt::format("its parent, node {}, is no directory", node.parent.value));
    remove(record);
  }

  void relate_name(const RecordView& record, const RecordKey& key,
                   const catalog::NameRecord& name) {
    const std::string where = fmt::format("the name '{}' in node {}", key.name, key.id);
    if (!check_id(nodes_, key.id, record, where, "is in node")) return;
    if (!check_id(nodes_, name.node.value, record, where, "leads to node")) return;
    if (is_gone(key.id)) add_leftover(record, where, "its directory is gone");
  }

  void relate_chunk(const RecordView& record, const RecordKey& key) {
    const std::string where = fmt::format("chunk {} of object {:x}", key.part, key.id);
    if (!check_id(objects_limit_, key.id, record, where, "is of object")) return;
    const auto it = objects_.facts.find(ObjectId{key.id});
    if (it == objects_.facts.end()) return add_leftover(record, where, "no node has the object");
    if (key.part == 0 && it->second.has_first_chunk)
      add_leftover(record, where, "the node's record says it");
  }

  void relate_listing(const RecordView& record, const RecordKey& key,
                      const std::vector<catalog::ListingEntry>& part) {
    const std::string where = fmt::format("part {} of the listing of node {}", key.part, key.id);
    if (!check_id(nodes_, key.id, record, where, "is of node")) return;
    if (is_gone(key.id)) return add_leftover(record, where, "its directory is gone");
    for (const catalog::ListingEntry& entry : part)
      if (entry.node && !check_id(nodes_, entry.node.value, record, where, "names node")) return;
  }

  // --- at the end

  void check_counter(std::string_view name, const Ids& ids) {
    if (ids.limit || examination_.counts.keys == 0) return;
    examination_.report.add(Kind::kCounter, fmt::format("the counter {}", name), "is missing");
    examination_.plan.changes.push_back(
        {catalog::meta_key(name), catalog::encode_number(ids.highest + 1)});
  }

  Examination& examination_;
  journal::Reader& reader_;
  Objects& objects_;
  Ids nodes_;
  Ids objects_limit_;
  uint64_t unread_ = 0;
  std::vector<uint64_t> node_ids_;                  // sorted after the first reading
  std::unordered_map<NodeId, NodeId> directories_;  // and their parents
  std::unordered_set<NodeId> lost_;                 // those that lead nowhere
};

}  // namespace

void check_catalog(Examination& examination, journal::Reader& reader, Objects& objects) {
  CatalogCheck(examination, reader, objects).run();
}

}  // namespace larder::app
