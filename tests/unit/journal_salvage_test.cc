// Salvage of a log that has been compacted: whatever is damaged, what is found is what the store
// held at one time, or a part of that.  Nothing older in a key's place, nothing that was removed.
#include <functional>
#include <optional>

#include "base/log.h"
#include "journal/files.h"
#include "journal/reader.h"
#include "journal_fixture.h"

namespace larder::journal {
namespace {

class JournalSalvageTest : public JournalTest {
 protected:
  static void SetUpTestSuite() { log::set_file("/dev/null"); }

  // A log whose first segments are gone: records that were moved, copies that are superseded,
  // removals whose older records were compacted away.
  void SetUp() override {
    StoreOptions options;
    options.segment_bytes = 8 << 10;
    options.checkpoint_after_bytes = 24 << 10;
    options.dead_share = 0.4;
    const auto store = must_open(options);
    apply(*store, {put("still", "from the beginning"), put("removed-early", "x")});
    Random random(7);
    for (int i = 0; i < 400; ++i) {
      const uint64_t size_bytes = 100 + random.below(200);
      std::vector<Change> batch{put("hot-" + std::to_string(random.below(12)),
                                    std::string(size_bytes, char('a' + i % 26)))};
      if (i % 5 == 0) batch.push_back(put("cold-" + std::to_string(i / 5), "c"));
      if (i % 7 == 6) batch.push_back(removal("cold-" + std::to_string(random.below(80))));
      if (i == 100) batch.push_back(removal("removed-early"));
      apply(*store, batch);
      if (i % 4 == 3) {
        ASSERT_TRUE(store->commit());
      }
      if (i < 380) settle(*store);
    }
    // Until compaction has gone through a segment that is not removed yet.
    for (int i = 0; i < 400 && !has_dead_segment(); ++i) {
      apply(*store, {put("hot-" + std::to_string(i % 12), std::string(200, 'z'))});
      ASSERT_TRUE(store->commit());
      ASSERT_TRUE(store->maintain());
    }
    ASSERT_TRUE(has_dead_segment());
    ASSERT_TRUE(store->commit());
    expect_holds(*store, model_);
    disk_.process_death();
    ASSERT_GT(files("log-").front(), "journal/log-0000000000000002");
    ASSERT_GE(files("log-").size(), 4u);
    ASSERT_EQ(files("checkpoint-").size(), 2u);
  }

  void apply(Store& store, const std::vector<Change>& batch) {
    must_apply(store, batch);
    states_[store.log_bytes()] = model_;
  }

  struct Found {
    Model contents;
    uint64_t tail = 0;
    bool is_salvaged = false;
    bool is_older = false;
    std::optional<uint64_t> key_count{};
    uint64_t begin = 0;
  };
  static std::optional<Found> look(io::Disk& disk) {
    const auto files = read_superblock(disk, "journal");
    EXPECT_TRUE(files);
    Reader reader(*files);
    auto recovered = reader.recover();
    Found found;
    found.is_salvaged = !recovered;
    if (!recovered) recovered = reader.salvage();
    if (!recovered) return std::nullopt;
    found.tail = recovered->log.watermarks.tail;
    found.begin = recovered->log.watermarks.begin;
    found.is_older = recovered->is_older;
    found.key_count = reader.key_count();
    reader.scan(
        [&](const format::RecordView& record) {
          EXPECT_TRUE(found.contents.emplace(record.key, record.value).second) << record.key;
          return true;
        },
        [](uint64_t, const Error&) {});
    return found;
  }

