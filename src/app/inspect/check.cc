#include "app/inspect/check.h"

#include <algorithm>
#include <array>

#include "app/cache_directory.h"
#include "app/inspect/check_catalog.h"
#include "app/inspect/check_journal.h"
#include "app/inspect/check_objects.h"
#include "app/source_root.h"

namespace larder::app {
namespace {

void check_mark(Examination& examination) {
  const auto text = read_text(examination.disk, kMarkName);
  const auto source = text ? parse_mark(*text) : fail(text.error());
  if (source) return;
  const bool is_newer = source.error().is(Code::kNewerFormat);
  examination.report.add(is_newer ? Kind::kNewerFormat : Kind::kSourceMark, kMarkName,
                         text ? "is not what larder writes there" : text.error().message());
  if (is_newer) examination.plan.refuse = true;
}

void check_root(Examination& examination) {
  const auto text = read_text(examination.disk, kRootName);
  if (!text && text.error().is(Code::kNotFound)) return;
  if (text && parse_root(*text)) return;
  examination.report.add(Kind::kRootMark, kRootName,
                         text ? "is not what larder writes there" : text.error().message());
}

void check_top(Examination& examination) {
  const auto names = examination.disk.list("");
  if (!names) {
    examination.report.add(Kind::kUnreadable, ".", names.error().message());
    examination.plan.refuse = true;
    return;
  }
  constexpr std::array<std::string_view, 5> kKnown{kMarkName, kRootName, kLockName, kJournalName,
                                                   kObjectsName};
  for (const std::string& name : *names) {
    if (std::ranges::find(kKnown, name) != kKnown.end()) continue;
    const bool is_temporary = name.ends_with(kUnfinishedSuffix);
    examination.report.add(is_temporary ? Kind::kTemporary : Kind::kForeignFile, name,
                           is_temporary ? "not complete" : "not a part of a cache directory");
    if (is_temporary) examination.plan.remove_last.push_back(name);
  }
}

}  // namespace

void examine(Examination& examination) {
  check_top(examination);
  check_mark(examination);
  check_root(examination);
  if (!examination.plan.refuse) examine_contents(examination);
}

void examine_contents(Examination& examination) {
  const auto reader = check_journal(examination);
  if (examination.plan.refuse) return;
  Objects objects;
  if (reader) check_catalog(examination, *reader, objects);
  check_objects(examination, reader.get(), objects);
}

control::Value::Object Counts::json() const {
  return {{"checkpoints", checkpoints},
          {"segments", segments},
          {"log_bytes", log_bytes},
          {"frames", frames},
          {"records", records},
          {"keys", keys},
          {"nodes", nodes},
          {"names", names},
          {"listing_parts", listing_parts},
          {"objects", objects},
          {"blocks", blocks},
          {"blocks_without_checksum", blocks_plain},
          {"bytes_verified", bytes_verified}};
}

}  // namespace larder::app
