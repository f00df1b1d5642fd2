#include "cache/scrub.h"

#include <algorithm>
#include <bit>

#include "base/checksum.h"
#include "base/limited_log.h"

namespace larder::cache {
namespace {

using catalog::kBlocksPerChunk;
using object::Objects;

constexpr const char* kPlaceRecord = "scrub-place";
constexpr const char* kDoubtfulRecord = "scrub-doubtful";
// What a look at a record or a small object costs at least, in bytes of the rate.
constexpr uint64_t kCostMin = 4096;
constexpr uint8_t kBlockShiftMax = 24;  // no larger block is read whole
constexpr size_t kUnhealedMax = 64;
constexpr Nanos kHealAgain = std::chrono::minutes(1);

}  // namespace

struct Scrub::Object {
  NodeId node;
  catalog::NodeRecord record;
  // Open during a step only: what somebody has open is not punched to make room.
  std::shared_ptr<io::File> file{};
  uint64_t next_block = 0;
  bool is_at_end = false;

  ObjectId id() const { return record.object; }
  uint64_t offset_of(uint64_t block) const { return block << record.block_shift; }
  uint64_t block_length(uint64_t block) const {
    return std::min(offset_of(1), record.version.size_bytes - offset_of(block));
  }
  bool is_done() const {
    return is_at_end || next_block >= (record.version.size_bytes + offset_of(1) - 1) / offset_of(1);
  }
  // chunk: what was read of the one before.
  void go_on(uint64_t number, const std::optional<catalog::ChunkRecord>& chunk) {
    uint64_t next = number + 1;
    if (record.further_chunks)
      next = number == 0 ? *record.further_chunks : chunk ? chunk->next : 0;
    is_at_end = next == 0;
    next_block = next * kBlocksPerChunk;
  }
};

struct Scrub::Pass {
  bool is_of_doubtful = false;
  std::optional<journal::Address> records_from;  // nullopt: all have been read
  std::deque<NodeId> nodes;                      // whose objects are to be verified
  std::optional<Object> object;                  // the one being verified
  uint64_t cost_bytes = 0;                       // of this step
};

Scrub::Scrub(catalog::Catalog& catalog, object::Objects& objects, Activity& activity, Host host,
             const Options& options, Registry& registry, const Clock& clock)
    : catalog_(catalog),
      objects_(objects),
      host_(std::move(host)),
      options_(options),
      clock_(clock),
      schedule_(catalog, "scrub", kPeriod, activity, clock),
      passes_(registry.counter("larder_scrub_passes_total", "Passes over the whole cache.")),
      blocks_(registry.counter("larder_scrub_blocks_total", "Blocks verified.")),
      bytes_(registry.counter("larder_scrub_bytes_total", "Bytes verified.")),
      bad_blocks_(registry.counter("larder_scrub_bad_blocks_total",
                                   "Blocks that did not verify and were dropped.")) {
  if (options_.bytes_per_second == 0) return;
  if (const auto noted = catalog.number(kDoubtfulRecord); noted && noted->value_or(0) != 0)
    doubtful_from_ = journal::Address{**noted - 1};
  if (doubtful_from_) schedule_.make_urgent();
}

// The number is one above the address; 0: there is nothing doubtful.
Result<void> Scrub::note_doubtful(catalog::Catalog& catalog, journal::Address from) {
  TRY_ASSIGN(const auto noted, catalog.number(kDoubtfulRecord));
  const uint64_t earlier = noted.value_or(0);
  catalog::Batch batch;
  batch.put_number(kDoubtfulRecord,
                   earlier == 0 ? from.value + 1 : std::min(earlier, from.value + 1));
  return catalog.apply(batch);
}

Scrub::~Scrub() = default;

Scrub::Status Scrub::status() const {
  return {passes_.value(), blocks_.value(), bytes_.value(), bad_blocks_.value()};
}

NextStep Scrub::step() {
  heal();
  const NextStep next = go_on();
  if (unhealed_.empty()) return next;
  return next ? std::min(*next, heal_at_) : heal_at_;
}

NextStep Scrub::go_on() {
  if (options_.bytes_per_second == 0 && !schedule_.is_requested()) return kWhenPoked;
  if (!schedule_.may_run()) return schedule_.ask_again();
  // Who asks wants all of it verified from now on, not what is left of a pass.
  if (!pass_ || schedule_.is_overtaken()) begin();
  const Result<bool> goes_on = advance(*pass_);
  if (pass_->object) pass_->object->file.reset();
  const uint64_t cost_bytes = pass_->cost_bytes;
  if (!goes_on || !*goes_on) {
    end(goes_on ? Result<void>() : fail(goes_on.error()));
    return kAtOnce;  // to see when the next is due
  }
  if (schedule_.is_awaited() || options_.bytes_per_second == 0) return kAtOnce;
  constexpr uint64_t kNsPerSecond = 1'000'000'000;
  return clock_.monotonic() +
         Nanos(static_cast<int64_t>(cost_bytes * kNsPerSecond / options_.bytes_per_second));
}

void Scrub::begin() {
  pass_ = std::make_unique<Pass>();
  pass_->is_of_doubtful = doubtful_from_.has_value();
  if (pass_->is_of_doubtful) {
    pass_->records_from = std::exchange(doubtful_from_, std::nullopt);
    schedule_.begin_urgent();
    return;
  }
  schedule_.begin();
  pass_->records_from = journal::Address{};
  if (schedule_.is_awaited()) return;
  if (const auto place = catalog_.number(kPlaceRecord); place && *place)
    pass_->records_from = journal::Address{**place};
}

Result<bool> Scrub::advance(Pass& pass) {
  pass.cost_bytes = 0;
  while (pass.cost_bytes < kBytesPerStep) {
    if (pass.object) {
      TRY(verify_some(pass));
    } else if (!pass.nodes.empty()) {
      TRY(open_next(pass));
    } else if (pass.records_from) {
      TRY(read_records(pass));
      return true;  // that was enough for one step
    } else {
      return false;
    }
  }
  return true;
}

Result<void> Scrub::read_records(Pass& pass) {
  if (!pass.is_of_doubtful) {
    catalog::Batch batch;
    batch.put_number(kPlaceRecord, pass.records_from->value);
    TRY(catalog_.apply(batch));
  }
  const auto note = [&pass](NodeId node, const catalog::NodeRecord& record) {
    if (record.object && record.data_stable) pass.nodes.push_back(node);
  };
  TRY_ASSIGN(pass.records_from, catalog_.visit_records(*pass.records_from, kRecordsPerStep,
                                                       {.node = note, .name = {}}));
  return {};
}

Result<void> Scrub::open_next(Pass& pass) {
  const NodeId node = pass.nodes.front();
  pass.nodes.pop_front();
  pass.cost_bytes += kCostMin;
  TRY_ASSIGN(auto record, catalog_.node(node));
  if (!record || !record->object || !record->data_stable || record->block_shift > kBlockShiftMax)
    return {};
  pass.object = Object{.node = node, .record = std::move(*record)};
  return {};
}

bool Scrub::open(Object& object) {
  if (object.file) return true;
  auto file = objects_.open(object.id());
  if (file)
    object.file = std::move(*file);
  else if (file.error().is(Code::kNotFound))
    found_missing(object);
  else
    log::limited_warning("cannot verify an object", object.id().value, [&] {
      return fmt::format("cannot verify {}: {}", Objects::path(object.id()),
                         file.error().message());
    });
  return file.has_value();
}

Result<void> Scrub::verify_some(Pass& pass) {
  Object& object = *pass.object;
  if (!open(object)) {
    pass.object.reset();
    return {};
  }
  const uint64_t chunk = object.next_block / kBlocksPerChunk;
  pass.cost_bytes += kCostMin;
  TRY_ASSIGN(const auto record, catalog_.chunk(object.record, chunk));
  const uint64_t end_of_chunk = (chunk + 1) * kBlocksPerChunk;
  if (!record) object.go_on(chunk, record);
  while (record && object.next_block < end_of_chunk && !object.is_done() &&
         pass.cost_bytes < kBytesPerStep) {
    const uint64_t block = object.next_block++;
    const uint64_t bit = block % kBlocksPerChunk;
    if ((record->present >> bit & 1) == 0) continue;
    const auto before = static_cast<size_t>(std::popcount(record->present & ((1ULL << bit) - 1)));
    const uint32_t checksum = record->checksums[before];
    if (checksum == 0) continue;
    pass.cost_bytes += object.block_length(block);
    TRY_ASSIGN(const bool is_good, verify_block(object, block, checksum));
    if (is_good) continue;
    object.file.reset();
    found_bad(object, chunk);
    object.next_block = end_of_chunk;  // all of it was looked at
  }
  if (record && object.next_block == end_of_chunk) object.go_on(chunk, record);
  if (object.is_done()) pass.object.reset();
  return {};
}

Result<bool> Scrub::verify_block(Object& object, uint64_t block, uint32_t checksum) {
  buffer_.resize(object.block_length(block));
  const auto got = object.file->read_once_at(buffer_, object.offset_of(block));
  blocks_.add();
  bytes_.add(buffer_.size());
  // What cannot be read is as bad as what is wrong; so is what is not there.
  return got && *got == buffer_.size() && checksum32(buffer_) == checksum;
}

// It did not verify by the catalog's record; whether it is bad the file itself knows, which may
// have been changed meanwhile.
void Scrub::found_bad(const Object& object, uint64_t chunk) {
  const std::shared_ptr<FileOwner> owner = host_.open(object.node);
  if (!owner) return;
  const std::vector<uint64_t> bad = owner->file().drop_bad_blocks(object.id(), chunk);
  if (bad.empty()) return;
  bad_blocks_.add(bad.size());
  for (const uint64_t block : bad)
    log::limited_warning("cached bytes are damaged", object.node.value, [&] {
      return fmt::format(
          "{}: the cached bytes from {} on are damaged ({}); they were dropped and will be "
          "fetched again",
          host_.path(object.node), object.offset_of(block), Objects::path(object.id()));
    });
  host_.blocks_dropped(object.node);
  if (owner->file().is_exposed() && unhealed_.size() < kUnhealedMax) {
    unhealed_.push_back(owner);
    heal_at_ = clock_.monotonic() + kHealAgain;
  }
}

void Scrub::found_missing(const Object& object) {
  const std::shared_ptr<FileOwner> owner = host_.open(object.node);
  if (!owner || owner->file().object() != object.id()) return;
  log::limited_warning("cached bytes are gone", object.node.value, [&] {
    return fmt::format("{}: its cached bytes are gone ({}); they will be fetched again",
                       host_.path(object.node), Objects::path(object.id()));
  });
  owner->file().drop();
}

void Scrub::end(const Result<void>& result) {
  const bool is_whole = !pass_->is_of_doubtful;
  pass_.reset();
  if (!result) log::warning("cannot verify what is cached: {}", result.error().message());
  catalog::Batch batch;
  if (is_whole) {
    passes_.add();
    schedule_.remember_end(batch);
    batch.put_number(kPlaceRecord, 0);
  }
  // One that was asked for began at the start.
  if (result && (!is_whole || schedule_.is_awaited())) batch.put_number(kDoubtfulRecord, 0);
  if (const auto stored = catalog_.apply(batch); !stored)
    log::warning("cannot remember that what is cached was verified: {}", stored.error().message());
  schedule_.end();
}

void Scrub::heal() {
  if (unhealed_.empty() || clock_.monotonic() < heal_at_) return;
  std::erase_if(unhealed_, [](const auto& owner) {
    return !owner->file().is_exposed() || owner->file().resident();
  });
  for (const auto& owner : unhealed_) host_.blocks_dropped(owner->id());
  heal_at_ = clock_.monotonic() + kHealAgain;
}

}  // namespace larder::cache
