// What maintain() does: checkpoints and increments, compaction, truncation; stepped by hand.
#include <atomic>
#include <thread>

#include "journal/checkpoint_phase.h"
#include "journal_fixture.h"

namespace larder::journal {
namespace {

class JournalMaintenanceTest : public JournalTest {
 protected:
  // Small enough that a few hundred changes are many segments and several checkpoints.
  static StoreOptions options() {
    StoreOptions options = small_segments();
    options.checkpoint_after_bytes = 64 << 10;
    options.dead_share = 0.5;
    return options;
  }
  // Increments only, after the first.
  static StoreOptions with_increments() {
    StoreOptions options = JournalMaintenanceTest::options();
    options.increments_share = 100;
    options.dead_share = 1;  // never
    return options;
  }
  void overwrite(Store& store, int rounds, int keys = 100) {
    for (int round = 0; round < rounds; ++round)
      for (int i = 0; i < keys; ++i)
        must_apply(store, {put("key-" + std::to_string(i), std::string(100, char('a' + round)))});
    ASSERT_TRUE(store.commit());
  }
};

TEST_F(JournalMaintenanceTest, PhasesFollowOneAnotherAndFailToIdle) {
  using enum CheckpointPhase;
  const CheckpointPhase order[] = {kIdle, kPrepare, kWrite,  kSyncLog,
                                   kSeal, kPublish, kVerify, kRetire};
  for (size_t from = 0; from < kCheckpointPhases; ++from) {
    for (size_t to = 0; to < kCheckpointPhases; ++to) {
      const bool is_next = to == (from + 1) % kCheckpointPhases;
      const bool is_failure = from != 0 && to == 0;
      EXPECT_EQ(may_follow(order[from], order[to]), is_next || is_failure) << from << " to " << to;
    }
  }
  EXPECT_DEATH(
      {
        CheckpointProgress progress;
        progress.enter(kPublish);
      },
      "may_follow");
}

TEST_F(JournalMaintenanceTest, NothingIsDueInAStoreAtRest) {
  const auto store = must_open(options());
  EXPECT_FALSE(store->is_maintenance_due());
  EXPECT_FALSE(*store->maintain());
  must_apply(*store, {put("a", "1")});
  EXPECT_FALSE(store->is_maintenance_due());
  overwrite(*store, 30);
  EXPECT_TRUE(store->is_maintenance_due());
  EXPECT_GT(settle(*store), 0);
  const auto before = image();
  EXPECT_FALSE(*store->maintain());
  EXPECT_EQ(image(), before);
  expect_holds(*store, model_);
}

TEST_F(JournalMaintenanceTest, DeadRecordsAreCompactedAwayAndTheirFilesRemoved) {
  const auto store = must_open(options());
  for (int i = 0; i < 20; ++i) must_apply(*store, {put("kept-" + std::to_string(i), "k")});
  overwrite(*store, 30);
  const uint64_t before = store->disk_bytes();
  ASSERT_GT(files("log-").size(), 20u);
  settle(*store);
  EXPECT_LT(store->disk_bytes(), before);
  EXPECT_LT(files("log-").size(), 8u);
  EXPECT_NE(files("log-").front(), "journal/log-0000000000000000");
  EXPECT_GT(metric("larder_journal_moved_records_total"), 0u);
  expect_holds(*store, model_);
  disk_.process_death();
  expect_holds(*must_open(options()), model_);
}

TEST_F(JournalMaintenanceTest, TheNextFileIsMadeAheadOfNeed) {
  const auto store = must_open(small_segments());
  const std::string value(1000, 'v');
  for (int i = 0; i < 3; ++i) must_apply(*store, {put(std::to_string(i), value)});
  EXPECT_FALSE(store->is_maintenance_due());
  for (int i = 3; i < 10; ++i) must_apply(*store, {put(std::to_string(i), value)});
  EXPECT_TRUE(store->is_maintenance_due());
  const uint64_t most = store->disk_bytes() + store->headroom_bytes();
  EXPECT_FALSE(*store->maintain());
  EXPECT_EQ(files("log-").size(), 2U);
  EXPECT_EQ(store->disk_bytes() + store->headroom_bytes(), most);
  const uint64_t steps = disk_.step_count();
  for (int i = 10; i < 20; ++i) must_apply(*store, {put(std::to_string(i), value)});
  EXPECT_EQ(disk_.step_count(), steps);  // whoever appends waits for no file
  EXPECT_GT(store->log_bytes(), 16U << 10);
  settle(*store);
  expect_holds(*store, model_);
  disk_.process_death();
  expect_holds(*must_open(small_segments()), model_);
}

TEST_F(JournalMaintenanceTest, WithoutRoomForTheNextFileItIsMadeWhenNeeded) {
  const auto store = must_open(small_segments());
  const std::string value(1000, 'v');
  for (int i = 0; i < 10; ++i) must_apply(*store, {put(std::to_string(i), value)});
  disk_.inject({.operation = testing::SimOperation::kAllocate, .code = Code::kNoSpace});
  EXPECT_EQ(*store->maintain(), false);
  EXPECT_FALSE(store->is_maintenance_due());  // not over and over
  EXPECT_FALSE(store->poisoned());
  EXPECT_EQ(files("log-").size(), 1U);
  for (int i = 10; i < 20; ++i) must_apply(*store, {put(std::to_string(i), value)});
  EXPECT_EQ(files("log-").size(), 2U);
  expect_holds(*store, model_);
}

TEST_F(JournalMaintenanceTest, GaugesShowTheLog) {
  const auto gauge = [this](const std::string& name) {
    for (const Registry::Entry& entry : registry_.entries())
      if (entry.name == name && entry.gauge != nullptr)
        return static_cast<uint64_t>(entry.gauge->value());
    ADD_FAILURE() << "no gauge " << name;
    return uint64_t{0};
  };
  const auto store = must_open(options());
  overwrite(*store, 30);
  const uint64_t dead = gauge("larder_journal_dead_permille");
  EXPECT_GT(dead, 900u);
  settle(*store);
  EXPECT_LT(gauge("larder_journal_dead_permille"), dead);
  EXPECT_EQ(gauge("larder_journal_live_bytes"), space_of(model_));
  EXPECT_EQ(gauge("larder_journal_live_keys"), model_.size());
  EXPECT_EQ(gauge("larder_journal_tail_address"), store->log_bytes());
  EXPECT_LE(gauge("larder_journal_begin_address"), gauge("larder_journal_durable_address"));
  EXPECT_LE(gauge("larder_journal_durable_address"), gauge("larder_journal_tail_address"));
  EXPECT_EQ(gauge("larder_journal_segments"), files("log-").size());
  EXPECT_EQ(gauge("larder_journal_log_bytes"), files("log-").size() * (16 << 10));
}

TEST_F(JournalMaintenanceTest, OneStepTakesNoMoreThanItsHeadroom) {
  const auto store = must_open(options());
  uint64_t key = 0;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 2000; ++i) {
      const std::string name = std::to_string(round % 2 == 0 ? key++ : key - 1 - i);
      must_apply(*store, {put(name, "v")});
    }
    ASSERT_TRUE(store->commit());
    while (store->is_maintenance_due()) {
      const uint64_t most = store->disk_bytes() + store->headroom_bytes();
      ASSERT_TRUE(store->maintain());
      ASSERT_LE(store->disk_bytes(), most);
    }
  }
  EXPECT_GT(metric("larder_journal_checkpoints_total"), 2u);
}

