#include "app/inspect/repair.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "app/cache_directory.h"
#include "app/inspect/check.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "cache/audit.h"
#include "journal/reader.h"

namespace larder::app {
namespace {

using Say = std::function<void(const std::string&)>;

// What one round brings to light (an object without a node, once the node is gone) the next one
// puts right.
constexpr int kRoundsMax = 8;

// Gathers changes to batches that fit into a segment.
class BatchWriter {
 public:
  explicit BatchWriter(journal::Store& store) : store_(store) {}

  Result<void> add(journal::Change change) {
    constexpr size_t kBatchBytesMax = 16 << 10;
    constexpr size_t kBatchMax = 256;
    const size_t bytes = change.key.size() + (change.value ? change.value->size() : 0);
    if (!batch_.empty() && (bytes_ + bytes > kBatchBytesMax || batch_.size() == kBatchMax))
      TRY(flush());
    bytes_ += bytes;
    batch_.push_back(std::move(change));
    return {};
  }
  Result<void> flush() {
    if (!batch_.empty()) TRY(store_.apply(batch_));
    batch_.clear();
    bytes_ = 0;
    return {};
  }

 private:
  journal::Store& store_;
  std::vector<journal::Change> batch_;
  size_t bytes_ = 0;
};

Result<void> remove_tree(io::Disk& disk, const std::string& path) {
  if (const auto names = disk.list(path))
    for (const std::string& name : *names) TRY(remove_tree(disk, fmt::format("{}/{}", path, name)));
  auto removed = disk.remove(path);
  if (!removed && removed.error().is(Code::kNotFound)) return {};
  return removed;
}

class Repair {
 public:
  Repair(io::Disk& disk, const Say& say) : disk_(disk), say_(say) {}

  // An earlier run may have been interrupted between the two steps of an exchange.
  Result<void> finish_exchange() {
    TRY_ASSIGN(const bool was_unfinished, finish_journal_exchange(disk_));
    if (was_unfinished) say_("put the journal that was written anew into its place");
    return {};
  }

  // Does what was planned; false when there was nothing to do.
  Result<bool> carry_out(const Examination& examination) {
    const RepairPlan& plan = examination.plan;
    if (plan.drop_journal) {
      // As long as it is there no mount begins: a new journal would give out the objects' ids
      // again.
      TRY(remove_files(plan.remove_last));
      TRY(drop_journal());
      return true;
    }
    if (plan.rewrite_journal) {
      TRY(rewrite_journal());
      return true;
    }
    const bool has_tail = examination.report.count(Kind::kLogTail) != 0;
    const bool has_changes = !plan.changes.empty() || !plan.nodes.empty();
    for (const std::string& path : plan.remove_first) TRY(remove_file(path));
    if (!plan.remove_first.empty()) TRY(disk_.sync_directory(kJournalName));
    if (has_changes || has_tail || !plan.remove_first.empty()) {
      TRY(change_records(kJournalName, plan));
      if (has_tail) say_("dropped the log's torn tail");
      if (!plan.remove_first.empty()) say_("made a new checkpoint");
    }
    TRY(remove_files(plan.remove_last));
    return has_changes || has_tail || !plan.remove_first.empty() || !plan.remove_last.empty();
  }

 private:
  Result<std::unique_ptr<journal::Store>> open_store(const std::string& directory,
                                                     const journal::StoreOptions& options) {
    return journal::Store::open(disk_, directory, options, registry_, Clock::system());
  }

  static journal::Change owed_audit() {
    return {catalog::meta_key(cache::Audit::kOwedRecord), catalog::encode_number(1)};
  }

  // --- a journal that is sound

