// Crashes of every kind at every point: what comes back is a prefix of the applied batches that has
// all committed ones.  A failing seed repeats with LARDER_TEST_SEED=<seed>; LARDER_TEST_SEEDS=<n>
// runs n of them.
#include "base/log.h"
#include "journal_fixture.h"

namespace larder::journal {
namespace {

// The states a store has gone through, and which of them a crash may leave.
class History {
 public:
  History() : states_(1) {}
  void apply(const std::vector<Change>& batch) {
    states_.push_back(states_.back());
    apply_to(states_.back(), batch);
  }
  void commit() { committed_ = states_.size() - 1; }
  const Model& last() const { return states_.back(); }

  // Checks the recovered store, from which the history goes on.  What survived a power loss is on
  // the medium; what survived only the process may still be lost later.
  void expect_prefix(Store& store, bool is_power_loss) {
    const Model recovered = contents(store);
    EXPECT_EQ(store.key_count(), recovered.size());
    EXPECT_EQ(store.live_bytes(), space_of(recovered));
    for (size_t i = states_.size(); i-- > committed_;) {
      if (states_[i] != recovered) continue;
      states_.resize(i + 1);
      if (is_power_loss) committed_ = i;
      return;
    }
    for (size_t i = 0; i < committed_; ++i)
      if (states_[i] == recovered)
        FAIL() << "lost committed batches: state " << i << " of " << committed_;
    FAIL() << "not a state the store was ever in";
  }

 private:
  std::vector<Model> states_;
  size_t committed_ = 0;
};

// Odd seeds make increments, even ones full checkpoints only.
StoreOptions crash_options(uint64_t seed) {
  StoreOptions options;
  options.segment_bytes = 8 << 10;
  options.checkpoint_after_bytes = 24 << 10;
  options.increments_share = seed % 2 == 0 ? 0 : 100;
  options.dead_share = 0.3;
  return options;
}

class JournalCrashTest : public JournalTest {
 protected:
  // Each crash ends in an error or two.
  static void SetUpTestSuite() { log::set_file("/dev/null"); }

  // Random work until `operations` are done or the disk is gone.
  static void work(Store& store, Random& random, int operations, History& history) {
    for (int i = 0; i < operations; ++i) {
      switch (random.below(12)) {
        case 0:
          if (!store.commit()) return;
          history.commit();
          break;
        case 1:
          if (random.one_in(8)) {
            if (!store.checkpoint()) return;
            history.commit();
          }
          break;
        case 2:
        case 3:
          if (!store.maintain()) return;
          break;
        default: {
          const auto batch = random_batch(random, 60);
          if (!store.apply(batch)) return;
          history.apply(batch);
        }
      }
    }
  }
};

TEST_F(JournalCrashTest, PowerLossLeavesACommittedPrefix) {
  for (const uint64_t seed : seeds(120)) {
    SCOPED_TRACE("LARDER_TEST_SEED=" + std::to_string(seed));
    testing::SimDisk disk;
    Random random(seed);
    History history;
    for (int life = 0; life < 4; ++life) {
      auto store = Store::open(disk, "journal", crash_options(seed), registry_, clock_);
      ASSERT_TRUE(store) << store.error().message();
      if (life > 0) history.expect_prefix(**store, true);
      if (HasFatalFailure()) return;
      work(**store, random, static_cast<int>(random.below(120)), history);
      disk.power_loss(random.next());
    }
  }
}

TEST_F(JournalCrashTest, ProcessDeathKeepsEverything) {
  for (const uint64_t seed : seeds(60)) {
    SCOPED_TRACE("LARDER_TEST_SEED=" + std::to_string(seed));
    testing::SimDisk disk;
    Random random(seed);
    History history;
    for (int life = 0; life < 4; ++life) {
      auto store = Store::open(disk, "journal", crash_options(seed), registry_, clock_);
      ASSERT_TRUE(store) << store.error().message();
      expect_holds(**store, history.last());
      work(**store, random, static_cast<int>(random.below(120)), history);
      disk.process_death();
    }
  }
}

TEST_F(JournalCrashTest, MixedCrashesAtRandomSteps) {
  for (const uint64_t seed : seeds(120)) {
    SCOPED_TRACE("LARDER_TEST_SEED=" + std::to_string(seed));
    testing::SimDisk disk;
    Random random(seed);
    History history;
    bool is_power_loss = false;
    for (int life = 0; life < 6; ++life) {
      disk.crash_at_step(1 + random.below(60));
      auto store = Store::open(disk, "journal", crash_options(seed), registry_, clock_);
      if (store) {
        history.expect_prefix(**store, is_power_loss);
        if (HasFatalFailure()) return;
        work(**store, random, 80, history);
      } else {
        ASSERT_EQ(store.error().code(), Code::kCancelled) << store.error().message();
      }
      // Two crashes before a successful open count as the worse of them.
      const bool is_next_power_loss = random.one_in(2);
      is_power_loss = is_next_power_loss || (is_power_loss && !store);
      if (is_next_power_loss)
        disk.power_loss(random.next());
      else
        disk.process_death();
    }
  }
}

// So many keys that the index grows with nearly each one from kGrowing on, through crashes at any
// step of the appends, checkpoints and increments meanwhile.
class JournalGrowthTest : public JournalCrashTest {
 protected:
  static constexpr uint64_t kGrowing = 38'000, kKeys = 70'000, kBatch = 500;