TEST_F(JournalMaintenanceTest, RemovedKeysLeaveNothingBehind) {
  const auto store = must_open(options());
  overwrite(*store, 5);
  for (int i = 0; i < 100; ++i)
    if (i % 2 == 0) must_apply(*store, {removal("key-" + std::to_string(i))});
  for (int i = 0; i < 3000; ++i)
    must_apply(*store, {put("other-" + std::to_string(i % 5), std::string(100, 'o'))});
  ASSERT_TRUE(store->commit());
  settle(*store);
  EXPECT_EQ(model_.size(), 55u);
  expect_holds(*store, model_);
  disk_.process_death();
  {
    const auto reopened = must_open(options());
    expect_holds(*reopened, model_);
    must_apply(*reopened, {put("key-0", "back")});
    expect_holds(*reopened, model_);
  }
  // From the log alone as well.
  for (const std::string& path : files("checkpoint-")) disk_.corrupt(path, 20, 1);
  disk_.process_death();
  const auto replayed = must_open(options());
  EXPECT_EQ(replayed->recovery().checkpoint_sequence, 0u);
  expect_holds(*replayed, model_);
}

TEST_F(JournalMaintenanceTest, KeysThatShareAnEntrySurviveCompaction) {
  // So many keys that some share an index entry; most are overwritten, some removed.
  StoreOptions options;
  options.segment_bytes = 1 << 20;
  options.checkpoint_after_bytes = 8 << 20;
  options.dead_share = 0.3;
  constexpr int kKeys = 200'000;
  const auto store = must_open(options);
  std::vector<Change> batch;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < kKeys; ++i) {
      if (round == 1 && i % 4 == 0) continue;
      if (round == 1 && i % 4 == 1)
        batch.push_back(removal("k" + std::to_string(i)));
      else
        batch.push_back(put("k" + std::to_string(i), std::to_string(i + round)));
      if (batch.size() < 500) continue;
      ASSERT_TRUE(store->apply(batch));
      batch.clear();
    }
    ASSERT_TRUE(store->apply(batch));
    batch.clear();
    ASSERT_TRUE(store->commit());
  }
  settle(*store);
  ASSERT_NE(files("log-").front(), "journal/log-0000000000000000");
  const auto check = [&](Store& of) {
    EXPECT_EQ(of.key_count(), uint64_t{kKeys} * 3 / 4);
    for (int i = 0; i < kKeys; ++i) {
      const auto got = of.get("k" + std::to_string(i));
      ASSERT_TRUE(got) << got.error().message();
      ASSERT_EQ(got->has_value(), i % 4 != 1) << i;
      if (*got) {
        ASSERT_EQ(**got, std::to_string(i % 4 == 0 ? i : i + 1));
      }
    }
  };
  check(*store);
  disk_.process_death();
  check(*must_open(options));
}

