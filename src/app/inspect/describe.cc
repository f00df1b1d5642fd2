#include "app/inspect/describe.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <map>

#include "app/inspect/node_paths.h"
#include "base/clock.h"
#include "catalog/records.h"
#include "object/objects.h"

namespace larder::app {
namespace {

using catalog::RecordKind;
using control::Value;

std::string hex(uint64_t number) {
  return fmt::format("{:x}", number);
}

// UTC, to the nanosecond; "-" for 0, which stands for "not known".
std::string time_text(Timestamp time) {
  if (time == Timestamp{}) return "-";
  const std::time_t seconds = time.seconds;
  std::tm parts{};
  // Beyond the years that fit into an int.
  if (gmtime_r(&seconds, &parts) == nullptr) return fmt::format("{} s", seconds);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:09}Z", parts, time.nanoseconds);
}

std::string time_text(int64_t wall_ns) {
  return time_text(Timestamp::of(Nanos(wall_ns)));
}

std::string_view type_name(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "directory";
    case S_IFLNK:
      return "symlink";
    case S_IFIFO:
      return "fifo";
    case S_IFSOCK:
      return "socket";
    case S_IFCHR:
      return "character device";
    case S_IFBLK:
      return "block device";
    default:
      return "unknown";
  }
}

std::string_view kind_name(RecordKind kind) {
  switch (kind) {
    case RecordKind::kNode:
      return "node";
    case RecordKind::kName:
      return "name";
    case RecordKind::kChunk:
      return "chunk";
    case RecordKind::kListing:
      return "listing";
    case RecordKind::kInode:
      return "inode";
    case RecordKind::kMeta:
      return "counter";
  }
  return "unknown";
}

// "0-3 7": the set bits, each plus `first`.
std::string bit_ranges(uint64_t bits, uint64_t first) {
  std::string text;
  for (uint64_t bit = 0; bit < 64;) {
    if ((bits >> bit & 1) == 0) {
      ++bit;
      continue;
    }
    const auto run = static_cast<uint64_t>(std::countr_one(bits >> bit));
    if (!text.empty()) text += ' ';
    text += run == 1 ? fmt::format("{}", first + bit)
                     : fmt::format("{}-{}", first + bit, first + bit + run - 1);
    bit += run;
  }
  return text;
}

Value value_of(const catalog::ChunkRecord& r, uint64_t chunk) {
  Value::Array checksums;
  for (const uint32_t checksum : r.checksums)
    checksums.emplace_back(fmt::format("{:08x}", checksum));
  return Value::Object{{"blocks", bit_ranges(r.present, chunk * catalog::kBlocksPerChunk)},
                       {"checksums", std::move(checksums)}};
}

Value value_of(const catalog::NodeRecord& r) {
  Value::Object o{{"type", type_name(r.attributes.mode)},
                  {"mode", fmt::format("{:o}", r.attributes.mode & 07777)},
                  {"nlink", r.attributes.nlink},
                  {"uid", r.attributes.uid},
                  {"gid", r.attributes.gid},
                  {"size_bytes", r.attributes.size_bytes},
                  {"source_inode", r.attributes.inode},
                  {"mtime", time_text(r.attributes.times.mtime)},
                  {"ctime", time_text(r.attributes.times.ctime)},
                  {"validated_at", time_text(r.validated_at_ns)},
                  {"used_at", time_text(r.used_at_ns)},
                  {"parent", r.parent.value},
                  {"name", r.name}};
  if (!r.symlink_target.empty()) o.emplace_back("symlink_target", r.symlink_target);
  if (r.object) {
    o.emplace_back("object", hex(r.object.value));
    o.emplace_back("object_bytes", r.object_bytes);
    o.emplace_back("block_bytes", uint64_t{1} << r.block_shift);
    o.emplace_back("data_stable", r.data_stable);
    o.emplace_back("ctime_moved", r.ctime_moved);
    o.emplace_back("cached_at", time_text(r.cached_at_ns));
    if (r.first_chunk) o.emplace_back("first_chunk", value_of(*r.first_chunk, 0));
    o.emplace_back("version", Value::Object{{"size_bytes", r.version.size_bytes},
                                            {"mtime", time_text(r.version.mtime)},
                                            {"ctime", time_text(r.version.ctime)},
                                            {"inode", r.version.inode}});
  }
  if (r.listing_parts != 0) {
    o.emplace_back("listing_parts", r.listing_parts);
    o.emplace_back("listing_mtime", time_text(r.listing_mtime));
    o.emplace_back("listing_ctime", time_text(r.listing_ctime));
  }
  return o;
}