  static std::string key_of(uint64_t number) { return "key-" + std::to_string(number); }

  // Keys are put in the order of their numbers, until so many are there or the disk is gone.
  static void grow(Store& store, uint64_t keys, uint64_t& applied, uint64_t& committed,
                   Random& random) {
    while (applied < keys) {
      std::vector<Change> batch;
      for (uint64_t i = 0; i < kBatch; ++i) batch.push_back(put(key_of(applied + i), "v"));
      if (!store.apply(batch)) return;
      applied += kBatch;
      while (store.is_maintenance_due())
        if (!store.maintain()) return;
      if (!random.one_in(4)) continue;
      if (!store.commit()) return;
      committed = applied;
    }
  }
  static uint64_t expect_prefix(Store& store, uint64_t committed, Random& random) {
    const uint64_t found = store.key_count();
    EXPECT_EQ(found % kBatch, 0U) << "half a batch";
    EXPECT_GE(found, committed);
    for (int i = 0; i < 300; ++i) {
      const uint64_t number = random.below(kKeys);
      const auto value = store.get(key_of(number));
      EXPECT_TRUE(value) << value.error().message();
      if (!value) continue;
      EXPECT_EQ(value->has_value(), number < found) << number << " of " << found;
    }
    return found;
  }
};

TEST_F(JournalGrowthTest, ACrashWhileTheIndexGrowsLeavesACommittedPrefix) {
  for (const uint64_t seed : seeds(4)) {
    SCOPED_TRACE("LARDER_TEST_SEED=" + std::to_string(seed));
    StoreOptions options;
    options.segment_bytes = 64 << 10;
    options.checkpoint_after_bytes = 128 << 10;
    options.increments_share = seed % 2 == 0 ? 0 : 100;
    testing::SimDisk disk;
    Random random(seed);
    uint64_t applied = 0, committed = 0, crashes_in_growth = 0;
    while (committed < kKeys) {
      auto store = Store::open(disk, "journal", options, registry_, clock_);
      ASSERT_TRUE(store) << store.error().message();
      const uint64_t found = expect_prefix(**store, committed, random);
      if (HasFailure()) return;
      applied = committed = found;
      const uint64_t bytes_before = (*store)->index_bytes();
      const bool is_growing = applied >= kGrowing;
      if (is_growing) disk.crash_at_step(1 + random.below(120));
      grow(**store, is_growing ? kKeys : kGrowing, applied, committed, random);
      if (applied > found) crashes_in_growth += (*store)->index_bytes() > bytes_before ? 1 : 0;
      const bool is_power_loss = random.one_in(2);
      if (!is_power_loss) committed = applied;
      is_power_loss ? disk.power_loss(random.next()) : disk.process_death();
    }
    EXPECT_GT(crashes_in_growth, 0U);
    disk.process_death();
    auto store = Store::open(disk, "journal", options, registry_, clock_);
    ASSERT_TRUE(store) << store.error().message();
    EXPECT_EQ(expect_prefix(**store, kKeys, random), kKeys);
  }
}

// A short history that has everything in it: several segments, a full checkpoint, increments,
// compaction, and removed segments and checkpoints.
class JournalEveryStepTest : public JournalCrashTest {
 protected:
  static constexpr uint64_t kKeys = 8;

  static std::vector<Change> batch_of(Random& random) {
    std::vector<Change> batch;
    for (int i = 0; i < 2; ++i) {
      std::string key = "key-" + std::to_string(random.below(kKeys));
      if (random.one_in(5))
        batch.push_back(removal(std::move(key)));
      else
        batch.push_back(put(std::move(key), std::string(600 + random.below(900), 'v')));
    }
    return batch;
  }

