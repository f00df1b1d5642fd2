#include "app/inspect/check_journal.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/cache_directory.h"

namespace larder::app {
namespace {

// Sees the whole log; what a gap means is known at its end.
class LogCheck final : public journal::LogVisitor {
 public:
  LogCheck(Examination& examination, journal::Segments& segments, uint64_t durable)
      : examination_(examination), segments_(segments), durable_(durable) {}

  bool on_frame(uint64_t address, const format::FrameHeader& header) override {
    ++examination_.counts.frames;
    durable_ = std::max(durable_, header.durable);
    end_ = address + header.size_bytes();
    begin_ = std::max(begin_, header.begin);
    return true;
  }
  bool on_record(const format::RecordView& record, bool verifies) override {
    ++examination_.counts.records;
    const bool is_good = verifies && record.header.previous() < record.address;
    if (!is_good && bad_records_.size() < kGapsMax) bad_records_.push_back(record.address);
    return true;
  }
  bool on_gap(const journal::LogGap& gap) override {
    if (gaps_.size() < kGapsMax) gaps_.push_back(gap);
    return true;
  }

  // False when a file is of a later version.
  bool conclude() {
    for (const uint64_t address : bad_records_)
      if (address >= begin_) add_bad_record(address);
    for (const journal::LogGap& gap : gaps_) {
      if (gap.to <= begin_ && !gap.error) continue;  // nothing there counts any more
      if (gap.error && gap.error->is(Code::kNewerFormat)) {
        examination_.report.add(Kind::kNewerFormat, examination_.journal, gap.error->detail());
        return false;
      }
      if (gap.from >= durable_ && !gap.error) {
        add_tail(gap);
        break;  // what follows was given up with it
      }
      add_damage(gap);
    }
    return true;
  }

 private:
  static constexpr size_t kGapsMax = 10'000;  // more say nothing more

  void add_bad_record(uint64_t address) {
    examination_.report.add(Kind::kLogRecord, segments_.place_of(address),
                            "the frame verifies, this record in it does not");
    examination_.plan.rewrite_journal = true;
  }
  void add_tail(const journal::LogGap& gap) {
    const uint64_t end = std::max(gap.to, end_);
    examination_.report.add(Kind::kLogTail, segments_.place_of(gap.from),
                            fmt::format("{} bytes that were not yet durable", end - gap.from));
  }
  void add_damage(const journal::LogGap& gap) {
    const std::string what =
        gap.error ? gap.error->detail()
                  : fmt::format("no frame verifies in {} bytes, but the log was durable up to {}",
                                gap.to - gap.from, segments_.place_of(durable_));
    examination_.report.add(Kind::kLogDamage, segments_.place_of(gap.from), what);
    examination_.plan.rewrite_journal = true;
  }

