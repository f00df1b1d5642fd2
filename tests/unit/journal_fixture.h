// What the journal's tests share: a store on a simulated disk, and a model of what it must hold.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/random.h"
#include "base/sanitizer.h"
#include "format/frame.h"
#include "journal/store.h"
#include "support/sim_disk.h"

namespace larder::journal {

using Model = std::map<std::string, std::string>;

inline StoreOptions small_segments() {
  StoreOptions options;
  options.segment_bytes = 16 << 10;
  return options;
}

inline Change put(std::string key, std::string value) {
  return {std::move(key), std::move(value)};
}
inline Change removal(std::string key) {
  return {std::move(key), std::nullopt};
}

inline void apply_to(Model& model, const std::vector<Change>& batch) {
  for (const Change& change : batch) {
    if (change.value)
      model[change.key] = *change.value;
    else
      model.erase(change.key);
  }
}

inline std::vector<Change> random_batch(Random& random, uint64_t key_limit) {
  std::vector<Change> batch;
  const uint64_t count = 1 + random.below(4);
  for (uint64_t i = 0; i < count; ++i) {
    std::string key = "key-" + std::to_string(random.below(key_limit));
    if (random.one_in(4)) {
      batch.push_back(removal(std::move(key)));
      continue;
    }
    const uint64_t size_bytes = random.below(300);
    batch.push_back(put(std::move(key), std::string(size_bytes, char('a' + random.below(26)))));
  }
  return batch;
}

// What scan() shows; fails the test when a key comes twice.
inline Model contents(Store& store) {
  Model model;
  const auto scanned = store.scan([&](std::string_view key, std::string_view value) {
    EXPECT_TRUE(model.emplace(key, value).second) << key << " comes twice";
    return true;
  });
  EXPECT_TRUE(scanned) << scanned.error().message();
  return model;
}

// Space of the model's records in the log.
inline uint64_t space_of(const Model& model) {
  uint64_t bytes = 0;
  for (const auto& [key, value] : model) bytes += format::record_space(key.size(), value.size());
  return bytes;
}

// The store holds exactly the model, by every way of looking.
inline void expect_holds(Store& store, const Model& model) {
  EXPECT_EQ(contents(store), model);
  EXPECT_EQ(store.key_count(), model.size());
  EXPECT_EQ(store.live_bytes(), space_of(model));
  for (const auto& [key, value] : model) {
    const auto got = store.get(key);
    ASSERT_TRUE(got) << got.error().message();
    ASSERT_TRUE(got->has_value()) << key;
    EXPECT_EQ(**got, value);
  }
}

// Calls maintain() until nothing is due; how often.
inline int settle(Store& store) {
  constexpr int kStepsMax = 100'000;
  for (int steps = 0; steps < kStepsMax; ++steps) {
    if (!store.is_maintenance_due()) return steps;
    const auto more = store.maintain();
    EXPECT_TRUE(more) << more.error().message();
    if (!more) return steps;
  }
  ADD_FAILURE() << "maintenance does not come to an end";
  return kStepsMax;
}

// The sanitizers look for other things than states after a crash, and take ten times as long.
inline constexpr uint64_t kThinning = kIsSanitized ? 12 : 1;

// Seeds of a randomised test: LARDER_TEST_SEED alone when it is set, else 1 to `count` (fewer with
// a sanitizer), or to LARDER_TEST_SEEDS.
inline std::vector<uint64_t> seeds(uint64_t count) {
  if (const char* text = std::getenv("LARDER_TEST_SEED")) return {std::strtoull(text, nullptr, 10)};
  count = (count + kThinning - 1) / kThinning;
  if (const char* text = std::getenv("LARDER_TEST_SEEDS")) count = std::strtoull(text, nullptr, 10);
  std::vector<uint64_t> all;
  for (uint64_t seed = 1; seed <= count; ++seed) all.push_back(seed);
  return all;
}

class JournalTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Store>> open(StoreOptions options = small_segments()) {
    return Store::open(disk_, "journal", options, registry_, clock_);
  }
  std::unique_ptr<Store> must_open(StoreOptions options = small_segments()) {
    auto store = open(options);
    EXPECT_TRUE(store) << store.error().message();
    return store ? std::move(*store) : nullptr;
  }
  void must_apply(Store& store, const std::vector<Change>& batch) {
    const auto applied = store.apply(batch);
    ASSERT_TRUE(applied) << applied.error().message();
    apply_to(model_, batch);
  }
  std::vector<std::string> files(const std::string& prefix) const {
    std::vector<std::string> found;
    for (const std::string& path : disk_.paths())
      if (path.starts_with("journal/" + prefix)) found.push_back(path);
    return found;
  }
  // All files with their contents.
  std::map<std::string, std::string> image() const {
    std::map<std::string, std::string> all;
    for (const std::string& path : disk_.paths()) all[path] = disk_.content(path);
    return all;
  }
  uint64_t metric(const std::string& name) const {
    for (const Registry::Entry& entry : registry_.entries())
      if (entry.name == name && entry.counter != nullptr) return entry.counter->value();
    ADD_FAILURE() << "no counter " << name;
    return 0;
  }

  testing::SimDisk disk_;
  Registry registry_;
  ManualClock clock_;
  Model model_;
};

}  // namespace larder::journal
