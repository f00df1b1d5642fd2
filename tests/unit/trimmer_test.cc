// The trimmer, on the whole stack over a simulated disk.
#include "cache/trimmer.h"

#include <atomic>
#include <thread>

#include "fs_fixture.h"

namespace larder::fs {
namespace {

using cache::kWhenPoked;
using cache::Trimmer;
using testing::random_text;

class TrimmerTest : public FsTest {
 protected:
  static constexpr Nanos kMonth = std::chrono::hours(720);

  std::unique_ptr<Trimmer> make_trimmer(FsStack& fs, Nanos forget_after = kMonth) {
    return std::make_unique<Trimmer>(
        *fs.stack.catalog, activity_,
        [&fs](NodeId node, const std::function<void()>& act) {
          return fs.files->if_absent(node, act);
        },
        forget_after, fs.stack.registry, clock_);
  }
  // A whole pass.
  static void run_pass(Trimmer& trimmer) {
    const uint64_t request = trimmer.schedule().request();
    while (trimmer.schedule().answered() < request) trimmer.step();
  }
  void trim() { run_pass(*make_trimmer(*fs_)); }
  int64_t trimmed() { return fs_->stack.metric("larder_trimmed_nodes_total"); }
  bool has_node(NodeId node) { return fs_->stack.catalog->node(node)->has_value(); }
  NodeId look_at(const std::string& path) {
    const NodeId node{walk(path).id.node()};
    forget_all();
    return node;
  }

