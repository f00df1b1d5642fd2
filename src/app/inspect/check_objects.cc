#include "app/inspect/check_objects.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>

#include "app/cache_directory.h"
#include "app/inspect/node_paths.h"
#include "base/checksum.h"
#include "object/objects.h"

namespace larder::app {
namespace {

class ObjectsCheck {
 public:
  ObjectsCheck(Examination& examination, journal::Reader& reader, Objects& objects)
      : examination_(examination), reader_(reader), objects_(objects) {}

  void run() {
    const auto ignored = [](uint64_t, const Error&) {};  // reported by the catalog's check
    reader_.scan(
        [&](const format::RecordView& record) {
          check_record(record);
          return true;
        },
        ignored);
    if (objects_.dropped.empty()) return;
    for (const ObjectId object : objects_.dropped) drop(object);
    reader_.scan(
        [&](const format::RecordView& record) {
          remove_if_dropped(record);
          return true;
        },
        ignored);
  }

 private:
  struct Blocks {
    uint64_t first = 0;
    uint64_t last = 0;
  };

  void check_record(const format::RecordView& record) {
    const auto key = catalog::parse_key(record.key);
    if (!key) return;
    if (key->kind == catalog::RecordKind::kNode) {
      const auto node = catalog::decode_node(record.value);
      if (node && node->object && node->first_chunk)
        check_claims(node->object, 0, *node->first_chunk);
    }
    if (key->kind == catalog::RecordKind::kChunk) {
      const auto chunk = catalog::decode_chunk(record.value);
      if (chunk) check_claims(ObjectId{key->id}, key->part, *chunk, true);
    }
  }

  void check_claims(ObjectId object, uint64_t index, const catalog::ChunkRecord& chunk,
                    bool has_record = false) {
    const auto it = objects_.facts.find(object);
    if (it == objects_.facts.end() || !it->second.is_believed || chunk.present == 0) return;
    if (index == 0 && it->second.has_first_chunk && has_record) return;  // a leftover
    if (open(it->first, it->second)) check_chunk(it->second, index, chunk);
  }

  // Whether the object is there and has the right size; a finding when not.  Keeps it open.
  bool open(ObjectId object, const ObjectFacts& facts) {
    if (object == object_) return file_ != nullptr;
    object_ = object;
    file_ = nullptr;
    auto file = examination_.disk.open(object::Objects::path(object), io::OpenMode::kReadOnly);
    if (!file) {
      const bool is_missing = file.error().is(Code::kNotFound);
      add_dropped(
          is_missing ? Kind::kObjectMissing : Kind::kUnreadable, facts,
          is_missing ? "is not there, but blocks of it are claimed" : file.error().message());
      return false;
    }
    const auto info = (*file)->info();
    if (!info) {
      add_dropped(Kind::kUnreadable, facts, info.error().message());
      return false;
    }
    if (info->size_bytes != facts.size_bytes) {
      add_dropped(Kind::kObjectSize, facts,
                  fmt::format("has {} bytes, the file {}", info->size_bytes, facts.size_bytes));
      return false;
    }
    file_ = std::move(*file);
    return true;
  }

  void check_chunk(const ObjectFacts& facts, uint64_t index, const catalog::ChunkRecord& chunk) {
    const uint64_t block_bytes = uint64_t{1} << facts.block_shift;
    const uint64_t blocks = facts.size_bytes / block_bytes + (facts.size_bytes % block_bytes != 0);
    const auto highest = static_cast<uint64_t>(std::bit_width(chunk.present)) - 1;
    if (index > blocks / catalog::kBlocksPerChunk ||
        index * catalog::kBlocksPerChunk + highest >= blocks)
      return add_dropped(Kind::kChunkBeyondEnd, facts,
                         fmt::format("chunk {} claims blocks behind the file's end", index));
    catalog::ChunkRecord good;
    good.next = chunk.next;
    size_t next = 0;
    bad_.clear();
    for (uint64_t bit = 0; bit < catalog::kBlocksPerChunk; ++bit) {
      if ((chunk.present >> bit & 1) == 0) continue;
      const uint32_t checksum = chunk.checksums[next++];
      const uint64_t offset = (index * catalog::kBlocksPerChunk + bit) * block_bytes;
      const uint64_t length = std::min(block_bytes, facts.size_bytes - offset);
      if (const auto kind = check_block(offset, length, checksum)) {
        add_bad(*kind, index * catalog::kBlocksPerChunk + bit);
        continue;
      }
      good.present |= uint64_t{1} << bit;
      good.checksums.push_back(checksum);
    }
    if (bad_.empty()) return;
    report_bad(facts);
    plan_claims(facts, index, good);
  }

  // What is wrong with a claimed block; nullopt: nothing.
  std::optional<Kind> check_block(uint64_t offset, uint64_t length, uint32_t checksum) {
    ++examination_.counts.blocks;
    const auto data = file_->next_data(offset);
    if (!data) return Kind::kUnreadable;
    const bool is_hole = !*data || **data >= offset + length;
    if (checksum == 0) {  // not known
      ++examination_.counts.blocks_plain;
      return is_hole ? std::optional(Kind::kBlockHole) : std::nullopt;
    }
    if (!examination_.reads_data && !is_hole) return std::nullopt;
    buffer_.resize(length);
    const auto size = file_->read_at(buffer_, offset);
    if (!size || *size < length) return Kind::kUnreadable;
    // A copy may have holes where zeros were.
    if (checksum32(buffer_) != checksum) return is_hole ? Kind::kBlockHole : Kind::kBlockChecksum;
    examination_.counts.bytes_verified += length;
    return std::nullopt;
  }

