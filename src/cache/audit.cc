#include "cache/audit.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/limited_log.h"
#include "cache/resident_table.h"
#include "object/objects.h"

namespace larder::cache {
namespace {

using object::Objects;

constexpr std::string_view kUnfinishedSuffix = ".new";
constexpr const char* kJournal = "journal";
constexpr const char* kMeasuredRecord = "audit-measured";
// With the smallest blocks there are.  A larger object has fewer chunks than this: no file is
// looked through for more than a million.
constexpr uint64_t kChunkBytesMin = catalog::kBlocksPerChunk * 4096;
constexpr uint64_t kChunksMax = 1 << 20;
// A listing costs a step as much as so many names.
constexpr size_t kNamesForAListing = 16;

}  // namespace

struct Audit::Pass {
  explicit Pass(size_t parts_in) : parts(parts_in) {}

  // The directories of objects/ are gone through in `parts` parts.
  size_t parts;
  size_t part = 0;
  size_t first_directory() const { return part * Objects::kDirectories / parts; }
  size_t end_directory() const { return (part + 1) * Objects::kDirectories / parts; }
  bool is_of_part(ObjectId object) const {
    const size_t its = Objects::directory_number(object);
    return its >= first_directory() && its < end_directory();
  }

  // First the records are read, from here on; nullopt: that is done.
  std::optional<journal::Address> records_from = journal::Address{};
  struct Named {
    ObjectId object;
    NodeId node;
  };
  std::vector<Named> named;  // sorted by object once the records are read
  std::optional<NodeId> node_of(ObjectId object) const {
    const auto found = std::ranges::lower_bound(named, object, {}, &Named::object);
    if (found == named.end() || found->object != object) return std::nullopt;
    return found->node;
  }
  // Then the directories are looked at.
  size_t directory = 0;
  bool is_listed = false;
  std::vector<std::string> names;  // left to look at
  std::vector<ObjectId> suspects;  // of this directory

