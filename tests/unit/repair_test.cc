// `larder check --repair`: afterwards the directory is clean, what was provably good is still
// there, and what was not is not.
#include "app/inspect/repair.h"

#include "app/inspect/check.h"
#include "cache/audit.h"
#include "cache_on_disk.h"

namespace larder::app {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
namespace fs = std::filesystem;

class RepairTest : public testing::Test {
 protected:
  // What it found, by name; expects that it leaves nothing, and that a second run finds nothing.
  std::vector<std::string> repair() {
    cache_.close_store();
    const auto disk = io::open_posix_disk_locked(cache_.path(), "lock");
    EXPECT_TRUE(disk);
    Report found;
    const auto say = [&](const std::string& line) { done_ += line + "\n"; };
    const auto repaired = app::repair(**disk, found, say);
    EXPECT_TRUE(repaired) << repaired.error().message();
    if (repaired) {
      EXPECT_EQ(repaired->left.findings().size(), 0u) << repaired->left.findings()[0].line();
    }
    Report again;
    const auto repeated = app::repair(**disk, again, [](const std::string& line) {
      ADD_FAILURE() << "the second run: " << line;
    });
    EXPECT_TRUE(repeated);
    EXPECT_THAT(again.findings(), IsEmpty());
    std::vector<std::string> kinds;
    for (const Finding& finding : found.findings()) kinds.emplace_back(text_of(finding.kind).name);
    return kinds;
  }
  // Blocks the catalog claims of the file; opens the store as a mount does.
  uint64_t claimed(const CacheOnDisk::File& file) {
    cache_.open();
    const auto record = cache_.catalog().node(file.node);
    uint64_t present = 0;
    if (record && *record && (*record)->object == file.object)
      if (const auto chunk = cache_.catalog().chunk(**record, 0); chunk && *chunk)
        present = (*chunk)->present;
    EXPECT_TRUE(present == 0 || fs::exists(cache_.object_file(file.object)));
    cache_.close_store();
    return present;
  }
  bool has_node(NodeId node) {
    cache_.open();
    const auto record = cache_.catalog().node(node);
    cache_.close_store();
    return record && *record;
  }
  // Whether the next mount is to look for what no record names.
  bool owes_audit() {
    cache_.open();
    const auto owed = cache::Audit::take_on(cache_.catalog());
    EXPECT_TRUE(owed);
    cache_.close_store();
    return owed.value_or(false);
  }
  static constexpr uint64_t kAllOfOne = 0b1111;

