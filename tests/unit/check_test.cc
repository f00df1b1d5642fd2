// `larder check`: every kind of damage is found, by its name, and nothing is changed.
#include "app/inspect/check.h"

#include "app/inspect/open_cache.h"
#include "cache_on_disk.h"

namespace larder::app {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;
namespace fs = std::filesystem;

class Check : public testing::Test {
 protected:
  // Names of the kinds that were found, notes too; a disk of its own, as the program has.
  std::vector<std::string> check(bool reads_data = true) {
    cache_.close_store();
    const auto names = cache_.names();
    const uint64_t bytes = CacheOnDisk::bytes_hash(names);
    const auto before = CacheOnDisk::states(names);
    report_ = Report();
    {
      const auto disk = open_cache_to_look(cache_.path(), false);
      if (!disk) {
        ADD_FAILURE() << disk.error().detail();
        return {};
      }
      Examination examination{.disk = **disk, .report = report_, .reads_data = reads_data};
      examine(examination);
      counts_ = examination.counts;
    }
    EXPECT_EQ(CacheOnDisk::states(names), before);
    EXPECT_EQ(cache_.names(), names);
    EXPECT_EQ(CacheOnDisk::bytes_hash(names), bytes);
    std::vector<std::string> kinds;
    for (const Finding& finding : report_.findings()) {
      kinds.emplace_back(text_of(finding.kind).name);
      EXPECT_EQ(finding.line().find('\n'), std::string::npos);
    }
    return kinds;
  }
  // The lines in one text.
  std::string lines() const {
    std::string text;
    for (const Finding& finding : report_.findings()) text += finding.line() + "\n";
    return text;
  }

  CacheOnDisk cache_;
  Report report_;
  Counts counts_;
};

TEST_F(Check, ACleanDirectoryIsClean) {
  cache_.close_cleanly();
  EXPECT_THAT(check(), IsEmpty());
  EXPECT_EQ(counts_.nodes, 4u);
  EXPECT_EQ(counts_.names, 3u);
  EXPECT_EQ(counts_.listing_parts, 1u);
  EXPECT_EQ(counts_.objects, 2u);
  EXPECT_EQ(counts_.blocks, 5u);
  EXPECT_EQ(counts_.bytes_verified, cache_.one().data.size() + cache_.two().data.size());
  EXPECT_EQ(counts_.checkpoints, 1u);
  EXPECT_EQ(report_.finding_count(), 0u);
}

TEST_F(Check, AKilledOneIsCleanToo) {
  EXPECT_THAT(check(), IsEmpty());
  EXPECT_EQ(counts_.nodes, 4u);
}

TEST_F(Check, ACopyIsAsGoodAsTheOriginal) {
  cache_.close_cleanly();
  const std::string copy = cache_.path() + "-copy";
  fs::copy(cache_.path(), copy, fs::copy_options::recursive);
  const auto disk = open_cache_to_look(copy, false);
  ASSERT_TRUE(disk);
  Examination examination{.disk = **disk, .report = report_};
  examine(examination);
  EXPECT_THAT(report_.findings(), IsEmpty());
  EXPECT_EQ(examination.counts.blocks, 5u);
}

TEST_F(Check, RefusesOneThatIsInUse) {
  const auto daemon = io::open_posix_disk_locked(cache_.path(), "lock");
  ASSERT_TRUE(daemon);
  cache_.write("lock", "/mnt/photos\n");
  const auto refused = open_cache_to_look(cache_.path(), false);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(Code::kLocked));
  EXPECT_THAT(refused.error().detail(), AllOf(HasSubstr("in use"), HasSubstr("/mnt/photos")));
  EXPECT_TRUE(open_cache_to_look(cache_.path(), true));
}

TEST_F(Check, RefusesWhatIsNoCacheDirectory) {
  EXPECT_FALSE(open_cache_to_look(cache_.path() + "-absent", false));
  const auto other = open_cache_to_look(fs::temp_directory_path(), false);
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().detail(), HasSubstr("no cache directory"));
}

TEST_F(Check, NoDaemonStartsMeanwhile) {
  const auto disk = open_cache_to_look(cache_.path(), false);
  ASSERT_TRUE(disk);
  const auto daemon = io::open_posix_disk_locked(cache_.path(), "lock");
  ASSERT_FALSE(daemon);
  EXPECT_TRUE(daemon.error().is(Code::kLocked));
}

// --- the directory

TEST_F(Check, Marks) {
  cache_.write("SOURCE", "nonsense");
  cache_.write("ROOT", "nonsense");
  cache_.write("SOURCE.new", "");
  cache_.write("stray", "");
  EXPECT_THAT(check(),
              UnorderedElementsAre("source-mark", "root-mark", "temporary", "foreign-file"));
  EXPECT_EQ(report_.finding_count(), 1u);
}

TEST_F(Check, ANewerLayout) {
  cache_.write("SOURCE", "larder cache 2\n/far\n");
  EXPECT_THAT(check(), ElementsAre("newer-format"));
}

// --- the journal