  const Model& state_at(uint64_t tail) const {
    static const Model kNothing;
    const auto behind = states_.upper_bound(tail);
    return behind == states_.begin() ? kNothing : std::prev(behind)->second;
  }
  static bool is_part_of(const Model& part, const Model& whole) {
    return std::ranges::all_of(part, [&](const auto& entry) {
      const auto it = whole.find(entry.first);
      return it != whole.end() && it->second == entry.second;
    });
  }
  void expect_right(const Found& found) const {
    EXPECT_TRUE(is_part_of(found.contents, state_at(found.tail)));
    // The last frames may be taken for a torn tail: nobody says that they were durable.
    if (found.is_salvaged && !found.is_older) {
      EXPECT_TRUE(is_part_of(found.contents, model_));
    }
    if (found.key_count) {
      EXPECT_EQ(*found.key_count, state_at(found.tail).size());
    }
  }
  // The `count` newest.
  void damage_checkpoints(testing::SimDisk& disk, size_t count) const {
    const auto all = files("checkpoint-");
    for (size_t i = 0; i < count; ++i) disk.corrupt(all[all.size() - 1 - i], 5000, 0x10);
  }
  static uint64_t segment_of(const std::string& path) {
    return std::stoull(path.substr(path.size() - 16), nullptr, 16);
  }
  // The lowest one: it is there, and no record in it counts.
  bool has_dead_segment() const {
    return segment_of(files("log-").front()) < look(*disk_.clone())->begin / (8 << 10);
  }

  std::map<uint64_t, Model> states_;  // by the log's end
};

TEST_F(JournalSalvageTest, WhateverIsDamagedWhatIsFoundIsRight) {
  const std::vector<std::function<void(testing::SimDisk&, const std::string&)>> damages{
      [](auto& disk, const auto& path) { disk.corrupt(path, 100, 0x10); },
      [](auto& disk, const auto& path) { disk.corrupt(path, 4096 + 60, 0x10); },
      [](auto& disk, const auto& path) { disk.corrupt(path, 6000, 0x10); },
      [](auto& disk, const auto& path) { disk.put(path, disk.content(path).substr(0, 6001)); },
      [](auto& disk, const auto& path) { disk.erase(path); },
  };
  size_t salvaged = 0;
  for (const std::string& segment : files("log-")) {
    for (size_t damage = 0; damage < damages.size(); ++damage) {
      for (size_t checkpoints = 0; checkpoints <= 2; ++checkpoints) {
        SCOPED_TRACE(segment + " damage " + std::to_string(damage) + " checkpoints " +
                     std::to_string(checkpoints));
        const auto disk = disk_.clone();
        damages[damage](*disk, segment);
        damage_checkpoints(*disk, checkpoints);
        const auto found = look(*disk);
        if (!found) continue;
        salvaged += found->is_salvaged ? 1 : 0;
        expect_right(*found);
        if (HasFailure()) return;
      }
    }
  }
  EXPECT_GT(salvaged, 20u);
}

TEST_F(JournalSalvageTest, DamageBelowTheBeginCostsNothing) {
  for (const size_t checkpoints : {1, 2}) {
    SCOPED_TRACE(checkpoints);
    const auto disk = disk_.clone();
    disk->corrupt(files("log-").front(), 4096 + 60, 0x10);
    damage_checkpoints(*disk, checkpoints);
    const auto found = look(*disk);
    ASSERT_TRUE(found);
    EXPECT_FALSE(found->is_older);
    EXPECT_EQ(found->contents, model_);
    EXPECT_EQ(found->key_count, model_.size());
  }
}

TEST_F(JournalSalvageTest, WithoutCheckpointsWhatIsBehindTheDamageCounts) {
  const auto disk = disk_.clone();
  damage_checkpoints(*disk, 2);
  const uint64_t begin = look(*disk_.clone())->begin;
  disk->corrupt("journal/" + numbered_name(kSegmentPrefix, begin / (8 << 10)), 6000, 0x10);
  const auto found = look(*disk);
  ASSERT_TRUE(found);
  expect_right(*found);
  EXPECT_FALSE(found->contents.empty());
}

TEST_F(JournalSalvageTest, OneThatWasCutOffIsAnEarlierTime) {
  const auto disk = disk_.clone();
  const std::string last = files("log-").back();
  disk->put(last, disk->content(last).substr(0, 4096 + 500));
  const auto found = look(*disk);
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->is_salvaged);
  EXPECT_TRUE(found->is_older);
  EXPECT_FALSE(found->contents.empty());
  expect_right(*found);
}

}  // namespace
}  // namespace larder::journal