Value value_of(const std::vector<catalog::ListingEntry>& part) {
  Value::Array entries;
  for (const catalog::ListingEntry& entry : part)
    entries.emplace_back(Value::Object{
        {"name", entry.name}, {"node", entry.node.value}, {"type", type_name(entry.type)}});
  return Value::Object{{"entries", std::move(entries)}};
}

std::optional<Value> decoded(const catalog::RecordKey& key, std::string_view value) {
  switch (key.kind) {
    case RecordKind::kNode:
      if (const auto r = catalog::decode_node(value)) return value_of(*r);
      return {};
    case RecordKind::kName:
      if (const auto r = catalog::decode_name(value))
        return Value::Object{{"node", r->node.value}, {"type", type_name(r->type)}};
      return {};
    case RecordKind::kChunk:
      if (const auto r = catalog::decode_chunk(value)) return value_of(*r, key.part);
      return {};
    case RecordKind::kListing:
      if (const auto r = catalog::decode_listing(value)) return value_of(*r);
      return {};
    case RecordKind::kInode:
      if (const auto r = catalog::decode_number(value)) return Value::Object{{"node", *r}};
      return {};
    case RecordKind::kMeta:
      if (const auto r = catalog::decode_number(value)) return Value::Object{{"number", *r}};
      return {};
  }
  return {};
}

}  // namespace

Value describe_key(std::string_view key) {
  const auto parsed = catalog::parse_key(key);
  if (!parsed) return Value::Object{{"kind", "unknown"}, {"bytes", key}};
  Value::Object o{{"kind", kind_name(parsed->kind)}};
  switch (parsed->kind) {
    case RecordKind::kNode:
      o.emplace_back("node", parsed->id);
      break;
    case RecordKind::kName:
      o.emplace_back("parent", parsed->id);
      o.emplace_back("name", parsed->name);
      break;
    case RecordKind::kChunk:
      o.emplace_back("object", hex(parsed->id));
      o.emplace_back("chunk", parsed->part);
      break;
    case RecordKind::kListing:
      o.emplace_back("directory", parsed->id);
      o.emplace_back("part", parsed->part);
      break;
    case RecordKind::kInode:
      o.emplace_back("source_inode", parsed->id);
      break;
    case RecordKind::kMeta:
      o.emplace_back("name", parsed->name);
      break;
  }
  return o;
}

Value describe_value(std::string_view key, std::string_view value) {
  const auto parsed = catalog::parse_key(key);
  if (parsed)
    if (auto known = decoded(*parsed, value)) return *known;
  return Value::Object{{"does_not_decode", true}, {"bytes", value}};
}

Value describe_superblock(const journal::StoreFiles& files) {
  return Value::Object{{"version", files.version},
                       {"store", fmt::format("{:016x}{:016x}", files.uuid.high, files.uuid.low)},
                       {"segment_bytes", files.segment_bytes}};
}

