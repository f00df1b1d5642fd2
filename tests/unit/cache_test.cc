// CachedFile: reading, versions, eviction, and claims.
#include <atomic>

#include "cache/cached_file.h"
#include "cache_fixture.h"

namespace larder::cache {
namespace {

using testing::random_text;

// --- reading

TEST_F(CachedFileTest, WhatWasReadOnceIsReadFromTheObject) {
  const std::string content = random_text(1, 5 * kBlock + 100);
  make(content);
  fill();
  EXPECT_TRUE(file().resident());
  EXPECT_EQ(reads(), 6U);
  source_.set_down(Code::kSourceDown);
  EXPECT_EQ(read_all(), content);
  EXPECT_EQ(read(kBlock - 1, kBlock + 2), content.substr(kBlock - 1, kBlock + 2));
  EXPECT_EQ(stack_->residents->used_bytes(), 6 * kBlock);
}

TEST_F(CachedFileTest, ReadsAreClampedToTheFile) {
  const std::string content = random_text(1, 2 * kBlock + 1);
  make(content);
  EXPECT_EQ(read(2 * kBlock, 10 * kBlock), content.substr(2 * kBlock));
  EXPECT_EQ(read(2 * kBlock + 1, 1), "");
  EXPECT_EQ(read(100 * kBlock, kBlock), "");
}

TEST_F(CachedFileTest, AnEmptyFileIsResident) {
  make("");
  EXPECT_TRUE(file().resident());
  EXPECT_EQ(read(0, kBlock), "");
  EXPECT_EQ(reads(), 0U);
  // Nor does it cost an object, which nobody would count.
  EXPECT_TRUE(file().pin().error().is(Code::kNotSupported));
  for (const std::string& path : disk_.paths()) EXPECT_FALSE(path.starts_with("objects/")) << path;
}

TEST_F(CachedFileTest, OnlyWhatIsWantedIsFetched) {
  const std::string content = random_text(1, 10 * kBlock);
  make(content);
  EXPECT_EQ(read(3 * kBlock + 5, kBlock), content.substr(3 * kBlock + 5, kBlock));
  EXPECT_EQ(reads(), 2U);
  EXPECT_FALSE(file().resident());
}

TEST_F(CachedFileTest, AMissIsFetchedOnceHoweverManyWantIt) {
  make(random_text(1, kBlock));
  auto hold = source_.hold(CallKind::kRead);
  constexpr size_t kReaders = 10;
  std::vector<std::future<Result<std::string>>> readers;
  for (size_t i = 0; i < kReaders; ++i) readers.push_back(start_read(i, kBlock));
  hold->wait_for_calls(1);
  run(read_task(owner_, 0, 0));  // a barrier: all readers have come
  hold->release();
  for (size_t i = 0; i < kReaders; ++i) {
    const auto text = readers[i].get();
    ASSERT_TRUE(text);
    EXPECT_EQ(*text, source_.content("file").substr(i));
  }
  EXPECT_EQ(reads(), 1U);
  EXPECT_EQ(stack_->metric("larder_fetch_joins_total"), static_cast<int64_t>(kReaders - 1));
}

TEST_F(CachedFileTest, AReaderJoinsWhatIsBeingFetchedAndFetchesTheRest) {
  const std::string content = random_text(1, 3 * kBlock);
  make(content);
  auto hold = source_.hold(CallKind::kRead);
  auto first = start_read(kBlock, kBlock);
  hold->wait_for_calls(1);
  auto second = start_read(0, 3 * kBlock);
  hold->wait_for_calls(3);
  hold->release();
  EXPECT_EQ(first.get().value_or(""), content.substr(kBlock, kBlock));
  EXPECT_EQ(second.get().value_or(""), content);
  EXPECT_EQ(reads(), 3U);
}

TEST_F(CachedFileTest, NeighbouringBlocksAreFetchedTogether) {
  const std::string content = random_text(1, 10 * kBlock);
  make(content, {.memory_bytes = 8 << 20, .fetch_bytes_max = 4 * kBlock});
  fill();
  EXPECT_EQ(reads(), 3U);
  EXPECT_TRUE(file().resident());
  source_.set_down(Code::kIo);
  std::vector<Slice> slices;
  bool resident = true;
  EXPECT_TRUE(file().read_hit(kBlock / 2, 9 * kBlock, slices, &resident));  // the memory tier's
  EXPECT_EQ(resident, file().resident());
  EXPECT_EQ(testing::text_of(slices), content.substr(kBlock / 2, 9 * kBlock));
}

TEST_F(CachedFileTest, PrefetchAndFetchAllMakeItResident) {
  const std::string content = random_text(1, 300 * kBlock + 1);
  make(content, {.fetch_bytes_max = 16 * kBlock});
  EXPECT_TRUE(run(file().fetch_all()));
  EXPECT_TRUE(file().resident());
  const uint64_t before = reads();
  EXPECT_EQ(read(100 * kBlock, 10 * kBlock), content.substr(100 * kBlock, 10 * kBlock));
  EXPECT_EQ(reads(), before);
}

TEST_F(CachedFileTest, AnErrorOfTheSourceGoesToAllWhoWaitAndIsNotKept) {
  make(random_text(1, kBlock));
  auto hold = source_.hold(CallKind::kRead);
  auto one = start_read(0, 10);
  auto two = start_read(10, 10);
  hold->wait_for_calls(1);
  run(read_task(owner_, 0, 0));
  source_.fail_next(CallKind::kRead, Code::kIo);
  hold->release();
  for (auto* reader : {&one, &two}) {
    const auto text = reader->get();
    ASSERT_FALSE(text);
    EXPECT_TRUE(text.error().is(Code::kIo));
  }
  EXPECT_EQ(read_all(), source_.content("file"));
}

TEST_F(CachedFileTest, AFileThatEndsEarlyIsStale) {
  make(random_text(1, 3 * kBlock));
  read(0, 1);  // opened
  source_.cut("file", kBlock + 10);
  const auto text = try_read(kBlock, kBlock);
  ASSERT_FALSE(text);
  EXPECT_TRUE(text.error().is(Code::kStale));
  EXPECT_TRUE(owner_->observe());
  EXPECT_EQ(read_all(), source_.content("file"));
}

TEST_F(CachedFileTest, AFileThatIsAnotherVersionWhenOpenedIsStale) {
  make(random_text(1, 3 * kBlock));
  source_.overwrite("file", 0, "changed");
  const auto text = try_read(0, kBlock);
  ASSERT_FALSE(text);
  EXPECT_TRUE(text.error().is(Code::kStale));
  EXPECT_EQ(read_all(), source_.content("file"));
}

// --- versions

TEST_F(CachedFileTest, ASecondLookAtTheSameVersionDropsNothing) {
  make(random_text(1, 2 * kBlock));
  fill();
  EXPECT_FALSE(owner_->observe());
  EXPECT_TRUE(file().resident());
}

TEST_F(CachedFileTest, AChangeOutsideDropsTheData) {
  make(random_text(1, 2 * kBlock));
  fill();
  const uint64_t generation = file().generation();
  source_.overwrite("file", 5, "changed outside");
  EXPECT_TRUE(owner_->observe());
  EXPECT_FALSE(file().resident());
  EXPECT_GT(file().generation(), generation);
  EXPECT_EQ(stack_->residents->used_bytes(), 0U);
  EXPECT_EQ(stack_->metric("larder_invalidations_total"), 1);
  EXPECT_EQ(read_all(), source_.content("file"));
}

TEST_F(CachedFileTest, WhatIsFetchedDuringAChangeOutsideIsNotKept) {
  make(random_text(1, kBlock));
  auto hold = source_.hold(CallKind::kRead, Stage::kAfter);
  auto reader = start_read(0, kBlock);
  hold->wait_for_calls(1);
  source_.overwrite("file", 5, "changed outside");
  EXPECT_TRUE(owner_->observe());
  hold->release();
  EXPECT_TRUE(reader.get());  // it asked before the change
  stack_->settle();
  EXPECT_FALSE(file().resident());
  EXPECT_EQ(read_all(), source_.content("file"));
  stack_->settle();
  EXPECT_TRUE(file().resident());
}

TEST_F(CachedFileTest, WhatWasFetchedInTheSameTickAsAChangeIsFetchedAgain) {
  make(random_text(1, 2 * kBlock));
  source_.overwrite("file", 0, "fresh");
  owner_->observe(true);
  fill();
  EXPECT_TRUE(file().resident());
  EXPECT_FALSE(owner_->observe(true));  // it may still change within the tick
  EXPECT_TRUE(file().resident());
  stack_->claim();
  EXPECT_FALSE(claimed());
  EXPECT_TRUE(owner_->observe(false));  // the tick is over
  EXPECT_FALSE(file().resident());
  fill();
  EXPECT_FALSE(owner_->observe(false));
  EXPECT_TRUE(file().resident());
}

TEST_F(CachedFileTest, ATickThatEndsWithNothingCachedDropsNothing) {
  make(random_text(1, kBlock));
  source_.overwrite("file", 0, "fresh");
  owner_->observe(true);
  EXPECT_FALSE(owner_->observe(false));
  fill();
  EXPECT_FALSE(owner_->observe(false));
}

TEST_F(CachedFileTest, AChangeOfAttributesMadeHereMovesCtimeOnly) {
  make(random_text(1, kBlock));
  fill();
  ASSERT_TRUE(change_permissions(0600));
  file().expect_ctime_change();
  EXPECT_FALSE(owner_->observe());
  EXPECT_TRUE(file().resident());
  // Once: the next one was not made here.
  ASSERT_TRUE(change_permissions(0644));
  EXPECT_TRUE(owner_->observe());
}

TEST_F(CachedFileTest, AChangeOfDataBehindAChangeOfAttributesIsSeen) {
  make(random_text(1, kBlock));
  fill();
  ASSERT_TRUE(change_permissions(0600));
  file().expect_ctime_change();
  source_.overwrite("file", 0, "outside");
  EXPECT_TRUE(owner_->observe());
}

TEST_F(CachedFileTest, AChangeOfMtimeMadeHereKeepsTheData) {
  make(random_text(1, kBlock));
  fill();
  ASSERT_TRUE(change_mtime(12345));
  file().expect_mtime_change();
  EXPECT_FALSE(owner_->observe());
  EXPECT_TRUE(file().resident());
  ASSERT_TRUE(change_mtime(54321));
  EXPECT_TRUE(owner_->observe());
}

TEST_F(CachedFileTest, AnAnswerToAQuestionFromBeforeAChangeSaysNothing) {
  make(random_text(1, kBlock));
  fill();
  const uint64_t asked_at = stack_->changes.tick();
  const Validator old = source_.validator(source_.attributes_of("file"));
  ASSERT_TRUE(write("written here", 3));
  EXPECT_FALSE(file().observe(old, asked_at, false));
  EXPECT_FALSE(owner_->observe());
  EXPECT_TRUE(file().resident());
  EXPECT_EQ(read_all(), source_.content("file"));
}

TEST_F(CachedFileTest, AnAnswerThatComesDuringAChangeSaysNothing) {
  make(random_text(1, 2 * kBlock));
  fill();
  run(file().begin_change(0, 10));
  source_.overwrite("file", 0, "0123456789");
  EXPECT_FALSE(owner_->observe());
  EXPECT_FALSE(file().resident());
  file().end_change(0, 10, std::nullopt);
  EXPECT_FALSE(owner_->observe());
  EXPECT_EQ(read_all(), source_.content("file"));
  EXPECT_EQ(reads(), 3U);  // the block that was changed, again
}

// --- eviction and passthrough

TEST_F(CachedFileTest, EvictionMakesItEmptyAndCostsNothingButTheData) {
  make(random_text(1, 3 * kBlock));
  fill();
  stack_->claim();
  ASSERT_TRUE(claimed());
  const size_t objects = disk_.paths().size();
  EXPECT_TRUE(file().evict());
  EXPECT_TRUE(file().empty());
  EXPECT_EQ(disk_.paths().size(), objects - 1);
  EXPECT_FALSE(claimed());
  EXPECT_EQ(read_all(), source_.content("file"));
}

TEST_F(CachedFileTest, WhatIsPinnedIsNotEvicted) {
  make(random_text(1, kBlock));
  EXPECT_FALSE(file().pin());  // not resident
  fill();
  const auto pin = file().pin();
  ASSERT_TRUE(pin);
  const auto second = file().pin();
  ASSERT_TRUE(second);
  EXPECT_FALSE(file().evict());
  file().unpin(pin->generation);
  EXPECT_FALSE(file().evict());
  file().unpin(second->generation);
  EXPECT_TRUE(file().evict());
}

TEST_F(CachedFileTest, WhatIsChangingIsNotEvicted) {
  make(random_text(1, kBlock));
  fill();
  run(file().begin_change(0, 1));
  EXPECT_FALSE(file().evict());
  file().end_change(0, 1, std::nullopt);
  EXPECT_TRUE(file().evict());
}

TEST_F(CachedFileTest, WhoHoldsAPinReadsTheOldVersionAfterAChangeOutside) {
  const std::string content = random_text(1, 2 * kBlock);
  make(content);
  fill();
  const auto pin = file().pin();
  ASSERT_TRUE(pin);
  file().pin_again(pin->generation);
  source_.overwrite("file", 0, "new");
  EXPECT_TRUE(owner_->observe());
  fill();
  std::string old(content.size(), '?');
  EXPECT_EQ(*pin->file->read_at(std::as_writable_bytes(std::span(old)), 0), old.size());
  EXPECT_EQ(old, content);
  file().unpin(pin->generation);  // of a generation that is gone: does not count for the new one
  const auto fresh = file().pin();
  ASSERT_TRUE(fresh);
  EXPECT_NE(fresh->generation, pin->generation);
  file().unpin(pin->generation);
  EXPECT_FALSE(file().evict());
  file().unpin(fresh->generation);
}

// The disk has not got it back before.
TEST_F(CachedFileTest, TheRoomOfAnOldVersionCountsUntilItIsClosed) {
  make(random_text(1, 2 * kBlock));
  fill();
  const Residents& residents = *stack_->residents;
  const uint64_t one_bytes = residents.object_bytes();
  ASSERT_GE(one_bytes, 2 * kBlock);
  auto pin = file().pin();
  ASSERT_TRUE(pin);
  const uint64_t generation = pin->generation;
  file().pin_again(generation);
  source_.overwrite("file", 0, "new");
  EXPECT_TRUE(owner_->observe());
  EXPECT_EQ(residents.object_bytes(), one_bytes);
  fill();
  EXPECT_EQ(residents.object_bytes(), 2 * one_bytes);
  file().unpin(generation);
  file().unpin(generation);
  EXPECT_EQ(residents.object_bytes(), 2 * one_bytes) << "a reader has it open still";
  pin = fail(Code::kStale);
  EXPECT_EQ(residents.object_bytes(), one_bytes);
  EXPECT_TRUE(file().evict());
  EXPECT_EQ(residents.object_bytes(), 0U);
}

TEST_F(CachedFileTest, AnEvictedFetchIsNotStored) {
  make(random_text(1, kBlock));
  auto hold = source_.hold(CallKind::kRead);
  auto reader = start_read(0, kBlock);
  hold->wait_for_calls(1);
  EXPECT_TRUE(file().evict());
  hold->release();
  EXPECT_EQ(reader.get().value_or(""), source_.content("file"));
  stack_->settle();
  EXPECT_TRUE(file().empty());
  EXPECT_EQ(stack_->residents->used_bytes(), 0U);
}

// --- no room, and a disk that fails

TEST_F(CachedFileTest, WithoutRoomReadsGoRoundTheCache) {
  const std::string content = random_text(1, 6 * kBlock);
  make(content, {.limit_bytes = 3 * kBlock});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(read_all(), content);
    stack_->settle();
    EXPECT_LE(stack_->residents->used_bytes(), 3 * kBlock);
  }
  EXPECT_FALSE(file().resident());
  EXPECT_GE(bypassed(), static_cast<int64_t>(3 * kBlock));
  EXPECT_EQ(store_errors(), 0);
}

TEST_F(CachedFileTest, WhatIsNotToBeAdmittedGoesRoundTheCache) {
  const std::string content = random_text(1, 2 * kBlock);
  make(content);
  owner_->wanted.admit = false;
  EXPECT_EQ(read_all(), content);
  stack_->settle();
  EXPECT_EQ(stack_->residents->count(), 0U);
  EXPECT_EQ(bypassed(), static_cast<int64_t>(2 * kBlock));
  EXPECT_FALSE(file().pin());
  for (const std::string& path : disk_.paths())
    EXPECT_FALSE(path.starts_with(object::Objects::kTop) && path.size() > 16)
        << path << " was made by who only reads, and is counted by nobody";
  ASSERT_TRUE(write(random_text(2, 2 * kBlock), 0));
  EXPECT_EQ(stack_->residents->count(), 0U);
  EXPECT_EQ(read_all(), source_.content("file"));
}

TEST_F(CachedFileTest, AFullDiskIsNoError) {
  const std::string content = random_text(1, 6 * kBlock);
  start();
  disk_.set_capacity_bytes(0);
  make(content);
  EXPECT_EQ(read_all(), content);
  stack_->settle();
  EXPECT_EQ(read_all(), content);
  stack_->settle();
  EXPECT_EQ(bypassed(), static_cast<int64_t>(12 * kBlock));
  EXPECT_EQ(stack_->residents->used_bytes(), 0U);
  disk_.set_capacity_bytes(uint64_t{1} << 30);
  fill();
  EXPECT_TRUE(file().resident());
}

TEST_F(CachedFileTest, WhatTheDiskCannotGiveIsFetchedAgain) {
  const std::string content = random_text(1, 4 * kBlock);
  make(content);
  fill();
  disk_.inject({.operation = testing::SimOperation::kRead, .path_part = "objects/"});
  EXPECT_EQ(read_all(), content);
  EXPECT_EQ(store_errors(), 1);
  stack_->settle();
  EXPECT_TRUE(file().resident());
  EXPECT_EQ(reads(), 8U);
}

TEST_F(CachedFileTest, AnObjectThatIsGoneIsFetchedAgain) {
  const std::string content = random_text(1, 4 * kBlock);
  make(content);
  fill();
  file().idle();  // closes it
  for (const std::string& path : disk_.paths())
    if (path.starts_with("objects/") && path.size() > 12) disk_.erase(path);
  EXPECT_EQ(read_all(), content);
  EXPECT_EQ(reads(), 8U);
}

TEST_F(CachedFileTest, AnObjectOfAnotherSizeIsFetchedAgain) {
  const std::string content = random_text(1, 4 * kBlock);
  make(content);
  fill();
  file().idle();
  for (const std::string& path : disk_.paths())
    if (path.starts_with("objects/") && path.size() > 12) disk_.put(path, "cut by a crash");
  EXPECT_EQ(read_all(), content);
  EXPECT_EQ(reads(), 8U);
}

TEST_F(CachedFileTest, AWriteTheDiskRefusesIsServedAndNotBelieved) {
  const std::string content = random_text(1, 2 * kBlock);
  make(content);
  disk_.inject({.operation = testing::SimOperation::kWrite, .path_part = "objects/", .times = 2});
  EXPECT_EQ(read_all(), content);
  stack_->settle();
  EXPECT_FALSE(file().resident());
  EXPECT_EQ(store_errors(), 2);
  // How much of them reached the disk is not known: they count until a claim has looked.
  EXPECT_EQ(stack_->residents->used_bytes(), 2 * kBlock);
  fill();
  EXPECT_TRUE(file().resident());
}

TEST_F(CachedFileTest, ShortReadsAndWritesOfTheDiskAreCompleted) {
  const std::string content = random_text(1, 8 * kBlock + 77);
  make(content);
  disk_.set_short_io(3);
  fill();
  const uint64_t before = reads();
  EXPECT_EQ(read_all(), content);
  EXPECT_EQ(reads(), before);
}

// --- claims

TEST_F(CachedFileTest, NothingIsClaimedBeforeItIsSynced) {
  make(random_text(1, 3 * kBlock));
  fill();
  EXPECT_FALSE(claimed());
  stack_->claim();
  const auto chunk = claimed();
  ASSERT_TRUE(chunk);
  EXPECT_EQ(chunk->present, 0b111U);
  EXPECT_EQ(chunk->checksums.size(), 3U);
}

TEST_F(CachedFileTest, WhatIsClaimedIsServedAfterARestartWithoutTheSource) {
  const std::string content = random_text(1, 100 * kBlock + 9);
  make(content);
  fill();
  stack_->claim();
  const uint64_t before = reads();
  kill_and_restart();
  EXPECT_TRUE(file().resident());
  EXPECT_FALSE(owner_->observe());
  source_.set_down(Code::kSourceDown);
  EXPECT_EQ(read_all(), content);
  EXPECT_EQ(reads(), before);
}

TEST_F(CachedFileTest, WhatWasNotClaimedIsFetchedAgainAfterARestart) {
  make(random_text(1, 3 * kBlock));
  EXPECT_EQ(read(0, 1).size(), 1U);
  stack_->settle();
  stack_->claim();
  fill();
  lose_power_and_restart(1);
  EXPECT_FALSE(file().resident());
  const uint64_t before = reads();
  fill();
  EXPECT_EQ(reads(), before + 2);
}

TEST_F(CachedFileTest, AFailedSyncClaimsNothingAndDropsTheData) {
  make(random_text(1, 3 * kBlock));
  fill();
  const uint64_t generation = file().generation();
  disk_.inject({.operation = testing::SimOperation::kSync, .path_part = "objects/"});
  stack_->claim();
  EXPECT_FALSE(claimed());
  EXPECT_TRUE(file().empty());
  EXPECT_GT(file().generation(), generation);
  EXPECT_EQ(store_errors(), 1);
  stack_->claim();  // a later sync succeeds: still nothing of it is believed
  EXPECT_FALSE(claimed());
  fill();
  stack_->claim();
  EXPECT_TRUE(claimed());
}

TEST_F(CachedFileTest, AChangeBeforeTheClaimEndsIsNotClaimed) {
  make(random_text(1, 2 * kBlock));
  fill();
  const auto state = file().begin_claim();
  ASSERT_TRUE(state);
  ASSERT_TRUE(write("changed meanwhile", 0));
  ASSERT_TRUE(owner_->persist(file().end_claim(*state, 0)));
  EXPECT_EQ(claimed_blocks(), 0U);
  EXPECT_FALSE(file().begin_claim());  // not before the change's version is known
  EXPECT_FALSE(owner_->observe());
  EXPECT_TRUE(file().begin_claim());
}

TEST_F(CachedFileTest, ADropBeforeTheClaimEndsIsNotClaimed) {
  make(random_text(1, 2 * kBlock));
  fill();
  const auto state = file().begin_claim();
  ASSERT_TRUE(state);
  file().drop();
  fill();
  ASSERT_TRUE(owner_->persist(file().end_claim(*state, 0)));
  EXPECT_EQ(claimed_blocks(), 0U);
}

TEST_F(CachedFileTest, BlocksThatCameDuringTheSyncWaitForTheNextRound) {
  make(random_text(1, 2 * kBlock));
  read(0, 1);
  stack_->settle();
  const auto state = file().begin_claim();
  ASSERT_TRUE(state);
  fill();
  ASSERT_TRUE(owner_->persist(file().end_claim(*state, 0)));
  ASSERT_TRUE(claimed());
  EXPECT_EQ(claimed()->present, 0b01U);
  stack_->claim();
  EXPECT_EQ(claimed()->present, 0b11U);
}

// Whatever step power is lost at during a claim: what is claimed afterwards is right.
TEST_F(CachedFileTest, AClaimIsRightWhateverStepPowerIsLostAt) {
  const std::string content = random_text(1, 9 * kBlock + 5);
  uint64_t claims_seen = 0;
  bool crashed = true;
  for (uint64_t step = 1; crashed; ++step) {
    SCOPED_TRACE(step);
    make(content);
    fill();
    disk_.crash_at_step(step);
    stack_->claim();
    crashed = disk_.is_crashed();
    lose_power_and_restart(step);
    if (claimed()) ++claims_seen;
    EXPECT_FALSE(owner_->observe());
    EXPECT_EQ(read_all(), content);
    let_go();
    disk_.process_death();
  }
  EXPECT_GT(claims_seen, 0U);
}

// A record that is not stable is not believed, and neither is what it leaves behind.
TEST_F(CachedFileTest, WhatAnInterruptedChangeLeftIsNeverBelievedAgain) {
  const std::string content = random_text(1, 200 * kBlock);
  make(content);
  fill();
  stack_->claim();
  run(file().begin_change(150 * kBlock, 10));
  // The process dies in the middle of the change, which reached the object in part.
  let_go();
  disk_.process_death();
  for (const std::string& path : disk_.paths())
    if (path.starts_with("objects/") && path.size() > 12) disk_.corrupt(path, 150 * kBlock, 0xff);
  restart();
  EXPECT_FALSE(file().resident());
  // Another part is fetched and claimed ...
  EXPECT_EQ(read(0, kBlock), content.substr(0, kBlock));
  stack_->settle();
  owner_->observe();
  stack_->claim();
  ASSERT_TRUE(claimed());
  // ... which must not bring back what was not believed.
  kill_and_restart();
  EXPECT_EQ(read_all(), content);
}

TEST_F(CachedFileTest, FetchingAllOfItIsFollowedAndEnded) {
  make(std::string(300 * kBlock, 'x'));
  const auto given_up = std::make_shared<FetchWatch>();
  given_up->is_cancelled = true;
  const auto ended = run(file().fetch_all(given_up));
  ASSERT_FALSE(ended);
  EXPECT_TRUE(ended.error().is(Code::kCancelled));
  EXPECT_TRUE(file().empty());
  const auto watch = std::make_shared<FetchWatch>();
  EXPECT_TRUE(run(file().fetch_all(watch)));
  EXPECT_EQ(watch->bytes_total, 300 * kBlock);
  EXPECT_EQ(watch->bytes_done, 300 * kBlock);
}

}  // namespace
}  // namespace larder::cache