  // Until the disk is gone.
  static void run(Store& store, uint64_t seed, History& history) {
    Random random(seed);
    for (int i = 0; i < 32; ++i) {
      const auto batch = batch_of(random);
      if (!store.apply(batch)) return;
      history.apply(batch);
      if (i % 4 == 3) {
        if (!store.commit()) return;
        history.commit();
      }
      if (i % 16 != 15) continue;
      while (store.is_maintenance_due())
        if (!store.maintain()) return;
    }
    if (store.close()) history.commit();
  }
};

TEST_F(JournalEveryStepTest, TheHistoryHasEverythingInIt) {
  for (const uint64_t seed : {1, 2}) {
    testing::SimDisk disk;
    Registry registry;
    History history;
    auto store = Store::open(disk, "journal", crash_options(seed), registry, clock_);
    ASSERT_TRUE(store);
    run(**store, seed, history);
    expect_holds(**store, history.last());
    std::map<std::string, uint64_t> counts;
    for (const Registry::Entry& entry : registry.entries())
      if (entry.counter != nullptr)
        counts[entry.labels.empty() ? entry.name : entry.labels[0].second] +=
            entry.counter->value();
    EXPECT_GT(counts["larder_journal_moved_records_total"], 0u);
    EXPECT_GE(counts["full"], 3u);
    EXPECT_EQ(counts["increment"] > 0, seed == 1);
    for (const std::string& path : disk.paths()) {
      EXPECT_FALSE(path.ends_with("log-0000000000000000"));
      EXPECT_FALSE(path.ends_with("checkpoint-0000000000000001"));
    }
  }
}

TEST_F(JournalEveryStepTest, ACrashAtEachLeavesACommittedPrefix) {
  constexpr uint64_t kPowerLosses = 2;  // other subsets of what was not synced
  for (const uint64_t seed : seeds(2)) {
    bool was_crashed = true;
    for (uint64_t crash_step = 1; was_crashed; crash_step += kThinning) {
      for (uint64_t loss = 0; loss <= kPowerLosses; ++loss) {
        SCOPED_TRACE("LARDER_TEST_SEED=" + std::to_string(seed) + " step " +
                     std::to_string(crash_step) + " loss " + std::to_string(loss));
        const bool is_power_loss = loss > 0;
        testing::SimDisk disk;
        History history;
        disk.crash_at_step(crash_step);
        if (auto store = Store::open(disk, "journal", crash_options(seed), registry_, clock_))
          run(**store, seed, history);
        was_crashed = disk.is_crashed();
        is_power_loss ? disk.power_loss(crash_step * 31 + loss) : disk.process_death();

        auto store = Store::open(disk, "journal", crash_options(seed), registry_, clock_);
        ASSERT_TRUE(store) << store.error().message();
        if (!is_power_loss) {
          EXPECT_EQ(contents(**store), history.last());
        }
        history.expect_prefix(**store, is_power_loss);
        if (HasFatalFailure()) return;
        // And it works, and what it does then is found again.
        Random random(crash_step);
        const auto batch = batch_of(random);
        ASSERT_TRUE((*store)->apply(batch));
        history.apply(batch);
        settle(**store);
        expect_holds(**store, history.last());
        store->reset();
        disk.process_death();
        store = Store::open(disk, "journal", crash_options(seed), registry_, clock_);
        ASSERT_TRUE(store) << store.error().message();
        expect_holds(**store, history.last());
        if (HasFailure()) return;
      }
    }
  }
}

// Failures of the disk at random places: the store goes on or takes no more changes, and what a
// power loss then leaves is legal.
TEST_F(JournalCrashTest, InjectedFailuresNeverCostACommittedBatch) {
  using enum testing::SimOperation;
  constexpr testing::SimOperation kOperations[] = {
      kOpen, kWrite, kSync, kTruncate, kAllocate, kMap, kRename, kRemove, kSyncDirectory};
  for (const uint64_t seed : seeds(150)) {
    SCOPED_TRACE("LARDER_TEST_SEED=" + std::to_string(seed));
    testing::SimDisk disk;
    Random random(seed);
    History history;
    bool is_power_loss = false;
    for (int life = 0; life < 4; ++life) {
      disk.set_short_io(random.one_in(2) ? std::optional(random.next()) : std::nullopt);
      auto store = Store::open(disk, "journal", crash_options(seed), registry_, clock_);
      ASSERT_TRUE(store) << store.error().message();
      if (life > 0) history.expect_prefix(**store, is_power_loss);
      if (HasFatalFailure()) return;
      // Half of the failures are a full disk for a while, the others happen once.
      const bool is_full = random.one_in(2);
      if (is_full)
        disk.set_capacity_bytes(random.below(600 << 10));
      else
        disk.inject({.operation = kOperations[random.below(std::size(kOperations))],
                     .skip = random.below(12)});
      for (int i = 0; i < 100 && !(*store)->poisoned(); ++i) {
        if (i == 60) disk.set_capacity_bytes(uint64_t{1} << 40);
        clock_.advance(std::chrono::seconds(1));
        const uint64_t choice = random.below(12);
        if (choice == 0) {
          if ((*store)->commit()) history.commit();
        } else if (choice < 4) {
          // What fails here shows in what is there afterwards.
          [[maybe_unused]] const auto more = (*store)->maintain();
        } else {
          const auto batch = random_batch(random, 60);
          if ((*store)->apply(batch)) history.apply(batch);
        }
      }
      EXPECT_EQ(contents(**store), history.last());
      EXPECT_FALSE(is_full && (*store)->poisoned());
      store->reset();
      disk.clear_faults();
      disk.set_capacity_bytes(uint64_t{1} << 40);
      is_power_loss = random.one_in(2);
      is_power_loss ? disk.power_loss(random.next()) : disk.process_death();
    }
  }
}

// A store whose last frame is known: where it begins and ends in the log.
struct LastFrame {
  Model before;
  Model after;
  uint64_t begin = 0;
  uint64_t end = 0;
};

class JournalTailTest : public JournalTest {
 protected:
  LastFrame make(bool is_committed) {
    LastFrame frame;
    const auto store = must_open();
    must_apply(*store, {put("a", "1"), put("b", "2")});
    must_apply(*store, {removal("a"), put("c", std::string(40, '3'))});
    frame.before = model_;
    frame.begin = store->log_bytes();
    if (is_committed) {
      EXPECT_TRUE(store->commit());
    }
    must_apply(*store, {put("d", "4"), put("b", std::string(70, '5'))});
    frame.after = model_;
    frame.end = store->log_bytes();
    disk_.process_death();
    return frame;
  }
  std::string log() const { return files("log-").front(); }
};

TEST_F(JournalTailTest, TornAtEveryByteTheBatchIsGoneWhole) {
  const LastFrame frame = make(true);
  const std::string whole = disk_.content(log());
  for (uint64_t cut = frame.begin; cut < frame.end; ++cut) {
    SCOPED_TRACE(cut);
    std::string torn = whole;
    std::fill(torn.begin() + static_cast<ptrdiff_t>(cut), torn.end(), '\0');
    disk_.put(log(), torn);
    const auto store = must_open();
    // Padding and the end of a header may be zeros anyway.
    expect_holds(*store, torn == whole ? frame.after : frame.before);
    if (torn != whole && cut > frame.begin) {
      EXPECT_GT(store->recovery().tail_bytes_dropped, 0u);
    }
    // What was dropped does not come back.
    ASSERT_TRUE(store->apply(std::vector{put("e", "6")}));
    Model model = contents(*store);
    disk_.process_death();
    expect_holds(*must_open(), model);
  }
}

TEST_F(JournalTailTest, AnyFlippedBitOfTheLastFrameDropsIt) {
  const LastFrame frame = make(true);
  const std::string whole = disk_.content(log());
  for (uint64_t at = frame.begin; at < frame.end; ++at) {
    SCOPED_TRACE(at);
    disk_.put(log(), whole);
    disk_.corrupt(log(), at, static_cast<uint8_t>(1u << (at % 8)));
    expect_holds(*must_open(), frame.before);
  }
}

TEST_F(JournalTailTest, DamageToDurableBytesIsReportedAndNothingChanged) {
  const LastFrame frame = make(true);
  // The last frame says that what is before it was durable.
  for (uint64_t at = 4096; at < frame.begin; ++at) {
    SCOPED_TRACE(at);
    disk_.corrupt(log(), at, 0x10);
    const auto before = image();
    const auto opened = open();
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), Code::kCorrupt);
    EXPECT_NE(opened.error().message().find(log() + ", offset "), std::string::npos)
        << opened.error().message();
    EXPECT_EQ(image(), before);
    disk_.corrupt(log(), at, 0x10);
  }
  expect_holds(*must_open(), frame.after);
}

TEST_F(JournalTailTest, DamageBehindNothingDurableIsATornTail) {
  // Nothing was synced, so pages may have been written in any order: a later valid frame proves
  // nothing.
  const LastFrame frame = make(false);
  disk_.corrupt(log(), 4096 + 60, 1);
  expect_holds(*must_open(), {});
  EXPECT_GT(frame.begin, 4096u);
}

TEST_F(JournalTailTest, DamageBeforeTheCleanEndIsReported) {
  uint64_t end = 0;
  {
    const auto store = must_open();
    must_apply(*store, {put("a", "1")});
    ASSERT_TRUE(store->checkpoint());
    must_apply(*store, {put("b", "1")});
    ASSERT_TRUE(store->close());
    end = store->log_bytes();
  }
  disk_.process_death();
  disk_.corrupt(files("checkpoint-")[1], 5000, 1);  // replay has to look at the last frame
  EXPECT_TRUE(open());
  disk_.process_death();
  disk_.corrupt(log(), end - 1, 1);
  const auto store = open();
  // The damaged checkpoint's word does not count; the older one says less.
  ASSERT_TRUE(store);
  expect_holds(**store, {{"a", "1"}});
}

}  // namespace
}  // namespace larder::journal