Result<Value> describe_checkpoints(journal::Reader& reader) {
  TRY_ASSIGN(const auto states, reader.checkpoints());
  Value::Array all;
  for (const auto& state : states) {
    Value::Object o{
        {"file", state.name}, {"is_increment", state.is_increment}, {"verifies", !state.error}};
    if (state.error) {
      o.emplace_back("error", state.error->message());
    } else {
      o.emplace_back("is_clean", state.body.is_clean != 0);
      o.emplace_back("replay_from", hex(state.body.replay_from));
      o.emplace_back("log_end", hex(state.body.log_end));
      o.emplace_back("begin", hex(state.body.begin));
      o.emplace_back("pages", state.body.page_count);
      o.emplace_back("live_keys", state.body.live_keys);
      o.emplace_back("live_bytes", state.body.live_bytes);
      if (state.is_increment) {
        o.emplace_back("full", hex(state.body.full));
        o.emplace_back("from", hex(state.body.from));
        o.emplace_back("events", state.body.event_count);
      }
    }
    all.emplace_back(std::move(o));
  }
  return Value(std::move(all));
}

namespace {

// Shows what it comes by, until so much has been shown.
class LogPrinter final : public journal::LogVisitor {
 public:
  LogPrinter(journal::Segments& segments, uint64_t limit,
             const std::function<void(const Value&)>& show)
      : segments_(segments), left_(limit), show_(show) {}

  bool on_frame(uint64_t address, const format::FrameHeader& header) override {
    // Whole frames: one that has begun is shown to its end.
    if (left_ == 0) {
      next_ = address;
      return false;
    }
    show(Value::Object{{"frame", hex(address)},
                       {"place", segments_.place_of(address)},
                       {"type", header.type == format::FrameType::kBatch ? "batch" : "segment end"},
                       {"version", header.version},
                       {"durable", hex(header.durable)},
                       {"begin", hex(header.begin)},
                       {"live_keys", header.live_keys},
                       {"live_bytes", header.live_bytes},
                       {"payload_bytes", header.payload_bytes},
                       {"records", header.record_count}});
    return true;
  }
  bool on_record(const format::RecordView& record, bool verifies) override {
    Value::Object o{{"record", hex(record.address)}, {"key", describe_key(record.key)}};
    if (record.header.previous() != 0) o.emplace_back("previous", hex(record.header.previous()));
    if (!verifies) o.emplace_back("verifies", false);
    if (record.header.is_tombstone())
      o.emplace_back("is_removal", true);
    else
      o.emplace_back("value", describe_value(record.key, record.value));
    show(std::move(o));
    return true;
  }
  bool on_gap(const journal::LogGap& gap) override {
    Value::Object o{{"gap", hex(gap.from)},
                    {"place", segments_.place_of(gap.from)},
                    {"bytes", gap.to - gap.from},
                    {"is_last", gap.is_last}};
    if (gap.error) o.emplace_back("error", gap.error->message());
    show(std::move(o));
    return true;
  }
  uint64_t next() const { return next_; }

 private:
  void show(const Value& value) {
    if (left_ > 0) --left_;
    show_(value);
  }

  journal::Segments& segments_;
  uint64_t left_;
  uint64_t next_ = 0;
  const std::function<void(const Value&)>& show_;
};

}  // namespace

Result<uint64_t> describe_log(journal::Reader& reader, uint64_t from, uint64_t limit,
                              const std::function<void(const Value&)>& show) {
  LogPrinter printer(reader.segments(), limit, show);
  TRY(reader.walk(from, printer));
  return printer.next();
}