TEST_F(JournalMaintenanceTest, AScanHoldsTheLogAndSeesEachKeyOnce) {
  const auto store = must_open(options());
  for (int i = 0; i < 200; ++i) must_apply(*store, {put("kept-" + std::to_string(i), "k")});
  overwrite(*store, 30);
  const auto before = files("log-");
  Model seen;
  const auto scanned = store->scan([&](std::string_view key, std::string_view value) {
    // In the middle of it everything is moved.
    if (seen.empty()) {
      while (*store->maintain() && store->is_maintenance_due() &&
             metric("larder_journal_compaction_passes_total") == 0) {
      }
    }
    EXPECT_TRUE(seen.emplace(key, value).second) << key;
    return true;
  });
  ASSERT_TRUE(scanned) << scanned.error().message();
  EXPECT_GT(metric("larder_journal_moved_records_total"), 0u);
  EXPECT_EQ(seen, model_);
  EXPECT_EQ(files("log-").front(), before.front());
  settle(*store);
  EXPECT_NE(files("log-").front(), before.front());
  expect_holds(*store, model_);
}

TEST_F(JournalMaintenanceTest, AFullDiskOnlyPutsItOff) {
  const auto store = must_open(options());
  overwrite(*store, 30);
  disk_.set_capacity_bytes(1);
  const int steps = settle(*store);
  EXPECT_LT(steps, 1000);
  EXPECT_FALSE(store->poisoned());
  expect_holds(*store, model_);
  disk_.set_capacity_bytes(1 << 30);
  EXPECT_FALSE(store->is_maintenance_due());
  clock_.advance(std::chrono::seconds(11));
  EXPECT_TRUE(store->is_maintenance_due());
  settle(*store);
  EXPECT_LT(files("log-").size(), 8u);
  expect_holds(*store, model_);
}

TEST_F(JournalMaintenanceTest, DamageInTheLogStopsCompactionAndLosesNothingElse) {
  const auto store = must_open(options());
  must_apply(*store, {put("lost", "1"), put("kept", "2")});
  overwrite(*store, 30);
  disk_.corrupt(files("log-").front(), 4096 + 48 + 16 + 3, 1);
  settle(*store);
  EXPECT_EQ(files("log-").front(), "journal/log-0000000000000000");
  EXPECT_FALSE(store->poisoned());
  EXPECT_FALSE(store->is_maintenance_due());
  EXPECT_EQ(**store->get("key-5"), model_["key-5"]);
}

TEST_F(JournalMaintenanceTest, IncrementsCarryACheckpointOn) {
  {
    const auto store = must_open(with_increments());
    for (int i = 0; i < 12; ++i) {
      overwrite(*store, 2, 100 + i);
      must_apply(*store, {removal("key-" + std::to_string(i))});
      settle(*store);
    }
    must_apply(*store, {put("last", "1")});
  }
  EXPECT_EQ(files("checkpoint-").size(), 1u);
  ASSERT_GT(files("increment-").size(), 2u);
  disk_.process_death();
  const auto intact = image();
  const size_t increments = files("increment-").size();
  {
    const auto store = must_open(with_increments());
    EXPECT_EQ(store->recovery().increments, increments);
    EXPECT_LT(store->recovery().records_replayed, 800u);
    EXPECT_FALSE(store->recovery().clean);
    expect_holds(*store, model_);
  }
  // A damaged one is used up to, in its header or in its pages.
  for (const uint64_t at : {20u, 4096u + 30u}) {
    for (size_t damaged = 0; damaged < increments; ++damaged) {
      disk_.process_death();
      const std::string path = files("increment-")[damaged];
      disk_.corrupt(path, at, 1);
      const auto store = must_open(with_increments());
      EXPECT_EQ(store->recovery().increments, damaged);
      expect_holds(*store, model_);
      disk_.corrupt(path, at, 1);
    }
  }
  // The next checkpoint after one is full.
  disk_.process_death();
  disk_.corrupt(files("increment-")[1], 20, 1);
  {
    const auto store = must_open(with_increments());
    overwrite(*store, 10);
    settle(*store);
    EXPECT_EQ(files("checkpoint-").size(), 2u);
    expect_holds(*store, model_);
  }
  disk_.process_death();
  expect_holds(*must_open(with_increments()), model_);
}

