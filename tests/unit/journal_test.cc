#include <atomic>
#include <cstring>
#include <thread>

#include "journal_fixture.h"

namespace larder::journal {
namespace {

TEST_F(JournalTest, ReadsWhatWasApplied) {
  const auto store = must_open();
  must_apply(*store, {put("a", "1"), put("b", "")});
  must_apply(*store, {put("a", "2"), removal("absent")});
  EXPECT_EQ(**store->get("a"), "2");
  EXPECT_EQ(**store->get("b"), "");
  EXPECT_FALSE(store->get("c")->has_value());
  must_apply(*store, {removal("a")});
  EXPECT_FALSE(store->get("a")->has_value());
  expect_holds(*store, model_);
}

TEST_F(JournalTest, LastChangeOfAKeyInABatchWins) {
  const auto store = must_open();
  must_apply(*store, {put("a", "1"), put("b", "1"), put("a", "2"), removal("b")});
  must_apply(*store, {removal("c"), put("c", "3")});
  EXPECT_EQ(model_, (Model{{"a", "2"}, {"c", "3"}}));
  expect_holds(*store, model_);
}

TEST_F(JournalTest, RefusesWhatDoesNotFit) {
  const auto store = must_open();
  const uint64_t before = store->log_bytes();
  EXPECT_EQ(store->apply(std::vector{put("", "x")}).error().code(), Code::kInvalid);
  EXPECT_EQ(store->apply(std::vector{put(std::string(kKeySizeMax + 1, 'k'), "x")}).error().code(),
            Code::kInvalid);
  EXPECT_EQ(store->apply(std::vector{put("k", std::string(small_segments().segment_bytes, 'v'))})
                .error()
                .code(),
            Code::kLimit);
  EXPECT_EQ(store->log_bytes(), before);
  expect_holds(*store, {});
}

TEST_F(JournalTest, LargestKeyAndValueRoundTripHotAndCold) {
  StoreOptions options;
  options.segment_bytes = 2 << 20;
  const std::string key(kKeySizeMax, 'k');
  {
    const auto store = must_open(options);
    must_apply(*store, {put(key, std::string(kValueSizeMax, 'v'))});
    expect_holds(*store, model_);
    for (int i = 0; i < 4; ++i)
      must_apply(*store, {put("fill-" + std::to_string(i), std::string(kValueSizeMax, 'f'))});
    expect_holds(*store, model_);  // by now cold
  }
  expect_holds(*must_open(options), model_);
}

TEST_F(JournalTest, ColdRecordsAreReadUpdatedAndRemoved) {
  const auto store = must_open();
  for (int i = 0; i < 1000; ++i)
    must_apply(*store, {put("key-" + std::to_string(i), std::string(100, 'v'))});
  ASSERT_GT(files("log-").size(), 3u);
  const uint64_t before = metric("larder_journal_cold_reads_total");
  EXPECT_EQ(**store->get("key-0"), std::string(100, 'v'));
  EXPECT_EQ(metric("larder_journal_cold_reads_total"), before + 1);
  must_apply(*store, {put("key-0", "new"), removal("key-1"), removal("key-2"), put("key-3", "3")});
  must_apply(*store, {put("key-1", "back")});
  expect_holds(*store, model_);
}

TEST_F(JournalTest, ManyKeysGrowTheIndexAndCollide) {
  // So many keys that some share an index entry (32 bits), and each shard has split many times.
  StoreOptions options;
  options.segment_bytes = 8 << 20;
  constexpr int kKeys = 300'000;
  const auto key_of = [](int i) { return "k" + std::to_string(i); };
  const auto check = [&](Store& store) {
    EXPECT_EQ(store.key_count(), static_cast<uint64_t>(kKeys - kKeys / 3));
    for (int i = 0; i < kKeys; ++i) {
      const auto got = store.get(key_of(i));
      ASSERT_TRUE(got);
      ASSERT_EQ(got->has_value(), i % 3 != 0) << i;
      if (*got) {
        ASSERT_EQ(**got, std::to_string(i % 3 == 1 ? i : -i));
      }
    }
  };
  {
    const auto store = must_open(options);
    std::vector<Change> batch;
    const auto flush = [&] {
      ASSERT_TRUE(store->apply(batch));
      batch.clear();
    };
    for (int round = 0; round < 2; ++round) {
      for (int i = 0; i < kKeys; ++i) {
        if (round == 0) batch.push_back(put(key_of(i), std::to_string(i)));
        if (round == 1 && i % 3 == 0) batch.push_back(removal(key_of(i)));
        if (round == 1 && i % 3 == 2) batch.push_back(put(key_of(i), std::to_string(-i)));
        if (batch.size() == 1000) flush();
      }
      flush();
      if (round == 0) {
        ASSERT_TRUE(store->checkpoint());
        EXPECT_LT(store->index_bytes(), kKeys * 16u);
      }
    }
    check(*store);
  }
  disk_.process_death();
  const auto store = must_open(options);
  EXPECT_EQ(store->recovery().checkpoint_sequence, 1u);
  check(*store);
  uint64_t seen = 0;
  ASSERT_TRUE(store->scan([&](std::string_view, std::string_view) { return ++seen != 0; }));
  EXPECT_EQ(seen, store->key_count());
}

TEST_F(JournalTest, CleanReopenReplaysNothing) {
  {
    const auto store = must_open();
    EXPECT_EQ(store->recovery().checkpoint_sequence, 0u);
    for (int i = 0; i < 500; ++i) must_apply(*store, {put("key-" + std::to_string(i % 50), "v")});
    ASSERT_TRUE(store->close());
  }
  const auto store = must_open();
  EXPECT_TRUE(store->recovery().clean);
  EXPECT_EQ(store->recovery().records_replayed, 0u);
  EXPECT_EQ(store->recovery().tail_bytes_dropped, 0u);
  expect_holds(*store, model_);
  // Closed with no change in between, nothing is written.
  const auto before = image();
  ASSERT_TRUE(store->close());
  EXPECT_EQ(image(), before);
  // It goes on from there.
  must_apply(*store, {put("more", "1"), removal("key-1")});
  expect_holds(*store, model_);
}

TEST_F(JournalTest, ANewStoreHasNothingToRecover) {
  EXPECT_TRUE(must_open()->recovery().is_new);
  disk_.process_death();
  {
    const auto store = must_open();  // made, and left without a record
    EXPECT_TRUE(store->recovery().is_new);
    EXPECT_TRUE(store->recovery().clean);
    must_apply(*store, {put("a", "1")});
  }
  disk_.process_death();
  {
    const auto store = must_open();
    EXPECT_FALSE(store->recovery().is_new);
    EXPECT_FALSE(store->recovery().clean);
    ASSERT_TRUE(store->close());
  }
  EXPECT_FALSE(must_open()->recovery().is_new);
}

TEST_F(JournalTest, UncleanReopenReplays) {
  {
    const auto store = must_open();
    must_apply(*store, {put("a", "1"), put("b", "2")});
    ASSERT_TRUE(store->checkpoint());
    must_apply(*store, {put("c", "3"), removal("a")});
  }
  disk_.process_death();
  const auto store = must_open();
  EXPECT_FALSE(store->recovery().clean);
  EXPECT_EQ(store->recovery().records_replayed, 2u);
  EXPECT_EQ(store->recovery().checkpoint_sequence, 1u);
  expect_holds(*store, model_);
}

TEST_F(JournalTest, KeepsTwoCheckpointsAndFallsBack) {
  {
    const auto store = must_open();
    for (int i = 0; i < 4; ++i) {
      must_apply(*store, {put("key-" + std::to_string(i), "v")});
      ASSERT_TRUE(store->checkpoint());
    }
    must_apply(*store, {put("last", "v")});
    ASSERT_TRUE(store->commit());
  }
  const auto checkpoints = files("checkpoint-");
  ASSERT_EQ(checkpoints.size(), 2u);
  disk_.process_death();
  disk_.corrupt(checkpoints[1], 10'000, 4);
  {
    const auto store = must_open();
    EXPECT_EQ(store->recovery().checkpoints_rejected, 1u);
    EXPECT_EQ(store->recovery().checkpoint_sequence, 3u);
    expect_holds(*store, model_);
  }
  disk_.process_death();
  disk_.corrupt(checkpoints[0], 20, 1);  // in the header
  const auto store = must_open();
  EXPECT_EQ(store->recovery().checkpoints_rejected, 2u);
  EXPECT_EQ(store->recovery().checkpoint_sequence, 0u);
  EXPECT_EQ(store->recovery().records_replayed, 5u);
  expect_holds(*store, model_);
  ASSERT_TRUE(store->checkpoint());
}

TEST_F(JournalTest, CommitMakesCheckpointsWhenNobodyElseDoes) {
  StoreOptions options = small_segments();
  options.checkpoint_after_bytes = 8 << 10;
  {
    const auto store = must_open(options);
    for (int i = 0; i < 1000; ++i) {
      must_apply(*store, {put("key-" + std::to_string(i % 10), std::string(100, 'v'))});
      ASSERT_TRUE(store->commit());
    }
  }
  disk_.process_death();
  const auto store = must_open(options);
  EXPECT_GT(store->recovery().checkpoint_sequence, 0u);
  EXPECT_LT(store->recovery().records_replayed, 300u);
  expect_holds(*store, model_);
}

TEST_F(JournalTest, NewerFormatAndForeignFilesAreRefusedUntouched) {
  {
    const auto store = must_open();
    must_apply(*store, {put("a", "1")});
    ASSERT_TRUE(store->checkpoint());
    must_apply(*store, {put("b", "1")});
    ASSERT_TRUE(store->commit());
  }
  disk_.process_death();
  testing::SimDisk other_disk;
  StoreOptions other_options = small_segments();
  other_options.uuid_salt = 7;
  {
    auto other = Store::open(other_disk, "journal", other_options, registry_, clock_);
    ASSERT_TRUE(other);
    ASSERT_TRUE((*other)->apply(std::vector{put("x", "y")}));
    ASSERT_TRUE((*other)->checkpoint());
  }
  std::vector<std::string> paths;
  for (const char* prefix : {"superblock", "log-", "checkpoint-"})
    paths.push_back(files(prefix).front());
  for (const std::string& path : paths) {
    const std::string content = disk_.content(path);

    std::string newer = content;
    newer[8] = static_cast<char>(newer[8] + 1);
    const uint64_t checksum = hash64(std::string_view(newer).substr(0, 120));
    std::memcpy(&newer[120], &checksum, sizeof checksum);
    disk_.put(path, newer);
    auto before = image();
    auto opened = open();
    ASSERT_FALSE(opened) << path;
    EXPECT_EQ(opened.error().code(), Code::kNewerFormat) << path;
    EXPECT_NE(opened.error().message().find(path), std::string::npos);
    EXPECT_EQ(image(), before);

    for (const std::string& foreign :
         {std::string(5000, 'x'), std::string(), content.substr(0, 50)}) {
      disk_.put(path, foreign);
      before = image();
      opened = open();
      if (path.find("checkpoint") != std::string::npos) {
        EXPECT_TRUE(opened);  // the whole log is there
      } else {
        ASSERT_FALSE(opened) << path;
        EXPECT_EQ(opened.error().code(), Code::kCorrupt);
        EXPECT_EQ(image(), before);
      }
    }
    disk_.put(path, content);
  }
  // A log of another store does not pass as this one's.
  disk_.put(paths[1], other_disk.content(paths[1]));
  EXPECT_EQ(open().error().code(), Code::kCorrupt);
}

TEST_F(JournalTest, DiskBytesAreTheSizesOfAllFiles) {
  const auto measured = [&] {
    uint64_t bytes = 0;
    for (const auto& [path, content] : image()) bytes += content.size();
    return bytes;
  };
  {
    const auto store = must_open();
    EXPECT_EQ(store->disk_bytes(), measured());
    for (int i = 0; i < 1000; ++i) {
      must_apply(*store, {put(std::to_string(i), std::string(50, 'v'))});
      if (i % 300 == 0) {
        ASSERT_TRUE(store->checkpoint());
      }
      EXPECT_EQ(store->disk_bytes(), measured());
    }
    // Room that could not be had is given back.
    disk_.set_capacity_bytes(1);
    EXPECT_FALSE(store->checkpoint());
    EXPECT_EQ(store->disk_bytes(), measured());
    disk_.set_capacity_bytes(1 << 30);
    ASSERT_TRUE(store->close());
  }
  disk_.process_death();
  EXPECT_EQ(must_open()->disk_bytes(), measured());
}

TEST_F(JournalTest, MissingSuperblockOrSegmentIsDamage) {
  {
    const auto store = must_open();
    for (int i = 0; i < 1000; ++i)
      must_apply(*store, {put(std::to_string(i), std::string(50, 'v'))});
    ASSERT_TRUE(store->close());
  }
  disk_.process_death();
  const auto intact = image();
  for (const std::string& path : {files("superblock")[0], files("log-")[1]}) {
    disk_.erase(path);
    const auto opened = open();
    ASSERT_FALSE(opened) << path;
    EXPECT_EQ(opened.error().code(), Code::kCorrupt);
    disk_.put(path, intact.at(path));
  }
  expect_holds(*must_open(), model_);
}

TEST_F(JournalTest, DamagedColdRecordIsAnErrorOfItsReaderOnly) {
  {
    const auto store = must_open();
    for (int i = 0; i < 1000; ++i)
      must_apply(*store, {put(std::to_string(i), std::string(50, 'v'))});
    ASSERT_TRUE(store->close());
  }
  disk_.process_death();
  disk_.corrupt(files("log-")[0], 4096 + 48 + 16 + 3, 1);  // a byte of the first value
  const auto store = must_open();
  const auto damaged = store->get("0");
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code(), Code::kCorrupt);
  EXPECT_NE(damaged.error().message().find("log-0000000000000000, offset 4144"), std::string::npos)
      << damaged.error().message();
  EXPECT_TRUE(store->get("1"));
  EXPECT_FALSE(store->poisoned());
}

// Also in the segment that is written to, where replay does not come by what is before the
// checkpoint.
TEST_F(JournalTest, ADamagedRecordBesideTheTailIsAnErrorOfItsReaderOnly) {
  for (const bool is_clean : {true, false}) {
    {
      const auto store = must_open();
      must_apply(*store, {put("damaged", "a value"), put("whole", "another")});
      ASSERT_TRUE(store->checkpoint());
      if (is_clean) {
        ASSERT_TRUE(store->close());
      }
    }
    disk_.process_death();
    const std::string log = files("log-")[0];
    const size_t place = disk_.content(log).rfind("a value");
    disk_.corrupt(log, place, 1);
    {
      const auto store = must_open();
      const auto damaged = store->get("damaged");
      ASSERT_FALSE(damaged) << *damaged.value();
      EXPECT_EQ(damaged.error().code(), Code::kCorrupt);
      EXPECT_FALSE(store->apply(std::vector{put("damaged", "new")}))
          << "what was there is not known";
      EXPECT_EQ(store->get("whole").value(), "another");
      must_apply(*store, {put("whole", "changed"), put("new", "1")});
      EXPECT_EQ(store->get("whole").value(), "changed");
    }
    disk_.process_death();
    disk_.corrupt(log, place, 1);
    EXPECT_EQ(must_open()->get("damaged").value(), "a value");
    disk_.process_death();
  }
}

TEST_F(JournalTest, ConcurrentCommitsShareSyncs) {
  const auto store = must_open();
  constexpr int kThreads = 4;
  constexpr int kEach = 200;
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const std::string key = std::to_string(t) + "-" + std::to_string(i);
        if (!store->apply(std::vector{put(key, key)}) || !store->commit()) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(store->key_count(), uint64_t{kThreads * kEach});
  EXPECT_LE(metric("larder_journal_syncs_total"), metric("larder_journal_commits_total"));
  disk_.power_loss(1);
  const auto recovered = must_open();
  EXPECT_EQ(recovered->key_count(), uint64_t{kThreads * kEach});
}

TEST_F(JournalTest, ReadersWritersScansAndCheckpointsTogether) {
  const auto store = must_open();
  constexpr int kKeys = 100;
  for (int i = 0; i < kKeys; ++i) must_apply(*store, {put(std::to_string(i), "0")});
  std::atomic<bool> is_done{false};
  std::atomic<int> failures{0};
  std::vector<std::thread> readers;
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&, r] {
      Random random(static_cast<uint64_t>(r) + 1);
      while (!is_done) {
        const auto got = store->get(std::to_string(random.below(kKeys)));
        if (!got || !got->has_value()) ++failures;
      }
    });
  }
  readers.emplace_back([&] {
    while (!is_done) {
      Model seen;
      const auto scanned = store->scan([&](std::string_view key, std::string_view value) {
        if (!seen.emplace(key, value).second) ++failures;
        return true;
      });
      if (!scanned || seen.size() != kKeys || !store->checkpoint()) ++failures;
    }
  });
  std::vector<std::thread> writers;
  for (int w = 0; w < 2; ++w) {
    writers.emplace_back([&, w] {
      Random random(static_cast<uint64_t>(w) + 10);
      for (int i = 0; i < 3000; ++i) {
        const std::string value(random.below(60), 'w');
        if (!store->apply(std::vector{put(std::to_string(random.below(kKeys)), value)})) ++failures;
      }
    });
  }
  for (std::thread& thread : writers) thread.join();
  is_done = true;
  for (std::thread& thread : readers) thread.join();
  EXPECT_EQ(failures, 0);
  const Model last = contents(*store);
  disk_.process_death();
  expect_holds(*must_open(), last);
}