  // Neighbours with the same trouble make one finding.
  void add_bad(Kind kind, uint64_t block) {
    if (!bad_.empty() && bad_.back().first == kind && bad_.back().second.last + 1 == block)
      bad_.back().second.last = block;
    else
      bad_.push_back({kind, {block, block}});
  }
  void report_bad(const ObjectFacts& facts) {
    for (const auto& [kind, blocks] : bad_)
      examination_.report.add(
          kind, where(facts),
          blocks.first == blocks.last
              ? fmt::format("block {} (of {} bytes)", blocks.first, 1U << facts.block_shift)
              : fmt::format("blocks {} to {} (of {} bytes)", blocks.first, blocks.last,
                            1U << facts.block_shift));
  }
  std::string where(const ObjectFacts& facts) {
    return fmt::format("{} of {}", object::Objects::path(object_),
                       describe_node(reader_, facts.node));
  }

  void add_dropped(Kind kind, const ObjectFacts& facts, std::string_view what) {
    file_ = nullptr;
    if (objects_.dropped.insert(object_).second) examination_.report.add(kind, where(facts), what);
  }

  // --- what would put it right

  catalog::NodeRecord* wanted_node(NodeId id) {
    auto& nodes = examination_.plan.nodes;
    if (const auto it = nodes.find(id); it != nodes.end()) return &it->second;
    const auto value = reader_.get(catalog::node_key(id));
    if (!value || !*value) return nullptr;
    auto record = catalog::decode_node(**value);
    return record ? &nodes.try_emplace(id, std::move(*record)).first->second : nullptr;
  }

  void plan_claims(const ObjectFacts& facts, uint64_t index, const catalog::ChunkRecord& good) {
    if (index == 0 && facts.has_first_chunk) {
      if (catalog::NodeRecord* node = wanted_node(facts.node)) node->first_chunk = good;
      return;
    }
    const std::string key = catalog::chunk_key(object_, index);
    // It stays when nothing is left of it: the one before it names it.
    examination_.plan.changes.push_back({key, catalog::encode(good)});
  }

  void drop(ObjectId object) {
    examination_.plan.remove_last.push_back(object::Objects::path(object));
    const auto it = objects_.facts.find(object);
    if (it == objects_.facts.end()) return;
    if (catalog::NodeRecord* node = wanted_node(it->second.node)) forget_object(*node);
  }

  void remove_if_dropped(const format::RecordView& record) {
    const auto key = catalog::parse_key(record.key);
    if (key && key->kind == catalog::RecordKind::kChunk &&
        objects_.dropped.contains(ObjectId{key->id}))
      examination_.plan.changes.push_back({std::string(record.key), std::nullopt});
  }

  Examination& examination_;
  journal::Reader& reader_;
  Objects& objects_;
  ObjectId object_;                 // the one looked at last
  std::unique_ptr<io::File> file_;  // null: there is something wrong with it
  std::vector<std::pair<Kind, Blocks>> bad_;
  std::vector<std::byte> buffer_;
};

std::optional<uint64_t> number_of(std::string_view digits, size_t length) {
  uint64_t number = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
  if (digits.size() != length || error != std::errc() || end != digits.data() + digits.size())
    return std::nullopt;
  return number;
}

// What is in the objects' directories: those nobody names, and what is no object.
class ObjectFiles {
 public:
  ObjectFiles(Examination& examination, const Objects& objects)
      : examination_(examination), objects_(objects) {}

  void run() {
    for (const std::string& name : list(std::string(kObjectsName))) {
      const std::string path = fmt::format("{}/{}", kObjectsName, name);
      if (!number_of(name, 2))
        examination_.report.add(Kind::kForeignFile, path, "not a directory of objects");
      else
        for (const std::string& file : list(path)) look_at(path, file);
    }
    check_counter();
  }

 private:
  std::vector<std::string> list(const std::string& directory) {
    auto names = examination_.disk.list(directory);
    if (names) {
      std::ranges::sort(*names);
      return std::move(*names);
    }
    if (!names.error().is(Code::kNotFound))
      examination_.report.add(Kind::kUnreadable, directory, names.error().message());
    return {};
  }

  void look_at(const std::string& directory, const std::string& name) {
    const std::string path = fmt::format("{}/{}", directory, name);
    const auto id = number_of(name, 16);
    if (!id || object::Objects::path(ObjectId{*id}) != path) {
      examination_.report.add(Kind::kForeignFile, path, "not an object's name");
      return;
    }
    ++examination_.counts.objects;
    highest_ = std::max(highest_, *id);
    if (objects_.facts.contains(ObjectId{*id})) return;
    examination_.report.add(Kind::kOrphan, path, "an object without a node");
    examination_.plan.remove_last.push_back(path);
  }

  // An object with an id that is to be given out yet: the catalog is that of an earlier time.
  void check_counter() {
    if (!objects_.limit || highest_ < *objects_.limit) return;
    examination_.report.add(
        Kind::kCounter, fmt::format("the counter {}", catalog::kObjectLimit),
        fmt::format("is {:x}, but object {:x} is there", *objects_.limit, highest_));
    examination_.plan.changes.push_back(
        {catalog::meta_key(catalog::kObjectLimit), catalog::encode_number(highest_ + 1)});
  }

  Examination& examination_;
  const Objects& objects_;
  uint64_t highest_ = 0;  // of the objects that are there
};

}  // namespace

void check_objects(Examination& examination, journal::Reader* reader, Objects& objects) {
  if (reader != nullptr) ObjectsCheck(examination, *reader, objects).run();
  ObjectFiles(examination, objects).run();
}

}  // namespace larder::app