TEST_F(Check, ABitInTheSuperblock) {
  cache_.close_store();
  cache_.flip("journal/superblock", 20);
  EXPECT_THAT(check(), ElementsAre("superblock"));
  // The log's segments say the same: the rest is examined all the same.
  EXPECT_EQ(counts_.nodes, 4u);
}

TEST_F(Check, ANewerSuperblock) {
  cache_.close_store();
  std::string bytes = cache_.read("journal/superblock");
  ++bytes[8];
  uint32_t header_bytes = 0;
  std::memcpy(&header_bytes, &bytes[12], sizeof header_bytes);
  const uint64_t checksum = hash64(std::string_view(bytes).substr(0, header_bytes - 8));
  std::memcpy(&bytes[header_bytes - 8], &checksum, sizeof checksum);
  cache_.write("journal/superblock", bytes);
  EXPECT_THAT(check(), ElementsAre("newer-format"));
}

TEST_F(Check, ACheckpointsPage) {
  EXPECT_TRUE(cache_.store().checkpoint());
  cache_.close_store();
  cache_.flip(cache_.newest("checkpoint-"), 5000);
  EXPECT_THAT(check(), ElementsAre("checkpoint"));
  EXPECT_THAT(lines(), HasSubstr("page 0 does not verify"));
  EXPECT_EQ(counts_.nodes, 4u);
}

TEST_F(Check, AFrameInTheMiddle) {
  cache_.add_directory(kRootNode, "later");
  cache_.commit();
  cache_.add_directory(kRootNode, "last");
  cache_.close_store();
  cache_.flip(cache_.newest("log-"), 4096 + 200);
  EXPECT_THAT(check(), Contains("log-damage"));
  EXPECT_GT(report_.finding_count(), 0u);
  EXPECT_THAT(lines(), HasSubstr("log-0000000000000000, offset "));
}

// A damage behind which a checkpoint stands is not seen by recovery; the walk sees it, and so do
// those who need the record.
TEST_F(Check, AFrameBehindACheckpoint) {
  cache_.close_cleanly();
  cache_.flip(cache_.newest("log-"), 4096 + 200);
  EXPECT_THAT(check(), Contains("log-damage"));
}

TEST_F(Check, ATornTailIsANote) {
  cache_.close_store();
  const std::string log = cache_.newest("log-");
  std::string bytes = cache_.read(log);
  const size_t used = bytes.find_last_not_of('\0') + 1;
  bytes.replace((used + 7) / 8 * 8, 40, std::string(40, 'x'));
  cache_.write(log, bytes);
  EXPECT_THAT(check(), ElementsAre("log-tail"));
  EXPECT_EQ(report_.finding_count(), 0u);
  EXPECT_EQ(counts_.nodes, 4u);
}

TEST_F(Check, AMissingSegment) {
  for (int i = 0; i < 2000; ++i) cache_.add_directory(kRootNode, "d" + std::to_string(i));
  cache_.close_cleanly();
  ASSERT_TRUE(fs::remove(cache_.at("journal/log-0000000000000001")));
  EXPECT_THAT(check(), Contains("log-damage"));
  EXPECT_THAT(check(), Contains("index"));
}

TEST_F(Check, HalfMadeAndForeignFilesOfTheJournal) {
  cache_.write("journal/log-0000000000000009.new", "x");
  cache_.write("journal/notes", "x");
  EXPECT_THAT(check(), UnorderedElementsAre("temporary", "foreign-file"));
}

// --- the catalog

TEST_F(Check, ARecordThatDoesNotDecode) {
  cache_.apply(catalog::node_key(cache_.two().node), "\x09nonsense");
  cache_.apply("?", "unknown kind");
  EXPECT_THAT(check(), Contains("record").Times(2));
}

TEST_F(Check, ANameToNowhere) {
  catalog::Batch batch;
  batch.put(kRootNode, "nowhere", {NodeId{1 << 30}, S_IFREG});
  cache_.apply(batch);
  EXPECT_THAT(check(), ElementsAre("id"));
  EXPECT_THAT(lines(), HasSubstr("'nowhere'"));
}

// What was listed has a node only once somebody asks for it.
TEST_F(Check, ANameThatWasOnlyListedIsRight) {
  const auto id = cache_.catalog().allocate_node();
  ASSERT_TRUE(id);
  catalog::Batch batch;
  batch.put(kRootNode, "listed", {*id, S_IFREG});
  cache_.apply(batch);
  EXPECT_THAT(check(), IsEmpty());
}

TEST_F(Check, ANameCannotBreakALine) {
  catalog::Batch batch;
  batch.put(kRootNode, "a\nb", {NodeId{1 << 30}, S_IFREG});
  cache_.apply(batch);
  EXPECT_THAT(check(), ElementsAre("id"));
  EXPECT_THAT(lines(), HasSubstr("'a\\x0ab'"));
}

TEST_F(Check, ParentsThatLeadToThemselvesOrToAFile) {
  const NodeId inner = cache_.add_directory(cache_.directory(), "inner");
  catalog::NodeRecord record = cache_.node(cache_.directory());
  record.parent = inner;
  catalog::Batch batch;
  batch.put(cache_.directory(), record);
  cache_.apply(batch);
  cache_.add_directory(cache_.two().node, "in a file");
  EXPECT_THAT(check(), ElementsAre("parent", "parent"));
  EXPECT_THAT(lines(), AllOf(HasSubstr("lead back to it"), HasSubstr("is no directory")));
}