  AuditFindings findings;
};

Audit::Audit(io::Disk& disk, catalog::Catalog& catalog, Activity& activity, Host host,
             bool is_urgent, Registry& registry, const Clock& clock)
    : disk_(disk),
      catalog_(catalog),
      host_(std::move(host)),
      clock_(clock),
      schedule_(catalog, "audit", kPeriod, activity, clock),
      orphans_removed_(registry.counter("larder_audit_orphans_removed_total",
                                        "Objects removed that no file's record named.")),
      strays_removed_(registry.counter("larder_audit_strays_removed_total",
                                       "Unfinished and foreign files removed.")),
      measured_bytes_(registry.gauge(
          "larder_cache_measured_bytes",
          "Bytes on the disk of all that is in the cache directory, when last measured.")),
      measured_at_(registry.gauge("larder_cache_measured_at_seconds",
                                  "When that was, in seconds since 1970; 0: never.")) {
  if (is_urgent) schedule_.make_urgent();
  if (const auto measured = catalog.number(kMeasuredRecord); measured && *measured)
    measured_bytes_.set(static_cast<int64_t>(**measured));
  measured_at_.set(std::chrono::duration_cast<std::chrono::seconds>(schedule_.ended_at()).count());
}

Audit::~Audit() = default;

Result<void> Audit::owe(catalog::Catalog& catalog) {
  catalog::Batch batch;
  batch.put_number(kOwedRecord, 1);
  return catalog.apply(batch);
}

// A record of its own: a pass of this run, which does not see the object, may be about to say that
// nothing is owed.
Result<void> Audit::owe_later(catalog::Catalog& catalog) {
  catalog::Batch batch;
  batch.put_number(kOwedLaterRecord, 1);
  return catalog.apply(batch);
}

Result<bool> Audit::take_on(catalog::Catalog& catalog) {
  TRY_ASSIGN(const auto owed, catalog.number(kOwedRecord));
  TRY_ASSIGN(const auto later, catalog.number(kOwedLaterRecord));
  if (later.value_or(0) == 0) return owed.value_or(0) != 0;
  catalog::Batch batch;
  batch.put_number(kOwedRecord, 1);
  batch.put_number(kOwedLaterRecord, 0);
  TRY(catalog.apply(batch));
  return true;
}

Audit::Status Audit::status() const {
  MutexLock lock(mutex_);
  return status_;
}

NextStep Audit::step() {
  if (!schedule_.may_run()) return schedule_.ask_again();
  if (!pass_ || schedule_.is_overtaken()) begin();
  const Result<bool> goes_on = advance(*pass_);
  if (!goes_on || !*goes_on) {
    end(goes_on ? Result<void>() : fail(goes_on.error()));
    return kAtOnce;  // to see when the next is due
  }
  return schedule_.is_awaited() ? kAtOnce : NextStep(clock_.monotonic() + kPause);
}

void Audit::begin() {
  schedule_.begin();
  const size_t parts = host_.object_count() / kObjectsMax + 1;
  pass_ = std::make_unique<Pass>(std::min(parts, Objects::kDirectories));
}

Result<bool> Audit::advance(Pass& pass) {
  if (pass.records_from) {
    TRY(read_records(pass));
    return true;
  }
  if (pass.directory < pass.end_directory()) {
    TRY(look_at_objects(pass));
    return true;
  }
  if (++pass.part < pass.parts) {
    pass.records_from = journal::Address{};
    pass.named.clear();
    return true;
  }
  TRY(look_at_rest(pass));
  return false;
}

Result<void> Audit::read_records(Pass& pass) {
  const auto note = [&pass](NodeId node, const catalog::NodeRecord& record) {
    if (record.object && pass.is_of_part(record.object))
      pass.named.push_back({record.object, node});
  };
  TRY_ASSIGN(pass.records_from, catalog_.visit_records(*pass.records_from, kRecordsPerStep,
                                                       {.node = note, .name = {}}));
  if (!pass.records_from) std::ranges::sort(pass.named, {}, &Pass::Named::object);
  return {};
}

Result<void> Audit::look_at_objects(Pass& pass) {
  size_t budget = kNamesPerStep;
  while (budget > 0 && pass.directory < pass.end_directory()) {
    if (!pass.is_listed) {
      TRY(list_directory(pass));
      budget -= std::min(budget, kNamesForAListing);
    }
    for (; budget > 0 && !pass.names.empty(); --budget) {
      TRY(look_at_object(pass, pass.names.back()));
      pass.names.pop_back();
    }
    if (!pass.names.empty()) return {};
    if (!pass.suspects.empty()) return judge_suspects(pass);
    pass.is_listed = false;
    ++pass.directory;
  }
  return {};
}

Result<void> Audit::list_directory(Pass& pass) {
  const std::string directory = Objects::directory(pass.directory);
  auto names = disk_.list(directory);
  if (!names && !names.error().is(Code::kNotFound)) return fail(names.error());
  if (names) pass.names = std::move(*names);
  pass.is_listed = true;
  TRY_ASSIGN(const auto bytes, allocated(directory));
  pass.findings.metadata_bytes += bytes.value_or(0);
  return {};
}

Result<void> Audit::look_at_object(Pass& pass, const std::string& name) {
  const std::string path = Objects::directory(pass.directory) + "/" + name;
  const std::optional<ObjectId> object = Objects::object_of(pass.directory, name);
  if (!object) {
    remove_stray(pass, path);
    return {};
  }
  const std::optional<NodeId> node = pass.node_of(*object);
  if (!node && *object < catalog_.first_object()) {
    pass.suspects.push_back(*object);
    return {};
  }
  return count_object(pass, *object, node.value_or(NodeId{}));
}

// A file that is open and has no name any more has its object all the same.
Result<void> Audit::judge_suspects(Pass& pass) {
  const std::unordered_set<ObjectId> in_memory = host_.objects_in_memory();
  for (size_t i = 0; i < kRemovalsPerStep && !pass.suspects.empty(); ++i) {
    const ObjectId object = pass.suspects.back();
    pass.suspects.pop_back();
    if (in_memory.contains(object)) {
      TRY(count_object(pass, object, NodeId{}));
      continue;
    }
    ++pass.findings.orphans;
    const auto removed = remove_orphan(object);
    if (removed && *removed) {
      ++pass.findings.removed;
      orphans_removed_.add();
      continue;
    }
    const uint64_t before_bytes = pass.findings.object_bytes;
    TRY(count_object(pass, object, NodeId{}));
    if (removed) continue;  // kept, for who has it mapped
    // It does not keep the others from being found.
    log::limited_warning("cannot remove an object", object.value, [&] {
      return fmt::format("cannot remove {}: {}; a later mount will try again",
                         Objects::path(object), removed.error().message());
    });
    TRY(owe_later(catalog_));
    pass.findings.left.bytes += pass.findings.object_bytes - before_bytes;
    ++pass.findings.left.objects;
  }
  return {};
}

Result<void> Audit::count_object(Pass& pass, ObjectId object, NodeId node) {
  const std::string path = Objects::path(object);
  TRY_ASSIGN(auto bytes, allocated(path));
  if (bytes && node && is_settled(node, *bytes)) node = NodeId{};
  if (bytes && node) {
    const std::shared_ptr<FileOwner> owner = host_.open(node);
    if (owner && owner->file().object() == object && owner->file().tidy()) {
      ++pass.findings.settled;
      TRY_ASSIGN(bytes, allocated(path));
    }
  }
  if (!bytes) return {};  // it is gone, as files come and go
  ++pass.findings.objects;
  pass.findings.object_bytes += *bytes;
  return {};
}

bool Audit::is_settled(NodeId node, uint64_t bytes) const {
  constexpr uint64_t kUnit = ResidentTable::kUnitBytes;
  return (bytes + kUnit - 1) / kUnit * kUnit == host_.object_bytes(node);
}

// False: a program has it mapped, through a mount that is gone, and it goes later.
Result<bool> Audit::remove_orphan(ObjectId object) {
  const auto info = disk_.info(Objects::path(object));
  if (!info && info.error().is(Code::kNotFound)) return true;
  if (!info) return fail(info.error());
  log::info("removing {}: no file's record names it", Objects::path(object));
  // The records first, so that none is left of an object that is gone.
  const uint64_t chunks = std::min(info->size_bytes / kChunkBytesMin + 1, kChunksMax);
  catalog::NodeRecord node;  // as if one named it
  node.object = object;
  for (uint64_t chunk = 0; chunk < chunks; ++chunk) {
    TRY_ASSIGN(const auto record, catalog_.chunk(node, chunk));
    if (!record) continue;
    catalog::Batch batch;
    batch.remove(object, chunk);
    TRY(catalog_.apply(batch));
  }
  if (host_.keep_mapped(object, info->allocated_bytes)) return false;
  const auto removed = disk_.remove(Objects::path(object));
  if (!removed && !removed.error().is(Code::kNotFound)) return fail(removed.error());
  return true;
}

void Audit::remove_stray(Pass& pass, const std::string& path) {
  ++pass.findings.strays;
  if (const auto removed = disk_.remove(path); !removed) {
    log::limited_warning("a stray cannot be removed", hash64(path), [&] {
      return fmt::format("{} is not larder's and cannot be removed: {}", path,
                         removed.error().message());
    });
    return;
  }
  log::info("removed {}: an unfinished or foreign file", path);
  ++pass.findings.removed;
  strays_removed_.add();
}

Result<void> Audit::look_at_rest(Pass& pass) {
  const auto add = [this](const std::string& path, uint64_t& sum) -> Result<void> {
    TRY_ASSIGN(const auto bytes, allocated(path));
    sum += bytes.value_or(0);
    return {};
  };
  AuditFindings& findings = pass.findings;
  TRY_ASSIGN(const auto in_objects, disk_.list(Objects::kTop));
  for (const std::string& name : in_objects)
    if (!Objects::is_directory_name(name))
      remove_stray(pass, fmt::format("{}/{}", Objects::kTop, name));
  TRY_ASSIGN(const auto in_journal, disk_.list(kJournal));
  for (const std::string& name : in_journal)
    TRY(add(fmt::format("{}/{}", kJournal, name), findings.journal_bytes));
  TRY_ASSIGN(const auto in_root, disk_.list(""));
  for (const std::string& name : in_root) {
    if (name.ends_with(kUnfinishedSuffix))
      remove_stray(pass, name);
    else
      TRY(add(name, findings.metadata_bytes));
  }
  return add("", findings.metadata_bytes);
}

Result<std::optional<uint64_t>> Audit::allocated(const std::string& path) {
  const auto info = disk_.info(path);
  if (info) return std::optional(info->allocated_bytes);
  if (info.error().is(Code::kNotFound)) return std::optional<uint64_t>();
  return fail(info.error());
}

void Audit::end(const Result<void>& result) {
  const std::unique_ptr<Pass> pass = std::move(pass_);
  const AuditFindings& findings = pass->findings;
  catalog::Batch batch;
  if (result) {
    schedule_.remember_end(batch);
    batch.put_number(kMeasuredRecord, findings.measured_bytes());
    batch.put_number(kOwedRecord, 0);
    host_.all_is_counted(findings.left);
    measured_bytes_.set(static_cast<int64_t>(findings.measured_bytes()));
    measured_at_.set(
        std::chrono::duration_cast<std::chrono::seconds>(schedule_.ended_at()).count());
  } else {
    log::warning("cannot look through the cache directory: {}", result.error().message());
  }
  if (const auto stored = result ? catalog_.apply(batch) : Result<void>(); !stored)
    log::warning("cannot remember that the cache directory was looked through: {}",
                 stored.error().message());
  {
    MutexLock lock(mutex_);
    ++status_.passes;
    status_.error = result ? "" : result.error().message();
    if (result) {
      status_.findings = findings;
      status_.accounted_bytes = host_.accounted_bytes();
    }
  }
  if (result)
    schedule_.end();
  else
    schedule_.end_in_vain(kRetry);
}

}  // namespace larder::cache
