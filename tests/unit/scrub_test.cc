// The scrub, on the whole stack over a simulated disk.
#include "cache/scrub.h"

#include <atomic>
#include <thread>

#include "base/random.h"
#include "fs_fixture.h"

namespace larder::fs {
namespace {

using cache::kAtOnce;
using cache::kWhenPoked;
using cache::Scrub;
using testing::random_text;

// One pass after another in a thread of its own.
class Scrubbing {
 public:
  explicit Scrubbing(std::unique_ptr<Scrub> scrub) : scrub_(std::move(scrub)) {}
  ~Scrubbing() { end(); }
  void end() {
    is_done_ = true;
    if (thread_.joinable()) thread_.join();
  }

 private:
  void run() {
    while (!is_done_) {
      const uint64_t request = scrub_->schedule().request();
      while (scrub_->schedule().answered() < request) scrub_->step();
    }
  }

  std::unique_ptr<Scrub> scrub_;
  std::atomic<bool> is_done_{false};
  std::jthread thread_{[this] { run(); }};
};

class ScrubTest : public FsTest {
 protected:
  std::unique_ptr<Scrub> make_scrub(const Scrub::Options& options = {}) {
    return std::make_unique<Scrub>(
        *fs_->stack.catalog, *fs_->stack.objects, activity_,
        Scrub::Host{[this](NodeId node) { return files().owner_of(node); },
                    [this](NodeId node) { return files().path_for_message(node); },
                    [this](NodeId node) { files().blocks_dropped(node); }},
        options, fs_->stack.registry, clock_);
  }
  // Everything, as the command does it; how many bad blocks there were.
  int64_t scrub() {
    const auto scrub = make_scrub();
    const int64_t before = bad_blocks();
    const uint64_t request = scrub->schedule().request();
    while (scrub->schedule().answered() < request) EXPECT_EQ(scrub->step(), kAtOnce);
    fs_->stack.settle();
    return bad_blocks() - before;
  }
  int64_t bad_blocks() { return fs_->stack.metric("larder_scrub_bad_blocks_total"); }
  // Caches the file, claims it and lets the kernel forget it.
  void cache_file(const std::string& path, const std::string& text) {
    source_.put(path, text);
    let_ttl_pass();
    EXPECT_EQ(read_path(path), text);
    fs_->stack.claim();
    forget_all();
  }
  // The only object there is.
  std::string object_path() {
    std::string found;
    for (const std::string& path : sim_disk_.paths())
      if (path.starts_with("objects/") && path.size() > 10) found = path;
    return found;
  }
  auto write_somewhere(const OpenReply& opened, Random& random) {
    const uint64_t size_bytes = 1 + random.below(3 * kBlock);
    const std::string text = random_text(random.next(), size_bytes);
    return write(opened, text, random.below(60 * kBlock));
  }
  void flip(uint64_t offset) { sim_disk_.corrupt(object_path(), offset, 0x40); }

