// Object files, on a simulated disk.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "object/objects.h"
#include "support/sim_disk.h"

namespace larder::object {
namespace {

using ::testing::Contains;
using ::testing::Not;

class ObjectsTest : public ::testing::Test {
 protected:
  ObjectsTest() { open(); }
  void open() { objects_ = std::move(*Objects::open(disk_)); }
  Objects::Dirty make(uint64_t id, const std::string& text) {
    const ObjectId object{id};
    auto file = objects_->create(object, text.size());
    EXPECT_TRUE(file) << file.error().message();
    EXPECT_TRUE((*file)->write_at(std::as_bytes(std::span(text)), 0));
    return {object, *file};
  }
  // What is in it, or nothing when there is no such object.
  std::optional<std::string> text_of(ObjectId object) {
    const auto file = objects_->open(object);
    if (!file) {
      EXPECT_TRUE(file.error().is(Code::kNotFound));
      return std::nullopt;
    }
    std::string text((*file)->info()->size_bytes, '?');
    EXPECT_EQ(*(*file)->read_at(std::as_writable_bytes(std::span(text)), 0), text.size());
    return text;
  }

  testing::SimDisk disk_;
  std::unique_ptr<Objects> objects_;
};

TEST_F(ObjectsTest, ANewObjectIsAllHole) {
  const auto file = objects_->create(ObjectId{0x1ab}, 10'000);
  ASSERT_TRUE(file);
  EXPECT_EQ((*file)->info()->size_bytes, 10'000U);
  EXPECT_EQ((*file)->info()->allocated_bytes, 0U);
  EXPECT_EQ(text_of(ObjectId{0x1ab}), std::string(10'000, '\0'));
  EXPECT_THAT(disk_.paths(), Contains("objects/ab/00000000000001ab"));
}

TEST_F(ObjectsTest, AnIdIsMadeOnce) {
  make(7, "first");
  const auto again = objects_->create(ObjectId{7}, 0);
  ASSERT_FALSE(again);
  EXPECT_TRUE(again.error().is(Code::kExists));
  EXPECT_EQ(text_of(ObjectId{7}), "first");
}

TEST_F(ObjectsTest, KnowsTheHighestThatIsThere) {
  EXPECT_FALSE(*Objects::last(disk_));
  make(0x1ff, "a");
  make(0x203, "b");
  disk_.put(Objects::directory(0xff) + "/foreign", "x");
  EXPECT_EQ(*Objects::last(disk_), ObjectId{0x203});
}

TEST_F(ObjectsTest, OpensWhatWasMadeAndNothingElse) {
  make(7, "text");
  open();
  EXPECT_EQ(text_of(ObjectId{7}), "text");
  EXPECT_FALSE(text_of(ObjectId{8}));        // its directory was never made
  EXPECT_FALSE(text_of(ObjectId{7 + 256}));  // its directory was
}

TEST_F(ObjectsTest, ARemovedObjectIsReadableWhileOpen) {
  const Objects::Dirty made = make(7, "text");
  ASSERT_TRUE(objects_->remove(ObjectId{7}));
  EXPECT_FALSE(text_of(ObjectId{7}));
  std::string text(4, '?');
  EXPECT_EQ(*made.file->read_at(std::as_writable_bytes(std::span(text)), 0), 4U);
  EXPECT_EQ(text, "text");
  EXPECT_TRUE(objects_->remove(ObjectId{7}));  // gone already: no error
}

TEST_F(ObjectsTest, ErrorsOfTheDiskAreReported) {
  disk_.inject({.operation = testing::SimOperation::kOpen, .code = Code::kNoSpace});
  const auto refused = objects_->create(ObjectId{7}, 0);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(Code::kNoSpace));
  const Objects::Dirty made = make(7, "text");
  disk_.inject({.operation = testing::SimOperation::kRemove});
  EXPECT_FALSE(objects_->remove(ObjectId{7}));
  disk_.inject({.operation = testing::SimOperation::kSync});
  EXPECT_FALSE(objects_->sync(std::span(&made, 1)));
  disk_.inject({.operation = testing::SimOperation::kSyncDirectory});
  EXPECT_FALSE(objects_->sync(std::span(&made, 1)));
}

TEST_F(ObjectsTest, SyncOfNothingTouchesNothing) {
  const uint64_t steps = disk_.step_count();
  EXPECT_TRUE(objects_->sync({}));
  EXPECT_EQ(disk_.step_count(), steps);
}

// One by one and all at once: what was synced survives the loss of power with its name.
class ObjectsSyncTest : public ObjectsTest, public ::testing::WithParamInterface<uint64_t> {};

TEST_P(ObjectsSyncTest, SyncedObjectsSurviveALossOfPower) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    const auto text = [&](uint64_t id) { return "object " + std::to_string(id + seed); };
    const uint64_t first = seed * 1000;
    std::vector<Objects::Dirty> dirty;
    for (uint64_t i = 0; i < GetParam(); ++i) dirty.push_back(make(first + i, text(first + i)));
    ASSERT_TRUE(objects_->sync(dirty));
    make(first + 999, "never synced");
    dirty.clear();
    disk_.power_loss(seed);
    open();
    for (uint64_t i = 0; i < GetParam(); ++i)
      EXPECT_EQ(text_of(ObjectId{first + i}), text(first + i));
  }
}

INSTANTIATE_TEST_SUITE_P(FewAndMany, ObjectsSyncTest, ::testing::Values(1, 3, 50));

TEST_F(ObjectsTest, DirectoriesThatWereLostAreMadeAgain) {
  make(7, "lost");
  disk_.power_loss(1);
  disk_.erase("objects/07/0000000000000007");
  disk_.erase("objects/07");
  open();
  make(7 + 256, "new");
  EXPECT_EQ(text_of(ObjectId{7 + 256}), "new");
  EXPECT_THAT(disk_.paths(), Not(Contains("objects/07/0000000000000007")));
}

}  // namespace
}  // namespace larder::object
