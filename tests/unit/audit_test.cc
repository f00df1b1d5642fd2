// The audit, on the whole stack over a simulated disk.
#include "cache/audit.h"

#include "base/random.h"
#include "fs_fixture.h"

namespace larder::fs {
namespace {

using cache::Audit;
using cache::kWhenPoked;
using cache::Residents;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::random_text;

class AuditTest : public FsTest {
 protected:
  static Audit::Host host_of(FsStack& fs) {
    return {[&fs] {
              auto objects = fs.files->objects_in_memory();
              fs.stack.mapped->add_to(objects);
              return objects;
            },
            [&fs] { return fs.stack.residents->count(); },
            [&fs] { return fs.stack.residents->object_bytes(); },
            [&fs](NodeId node) { return fs.stack.residents->bytes_of(node); },
            [&fs](NodeId node) { return fs.files->owner_of(node); },
            [&fs](ObjectId object, uint64_t bytes) {
              auto room = cache::ObjectRoom::of_orphan(*fs.stack.residents, bytes);
              return fs.stack.mapped->keep(object, std::move(room), nullptr);
            },
            [&fs](const cache::Budget::Amount& left) { fs.stack.residents->end_leftovers(left); }};
  }
  void start_audit(bool is_urgent = false) {
    audit_ = std::make_unique<Audit>(disk(), *fs_->stack.catalog, activity_, host_of(*fs_),
                                     is_urgent, fs_->stack.registry, clock_);
  }
  // After a crash.
  cache::AuditFindings audit_urgently(io::Disk& disk, FsStack& fs) {
    Audit audit(disk, *fs.stack.catalog, activity_, host_of(fs), true, fs.stack.registry, clock_);
    while (audit.status().passes == 0) audit.step();
    return audit.status().findings;
  }
  // A whole pass, asked for; what it found.
  cache::AuditFindings audit() {
    if (!audit_) start_audit();
    const uint64_t request = audit_->schedule().request();
    for (int step = 0; audit_->schedule().answered() < request; ++step) {
      EXPECT_EQ(audit_->step(), cache::kAtOnce);
      if (step > 100'000) ADD_FAILURE() << "does not end";
      if (step > 100'000) break;
    }
    EXPECT_EQ(audit_->status().error, "");
    return audit_->status().findings;
  }
  void cache_in_an_earlier_run(const std::string& path) {
    let_ttl_pass();
    mount();
    read_path(path);
    fs_->stack.claim();
    forget_all();
    audit_.reset();
    remount();
  }
  void end() {
    audit_.reset();
    fs_->close();
    fs_.reset();
  }
  std::vector<std::string> objects_on_disk() {
    std::vector<std::string> objects;
    for (const std::string& path : sim_disk_.paths())
      if (path.starts_with("objects/") && path.size() > 10) objects.push_back(path);
    return objects;
  }
  static std::string object_path(uint64_t id) { return object::Objects::path(ObjectId{id}); }

  cache::Activity activity_{clock_};
  std::unique_ptr<Audit> audit_;
};

TEST_F(AuditTest, WhatIsThereIsCountedAndLeftAlone) {
  source_.put("a", random_text(1, 5 * kBlock));
  source_.put("b", random_text(2, kBlock + 1));
  let_ttl_pass();
  mount();
  read_path("a");
  read_path("b");
  const auto of_this_run = audit();
  EXPECT_EQ(of_this_run.objects, 2U);
  EXPECT_EQ(of_this_run.object_bytes, 7 * kBlock);
  EXPECT_EQ(audit_->status().accounted_bytes, 7 * kBlock);
  EXPECT_GT(of_this_run.journal_bytes, 0U);
  EXPECT_EQ(of_this_run.measured_bytes(),
            of_this_run.object_bytes + of_this_run.journal_bytes + of_this_run.metadata_bytes);
  fs_->stack.claim();
  end();
  mount();
  const auto of_an_earlier_run = audit();
  EXPECT_EQ(of_an_earlier_run.objects, 2U);
  EXPECT_EQ(of_an_earlier_run.orphans + of_an_earlier_run.strays, 0U);
  EXPECT_EQ(fs_->stack.metric("larder_cache_measured_bytes"),
            static_cast<int64_t>(of_an_earlier_run.measured_bytes()));
  EXPECT_EQ(fs_->stack.metric("larder_cache_measured_at_seconds"),
            clock_.wall().count() / 1'000'000'000);
  EXPECT_EQ(read_path("a"), source_.content("a"));
}

TEST_F(AuditTest, OfACrashIsOwedUntilItIsMade) {
  mount();
  const auto is_owed = [this] { return *Audit::take_on(*fs_->stack.catalog); };
  EXPECT_FALSE(is_owed());
  ASSERT_TRUE(Audit::owe(*fs_->stack.catalog));
  end();  // cleanly, before a pass was made
  mount();
  EXPECT_TRUE(is_owed());
  audit_urgently(disk(), *fs_);
  EXPECT_FALSE(is_owed());
  end();
  mount();
  EXPECT_FALSE(is_owed());
}

// What a run leaves itself its own passes do not see.
TEST_F(AuditTest, WhatIsOwedLaterIsNotPaidByThisRun) {
  mount();
  ASSERT_TRUE(Audit::owe_later(*fs_->stack.catalog));
  audit_urgently(disk(), *fs_);
  end();
  mount();
  EXPECT_TRUE(*Audit::take_on(*fs_->stack.catalog));
  end();  // before a pass was made
  mount();
  EXPECT_TRUE(*Audit::take_on(*fs_->stack.catalog));
  audit_urgently(disk(), *fs_);
  end();
  mount();
  EXPECT_FALSE(*Audit::take_on(*fs_->stack.catalog));
}

TEST_F(AuditTest, AnUrgentPassThatFailsIsMadeAgainLater) {
  mount();
  end();
  ASSERT_TRUE(sim_disk_.make_directory("objects/4d"));
  sim_disk_.put(object_path(77), random_text(3, 3 * kBlock));
  mount();
  ASSERT_TRUE(Audit::owe(*fs_->stack.catalog));
  start_audit(true);
  sim_disk_.inject({testing::SimOperation::kRead, Code::kIo, "journal/", 0, 1});
  cache::NextStep next = audit_->step();
  while (audit_->status().passes == 0) next = audit_->step();
  EXPECT_NE(audit_->status().error, "");
  EXPECT_TRUE(*Audit::take_on(*fs_->stack.catalog));
  next = audit_->step();
  ASSERT_TRUE(next);
  EXPECT_EQ(*next - clock_.monotonic(), Audit::kRetry);
  clock_.advance(Audit::kRetry);
  while (audit_->status().passes == 1) audit_->step();
  EXPECT_EQ(audit_->status().error, "");
  EXPECT_FALSE(*Audit::take_on(*fs_->stack.catalog));
  EXPECT_THAT(objects_on_disk(), IsEmpty());
}

TEST_F(AuditTest, AnOrphanThatCannotBeRemovedDoesNotHideTheOthers) {
  mount();
  end();
  for (const uint64_t id : {77, 78}) {
    ASSERT_TRUE(sim_disk_.make_directory(object_path(id).substr(0, 10)));
    sim_disk_.put(object_path(id), random_text(id, 3 * kBlock));
  }
  mount();
  sim_disk_.inject({testing::SimOperation::kRemove, Code::kIo, object_path(77), 0, 1});
  const auto found = audit_urgently(disk(), *fs_);
  EXPECT_EQ(found.orphans, 2U);
  EXPECT_EQ(found.removed, 1U);
  EXPECT_EQ(found.object_bytes, 3 * kBlock) << "it is there";
  EXPECT_THAT(objects_on_disk(), ElementsAre(object_path(77)));
  EXPECT_EQ(fs_->stack.residents->used_bytes(), 3 * kBlock) << "and counts";
  sim_disk_.inject({testing::SimOperation::kRemove, Code::kIo, object_path(77), 0, 1});
  audit_urgently(disk(), *fs_);
  EXPECT_EQ(fs_->stack.residents->used_bytes(), 3 * kBlock) << "once";
  end();
  mount();
  EXPECT_TRUE(*Audit::take_on(*fs_->stack.catalog));
  EXPECT_EQ(audit_urgently(disk(), *fs_).removed, 1U);
  EXPECT_THAT(objects_on_disk(), IsEmpty());
}

TEST_F(AuditTest, WhatNoRecordNamesCountsUntilItIsLookedFor) {
  mount();
  Residents& residents = *fs_->stack.residents;
  residents.expect({.bytes = 8 * kBlock, .objects = 2}, true);
  residents.end_census();
  EXPECT_EQ(fs_->stack.metric("larder_cache_expected_bytes"), 8 * kBlock);
  audit_urgently(disk(), *fs_);
  EXPECT_EQ(fs_->stack.metric("larder_cache_expected_bytes"), 0);
}

TEST_F(AuditTest, PlantedOrphansAndStraysAreRemovedAndCounted) {
  source_.put("a", random_text(1, 2 * kBlock));
  let_ttl_pass();
  mount();
  read_path("a");
  fs_->stack.claim();
  end();
  const auto before = objects_on_disk();
  sim_disk_.put(object_path(77), random_text(3, 3 * kBlock));  // below what this run hands out
  for (const char* directory : {"objects/4d", "objects/4e"})
    ASSERT_TRUE(sim_disk_.make_directory(directory));
  for (const char* stray :
       {"objects/4d/notes.txt", "objects/4d/000000000000004D", "objects/4e/000000000000004d",
        "objects/4d/4d", "objects/0000000000000001", "ROOT.new"})
    sim_disk_.put(stray, "x");
  mount();
  const auto found = audit();
  EXPECT_EQ(found.orphans, 1U);
  EXPECT_EQ(found.strays, 6U);
  EXPECT_EQ(found.removed, 7U);
  EXPECT_EQ(found.objects, 1U);
  EXPECT_EQ(fs_->stack.metric("larder_audit_orphans_removed_total"), 1);
  EXPECT_EQ(fs_->stack.metric("larder_audit_strays_removed_total"), 6);
  const auto again = audit();
  EXPECT_EQ(again.orphans + again.strays, 0U);
  EXPECT_EQ(objects_on_disk(), before);
  EXPECT_EQ(read_path("a"), source_.content("a"));
}

TEST_F(AuditTest, AnOrphansChunkRecordsGoFirst) {
  mount();
  const ObjectId lost{77};
  catalog::NodeRecord node;  // that there was
  node.object = lost;
  catalog::Batch batch;
  batch.put(lost, 0, {1, {5}});
  batch.put(lost, 3, {1, {5}});
  ASSERT_TRUE(fs_->stack.catalog->apply(batch));
  end();
  ASSERT_TRUE(sim_disk_.make_directory("objects/4d"));
  sim_disk_.put(object_path(lost.value), random_text(1, 4 * 64 * kBlock));
  mount();
  sim_disk_.inject({testing::SimOperation::kRemove, Code::kIo, "objects/4d"});
  start_audit();
  const uint64_t request = audit_->schedule().request();
  while (audit_->schedule().answered() < request) audit_->step();
  EXPECT_EQ(audit_->status().findings.removed, 0U) << "the removal failed";
  EXPECT_FALSE(*fs_->stack.catalog->chunk(node, 0));
  EXPECT_FALSE(*fs_->stack.catalog->chunk(node, 3));
  EXPECT_EQ(audit().orphans, 1U) << "and is made up for";
  EXPECT_THAT(objects_on_disk(), IsEmpty());
}

// Through a mount that is gone.
TEST_F(AuditTest, AnOrphanThatIsMappedCountsUntilItIsMappedNoMore) {
  mount();
  const ObjectId lost = *fs_->stack.catalog->allocate_object();
  end();
  mount();
  ASSERT_LT(lost, fs_->stack.catalog->first_object());
  ASSERT_TRUE(sim_disk_.make_directory(object::Objects::directory(lost.value)));
  sim_disk_.put(object_path(lost.value), random_text(1, 3 * kBlock));
  const auto use = sim_disk_.use_elsewhere(object_path(lost.value));
  for (int pass = 0; pass < 2; ++pass) {
    const auto found = audit();
    EXPECT_EQ(found.orphans, pass == 0 ? 1U : 0U);
    EXPECT_EQ(found.removed, 0U);
    EXPECT_TRUE(found.left.is_zero());
    EXPECT_EQ(found.object_bytes, 3 * kBlock);
    EXPECT_EQ(fs_->stack.residents->object_bytes(), 3 * kBlock) << pass;
  }
  use(false);
  EXPECT_EQ(fs_->stack.mapped->step(), kWhenPoked);
  EXPECT_EQ(fs_->stack.residents->object_bytes(), 0U);
  EXPECT_THAT(objects_on_disk(), IsEmpty());
  EXPECT_EQ(audit().objects, 0U);
}

// What was removed in this mount while it was mapped is none of the audit's business.
TEST_F(AuditTest, WhatIsKeptForAMappingIsNoOrphan) {
  source_.put("a", random_text(1, 2 * kBlock));
  cache_in_an_earlier_run("a");
  const auto owner = files().owner_of(NodeId{walk("a").id.node()});
  const ObjectId object = owner->file().object();
  {
    const auto pin = owner->file().pin();
    ASSERT_TRUE(pin);
    owner->file().unpin(pin->generation);
  }
  const auto use = sim_disk_.use_elsewhere(object::Objects::path(object));
  owner->file().drop();
  ASSERT_EQ(fs_->stack.mapped->count(), 1U);
  const auto found = audit();
  EXPECT_EQ(found.orphans, 0U);
  EXPECT_EQ(found.object_bytes, 2 * kBlock);
  EXPECT_EQ(fs_->stack.residents->object_bytes(), 2 * kBlock);
}

TEST_F(AuditTest, AnUnlinkedFileThatIsOpenKeepsItsObject) {
  source_.put("a", random_text(1, 2 * kBlock));
  const std::string text = source_.content("a");
  cache_in_an_earlier_run("a");
  const OpenReply opened = open(walk("a").id);
  ASSERT_TRUE(fs_->run(files().unlink(kRoot, "a")));
  EXPECT_EQ(audit().orphans, 0U);
  EXPECT_EQ(objects_on_disk().size(), 1U);
  EXPECT_EQ(read(opened), text);
  release(opened);
  forget_all();
  fs_->stack.settle();
  EXPECT_EQ(audit().objects, 0U);
}

TEST_F(AuditTest, RestsWhileTheMountIsIdleButNotWhenItIsUrgent) {
  mount();
  clock_.advance(std::chrono::minutes(5));
  start_audit();
  activity_.lately();
  EXPECT_EQ(audit_->step(), kWhenPoked);
  start_audit(true);
  const auto next = audit_->step();
  ASSERT_TRUE(next);
  EXPECT_EQ(*next, clock_.monotonic() + Audit::kPause) << "in bounded steps with pauses";
  while (audit_->status().passes == 0) audit_->step();
  EXPECT_EQ(audit_->step(), clock_.monotonic() + Audit::kPeriod);
}

// Power is lost at every step of an audit that removes; the next one finds what is left.
TEST_F(AuditTest, ACrashAtAnyStepLosesNothingAndTheNextPassFindsTheRest) {
  source_.put("a", random_text(1, 3 * kBlock));
  let_ttl_pass();
  mount();
  read_path("a");
  fs_->stack.claim();
  end();
  for (const uint64_t id : {77, 333, 589}) {  // one directory
    ASSERT_TRUE(sim_disk_.make_directory("objects/4d"));
    sim_disk_.put(object_path(id), random_text(id, kBlock));
  }
  ASSERT_TRUE(sim_disk_.sync_all());
  const auto pristine = sim_disk_.clone();
  for (uint64_t step = 1;; ++step) {
    SCOPED_TRACE(step);
    const auto disk = pristine->clone();
    bool has_crashed = false;
    {
      FsStack crashing(*disk, clock_, source_);
      disk->crash_at_step(step);
      audit_urgently(*disk, crashing);
      has_crashed = disk->is_crashed();
    }
    disk->power_loss(step);
    FsStack after(*disk, clock_, source_);
    const cache::AuditFindings found = audit_urgently(*disk, after);
    EXPECT_EQ(found.objects, 1U);
    EXPECT_EQ(found.object_bytes, 3 * kBlock);
    if (!has_crashed) break;
  }
}

}  // namespace
}  // namespace larder::fs
