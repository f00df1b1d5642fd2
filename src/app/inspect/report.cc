#include "app/inspect/report.h"

#include <fmt/format.h>

namespace larder::app {
namespace {

constexpr bool kFinding = true;
constexpr bool kNote = false;

constexpr std::array<KindText, kKindCount> kTexts{{
    {Kind::kSourceMark, "source-mark", kFinding, "no mount takes this directory",
     "write the two lines anew (docs/CHECK.md), or remove the directory"},
    {Kind::kRootMark, "root-mark", kNote, "counts as absent", "the next mount writes it anew"},
    {Kind::kNewerFormat, "newer-format", kFinding, "made by a newer larder",
     "use that version; this one changes nothing"},
    {Kind::kUnreadable, "unreadable", kFinding, "the disk or its permissions do not give it",
     "see the kernel's log"},
    {Kind::kTemporary, "temporary", kNote, "a file that a crash left half made",
     "--repair removes it"},
    {Kind::kForeignFile, "foreign-file", kNote, "larder does not make such a file and ignores it",
     "remove it by hand if nobody needs it"},
    {Kind::kSuperblock, "superblock", kFinding, "no mount takes this directory",
     "--repair makes the journal anew"},
    {Kind::kCheckpoint, "checkpoint", kFinding, "recovery passes it over and reads more of the log",
     "--repair makes a new one"},
    {Kind::kLogTail, "log-tail", kNote, "the torn tail of a crash", "the next mount drops it"},
    {Kind::kLogDamage, "log-damage", kFinding,
     "bytes that were durable are no longer what they were",
     "--repair keeps what can still be read"},
    {Kind::kLogRecord, "log-record", kFinding, "the record cannot be read once it is out of memory",
     "--repair keeps what can still be read"},
    {Kind::kIndex, "index", kFinding, "what is recorded there, and behind it, cannot be read",
     "--repair keeps what can still be read"},
    {Kind::kKeyCount, "key-count", kFinding, "the index and the log disagree",
     "--repair counts anew"},
    {Kind::kRecord, "record", kFinding, "counts as absent: the source is asked again",
     "--repair removes it"},
    {Kind::kCounter, "counter", kFinding, "ids could be given out twice",
     "--repair sets it behind all that are in use"},
    {Kind::kId, "id", kFinding, "an id that was never given out", "--repair removes the record"},
    {Kind::kParent, "parent", kFinding, "the node cannot be reached by a path",
     "--repair removes it, the source is asked again"},
    {Kind::kListing, "listing", kFinding, "the stored listing is not used",
     "--repair drops it, the source is asked again"},
    {Kind::kLeftover, "leftover", kNote, "a record that nothing leads to any more",
     "--repair removes it"},
    {Kind::kObjectShared, "object-shared", kFinding, "one of them shows the other's bytes",
     "--repair drops the data of both"},
    {Kind::kObjectMissing, "object-missing", kFinding, "the file's data is fetched again",
     "--repair drops the claims on it"},
    {Kind::kObjectSize, "object-size", kFinding, "the file's data is fetched again",
     "--repair drops the object"},
    {Kind::kChunkBeyondEnd, "chunk-beyond-end", kFinding, "none of the file's data is believed",
     "--repair drops the object"},
    {Kind::kBlockHole, "block-hole", kFinding, "would be read as zeros",
     "--repair drops the blocks, they are fetched again"},
    {Kind::kBlockChecksum, "block-checksum", kFinding, "would be read as wrong bytes",
     "--repair drops the blocks, they are fetched again"},
    {Kind::kOrphan, "orphan", kNote, "no record names it, it is never read", "--repair removes it"},
}};

constexpr bool in_order() {
  for (size_t i = 0; i < kTexts.size(); ++i)
    if (kTexts[i].kind != static_cast<Kind>(i)) return false;
  return true;
}
static_assert(in_order());

}  // namespace

const std::array<KindText, kKindCount>& kind_texts() {
  return kTexts;
}

const KindText& text_of(Kind kind) {
  return kTexts[static_cast<size_t>(kind)];
}

std::string Finding::line() const {
  const KindText& text = text_of(kind);
  return fmt::format("{}{}: {}: {}; {}; {}", text.is_finding ? "" : "note: ", text.name, where,
                     what, text.meaning, text.remedy);
}

void Report::add(Kind kind, std::string_view where, std::string_view what) {
  if (++counts_[static_cast<size_t>(kind)] > kShownMax) return;
  const Finding& kept =
      kept_.emplace_back(Finding{kind, control::one_line(where), control::one_line(what)});
  if (say_ != nullptr) say_(kept.line() + "\n");
}

uint64_t Report::sum(bool is_finding) const {
  uint64_t sum = 0;
  for (const KindText& text : kTexts)
    if (text.is_finding == is_finding) sum += count(text.kind);
  return sum;
}

std::vector<std::string> Report::more() const {
  std::vector<std::string> lines;
  for (const KindText& text : kTexts)
    if (count(text.kind) > kShownMax)
      lines.push_back(fmt::format("{}: {} more", text.name, count(text.kind) - kShownMax));
  return lines;
}

control::Value::Array Report::json() const {
  control::Value::Array array;
  for (const Finding& finding : kept_) {
    const KindText& text = text_of(finding.kind);
    array.emplace_back(control::Value::Object{{"kind", text.name},
                                              {"is_finding", text.is_finding},
                                              {"where", finding.where},
                                              {"what", finding.what},
                                              {"meaning", text.meaning},
                                              {"remedy", text.remedy}});
  }
  return array;
}

control::Value::Object Report::json_counts() const {
  control::Value::Object counts;
  for (const KindText& text : kTexts)
    if (count(text.kind) != 0) counts.emplace_back(std::string(text.name), count(text.kind));
  return counts;
}

}  // namespace larder::app