  cache::Activity activity_{clock_};
};

TEST_F(TrimmerTest, WhatIsNotUsedForLongIsForgotten) {
  source_.put("a", "text");
  mount();
  const NodeId node = look_at("a");
  clock_.advance(2 * kMonth);
  trim();  // never opened: its time begins now
  EXPECT_TRUE(has_node(node));
  clock_.advance(kMonth - std::chrono::hours(1));
  trim();
  EXPECT_TRUE(has_node(node));
  clock_.advance(std::chrono::hours(1));
  trim();
  EXPECT_FALSE(has_node(node));
  EXPECT_EQ(trimmed(), 1);
  // Simply looked up again, by the same number, as its directory is remembered.
  EXPECT_EQ(look_at("a"), node);
  EXPECT_EQ(read_path("a"), "text");
}

TEST_F(TrimmerTest, ADirectoryGoesAfterWhatIsInItAndItsNamesWithIt) {
  source_.put("d/e/a", "text");
  mount();
  const NodeId d = look_at("d");
  const NodeId e = look_at("d/e");
  const NodeId a = look_at("d/e/a");
  EXPECT_EQ(list(walk("d/e").id), std::vector<std::string>{"a"});
  forget_all();
  trim();
  for (const NodeId gone : {a, e, d}) {
    clock_.advance(kMonth);
    EXPECT_TRUE(has_node(gone));
    trim();
    EXPECT_FALSE(has_node(gone));
  }
  trim();
  EXPECT_FALSE(*fs_->stack.catalog->name(e, "a"));
  EXPECT_FALSE(*fs_->stack.catalog->name(d, "e"));
  EXPECT_TRUE(*fs_->stack.catalog->name(kRootNode, "d"));
  EXPECT_FALSE(*fs_->stack.catalog->listing(e, 1));
  EXPECT_EQ(fs_->stack.metric("larder_trimmed_names_total"), 2);
  EXPECT_TRUE(has_node(kRootNode));
  EXPECT_EQ(read_path("d/e/a"), "text");
  const NodeId again = look_at("d/e/a");
  EXPECT_GT(again.value, std::max({a, d, e}).value) << "ids are never used again";
}

TEST_F(TrimmerTest, WhatIsCachedOrKnownToTheKernelStays) {
  source_.put("cached", random_text(1, kBlock));
  source_.put("known", "text");
  source_.put("opened", "text");
  let_ttl_pass();
  mount();
  read_path("cached");
  fs_->stack.claim();
  const NodeId cached = look_at("cached");
  const NodeId opened = look_at("opened");
  const NodeId known{walk("known").id.node()};
  trim();
  clock_.advance(2 * kMonth);
  const OpenReply reply = open(walk("opened").id);
  release(reply);
  files().forget(walk("opened").id, 2);
  lookups_.erase(walk("opened").id.value);
  trim();
  EXPECT_TRUE(has_node(cached));
  EXPECT_TRUE(has_node(known));
  EXPECT_TRUE(has_node(opened));
  EXPECT_EQ(trimmed(), 0);
}

TEST_F(TrimmerTest, ItMayBeSwitchedOff) {
  mount();
  const auto trimmer = make_trimmer(*fs_, Nanos(0));
  EXPECT_EQ(trimmer->step(), kWhenPoked);
}

// Steps it until it has nothing to do at once.
void run_until_idle(Trimmer& trimmer, ManualClock& clock) {
  for (int steps = 0; steps < 1000; ++steps) {
    const auto next = trimmer.step();
    if (!next || *next - clock.monotonic() > std::chrono::seconds(1)) return;
    clock.advance(Trimmer::kPause);
  }
  FAIL() << "it does not come to an end";
}

TEST_F(TrimmerTest, WithoutRoomInTheCatalogItForgetsMoreAndTheNamesToo) {
  for (int i = 0; i < 50; ++i) source_.put("d/f" + std::to_string(i), "x");
  source_.put("d/cached", random_text(1, kBlock));
  let_ttl_pass();
  mount();
  read_path("d/cached");
  fs_->stack.claim();
  const NodeId d = look_at("d");
  const NodeId cached = look_at("d/cached");
  const NodeId looked_at = look_at("d/f1");
  list(walk("d").id);  // the others have names only
  forget_all();
  const auto trimmer = make_trimmer(*fs_, Nanos(0));
  EXPECT_EQ(trimmer->step(), kWhenPoked);
  catalog::Catalog& catalog = *fs_->stack.catalog;
  catalog.set_limit_bytes(catalog.live_bytes());
  clock_.advance(std::chrono::minutes(59));
  run_until_idle(*trimmer, clock_);
  EXPECT_FALSE(*catalog.name(d, "f2"));
  EXPECT_FALSE(has_node(looked_at));
  EXPECT_FALSE(*catalog.name(d, "f1"));
  EXPECT_TRUE(has_node(cached));
  EXPECT_TRUE(*catalog.name(d, "cached"));
  EXPECT_TRUE(has_node(d));
  EXPECT_TRUE(catalog.has_room());
  // Known again when they are wanted.
  EXPECT_EQ(list(walk("d").id).size(), 51U);
  EXPECT_EQ(read_path("d/f1"), "x");
}

// A record knows the name it had; by now that may be another's.
TEST_F(TrimmerTest, WithoutRoomNobodyElsesNameIsForgotten) {
  source_.put("d/a", random_text(1, kBlock));
  let_ttl_pass();
  mount();
  read_path("d/a");
  fs_->stack.claim();
  const NodeId d = look_at("d");
  const NodeId a = look_at("d/a");
  catalog::Catalog& catalog = *fs_->stack.catalog;
  catalog::Batch batch;
  catalog::NodeRecord earlier;
  earlier.parent = d;
  earlier.name = "a";
  const NodeId gone = *catalog.allocate_node();
  batch.put(gone, earlier);
  ASSERT_TRUE(catalog.apply(batch));
  catalog.set_limit_bytes(0);
  clock_.advance(std::chrono::minutes(59));
  run_pass(*make_trimmer(*fs_, Nanos(0)));
  EXPECT_FALSE(has_node(gone));
  const auto name = *catalog.name(d, "a");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->node, a);
}

TEST_F(TrimmerTest, SourceInodesOfWhatIsNotRememberedGo) {
  source_.put("a", "x");
  mount();
  catalog::Catalog& catalog = *fs_->stack.catalog;
  const NodeId remembered = look_at("a");
  catalog::Batch batch;
  batch.put_inode(1, NodeId{999'999});
  batch.put_inode(2, remembered);
  ASSERT_TRUE(catalog.apply(batch));
  trim();
  EXPECT_FALSE(*catalog.by_inode(1));
  EXPECT_EQ(*catalog.by_inode(2), remembered);
}

TEST_F(TrimmerTest, WithoutRoomItRunsOnceAMinute) {
  source_.put("a", "x");
  mount();
  const auto trimmer = make_trimmer(*fs_, Nanos(0));
  // While the mount is in use, until it has nothing to do for the moment.
  const auto run = [&] {
    activity_.note();
    auto next = trimmer->step();
    for (; next && *next - clock_.monotonic() < Trimmer::kPressedPeriod / 2; next = trimmer->step())
      clock_.advance(std::max(Nanos(0), *next - clock_.monotonic()));
    return next;
  };
  fs_->stack.catalog->set_limit_bytes(1);  // cannot be kept
  const auto next = run();
  ASSERT_TRUE(next);
  EXPECT_LE(*next - clock_.monotonic(), Trimmer::kPressedPeriod);
  const NodeId node = look_at("a");
  fs_->stack.catalog->set_limit_bytes(UINT64_MAX);
  let_ttl_pass();
  look_at("a");
  fs_->stack.catalog->set_limit_bytes(1);
  EXPECT_EQ(run(), next);
  EXPECT_TRUE(has_node(node));
  clock_.advance(*next - clock_.monotonic());
  EXPECT_TRUE(run());
  EXPECT_FALSE(has_node(node));
  // Nobody uses the mount: it is not woken each minute.
  clock_.advance(2 * cache::Activity::kLinger);
  run_until_idle(*trimmer, clock_);
  EXPECT_EQ(trimmer->step(), kWhenPoked);
}

TEST_F(TrimmerTest, GoesOnInBoundedStepsWithPausesOncePerDay) {
  mount();
  for (int i = 0; i < 600; ++i) source_.put("f" + std::to_string(i), "x");
  list(kRoot, true);
  forget_all();
  const auto trimmer = make_trimmer(*fs_);
  int steps = 0;
  while (true) {
    const auto next = trimmer->step();
    ++steps;
    ASSERT_TRUE(next);
    if (*next - clock_.monotonic() > std::chrono::seconds(1)) break;
    if (*next > clock_.monotonic()) {
      EXPECT_EQ(*next, clock_.monotonic() + Trimmer::kPause);
      clock_.advance(Trimmer::kPause);
    }
  }
  EXPECT_GE(steps, 5);
  EXPECT_EQ(trimmer->step(), clock_.monotonic() + Trimmer::kPeriod);
}

// Looked up, opened and listed by others all the while.
TEST_F(TrimmerTest, IsHarmlessToWhoLooksUpMeanwhile) {
  constexpr int kFiles = 20;
  for (int i = 0; i < kFiles; ++i) source_.put("d/f" + std::to_string(i), std::to_string(i));
  testing::StackOptions options;
  options.reactors = 2;
  mount({}, options);
  // Everything is unused at once.
  const auto trimmer = make_trimmer(*fs_, Nanos(1));
  std::atomic<bool> done{false};
  std::jthread trimming([&] {
    while (!done) run_pass(*trimmer);
  });
  // As long as it takes until something was forgotten under them.
  for (int round = 0; round < 30 || (trimmed() == 0 && round < 10'000); ++round) {
    let_ttl_pass();
    for (int i = 0; i < kFiles; ++i) {
      const std::string path = "d/f" + std::to_string((i * 7 + round) % kFiles);
      const NodeReply found = walk(path);
      EXPECT_EQ(found.attributes.size_bytes, source_.content(path).size());
      EXPECT_EQ(attributes(found.id).attributes.size_bytes, source_.content(path).size());
      if (i % 3 == 0) forget_all();
    }
    EXPECT_EQ(list(walk("d").id, true).size(), static_cast<size_t>(kFiles));
    forget_all();
  }
  done = true;
  trimming.join();
  EXPECT_GT(trimmed(), 0);
}

TEST_F(TrimmerTest, ACrashAtAnyStepLosesNothingThatCannotBeLookedUpAgain) {
  source_.put("d/a", random_text(1, kBlock));
  source_.put("d/b", "b");
  source_.put("c", "c");
  let_ttl_pass();
  mount();
  read_path("d/a");
  look_at("d/b");
  look_at("c");
  fs_->stack.claim();
  trim();
  fs_->close();
  fs_.reset();
  lookups_.clear();
  clock_.advance(2 * kMonth);
  const auto pristine = sim_disk_.clone();
  for (uint64_t step = 1;; ++step) {
    SCOPED_TRACE(step);
    const auto disk = pristine->clone();
    bool has_crashed = false;
    {
      FsStack crashing(*disk, clock_, source_);
      disk->crash_at_step(step);
      run_pass(*make_trimmer(crashing));
      (void)crashing.stack.catalog->commit();
      has_crashed = disk->is_crashed();
    }
    step % 2 == 0 ? disk->power_loss(step) : disk->process_death();
    fs_ = std::make_unique<FsStack>(*disk, clock_, source_);
    for (const char* path : {"d/a", "d/b", "c"}) EXPECT_EQ(read_path(path), source_.content(path));
    EXPECT_EQ(list(walk("d").id), (std::vector<std::string>{"a", "b"}));
    forget_all();
    fs_.reset();
    lookups_.clear();
    if (!has_crashed) break;
  }
}

}  // namespace
}  // namespace larder::fs