  Result<void> change_records(const std::string& journal, const RepairPlan& plan) {
    TRY_ASSIGN(const auto store, open_store(journal, {}));
    BatchWriter writer(*store);
    for (const auto& [node, record] : plan.nodes)
      TRY(writer.add({catalog::node_key(node), catalog::encode(record)}));
    for (const journal::Change& change : plan.changes) TRY(writer.add(change));
    // What the mounts know of a crash by its being there is to be known after a clean end, too.
    if (!store->recovery().clean) TRY(writer.add(owed_audit()));
    TRY(writer.flush());
    TRY(store->close());
    if (!plan.nodes.empty()) say_(fmt::format("changed {} records of nodes", plan.nodes.size()));
    if (!plan.changes.empty())
      say_(fmt::format("changed or removed {} other records", plan.changes.size()));
    return {};
  }

  Result<void> remove_file(const std::string& path) {
    TRY(remove_tree(disk_, path));
    say_(fmt::format("removed {}", path));
    return {};
  }

  Result<void> remove_files(const std::vector<std::string>& paths) {
    constexpr size_t kSaidMax = 10;  // of objects: there may be as many as there are files
    std::set<std::string> directories;
    size_t objects = 0;
    for (const std::string& path : paths) {
      const bool is_object = path.starts_with(kObjectsName);
      // What is missing is to be forgotten only.
      if (const auto there = disk_.info(path); !there && there.error().is(Code::kNotFound))
        continue;
      if (is_object && ++objects > kSaidMax)
        TRY(remove_tree(disk_, path));
      else
        TRY(remove_file(path));
      const size_t slash = path.rfind('/');
      directories.insert(slash == path.npos ? "" : path.substr(0, slash));
    }
    if (objects > kSaidMax) say_(fmt::format("removed {} more objects", objects - kSaidMax));
    for (const std::string& directory : directories) TRY(disk_.sync_directory(directory));
    return {};
  }

  // --- one that is not

  // Nothing of it comes back behind what is done next.
  Result<void> remove_durably(const std::string& name) {
    TRY(remove_tree(disk_, name));
    return disk_.sync_directory("");
  }

  Result<void> drop_journal() {
    TRY(remove_durably(kNewJournal));
    TRY(remove_durably(kOldJournal));
    TRY(disk_.rename(kJournalName, kOldJournal));
    TRY(disk_.sync_directory(""));
    say_("gave up the journal: nothing of it can be read, the next mount makes a new one");
    return remove_durably(kOldJournal);
  }

  Result<void> rewrite_journal() {
    TRY_ASSIGN(const auto reader, open_reader());
    TRY_ASSIGN(const bool is_older, load_index(*reader));
    TRY(remove_durably(kNewJournal));
    const journal::StoreFiles& old = reader->files();
    journal::StoreOptions options;
    options.segment_bytes = old.segment_bytes;
    options.uuid_salt = old.uuid.low;
    uint64_t copied = 0;
    {
      TRY_ASSIGN(const auto store, open_store(kNewJournal, options));
      TRY_ASSIGN(copied, copy(*reader, *store, is_older));
      const journal::Change owed = owed_audit();
      TRY(store->apply({&owed, 1}));
      TRY(store->close());
    }
    say_(fmt::format("wrote the journal anew with the {} records that can be read", copied));
    TRY(put_right_the_new_journal(is_older));
    TRY(take_the_journals_place());
    return remove_durably(kNewJournal);
  }

  // A mount may begin as soon as it is the journal, and believes what it says: no id is given out
  // twice, no claim is one of an earlier time.
  Result<void> put_right_the_new_journal(bool is_older) {
    for (int round = 0; round < kRoundsMax; ++round) {
      Report found;
      Examination examination{
          .disk = disk_, .report = found, .reads_data = is_older, .journal = kNewJournal};
      examine_contents(examination);
      const RepairPlan& plan = examination.plan;
      if (plan.rewrite_journal || plan.drop_journal || plan.refuse) break;
      if (plan.changes.empty() && plan.nodes.empty()) return {};
      TRY(change_records(kNewJournal, plan));
    }
    return fail(Code::kCorrupt, fmt::format("{}, which was made to take the place of {}, cannot "
                                            "be put right",
                                            kNewJournal, kJournalName));
  }