TEST_F(Check, APartOfAListing) {
  cache_.apply(catalog::listing_key(cache_.directory(), 0), std::nullopt);
  EXPECT_THAT(check(), ElementsAre("listing"));
  EXPECT_THAT(lines(), HasSubstr("(/d)"));
}

TEST_F(Check, ACounter) {
  cache_.apply(catalog::meta_key(catalog::kObjectLimit), std::nullopt);
  EXPECT_THAT(check(), ElementsAre("counter"));
}

TEST_F(Check, ACounterBehindAnObject) {
  cache_.apply(catalog::meta_key(catalog::kObjectLimit), catalog::encode_number(2));
  EXPECT_THAT(check(), Contains("counter"));
  EXPECT_THAT(lines(), HasSubstr("but object 2 is there"));
}

TEST_F(Check, LeftoversAreNotes) {
  cache_.apply(catalog::node_key(cache_.two().node), std::nullopt);  // as by an unlink
  const NodeId gone = cache_.add_directory(kRootNode, "gone");
  cache_.add_directory(gone, "in it");
  cache_.apply(catalog::node_key(gone), std::nullopt);
  EXPECT_THAT(check(), UnorderedElementsAre("leftover", "leftover", "leftover", "orphan"));
  EXPECT_EQ(report_.finding_count(), 0u);
}

TEST_F(Check, TwoNodesWithOneObject) {
  catalog::NodeRecord record = cache_.node(cache_.two().node);
  record.object = cache_.one().object;
  catalog::Batch batch;
  batch.put(cache_.two().node, record);
  cache_.apply(batch);
  EXPECT_THAT(check(), Contains("object-shared"));
}

// --- objects

TEST_F(Check, AByteOfAnObject) {
  cache_.close_store();
  cache_.flip(object::Objects::path(cache_.one().object), CacheOnDisk::kBlockBytes + 5);
  EXPECT_THAT(check(), ElementsAre("block-checksum"));
  EXPECT_THAT(lines(), AllOf(HasSubstr("(/d/one)"), HasSubstr("block 1 ")));
  EXPECT_THAT(check(false), IsEmpty());
}

TEST_F(Check, AMissingObject) {
  ASSERT_TRUE(fs::remove(cache_.object_file(cache_.one().object)));
  EXPECT_THAT(check(), ElementsAre("object-missing"));
}

TEST_F(Check, ATruncatedObject) {
  fs::resize_file(cache_.object_file(cache_.one().object), 5000);
  EXPECT_THAT(check(), ElementsAre("object-size"));
}

TEST_F(Check, AHoleInAnObject) {
  fs::resize_file(cache_.object_file(cache_.one().object), 0);
  fs::resize_file(cache_.object_file(cache_.one().object), cache_.one().data.size());
  EXPECT_THAT(check(), ElementsAre("block-hole"));
  EXPECT_THAT(lines(), HasSubstr("blocks 0 to 3 "));
  EXPECT_THAT(check(false), ElementsAre("block-hole"));
}

TEST_F(Check, AChunkBehindTheEnd) {
  catalog::ChunkRecord record;
  record.present = 1;
  record.checksums = {7};
  catalog::Batch batch;
  batch.put(cache_.one().object, uint64_t{1} << 60, record);
  cache_.apply(batch);
  EXPECT_THAT(check(), ElementsAre("chunk-beyond-end"));
}

TEST_F(Check, DataThatWasBeingChangedIsNotBelievedAnyway) {
  catalog::NodeRecord record = cache_.node(cache_.one().node);
  record.data_stable = false;
  catalog::Batch batch;
  batch.put(cache_.one().node, record);
  cache_.apply(batch);
  cache_.close_store();
  cache_.flip(object::Objects::path(cache_.one().object), 5);
  EXPECT_THAT(check(), IsEmpty());
}

TEST_F(Check, AnOrphanAndForeignFilesAmongTheObjects) {
  fs::create_directory(cache_.at("objects/77"));
  cache_.write("objects/77/0000000000000077", "nobody's");
  cache_.write("objects/77/0000000000000078", "in the wrong directory");
  cache_.write("objects/readme", "");
  EXPECT_THAT(check(), UnorderedElementsAre("orphan", "foreign-file", "foreign-file"));
  EXPECT_EQ(report_.finding_count(), 0u);
}

// --- the report

TEST(CheckReport, KeepsSomeAndCountsAll) {
  Report report;
  for (int i = 0; i < 150; ++i) report.add(Kind::kOrphan, std::to_string(i), "an object");
  report.add(Kind::kIndex, "here", "why");
  EXPECT_EQ(report.findings().size(), Report::kShownMax + 1);
  EXPECT_EQ(report.note_count(), 150u);
  EXPECT_EQ(report.finding_count(), 1u);
  EXPECT_THAT(report.more(), ElementsAre("orphan: 50 more"));
}

}  // namespace
}  // namespace larder::app
