// A whole store whose files were changed: recovery, salvage, the walk over the log and what `larder
// check` reads.  The input is a list of changes, six bytes each: file, offset (3), what to do, a
// byte.
#include <cstring>
#include <memory>

#include "base/check.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "fuzz/target.h"
#include "journal/reader.h"
#include "journal/store.h"
#include "support/sim_disk.h"

namespace larder::fuzz {
namespace {

using namespace journal;

constexpr const char* kDirectory = "journal";
constexpr size_t kChangeBytes = 6;

StoreOptions options() {
  StoreOptions options;
  options.segment_bytes = 8 << 10;
  options.index_buckets_min = 0;
  return options;
}

// Two segments, two checkpoints, and log behind them.
const testing::SimDisk& pristine() {
  static const auto disk = [] {
    auto made = std::make_unique<testing::SimDisk>();
    const ManualClock clock;
    Registry registry;
    auto store = Store::open(*made, kDirectory, options(), registry, clock);
    CHECK(store);
    for (int i = 0; i < 60; ++i) {
      const std::vector<Change> batch{{"key-" + std::to_string(i % 25), std::string(100, 'v')},
                                      {"gone-" + std::to_string(i % 7), std::nullopt},
                                      {"gone-" + std::to_string(i % 5), "x"}};
      CHECK((*store)->apply(batch));
      CHECK((*store)->commit());
      if (i % 25 == 10) CHECK((*store)->checkpoint());
    }
    return made;
  }();
  return *disk;
}

void change(testing::SimDisk& disk, std::string_view change) {
  const std::vector<std::string> paths = disk.paths();
  const auto number = [&](size_t at) { return static_cast<uint8_t>(change[at]); };
  const std::string& path = paths[number(0) % paths.size()];
  std::string bytes = disk.content(path);
  if (bytes.empty()) return;
  const size_t offset = (number(1) | number(2) << 8 | number(3) << 16) % bytes.size();
  switch (number(4) % 5) {
    case 0:
      bytes[offset] = change[5];
      break;
    case 1:
      bytes.resize(offset);
      break;
    case 2:
      bytes.replace(offset, 512, std::min<size_t>(512, bytes.size() - offset), change[5]);
      break;
    case 3:
      return disk.erase(path);
    default:
      bytes[offset] = static_cast<char>(bytes[offset] ^ 1 << number(5) % 8);
  }
  disk.put(path, bytes);
}

class Ignore final : public LogVisitor {
 public:
  bool on_frame(uint64_t, const format::FrameHeader&) override { return true; }
  bool on_record(const format::RecordView&, bool) override { return true; }
  bool on_gap(const LogGap& gap) override {
    CHECK(gap.from <= gap.to);
    return true;
  }
};

void examine(testing::SimDisk& disk) {
  auto files = read_superblock(disk, kDirectory);
  auto reader = std::unique_ptr<Reader>();
  if (files)
    reader = std::make_unique<Reader>(*files);
  else if (const auto inferred = infer_superblock(disk, kDirectory))
    reader = std::make_unique<Reader>(*inferred);
  if (!reader) return;
  Ignore ignore;
  (void)reader->checkpoints();
  (void)reader->walk(0, ignore);
  if (!reader->recover() && !reader->salvage()) return;
  reader->scan([](const format::RecordView& record) { return !record.key.empty(); },
               [](uint64_t, const Error&) {});
}

}  // namespace

void run(std::string_view input) {
  const auto disk = pristine().clone();
  constexpr size_t kChangesMax = 16;
  for (size_t i = 0; i < kChangesMax && input.size() >= kChangeBytes; ++i) {
    change(*disk, input.substr(0, kChangeBytes));
    input.remove_prefix(kChangeBytes);
    if (disk->paths().empty()) return;
  }
  examine(*disk);
  const ManualClock clock;
  Registry registry;
  const auto store = Store::open(*disk, kDirectory, options(), registry, clock);
  if (!store) return;
  (void)(*store)->scan([](std::string_view, std::string_view) { return true; });
  (void)(*store)->get("key-3");
  const Change change{"after", "x"};
  if ((*store)->apply({&change, 1})) CHECK((*store)->get("after"));
}

std::vector<std::string> seeds() {
  return {std::string(6, '\0'), std::string("\x02\x00\x11\x00\x00\x55", 6),
          std::string("\x03\x00\x20\x00\x02\x00", 6) + std::string("\x01\x00\x00\x00\x03\x00", 6),
          std::string("\x00\x10\x00\x00\x04\x03", 6)};
}

}  // namespace larder::fuzz