  Result<void> take_the_journals_place() {
    auto exchanged = disk_.exchange(kNewJournal, kJournalName);
    if (exchanged || !exchanged.error().is(Code::kNotSupported)) {
      TRY(exchanged);
      return disk_.sync_directory("");
    }
    // In two steps, between which there is no journal.  Who comes then takes the second.
    TRY(remove_durably(kOldJournal));
    TRY(disk_.rename(kJournalName, kOldJournal));
    TRY(disk_.sync_directory(""));
    TRY(finish_journal_exchange(disk_));
    return remove_durably(kOldJournal);
  }

  Result<std::unique_ptr<journal::Reader>> open_reader() {
    const auto files = journal::read_superblock(disk_, kJournalName);
    if (files) return std::make_unique<journal::Reader>(*files);
    TRY_ASSIGN(const journal::StoreFiles inferred, journal::infer_superblock(disk_, kJournalName));
    say_("took the journal's layout from its segments");
    return std::make_unique<journal::Reader>(inferred);
  }

  // True when the catalog is that of an earlier time: the log's end could not be read.
  Result<bool> load_index(journal::Reader& reader) {
    if (reader.recover()) return false;
    TRY_ASSIGN(const journal::Reader::Recovered salvaged, reader.salvage());
    if (!salvaged.is_older) return false;
    say_(fmt::format("gave up the log from {} on: what is recorded there is lost",
                     reader.segments().place_of(salvaged.log.watermarks.tail)));
    return true;
  }

  // Every live record that can be read; how many they are.
  Result<uint64_t> copy(journal::Reader& reader, journal::Store& store, bool is_older) {
    BatchWriter writer(store);
    uint64_t copied = 0;
    Result<void> written;
    reader.scan(
        [&](const format::RecordView& record) {
          journal::Change change{std::string(record.key), std::string(record.value)};
          if (is_older) distrust(change);
          written = writer.add(std::move(change));
          ++copied;
          return written.has_value();
        },
        [](uint64_t, const Error&) {});
    TRY(written);
    TRY(writer.flush());
    return copied;
  }

  // The objects have moved on since the record was written.  Claims with a checksum can be
  // verified; others go.  And the source is asked about every node before it is believed.
  static void distrust(journal::Change& change) {
    const auto key = catalog::parse_key(change.key);
    if (key && key->kind == catalog::RecordKind::kNode) {
      auto node = catalog::decode_node(*change.value);
      if (!node) return;
      node->validated_at_ns = 0;
      if (node->first_chunk) node->first_chunk = with_checksums(*node->first_chunk);
      change.value = catalog::encode(*node);
    }
    if (key && key->kind == catalog::RecordKind::kChunk)
      if (const auto chunk = catalog::decode_chunk(*change.value))
        change.value = catalog::encode(with_checksums(*chunk));
  }

  // The claims whose checksums are known.
  static catalog::ChunkRecord with_checksums(const catalog::ChunkRecord& chunk) {
    catalog::ChunkRecord kept;
    kept.next = chunk.next;
    size_t next = 0;
    for (uint64_t bit = 0; bit < catalog::kBlocksPerChunk; ++bit) {
      if ((chunk.present >> bit & 1) == 0) continue;
      const uint32_t checksum = chunk.checksums[next++];
      if (checksum == 0) continue;
      kept.present |= uint64_t{1} << bit;
      kept.checksums.push_back(checksum);
    }
    return kept;
  }

  io::Disk& disk_;
  const Say& say_;
  Registry registry_;
};

}  // namespace

Result<RepairResult> repair(io::Disk& disk, Report& found, const Say& say) {
  Repair repair(disk, say);
  TRY(repair.finish_exchange());
  for (int round = 0;; ++round) {
    RepairResult result;
    Examination examination{.disk = disk, .report = round == 0 ? found : result.left};
    examine(examination);
    result.counts = examination.counts;
    bool did_something = false;
    if (!examination.plan.refuse && round < kRoundsMax) {
      TRY_ASSIGN(did_something, repair.carry_out(examination));
    }
    if (did_something) continue;
    if (round == 0) result.left = found;
    return result;
  }
}

}  // namespace larder::app