  Examination& examination_;
  journal::Segments& segments_;
  uint64_t durable_;    // the log was durable up to here
  uint64_t end_ = 0;    // of the last frame
  uint64_t begin_ = 0;  // no record before it counts
  std::vector<uint64_t> bad_records_;
  std::vector<journal::LogGap> gaps_;
};

// Without the place, which the finding has.
std::string what_of(const Error& error, std::string_view path) {
  const std::string prefix = fmt::format("{}: ", path);
  const std::string detail = error.detail().empty() ? error.message() : error.detail();
  return detail.starts_with(prefix) ? detail.substr(prefix.size()) : detail;
}

std::string path_in_journal(const Examination& examination, std::string_view name) {
  return fmt::format("{}/{}", examination.journal, name);
}

// False when there is no journal.
bool check_names(Examination& examination) {
  const auto names = examination.disk.list(examination.journal);
  if (!names && names.error().is(Code::kNotFound)) return false;
  if (!names) {
    examination.report.add(Kind::kUnreadable, examination.journal, names.error().message());
    examination.plan.refuse = true;
    return false;
  }
  bool is_store = false;
  for (const std::string& name : *names) {
    const bool is_known = name == journal::kSuperblockName ||
                          journal::number_of_name(name, journal::kSegmentPrefix) ||
                          journal::number_of_name(name, journal::kCheckpointPrefix) ||
                          journal::number_of_name(name, journal::kIncrementPrefix);
    is_store = is_store || is_known;
    if (is_known) continue;
    const std::string path = path_in_journal(examination, name);
    const bool is_temporary = name.ends_with(journal::kNewSuffix);
    examination.report.add(is_temporary ? Kind::kTemporary : Kind::kForeignFile, path,
                           is_temporary ? "not complete" : "not a file of a journal");
    if (is_temporary) examination.plan.remove_last.push_back(path);
  }
  return is_store;
}

std::unique_ptr<journal::Reader> open_reader(Examination& examination) {
  const std::string path = path_in_journal(examination, journal::kSuperblockName);
  const auto files = journal::read_superblock(examination.disk, examination.journal);
  if (files) return std::make_unique<journal::Reader>(*files);
  if (files.error().is(Code::kNewerFormat)) {
    examination.report.add(Kind::kNewerFormat, path, files.error().detail());
    examination.plan.refuse = true;
    return nullptr;
  }
  examination.report.add(Kind::kSuperblock, path, what_of(files.error(), path));
  examination.plan.rewrite_journal = true;
  const auto inferred = journal::infer_superblock(examination.disk, examination.journal);
  if (inferred) return std::make_unique<journal::Reader>(*inferred);
  examination.report.add(Kind::kLogDamage, examination.journal, inferred.error().message());
  examination.plan.drop_journal = !inferred.error().is(Code::kNewerFormat);
  examination.plan.refuse = !examination.plan.drop_journal;
  return nullptr;
}

// Up to where the checkpoints say that the log was durable; nullopt when one is of a later version.
std::optional<uint64_t> check_checkpoints(Examination& examination, journal::Reader& reader) {
  uint64_t durable = 0;
  const auto states = reader.checkpoints();
  if (!states) {
    examination.report.add(Kind::kUnreadable, examination.journal, states.error().message());
    return durable;
  }
  for (const auto& state : *states) {
    const std::string path = path_in_journal(examination, state.name);
    ++examination.counts.checkpoints;
    durable = std::max(durable, state.body.log_end);
    if (!state.error) continue;
    const bool is_newer = state.error->is(Code::kNewerFormat);
    examination.report.add(is_newer ? Kind::kNewerFormat : Kind::kCheckpoint, path,
                           what_of(*state.error, path));
    if (is_newer) return std::nullopt;
    examination.plan.remove_first.push_back(path);
  }
  return durable;
}

// What recovery makes of it; false when nothing can be had.
bool load_index(Examination& examination, journal::Reader& reader) {
  const auto recovered = reader.recover();
  if (recovered) return true;
  if (!examination.plan.rewrite_journal)
    examination.report.add(Kind::kLogDamage, examination.journal,
                           what_of(recovered.error(), examination.journal));
  examination.plan.rewrite_journal = true;
  const auto salvaged = reader.salvage();
  if (!salvaged) {
    examination.report.add(Kind::kLogDamage, examination.journal,
                           what_of(salvaged.error(), examination.journal));
    return false;
  }
  return true;
}

}  // namespace

std::unique_ptr<journal::Reader> check_journal(Examination& examination) {
  if (!check_names(examination)) return nullptr;
  auto reader = open_reader(examination);
  if (!reader) return nullptr;
  const auto durable = check_checkpoints(examination, *reader);
  if (!durable) {
    examination.plan.refuse = true;
    return nullptr;
  }
  LogCheck log(examination, reader->segments(), *durable);
  const auto walked = reader->walk(0, log);
  if (!walked)
    examination.report.add(Kind::kUnreadable, examination.journal, walked.error().message());
  if (!log.conclude()) {
    examination.plan.refuse = true;
    return nullptr;
  }
  examination.counts.segments = reader->segment_count();
  examination.counts.log_bytes = reader->segment_count() * reader->files().segment_bytes;
  if (load_index(examination, *reader)) return reader;
  examination.plan.drop_journal = true;
  return nullptr;
}

}  // namespace larder::app