TEST_F(JournalMaintenanceTest, NewestCheckpointDamagedFallsBackWithTheSameResult) {
  {
    const auto store = must_open(options());
    for (int i = 0; i < 8; ++i) {
      overwrite(*store, 10);
      must_apply(*store, {removal("key-" + std::to_string(i)), put("n" + std::to_string(i), "n")});
      settle(*store);
    }
    ASSERT_TRUE(store->commit());
  }
  disk_.process_death();
  const auto checkpoints = files("checkpoint-");
  ASSERT_EQ(checkpoints.size(), 2u);
  ASSERT_NE(files("log-").front(), "journal/log-0000000000000000");
  disk_.corrupt(checkpoints[1], 10'000, 4);
  {
    const auto store = must_open(options());
    EXPECT_EQ(store->recovery().checkpoints_rejected, 1u);
    expect_holds(*store, model_);
    // The damaged one goes before the one that was used.
    ASSERT_TRUE(store->checkpoint());
    EXPECT_EQ(files("checkpoint-").front(), checkpoints[0]);
    EXPECT_EQ(files("checkpoint-").size(), 2u);
    EXPECT_NE(files("checkpoint-").back(), checkpoints[1]);
    expect_holds(*store, model_);
  }
  disk_.process_death();
  for (const std::string& path : files("checkpoint-")) disk_.corrupt(path, 10'000, 4);
  const auto store = must_open(options());
  EXPECT_EQ(store->recovery().checkpoint_sequence, 0u);
  expect_holds(*store, model_);
}

TEST_F(JournalMaintenanceTest, AMissingLowestSegmentIsDamage) {
  {
    const auto store = must_open(options());
    overwrite(*store, 30);
    settle(*store);
    overwrite(*store, 1);
  }
  disk_.process_death();
  const std::string path = files("log-").front();
  disk_.erase(path);
  EXPECT_EQ(open(options()).error().code(), Code::kCorrupt);
  for (const std::string& checkpoint : files("checkpoint-")) disk_.erase(checkpoint);
  const auto opened = open(options());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Code::kCorrupt);
  EXPECT_NE(opened.error().message().find(path), std::string::npos) << opened.error().message();
}

TEST_F(JournalMaintenanceTest, GoesOnWhileOthersReadWriteAndScan) {
  StoreOptions busy = options();
  busy.checkpoint_after_bytes = 32 << 10;
  busy.dead_share = 0.3;
  const auto store = must_open(busy);
  constexpr int kKeys = 200;
  for (int i = 0; i < kKeys; ++i) must_apply(*store, {put("key-" + std::to_string(i), "0")});
  std::atomic<bool> is_done{false};
  std::atomic<int> failures{0};
  // Maintenance may get little of a busy machine: the others go on until it has moved something.
  const auto has_moved = [&] { return metric("larder_journal_moved_records_total") > 0; };
  constexpr int kWritesMin = 4000, kWritesMax = 1'000'000;
  std::vector<std::thread> others;
  others.emplace_back([&] {
    while (!is_done)
      if (!store->commit() || !store->maintain()) ++failures;
  });
  for (int r = 0; r < 2; ++r) {
    others.emplace_back([&, r] {
      Random random(static_cast<uint64_t>(r) + 1);
      while (!is_done) {
        const auto got = store->get("key-" + std::to_string(random.below(kKeys)));
        if (!got || !got->has_value()) ++failures;
      }
    });
  }
  others.emplace_back([&] {
    while (!is_done) {
      Model seen;
      const auto scanned = store->scan([&](std::string_view key, std::string_view value) {
        if (!seen.emplace(key, value).second) ++failures;
        return true;
      });
      if (!scanned || seen.size() != kKeys) ++failures;
    }
  });
  std::vector<std::thread> writers;
  for (int w = 0; w < 2; ++w) {
    writers.emplace_back([&, w] {
      Random random(static_cast<uint64_t>(w) + 10);
      for (int i = 0; i < kWritesMax && (i < kWritesMin || !has_moved()); ++i) {
        const std::string value(random.below(120), 'w');
        const std::string key = "key-" + std::to_string(random.below(kKeys));
        if (!store->apply(std::vector{put(key, value)})) ++failures;
      }
    });
  }
  for (std::thread& thread : writers) thread.join();
  is_done = true;
  for (std::thread& thread : others) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_TRUE(has_moved());
  const Model last = contents(*store);
  expect_holds(*store, last);
  disk_.process_death();
  expect_holds(*must_open(busy), last);
}

}  // namespace
}  // namespace larder::journal