  CacheOnDisk cache_;
  std::string done_;
};

TEST_F(RepairTest, DoesNothingToACleanOne) {
  cache_.close_cleanly();
  const auto names = cache_.names();
  const uint64_t bytes = CacheOnDisk::bytes_hash(names);
  EXPECT_THAT(repair(), IsEmpty());
  EXPECT_EQ(done_, "");
  EXPECT_EQ(cache_.names(), names);
  EXPECT_EQ(CacheOnDisk::bytes_hash(names), bytes);
}

TEST_F(RepairTest, ASuperblock) {
  cache_.close_cleanly();
  cache_.flip("journal/superblock", 20);
  EXPECT_THAT(repair(), Contains("superblock"));
  EXPECT_EQ(claimed(cache_.one()), kAllOfOne);
  EXPECT_EQ(claimed(cache_.two()), 1u);
}

TEST_F(RepairTest, ACheckpoint) {
  EXPECT_TRUE(cache_.store().checkpoint());
  cache_.close_store();
  cache_.flip(cache_.newest("checkpoint-"), 5000);
  EXPECT_THAT(repair(), Contains("checkpoint"));
  EXPECT_EQ(claimed(cache_.one()), kAllOfOne);
}

// The log up to the damage is what counts; objects of later records are nobody's.
TEST_F(RepairTest, TheMiddleOfTheLog) {
  EXPECT_TRUE(cache_.store().checkpoint());
  const auto later = cache_.add_file("later", 5000);
  cache_.commit();
  cache_.add_directory(kRootNode, "last");
  cache_.commit();
  cache_.add_directory(kRootNode, "very last");
  cache_.close_store();
  std::string bytes = cache_.read(cache_.newest("log-"));
  const size_t at = bytes.find("later");
  ASSERT_NE(at, bytes.npos);
  cache_.flip(cache_.newest("log-"), at);
  EXPECT_THAT(repair(), Contains("log-damage"));
  EXPECT_THAT(done_, HasSubstr("gave up the log from "));
  EXPECT_EQ(claimed(cache_.one()), kAllOfOne);
  EXPECT_EQ(claimed(later), 0u);
  EXPECT_FALSE(fs::exists(cache_.object_file(later.object)));
  EXPECT_TRUE(owes_audit());
}

// A repair ends with a clean journal; what the crash left is still to be looked for.
TEST_F(RepairTest, WhatIsFoundAfterACrashOwesAnAudit) {
  cache_.close_store();
  std::filesystem::remove(cache_.object_file(cache_.one().object));
  EXPECT_THAT(repair(), Not(IsEmpty()));
  EXPECT_TRUE(owes_audit());
}

TEST_F(RepairTest, WhatIsFoundAfterACleanStopOwesNone) {
  cache_.close_cleanly();
  std::filesystem::remove(cache_.object_file(cache_.one().object));
  EXPECT_THAT(repair(), Not(IsEmpty()));
  EXPECT_FALSE(owes_audit());
}

// What was changed in the object since then does not have the checksum of then, and a block
// without one cannot be told.
TEST_F(RepairTest, AnOlderCatalogClaimsOnlyWhatVerifies) {
  catalog::NodeRecord record = cache_.node(cache_.one().node);
  record.first_chunk->checksums[2] = 0;
  catalog::Batch batch;
  batch.put(cache_.one().node, record);
  cache_.apply(batch);
  cache_.commit();
  cache_.add_directory(kRootNode, "lost");
  cache_.commit();
  cache_.add_directory(kRootNode, "last");
  cache_.commit();
  cache_.add_directory(kRootNode, "very last");
  cache_.close_store();
  cache_.flip(cache_.newest("log-"), cache_.read(cache_.newest("log-")).find("lost"));
  cache_.flip(object::Objects::path(cache_.one().object), 10);
  EXPECT_THAT(repair(), Contains("log-damage"));
  EXPECT_EQ(claimed(cache_.one()), 0b1010u);
}

TEST_F(RepairTest, ADamagedRecordBehindACheckpoint) {
  const auto lost = cache_.add_file("lost", 5000);
  cache_.close_cleanly();
  const std::string bytes = cache_.read(cache_.newest("log-"));
  for (size_t at = bytes.find("lost"); at != bytes.npos; at = bytes.find("lost", at + 1))
    cache_.flip(cache_.newest("log-"), at);
  EXPECT_THAT(repair(), Contains("index"));
  EXPECT_EQ(claimed(cache_.one()), kAllOfOne);
  EXPECT_FALSE(has_node(lost.node));
}

TEST_F(RepairTest, AJournalOfWhichNothingIsLeft) {
  cache_.close_cleanly();
  for (const auto& entry : fs::directory_iterator(cache_.at("journal")))
    std::ofstream(entry.path(), std::ios::binary) << "nothing";
  EXPECT_THAT(repair(), Contains("superblock"));
  EXPECT_THAT(done_, HasSubstr("gave up the journal"));
  EXPECT_FALSE(fs::exists(cache_.object_file(cache_.one().object)));
  EXPECT_EQ(claimed(cache_.one()), 0u);
}

TEST_F(RepairTest, AMissingSegment) {
  for (int i = 0; i < 2000; ++i) cache_.add_directory(kRootNode, "d" + std::to_string(i));
  cache_.close_cleanly();
  ASSERT_TRUE(fs::remove(cache_.at("journal/log-0000000000000001")));
  EXPECT_THAT(repair(), Contains("log-damage"));
  EXPECT_EQ(claimed(cache_.one()), kAllOfOne);
}

TEST_F(RepairTest, ATornTail) {
  cache_.close_store();
  const std::string log = cache_.newest("log-");
  std::string bytes = cache_.read(log);
  bytes.replace((bytes.find_last_not_of('\0') / 8 + 1) * 8, 40, std::string(40, 'x'));
  cache_.write(log, bytes);
  EXPECT_THAT(repair(), Contains("log-tail"));
  EXPECT_EQ(claimed(cache_.one()), kAllOfOne);
}

TEST_F(RepairTest, HalfMadeFilesAndOrphans) {
  cache_.close_cleanly();
  fs::create_directory(cache_.at("objects/77"));
  cache_.write("objects/77/0000000000000077", "nobody's");
  cache_.write("journal/log-0000000000000009.new", "x");
  fs::create_directory(cache_.at("journal.new"));
  cache_.write("journal.new/superblock", "x");
  repair();
  EXPECT_FALSE(fs::exists(cache_.at("objects/77/0000000000000077")));
  EXPECT_FALSE(fs::exists(cache_.at("journal.new")));
  EXPECT_EQ(claimed(cache_.one()), kAllOfOne);
}

TEST_F(RepairTest, RecordsOfTheCatalog) {
  catalog::Batch batch;
  batch.put(kRootNode, "nowhere", {NodeId{1 << 30}, S_IFREG});
  cache_.apply(batch);
  cache_.apply(catalog::listing_key(cache_.directory(), 0), std::nullopt);
  cache_.apply("?", "unknown kind");
  cache_.apply(catalog::meta_key(catalog::kObjectLimit), std::nullopt);
  const NodeId in_a_file = cache_.add_directory(cache_.two().node, "in a file");
  repair();
  EXPECT_EQ(claimed(cache_.one()), kAllOfOne);
  EXPECT_EQ(claimed(cache_.two()), 1u);
  EXPECT_FALSE(has_node(in_a_file));
  cache_.open();
  EXPECT_EQ(cache_.node(cache_.directory()).listing_parts, 0u);
  const auto id = cache_.catalog().allocate_object();
  ASSERT_TRUE(id);
  EXPECT_GT(id->value, cache_.two().object.value);
}

TEST_F(RepairTest, BlocksOfAnObject) {
  cache_.close_store();
  cache_.flip(object::Objects::path(cache_.one().object), CacheOnDisk::kBlockBytes + 5);
  EXPECT_THAT(repair(), Contains("block-checksum"));
  EXPECT_EQ(claimed(cache_.one()), 0b1101u);
  cache_.open();
  EXPECT_EQ(cache_.node(cache_.one().node).object_bytes, 4 * CacheOnDisk::kBlockBytes);
}

TEST_F(RepairTest, WholeObjects) {
  catalog::ChunkRecord beyond;
  beyond.present = 1;
  beyond.checksums = {7};
  catalog::Batch batch;
  batch.put(cache_.two().object, 9, beyond);
  cache_.apply(batch);
  cache_.close_store();
  ASSERT_TRUE(fs::remove(cache_.object_file(cache_.one().object)));
  EXPECT_THAT(repair(), testing::UnorderedElementsAre("object-missing", "chunk-beyond-end"));
  EXPECT_EQ(claimed(cache_.one()), 0u);
  EXPECT_EQ(claimed(cache_.two()), 0u);
  EXPECT_FALSE(fs::exists(cache_.object_file(cache_.two().object)));
  cache_.open();
  EXPECT_FALSE(cache_.node(cache_.one().node).object);
  EXPECT_EQ(cache_.node(cache_.one().node).object_bytes, 0u);
}

TEST_F(RepairTest, ChangesNothingThatANewerLarderMade) {
  cache_.write("SOURCE", "larder cache 2\n/far\n");
  cache_.close_store();
  cache_.flip(object::Objects::path(cache_.one().object), 5);
  const auto names = cache_.names();
  const uint64_t bytes = CacheOnDisk::bytes_hash(names);
  const auto disk = io::open_posix_disk_locked(cache_.path(), "lock");
  ASSERT_TRUE(disk);
  Report found;
  const auto repaired =
      app::repair(**disk, found, [](const std::string& line) { ADD_FAILURE() << line; });
  ASSERT_TRUE(repaired);
  EXPECT_EQ(repaired->left.finding_count(), 1u);
  EXPECT_EQ(cache_.names(), names);
  EXPECT_EQ(CacheOnDisk::bytes_hash(names), bytes);
}

}  // namespace
}  // namespace larder::app
