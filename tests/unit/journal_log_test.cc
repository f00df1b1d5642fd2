// The log and its segments below the store: watermarks, reading from an address, truncation.
#include <cstring>

#include "journal/group_commit.h"
#include "journal/log_reader.h"
#include "journal/superblock.h"
#include "journal_fixture.h"

namespace larder::journal {
namespace {

class JournalLogTest : public JournalTest {
 protected:
  void SetUp() override {
    auto files = open_superblock(disk_, "journal", small_segments(), clock_);
    ASSERT_TRUE(files);
    ASSERT_TRUE(files->sync_entries());
    segments_ = std::make_unique<Segments>(*files);
    log_ = std::make_unique<Log>(*segments_, index_, poison_);
    commit_ = std::make_unique<GroupCommit>(*log_, registry_);
    auto first = segments_->create(0);
    ASSERT_TRUE(first);
    const uint64_t begin = segments_->first_frame(0);
    log_->start(std::move(*first), {.begin = begin, .durable = begin, .tail = begin}, {}, begin);
  }

  // Appends a batch of one record and returns its frame's address.
  uint64_t append(const std::string& value) {
    const MutexLock lock(log_->mutex);
    const uint64_t space = format::record_space(1, value.size());
    EXPECT_TRUE(log_->ensure_room(sizeof(format::FrameHeader) + space));
    const uint64_t frame = log_->tail();
    format::write_record(log_->at_tail() + sizeof(format::FrameHeader),
                         frame + sizeof(format::FrameHeader), segments_->files().seed, 0, 0, "k",
                         value);
    log_->append_frame(static_cast<uint32_t>(space), 1, {.bytes = space, .keys = 1});
    return frame;
  }

  std::vector<std::string> values_from(uint64_t from, uint64_t to) {
    std::vector<std::string> values;
    LogReader reader(*segments_, from, to);
    while (true) {
      const auto frame = reader.next();
      EXPECT_TRUE(frame) << frame.error().message();
      if (!frame || !*frame) return values;
      EXPECT_TRUE(format::for_each_record(
          (*frame)->header, (*frame)->payload, (*frame)->address,
          [&](const format::RecordView& record) { values.emplace_back(record.value); }));
    }
  }

  Index index_;
  StickyError poison_;
  std::unique_ptr<Segments> segments_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<GroupCommit> commit_;
};

TEST_F(JournalLogTest, IsReadInOrderFromAnyFrameOn) {
  std::vector<uint64_t> frames;
  std::vector<std::string> values;
  for (int i = 0; i < 100; ++i) {
    values.push_back(std::to_string(i) + std::string(static_cast<size_t>(i) * 60, 'v'));
    frames.push_back(append(values.back()));
  }
  ASSERT_GT(files("log-").size(), 15u);
  for (size_t i = 0; i < frames.size(); i += 7) {
    EXPECT_EQ(values_from(frames[i], log_->tail()),
              std::vector(values.begin() + static_cast<ptrdiff_t>(i), values.end()));
    EXPECT_EQ(values_from(frames[0], frames[i]),
              std::vector(values.begin(), values.begin() + static_cast<ptrdiff_t>(i)));
  }
  disk_.corrupt(files("log-")[0], frames[1] + 60, 1);
  LogReader reader(*segments_, frames[0], log_->tail());
  EXPECT_TRUE(reader.next());
  const auto damaged = reader.next();
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code(), Code::kCorrupt);
  EXPECT_NE(damaged.error().message().find("offset " + std::to_string(frames[1])),
            std::string::npos);
}

TEST_F(JournalLogTest, WatermarksAreInOrderAndFramesCarryThem) {
  for (int i = 0; i < 100; ++i) append(std::string(1000, 'v'));
  EXPECT_LT(log_->durable(), log_->tail());
  ASSERT_TRUE(commit_->wait_durable(log_->tail()));
  Watermarks at = log_->watermarks();
  EXPECT_EQ(at.durable, at.tail);
  EXPECT_EQ(at.begin, segments_->first_frame(0));
  const uint64_t begin = segments_->first_frame(3);
  const uint64_t frame = at.tail;
  ASSERT_TRUE(log_->advance_begin(begin));
  at = log_->watermarks();
  EXPECT_EQ(at.begin, begin);
  EXPECT_EQ(at.durable, frame);
  EXPECT_EQ(at.tail, frame + sizeof(format::FrameHeader));
  LogReader reader(*segments_, frame, at.tail);
  const auto read = reader.next();
  ASSERT_TRUE(read && *read);
  EXPECT_EQ((*read)->header.begin, begin);
  EXPECT_EQ((*read)->header.durable, frame);
  EXPECT_EQ((*read)->header.record_count, 0u);
  EXPECT_EQ((*read)->header.live_keys, 1u);
}

TEST_F(JournalLogTest, IsTruncatedASegmentAtATime) {
  for (int i = 0; i < 100; ++i) append(std::string(1000, 'v'));
  const size_t count = files("log-").size();
  EXPECT_FALSE(*segments_->truncate_below(segments_->first_frame(0)));
  EXPECT_FALSE(*segments_->truncate_below(segments_->end_of(0) - 1));
  EXPECT_EQ(files("log-").size(), count);
  EXPECT_TRUE(*segments_->truncate_below(segments_->first_frame(2)));
  EXPECT_EQ(segments_->first(), 1u);
  EXPECT_FALSE(*segments_->truncate_below(segments_->first_frame(2)));
  EXPECT_EQ(segments_->first(), 2u);
  EXPECT_EQ(files("log-").size(), count - 2);
  std::byte byte{};
  const auto removed = segments_->read(segments_->first_frame(0), std::span(&byte, 1));
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code(), Code::kNotFound);
  disk_.power_loss(1);  // each removal was made durable
  EXPECT_EQ(files("log-").front(), "journal/log-0000000000000002");
}

TEST_F(JournalLogTest, EntriesBelowAnAddressAreDroppedFromTheIndex) {
  constexpr uint64_t kEntries = 20'000;
  // An odd factor: no two have the same entry.
  const auto hash_of = [](uint64_t i) {
    return Index::hash_of(static_cast<uint32_t>(i * 2654435761));
  };
  for (uint64_t i = 1; i <= kEntries; ++i) {
    IndexShard& shard = index_.shard_of(hash_of(i));
    const WriterLock lock(shard.mutex);
    shard.put(hash_of(i), {.address = i * 8, .is_alone = i % 2 == 0});
  }
  const uint64_t limit = kEntries / 3 * 8;
  index_.drop_below(limit);
  for (uint64_t i = 1; i <= kEntries; ++i) {
    IndexShard& shard = index_.shard_of(hash_of(i));
    const ReaderLock lock(shard.mutex);
    const ChainHead head = shard.find(hash_of(i));
    EXPECT_EQ(head.address, i * 8 < limit ? 0 : i * 8) << i;
    EXPECT_EQ(head.is_alone, i * 8 >= limit && i % 2 == 0);
  }
}

}  // namespace
}  // namespace larder::journal