Result<Value> describe_node_record(journal::Reader& reader, NodeId node) {
  const std::string key = catalog::node_key(node);
  TRY_ASSIGN(const auto value, reader.get(key));
  if (!value) return fail(Code::kNotFound, fmt::format("the catalog has no node {}", node.value));
  Value::Object o{{"node", node.value}};
  if (const auto path = path_of_node(reader, node)) o.emplace_back("path", "/" + *path);
  o.emplace_back("record", describe_value(key, *value));
  const auto record = catalog::decode_node(*value);
  if (!record || !record->object || record->block_shift == 0) return Value(std::move(o));
  Value::Array chunks;
  const uint64_t chunk_bytes = catalog::kBlocksPerChunk << record->block_shift;
  constexpr uint64_t kChunksMax = 10'000;
  const uint64_t end = record->version.size_bytes / chunk_bytes + 1;
  const bool is_listed = record->further_chunks.has_value();
  uint64_t chunk = 0;
  for (uint64_t count = 0; count < kChunksMax && (is_listed || chunk < end); ++count) {
    const std::string chunk_key = catalog::chunk_key(record->object, chunk);
    TRY_ASSIGN(const auto claimed, reader.get(chunk_key));
    if (claimed)
      chunks.emplace_back(
          Value::Object{{"chunk", chunk}, {"value", describe_value(chunk_key, *claimed)}});
    const auto decoded = claimed ? catalog::decode_chunk(*claimed) : std::nullopt;
    if (!is_listed)
      ++chunk;
    else if (chunk = chunk == 0 ? *record->further_chunks : decoded ? decoded->next : 0; chunk == 0)
      break;
  }
  o.emplace_back("chunks", std::move(chunks));
  return Value(std::move(o));
}

Result<Value> describe_object(io::Disk& disk, journal::Reader& reader, ObjectId object) {
  Value::Object o{{"object", hex(object.value)}, {"file", object::Objects::path(object)}};
  const auto file = disk.open(object::Objects::path(object), io::OpenMode::kReadOnly);
  if (file) {
    TRY_ASSIGN(const io::FileInfo info, (*file)->info());
    o.emplace_back("size_bytes", info.size_bytes);
    o.emplace_back("allocated_bytes", info.allocated_bytes);
  } else {
    o.emplace_back("error", file.error().message());
  }
  Value::Array owners;
  Value::Array chunks;
  reader.scan(
      [&](const format::RecordView& record) {
        const auto key = catalog::parse_key(record.key);
        if (key && key->kind == RecordKind::kChunk && key->id == object.value)
          chunks.emplace_back(Value::Object{{"chunk", key->part},
                                            {"value", describe_value(record.key, record.value)}});
        if (!key || key->kind != RecordKind::kNode) return true;
        const auto node = catalog::decode_node(record.value);
        if (node && node->object == object) owners.emplace_back(key->id);
        return true;
      },
      [](uint64_t, const Error&) {});
  if (!file && owners.empty() && chunks.empty())
    return fail(Code::kNotFound, fmt::format("there is no object {:x}", object.value));
  o.emplace_back("nodes", std::move(owners));
  o.emplace_back("chunks", std::move(chunks));
  return Value(std::move(o));
}

Value describe_stats(journal::Reader& reader) {
  struct Kind {
    uint64_t keys = 0;
    uint64_t bytes = 0;
  };
  std::map<std::string, Kind> kinds;
  uint64_t keys = 0;
  uint64_t live_bytes = 0;
  uint64_t unread = 0;
  uint64_t files_with_data = 0;
  uint64_t object_bytes = 0;
  reader.scan(
      [&](const format::RecordView& record) {
        const auto key = catalog::parse_key(record.key);
        Kind& kind = kinds[std::string(key ? kind_name(key->kind) : "unknown")];
        const uint64_t bytes = format::record_space(record.key.size(), record.value.size());
        ++kind.keys;
        ++keys;
        kind.bytes += bytes;
        live_bytes += bytes;
        if (!key || key->kind != RecordKind::kNode) return true;
        const auto node = catalog::decode_node(record.value);
        if (!node || !node->object) return true;
        ++files_with_data;
        object_bytes += node->object_bytes;
        return true;
      },
      [&](uint64_t, const Error&) { ++unread; });
  Value::Object records;
  for (const auto& [name, kind] : kinds)
    records.emplace_back(name, Value::Object{{"keys", kind.keys}, {"bytes", kind.bytes}});
  return Value::Object{{"keys", keys},
                       {"records", std::move(records)},
                       {"live_bytes", live_bytes},
                       {"unreadable_chains", unread},
                       {"files_with_data", files_with_data},
                       {"object_bytes", object_bytes}};
}

}  // namespace larder::app
