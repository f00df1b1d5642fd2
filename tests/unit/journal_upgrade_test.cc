// Stores of version 1: made here as that version wrote them, read and carried on by this one.
#include <cstring>

#include "base/check.h"
#include "format/frame.h"
#include "journal/index.h"
#include "journal/paged_file.h"
#include "journal_fixture.h"

namespace larder::journal {
namespace {

constexpr uint64_t kSegmentBytes = 16 << 10;
constexpr format::Uuid kUuid{.high = 11, .low = 22};

// Writes one segment of batches as version 1 did: frames of 24 bytes, records that say whether
// their key is new.
class Version1Store {
 public:
  explicit Version1Store(testing::SimDisk& disk) : disk_(disk) {
    CHECK(disk_.make_directory("journal").has_value());
    CHECK(disk_.sync_directory("").has_value());
    disk_.put("journal/superblock",
              page(format::kSuperblockMagic, format::SuperblockBody{kSegmentBytes}));
    log_ = page(format::kSegmentMagic, format::SegmentBody{.segment_bytes = kSegmentBytes});
  }

  void apply(const std::vector<Change>& batch) {
    const uint64_t frame = log_.size();
    log_.resize(frame + kHeaderBytes);
    for (const Change& change : batch) append(change);
    format::FrameHeader header{.durable = 0,
                               .payload_bytes = size32(log_.size() - frame - kHeaderBytes),
                               .record_count = static_cast<uint16_t>(batch.size()),
                               .type = format::FrameType::kBatch,
                               .version = 1};
    format::write_frame_header(at(frame), frame, seed_, header);
    apply_to(model_, batch);
  }

  // Saves the index as it is now.
  void checkpoint(bool is_clean) {
    const std::string path = "journal/checkpoint-0000000000000001";
    format::CheckpointBody body{.sequence = 1,
                                .replay_from = log_.size(),
                                .log_end = log_.size(),
                                .is_clean = is_clean ? 1u : 0u};
    disk_.put(path, "");
    auto file = disk_.open(path, io::OpenMode::kReadWrite);
    ASSERT_TRUE(file);
    PagedWriter pages(**file, format::kHeaderPageBytes, format::seed_at(seed_, 1));
    std::vector<std::byte> image;
    for (size_t i = 0; i < Index::kShards; ++i) {
      const ReaderLock lock(index_.shard(i).mutex);
      index_.shard(i).save(log_.size(), image);
      ASSERT_TRUE(pages.append(image));
    }
    const auto page_count = pages.finish();
    ASSERT_TRUE(page_count);
    body.page_count = *page_count;
    const std::string header = page(format::kCheckpointMagic, body);
    ASSERT_TRUE((*file)->write_at(std::as_bytes(std::span(header)), 0));
    ASSERT_TRUE((*file)->sync_data());
  }

  void finish() {
    std::string segment = log_;
    segment.resize(kSegmentBytes);
    disk_.put("journal/log-0000000000000000", segment);
  }
  // With an empty segment behind it, so that nothing of it is in memory.
  void finish_segment() {
    const uint64_t frame = log_.size();
    log_.resize(frame + kHeaderBytes);
    format::FrameHeader end{.type = format::FrameType::kSegmentEnd, .version = 1};
    format::write_frame_header(at(frame), frame, seed_, end);
    finish();
    std::string next = page(format::kSegmentMagic,
                            format::SegmentBody{.segment = 1, .segment_bytes = kSegmentBytes});
    next.resize(kSegmentBytes);
    disk_.put("journal/log-0000000000000001", next);
  }

  const Model& model() const { return model_; }

 private:
  static constexpr size_t kHeaderBytes = 24;
  static constexpr uint32_t kNewKey = 1u << 30;

  static uint32_t size32(size_t n) { return static_cast<uint32_t>(n); }

  template <class Body>
  static std::string page(const format::Magic& magic, const Body& body) {
    const auto bytes = format::make_header_page_of(magic, kUuid, body);
    std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const uint32_t version = 1;
    std::memcpy(&text[8], &version, sizeof version);
    const uint64_t checksum = hash64(std::string_view(text).substr(0, 120));
    std::memcpy(&text[120], &checksum, sizeof checksum);
    return text;
  }

  std::byte* at(uint64_t offset) { return reinterpret_cast<std::byte*>(log_.data()) + offset; }

  // No two keys of these tests share an entry.
  void append(const Change& change) {
    const uint64_t address = log_.size();
    const std::string value = change.value.value_or("");
    log_.resize(address + format::record_space(change.key.size(), value.size()));
    const uint32_t flags = !change.value                 ? format::RecordHeader::kTombstone
                           : model_.contains(change.key) ? 0
                                                         : kNewKey;
    format::write_record(at(address), address, seed_, 0, flags, change.key, value);
    const uint64_t hash = hash64(change.key, seed_);
    IndexShard& shard = index_.shard_of(hash);
    const WriterLock lock(shard.mutex);
    if (change.value)
      shard.put(hash, {.address = address, .is_alone = false});
    else
      shard.erase(hash);
  }