  cache::Activity activity_{clock_};
};

TEST_F(ScrubTest, WhatIsRightStays) {
  mount();
  cache_file("a", random_text(1, 10 * kBlock + 5));
  EXPECT_EQ(scrub(), 0);
  EXPECT_EQ(fs_->stack.metric("larder_scrub_blocks_total"), 11);
  EXPECT_EQ(fs_->stack.metric("larder_scrub_bytes_total"), static_cast<int64_t>(10 * kBlock + 5));
  EXPECT_EQ(fs_->stack.metric("larder_scrub_passes_total"), 1);
  const uint64_t reads = calls(CallKind::kRead);
  EXPECT_EQ(read_path("a"), source_.content("a"));
  EXPECT_EQ(calls(CallKind::kRead), reads);
}

TEST_F(ScrubTest, BadBlocksAreDroppedAndFetchedAgain) {
  mount();
  cache_file("d/a", random_text(1, 100 * kBlock));
  const uint64_t used = fs_->stack.residents->object_bytes();
  for (const uint64_t block : {0, 7, 63, 64, 99}) flip(block * kBlock + 17);
  EXPECT_EQ(scrub(), 5);
  EXPECT_EQ(fs_->stack.residents->object_bytes(), used - 5 * kBlock);
  const uint64_t reads = calls(CallKind::kRead);
  EXPECT_EQ(read_path("d/a"), source_.content("d/a"));
  EXPECT_EQ(calls(CallKind::kRead), reads + 5) << "these and no others";
  fs_->stack.claim();
  EXPECT_EQ(scrub(), 0);
  EXPECT_EQ(fs_->stack.residents->object_bytes(), used);
}

// The mapping would read zeros where something was punched out, and reads what is written there.
TEST_F(ScrubTest, UnderAMappingBadBlocksAreWrittenOver) {
  mount();
  const std::string text = random_text(1, 10 * kBlock);
  cache_file("a", text);
  const auto owner = files().owner_of(NodeId{walk("a").id.node()});
  ASSERT_TRUE(owner);
  {
    const auto pin = owner->file().pin();
    ASSERT_TRUE(pin);
    owner->file().unpin(pin->generation);
  }
  const std::string path = object_path();
  const auto use = sim_disk_.use_elsewhere(path);
  const uint64_t used = fs_->stack.residents->object_bytes();
  flip(3 * kBlock + 17);
  const uint64_t reads = calls(CallKind::kRead);
  EXPECT_EQ(scrub(), 1);
  // At once, but by a coroutine that begins the fetch when it comes to its turn.
  while (calls(CallKind::kRead) == reads) std::this_thread::yield();
  fs_->stack.settle();
  EXPECT_EQ(calls(CallKind::kRead), reads + 1);
  EXPECT_EQ(sim_disk_.content(path), text);
  fs_->stack.claim();
  EXPECT_EQ(fs_->stack.residents->object_bytes(), used);
  // Unmapped, it is like any other.
  use(false);
  flip(3 * kBlock + 17);
  fs_->stack.claim();
  EXPECT_EQ(scrub(), 1);
  EXPECT_EQ(calls(CallKind::kRead), reads + 1);
}

TEST_F(ScrubTest, TheClaimIsGoneForGood) {
  mount();
  cache_file("a", random_text(1, 3 * kBlock));
  flip(kBlock);
  EXPECT_EQ(scrub(), 1);
  for (const bool power : {false, true}) {
    fs_->stack.settle();
    sim_disk_.crash_at_step(1);
    fs_.reset();
    power ? sim_disk_.power_loss(1) : sim_disk_.process_death();
    mount();
    let_ttl_pass();
    EXPECT_EQ(scrub(), 0);
    EXPECT_EQ(read_path("a"), source_.content("a"));
    forget_all();
  }
}

TEST_F(ScrubTest, ABlockWithoutAChecksumIsPassedOver) {
  mount();
  cache_file("a", random_text(1, 3 * kBlock));
  const OpenReply opened = open(walk("a").id, O_RDWR);
  ASSERT_TRUE(write(opened, "part of a block", kBlock + 5));
  release(opened);
  forget_all();
  let_ttl_pass();
  EXPECT_EQ(read_path("a"), source_.content("a"));
  fs_->stack.claim();
  EXPECT_EQ(scrub(), 0);
  EXPECT_EQ(fs_->stack.metric("larder_scrub_blocks_total"), 2);
}

TEST_F(ScrubTest, AnObjectThatIsGoneIsFoundOut) {
  mount();
  cache_file("a", random_text(1, 3 * kBlock));
  sim_disk_.erase(object_path());
  EXPECT_EQ(scrub(), 0);
  EXPECT_EQ(fs_->stack.metric("larder_cached_files"), 0);
  EXPECT_EQ(read_path("a"), source_.content("a"));
}

TEST_F(ScrubTest, AnObjectThatCannotBeReadIsAsBadAsAWrongOne) {
  mount();
  cache_file("a", random_text(1, 2 * kBlock));
  sim_disk_.inject({testing::SimOperation::kRead, Code::kIo, object_path(), 0, 3});
  EXPECT_GE(scrub(), 1);
  EXPECT_EQ(read_path("a"), source_.content("a"));
}

TEST_F(ScrubTest, GoesOnAtItsRate) {
  mount();
  cache_file("a", random_text(1, 1 << 20));
  const auto scrub = make_scrub({.bytes_per_second = 256 << 10});
  Nanos waited{0};
  int steps = 0;
  while (fs_->stack.metric("larder_scrub_passes_total") == 0) {
    const auto next = scrub->step();
    ASSERT_TRUE(next);
    if (*next > clock_.monotonic()) {
      waited += *next - clock_.monotonic();
      clock_.advance(*next - clock_.monotonic());
    }
    activity_.note();
    ++steps;
  }
  EXPECT_GE(waited, std::chrono::seconds(4));
  EXPECT_LT(waited, std::chrono::seconds(6));
  EXPECT_GE(steps, 2);
  EXPECT_EQ(scrub->step(), clock_.monotonic() + Scrub::kPeriod);
}

// What somebody has open is not punched, and a large object takes the scrub long.
TEST_F(ScrubTest, HasNothingOpenBetweenSteps) {
  mount();
  constexpr int kFiles = 6, kBlocks = 200;
  for (int i = 0; i < kFiles; ++i)
    cache_file("f" + std::to_string(i), random_text(1, kBlocks * kBlock));
  const uint64_t taken = fs_->stack.descriptors->taken();
  const auto scrub = make_scrub();
  const uint64_t request = scrub->schedule().request();
  int steps = 0;
  for (; scrub->schedule().answered() < request; ++steps) {
    scrub->step();
    EXPECT_EQ(fs_->stack.descriptors->taken(), taken);
  }
  EXPECT_GT(steps, 4);
  EXPECT_EQ(fs_->stack.metric("larder_scrub_blocks_total"), kFiles * kBlocks);
}

TEST_F(ScrubTest, SwitchedOffItOnlyDoesWhatItIsAskedFor) {
  mount();
  cache_file("a", random_text(1, kBlock));
  const auto scrub = make_scrub();
  EXPECT_EQ(scrub->step(), kWhenPoked);
  scrub->schedule().request();
  while (fs_->stack.metric("larder_scrub_passes_total") == 0) EXPECT_EQ(scrub->step(), kAtOnce);
  EXPECT_EQ(scrub->step(), kWhenPoked);
}

TEST_F(ScrubTest, APassGoesOnAfterARemountWhereItWas) {
  mount();
  constexpr int kFiles = 12;
  for (int i = 0; i < kFiles; ++i)
    cache_file("f" + std::to_string(i), random_text(static_cast<uint64_t>(i), kBlock));
  catalog::Batch batch;
  // As if the pass had come to the last file's record.
  std::vector<uint64_t> places;
  for (std::optional<journal::Address> at = journal::Address{}; at;) {
    at = *fs_->stack.catalog->visit_records(*at, 1, {.node = {}, .name = {}});
    if (at) places.push_back(at->value);
  }
  batch.put_number("scrub-place", places[places.size() / 2]);
  ASSERT_TRUE(fs_->stack.catalog->apply(batch));
  remount();
  const auto scrub = make_scrub({.bytes_per_second = 1 << 30});
  while (fs_->stack.metric("larder_scrub_passes_total") == 0) {
    activity_.note();
    scrub->step();
  }
  const int64_t blocks = fs_->stack.metric("larder_scrub_blocks_total");
  EXPECT_GT(blocks, 0);
  EXPECT_LT(blocks, kFiles);
  EXPECT_EQ(**fs_->stack.catalog->number("scrub-place"), 0U);
}

TEST_F(ScrubTest, WhatACrashMadeDoubtfulIsVerifiedAtOnce) {
  mount();
  cache_file("old", random_text(1, 8 * kBlock));
  ASSERT_TRUE(fs_->stack.store->checkpoint());
  cache_file("new", random_text(2, 4 * kBlock));
  fs_->stack.settle();
  sim_disk_.crash_at_step(1);
  fs_.reset();
  sim_disk_.power_loss(3);
  mount();
  clock_.advance(std::chrono::hours(1));
  const journal::RecoveryReport& recovery = fs_->stack.store->recovery();
  ASSERT_FALSE(recovery.clean);
  ASSERT_TRUE(Scrub::note_doubtful(*fs_->stack.catalog, recovery.replayed_from));
  remount();  // a clean stop does not make it right
  const auto scrub = make_scrub({.bytes_per_second = 1 << 20});
  activity_.lately();
  for (auto next = scrub->step(); next; next = scrub->step())
    clock_.advance(std::chrono::seconds(1));
  EXPECT_EQ(fs_->stack.metric("larder_scrub_blocks_total"), 4) << "though nobody uses the mount";
  EXPECT_EQ(fs_->stack.metric("larder_scrub_passes_total"), 0)
      << "a whole pass is due all the same";
  EXPECT_EQ(**fs_->stack.catalog->number("scrub-doubtful"), 0U);
}

// Power is lost at every step while bad blocks are being dropped and fetched again: afterwards the
// scrub finds what is left of them.
TEST_F(ScrubTest, ACrashAtAnyStepLeavesNothingThatASecondScrubDoesNotHeal) {
  mount();
  cache_file("a", random_text(1, 5 * kBlock));
  fs_->close();
  fs_.reset();
  flip(kBlock + 1);
  flip(3 * kBlock + 1);
  const auto pristine = sim_disk_.clone();
  for (uint64_t step = 1;; ++step) {
    SCOPED_TRACE(step);
    const auto disk = pristine->clone();
    const auto run = [&](FsStack& stack) {
      Scrub scrub(
          *stack.stack.catalog, *stack.stack.objects, activity_,
          {[&](NodeId node) { return stack.files->owner_of(node); }, [](NodeId) { return "a"; },
           [&](NodeId node) { stack.files->blocks_dropped(node); }},
          {}, stack.stack.registry, clock_);
      const uint64_t request = scrub.schedule().request();
      while (scrub.schedule().answered() < request) scrub.step();
    };
    bool has_crashed = false;
    {
      FsStack crashing(*disk, clock_, source_);
      disk->crash_at_step(step);
      run(crashing);
      has_crashed = disk->is_crashed();
    }
    step % 2 == 0 ? disk->power_loss(step) : disk->process_death();
    fs_ = std::make_unique<FsStack>(*disk, clock_, source_);
    lookups_.clear();
    run(*fs_);
    EXPECT_EQ(read_path("a"), source_.content("a"));
    fs_.reset();
    lookups_.clear();
    if (!has_crashed) break;
  }
}

// While a file is written and read by others, at once.
TEST_F(ScrubTest, DoesNotMistakeChangesForDamage) {
  mount();
  cache_file("a", random_text(1, 64 * kBlock));
  Scrubbing scrubbing(make_scrub());
  Random random(7);
  const OpenReply opened = open(walk("a").id, O_RDWR);
  for (uint64_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(write_somewhere(opened, random));
    EXPECT_EQ(read(opened), source_.content("a"));
    if (random.one_in(4)) fs_->stack.claim();
  }
  release(opened);
  scrubbing.end();
  EXPECT_EQ(bad_blocks(), 0);
}

// With damage besides: whatever is dropped when, what is read in the end is right.
TEST_F(ScrubTest, HealsWhileTheFileIsBeingChanged) {
  mount();
  cache_file("a", random_text(1, 64 * kBlock));
  Scrubbing scrubbing(make_scrub());
  Random random(8);
  const OpenReply opened = open(walk("a").id, O_RDWR);
  for (uint64_t i = 0; i < 60; ++i) {
    ASSERT_TRUE(write_somewhere(opened, random));
    if (random.one_in(3)) flip(random.below(64 * kBlock));
    (void)read(opened);
    if (random.one_in(4)) fs_->stack.claim();
  }
  scrubbing.end();
  // Blocks that were changed in part have no checksum: fetched anew, all is right again.
  files().owner_of(NodeId{walk("a").id.node()})->file().drop();
  EXPECT_EQ(read(opened), source_.content("a"));
  release(opened);
}

}  // namespace
}  // namespace larder::fs