TEST_F(JournalTest, FailedSyncIsStickyAndNeverBelieved) {
  const auto store = must_open();
  must_apply(*store, {put("a", "1")});
  ASSERT_TRUE(store->commit());
  const Model committed = model_;
  must_apply(*store, {put("b", "2")});
  disk_.inject({.operation = testing::SimOperation::kSync, .path_part = "log-"});
  EXPECT_EQ(store->commit().error().code(), Code::kIo);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(store->commit().error().code(), Code::kPoisoned);
    EXPECT_EQ(store->apply(std::vector{put("c", "3")}).error().code(), Code::kPoisoned);
    EXPECT_EQ(store->checkpoint().error().code(), Code::kPoisoned);
  }
  ASSERT_TRUE(store->poisoned());
  EXPECT_EQ(store->poisoned()->code(), Code::kIo);
  EXPECT_EQ(**store->get("b"), "2");
  disk_.power_loss(1);
  expect_holds(*must_open(), committed);
}

TEST_F(JournalTest, FullDiskIsAnErrorOnceAndNotForever) {
  const auto store = must_open();
  must_apply(*store, {put("a", std::string(8000, '1'))});
  disk_.set_capacity_bytes(1);
  const std::vector<Change> batch{put("b", std::string(8000, '2'))};
  for (int i = 0; i < 2; ++i) {
    const auto applied = store->apply(batch);
    ASSERT_FALSE(applied);
    EXPECT_EQ(applied.error().code(), Code::kNoSpace);
  }
  EXPECT_FALSE(store->poisoned());
  EXPECT_TRUE(store->commit());
  EXPECT_EQ(store->checkpoint().error().code(), Code::kNoSpace);
  expect_holds(*store, model_);
  disk_.set_capacity_bytes(1 << 30);
  must_apply(*store, batch);
  ASSERT_TRUE(store->checkpoint());
  expect_holds(*store, model_);
}

TEST_F(JournalTest, ShortReadsAndWritesMakeNoDifference) {
  for (const uint64_t seed : seeds(5)) {
    SCOPED_TRACE("LARDER_TEST_SEED=" + std::to_string(seed));
    disk_.set_short_io(seed);
    Random random(seed);
    {
      const auto store = must_open();
      for (int i = 0; i < 300; ++i) must_apply(*store, random_batch(random, 100));
      ASSERT_TRUE(store->checkpoint());
      must_apply(*store, random_batch(random, 100));
    }
    disk_.process_death();
    expect_holds(*must_open(), model_);
    disk_.process_death();
  }
}

}  // namespace
}  // namespace larder::journal