  testing::SimDisk& disk_;
  const uint64_t seed_ = format::seed_of(kUuid);
  Index index_;
  Model model_;
  std::string log_;
};

class JournalUpgradeTest : public JournalTest {
 protected:
  static uint32_t version_of(const std::string& content) {
    uint32_t version = 0;
    std::memcpy(&version, &content[8], sizeof version);
    return version;
  }
};

TEST_F(JournalUpgradeTest, OldLogIsReadCountedAndCarriedOn) {
  Version1Store old(disk_);
  old.apply({put("a", "1"), put("b", std::string(100, '2'))});
  old.apply({put("a", std::string(50, '3')), put("c", "4")});
  old.apply({removal("c"), put("d", "")});
  old.finish();
  model_ = old.model();
  {
    const auto store = must_open();
    EXPECT_EQ(version_of(disk_.content("journal/superblock")), format::kJournalVersion);
    expect_holds(*store, model_);
    must_apply(*store, {put("e", "5"), removal("d")});
    expect_holds(*store, model_);
  }
  disk_.process_death();
  // Frames of both versions.
  expect_holds(*must_open(), model_);
}

TEST_F(JournalUpgradeTest, OldCheckpointIsUsed) {
  for (const bool is_clean : {false, true}) {
    testing::SimDisk disk;
    Version1Store old(disk);
    old.apply({put("a", "1"), put("b", "2")});
    old.apply({removal("a")});
    old.checkpoint(is_clean);
    if (!is_clean) old.apply({put("c", "3"), put("b", "4")});
    old.finish();
    const auto store = Store::open(disk, "journal", small_segments(), registry_, clock_);
    ASSERT_TRUE(store) << store.error().message();
    EXPECT_EQ((*store)->recovery().checkpoint_sequence, 1u);
    EXPECT_EQ((*store)->recovery().clean, is_clean);
    EXPECT_EQ((*store)->recovery().records_replayed, is_clean ? 0u : 2u);
    expect_holds(**store, old.model());
  }
}

// As a store of this version is opened with one: who asks for the key gets the error.
TEST_F(JournalUpgradeTest, ADamagedRecordBehindTheCheckpointIsPassedOver) {
  Version1Store old(disk_);
  old.apply({put("a", "damaged value"), put("b", std::string(100, '2'))});
  old.apply({put("c", "3")});
  old.checkpoint(false);
  old.finish_segment();
  const std::string log = "journal/log-0000000000000000";
  disk_.corrupt(log, disk_.content(log).find("damaged"), 1);
  model_ = old.model();
  model_.erase("a");  // cannot be read
  {
    const auto store = must_open();
    ASSERT_TRUE(store);
    EXPECT_EQ(store->key_count(), 2u);
    EXPECT_EQ(store->live_bytes(), space_of(model_));
    EXPECT_EQ(store->get("a").error().code(), Code::kCorrupt);
    EXPECT_FALSE(store->apply(std::vector{put("a", "new")}));
    must_apply(*store, {put("b", "4"), put("d", "5"), removal("c")});
    EXPECT_EQ(store->key_count(), 2u);
    EXPECT_EQ(store->live_bytes(), space_of(model_));
    EXPECT_TRUE(store->close());
  }
  disk_.process_death();
  const auto store = must_open();
  ASSERT_TRUE(store);
  EXPECT_EQ(store->key_count(), 2u);
  EXPECT_EQ(store->live_bytes(), space_of(model_));
}

TEST_F(JournalUpgradeTest, SuperblockIsUpgradedFirstAndOnlyWhenAllIsWell) {
  Version1Store old(disk_);
  old.apply({put("a", "1")});
  old.finish();
  disk_.put("journal/log-0000000000000001", "no segment");
  const auto damaged = image();
  EXPECT_EQ(open().error().code(), Code::kCorrupt);
  EXPECT_EQ(image(), damaged);
  disk_.erase("journal/log-0000000000000001");
  // The store may stop in the middle of its first change at any place.
  bool was_crashed = true;
  for (uint64_t step = 1; was_crashed; ++step) {
    SCOPED_TRACE(step);
    const auto disk = disk_.clone();
    disk->crash_at_step(step);
    (void)Store::open(*disk, "journal", small_segments(), registry_, clock_);
    was_crashed = disk->is_crashed();
    disk->power_loss(step);
    const auto store = Store::open(*disk, "journal", small_segments(), registry_, clock_);
    ASSERT_TRUE(store) << store.error().message();
    expect_holds(**store, old.model());
  }
}

}  // namespace
}  // namespace larder::journal
