// A cache directory belongs to one source and one daemon at a time; a damaged or newer one is
// refused or healed, and never destroyed.
#include <cstring>
#include <set>

#include "base/checksum.h"
#include "base/error.h"
#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

using testing::AllOf;
using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr int kMountFailed = 32;

class CacheDirectory : public LarderTest {
 protected:
  void SetUp() override {
    LarderTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(mount());
    put_and_cache("file", data_);
    put_and_cache("other", data_.substr(5));
    other_place_ = source_->directory() + "/../other";
    ASSERT_EQ(mkdir(other_place_.c_str(), 0755), 0);
    other_place_ = fs::canonical(other_place_);
  }
  // Tries to mount on the cache directory without staying in the foreground.
  CommandResult try_mount(const std::string& source) {
    const auto result = run_command(
        {LarderMount::program(), "mount", "-o", "cache_dir=" + cache_dir(), source, other_place_});
    if (result.exit_code == 0) run_command({LarderMount::program(), "umount", other_place_});
    return result;
  }
  const std::string& cache_dir() const { return mount_->cache_dir(); }
  // One line that is an error of larder's.
  static bool is_one_line(const std::string& text) {
    return text.starts_with("larder: ") && text.find('\n') == text.size() - 1;
  }
  // The reason is in the message, not behind it.
  static bool ends_with_a_code(const std::string& text) {
    for (const Code code : {Code::kLocked, Code::kExists, Code::kCorrupt, Code::kNewerFormat})
      if (text.ends_with(std::string(code_name(code)) + "\n")) return true;
    return false;
  }
  void expect_refused(const CommandResult& result, const testing::Matcher<std::string>& message) {
    EXPECT_EQ(result.exit_code, kMountFailed) << result.err;
    EXPECT_TRUE(is_one_line(result.err)) << result.err;
    EXPECT_FALSE(ends_with_a_code(result.err)) << result.err;
    EXPECT_THAT(result.err, message);
  }
  const std::string data_ = pattern(kBlockBytes * 2 + 17);
  std::string other_place_;
};

TEST_F(CacheDirectory, IsLockedByOneDaemon) {
  expect_refused(try_mount(source_->mountpoint()),
                 AllOf(HasSubstr(cache_dir()), HasSubstr("in use"), HasSubstr(mount_->mountpoint()),
                       HasSubstr("cache_dir=")));
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data_}));
}

TEST_F(CacheDirectory, BelongsToOneSource) {
  ASSERT_EQ(mount_->stop(), 0);
  const auto before = tree_of(cache_dir());
  const SlowSourceMount another;
  ASSERT_TRUE(another.mounted());
  expect_refused(try_mount(another.mountpoint()),
                 AllOf(HasSubstr(cache_dir()), HasSubstr(source_->mountpoint()),
                       HasSubstr(another.mountpoint())));
  EXPECT_EQ(tree_of(cache_dir()), before);
}

TEST_F(CacheDirectory, ADirectoryWithOtherFilesIsNotTaken) {
  ASSERT_EQ(mount_->stop(), 0);
  const std::string foreign = source_->directory() + "/../foreign";
  ASSERT_EQ(mkdir(foreign.c_str(), 0755), 0);
  ASSERT_EQ(write_file(foreign + "/thesis.tex", "years of work"), 0);
  const auto before = tree_of(foreign);
  const auto result = run_command({LarderMount::program(), "mount", "-o",
                                   "cache_dir=" + fs::canonical(foreign).string(),
                                   source_->mountpoint(), other_place_});
  expect_refused(result, HasSubstr("thesis.tex"));
  fs::remove(foreign + "/lock");
  EXPECT_EQ(tree_of(foreign), before);
}

TEST_F(CacheDirectory, ANewerFormatIsRefused) {
  ASSERT_EQ(mount_->stop(), 0);
  const std::string mark = read_file(cache_dir() + "/SOURCE").data;
  ASSERT_THAT(mark, HasSubstr("larder cache 1\n"));
  ASSERT_EQ(write_file(cache_dir() + "/SOURCE", "larder cache 2\nsomething new\n"), 0);
  const auto before = tree_of(cache_dir());
  expect_refused(try_mount(source_->mountpoint()), HasSubstr("newer"));
  EXPECT_EQ(tree_of(cache_dir()), before);
}

TEST_F(CacheDirectory, ADamagedMarkIsRefused) {
  ASSERT_EQ(mount_->stop(), 0);
  for (const char* damage : {"", "garbage", "larder cache 1", "larder cach"}) {
    ASSERT_EQ(write_file(cache_dir() + "/SOURCE", damage), 0);
    const auto before = tree_of(cache_dir());
    expect_refused(try_mount(source_->mountpoint()),
                   AllOf(HasSubstr("SOURCE"), HasSubstr("damaged")));
    EXPECT_EQ(tree_of(cache_dir()), before) << damage;
  }
}

TEST_F(CacheDirectory, ADamagedSuperblockIsRefused) {
  ASSERT_EQ(mount_->stop(), 0);
  const std::string path = cache_dir() + "/journal/superblock";
  const std::string good = read_file(path).data;
  ASSERT_FALSE(good.empty());
  const std::vector<std::string> bad = {"", good.substr(0, 10), std::string(good.size(), '\0')};
  for (const std::string& damage : bad) {
    ASSERT_EQ(write_file(path, damage), 0);
    const auto before = tree_of(cache_dir());
    expect_refused(try_mount(source_->mountpoint()),
                   AllOf(HasSubstr(cache_dir()), HasSubstr("nothing in it was changed")));
    EXPECT_EQ(tree_of(cache_dir()), before);
  }
  ASSERT_EQ(write_file(path, good), 0);
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  source_->reset_requests();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data_}));
  EXPECT_EQ(data_requests(), 0u);
}

// As a later larder would write it: a higher version, and a header that verifies.
std::string of_a_newer_version(std::string bytes) {
  constexpr size_t kVersionAt = 8, kHeaderBytesAt = 12;  // docs/FORMAT.md, File header
  uint32_t header_bytes = 0;
  std::memcpy(&header_bytes, &bytes[kHeaderBytesAt], sizeof header_bytes);
  ++bytes[kVersionAt];
  const size_t checksum_at = header_bytes - sizeof(uint64_t);
  const uint64_t checksum = hash64(std::string_view(bytes).substr(0, checksum_at));
  std::memcpy(&bytes[checksum_at], &checksum, sizeof checksum);
  return bytes;
}

TEST_F(CacheDirectory, NewerAndDamagedFilesOfTheJournalAreRefusedUntouched) {
  ASSERT_EQ(mount_->stop(), 0);
  std::set<std::string> kinds;
  for (const auto& entry : fs::directory_iterator(cache_dir() + "/journal")) {
    const std::string name = entry.path().filename();
    SCOPED_TRACE(name);
    kinds.insert(name.substr(0, name.find('-')));
    const std::string good = read_file(entry.path()).data;
    const auto expect_untouched = [&](const std::string& bytes,
                                      const testing::Matcher<std::string>& message) {
      ASSERT_EQ(write_file(entry.path(), bytes), 0);
      const auto before = tree_of(cache_dir());
      expect_refused(try_mount(source_->mountpoint()),
                     AllOf(HasSubstr(cache_dir()), HasSubstr("nothing in it was changed"),
                           HasSubstr("journal/" + name), message));
      EXPECT_EQ(tree_of(cache_dir()), before);
    };
    expect_untouched(of_a_newer_version(good),
                     AllOf(HasSubstr("made by a newer larder"), HasSubstr("cache_dir=")));
    // A damaged checkpoint alone costs nothing but time: see below.
    if (!name.starts_with("checkpoint")) {
      std::string damaged = good;
      damaged[40] = static_cast<char>(damaged[40] ^ 1);
      expect_untouched(damaged, AllOf(HasSubstr("does not verify"), HasSubstr("remove it")));
    }
    ASSERT_EQ(write_file(entry.path(), good), 0);
  }
  EXPECT_THAT(kinds, testing::ElementsAre("checkpoint", "log", "superblock"));
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  source_->reset_requests();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data_}));
  EXPECT_EQ(data_requests(), 0u);
}

// Every file of the journal, damaged in every way: the mount is refused and nothing changed, or it
// comes up and what it shows is right.
TEST_F(CacheDirectory, ADamagedJournalNeverShowsWrongData) {
  ASSERT_EQ(mount_->stop(), 0);
  const std::string journal = cache_dir() + "/journal";
  const std::string kept = cache_dir() + ".kept";
  fs::copy(cache_dir(), kept, fs::copy_options::recursive);
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(journal))
    names.push_back(entry.path().filename());
  ASSERT_GE(names.size(), 3u);  // superblock, log, checkpoint
  const auto flip = [](std::string bytes, size_t at) {
    bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
    return bytes;
  };
  constexpr size_t kLogHeader = 4096;
  int came_up = 0, refused = 0;
  for (const std::string& name : names) {
    const std::string good = read_file(journal + "/" + name).data;
    if (good.empty()) continue;
    const size_t used = good.find_last_not_of('\0') + 1;
    std::vector<std::string> damages = {
        "",
        flip(good, 0),
        flip(good, 9),
        flip(good, used / 2),
        flip(good, used - 1),
        good.substr(0, used / 2),
        good.substr(0, used - 1),
        std::string(good.size(), '\0'),
        good.substr(0, used / 2) + std::string(good.size() - used / 2, '\xff')};
    // Also in records that nobody looks at before they are wanted.
    constexpr size_t kPlaces = 16;
    if (name.starts_with("log-"))
      for (size_t place = 1; place < kPlaces; ++place)
        damages.push_back(flip(good, kLogHeader + (used - kLogHeader) * place / kPlaces));
    for (size_t i = 0; i < damages.size(); ++i) {
      SCOPED_TRACE(name + " damage " + std::to_string(i));
      ASSERT_EQ(write_file(journal + "/" + name, damages[i]), 0);
      const auto before = tree_of(cache_dir());
      if (mount_->start()) {
        ++came_up;
        EXPECT_EQ(read_file(at("file")), (FileContent{0, data_}));
        EXPECT_EQ(read_file(at("other")), (FileContent{0, data_.substr(5)}));
        EXPECT_EQ(write_file(at("new"), "x"), 0);
        EXPECT_EQ(mount_->stop(), 0);
        EXPECT_TRUE(mount_->start()) << mount_->problem();
        EXPECT_EQ(read_file(at("file")), (FileContent{0, data_}));
        EXPECT_EQ(read_file(at("new")), (FileContent{0, "x"}));
        EXPECT_EQ(mount_->stop(), 0);
      } else {
        ++refused;
        // Recovery of a torn log may have begun when a record is found damaged; then this is not
        // said.
        const std::string last = mount_->problem().substr(mount_->problem().rfind("larder: "));
        if (last.find("nothing in it was changed") != last.npos) {
          EXPECT_EQ(tree_of(cache_dir()), before);
        }
        expect_refused(try_mount(source_->mountpoint()), HasSubstr(cache_dir()));
      }
      fs::remove_all(cache_dir());
      fs::copy(kept, cache_dir(), fs::copy_options::recursive);
    }
    fs::remove(journal + "/" + name);
    const auto before = tree_of(cache_dir());
    if (mount_->start()) {
      EXPECT_EQ(read_file(at("file")), (FileContent{0, data_})) << name;
      EXPECT_EQ(mount_->stop(), 0);
    } else {
      EXPECT_EQ(tree_of(cache_dir()), before) << name;
    }
    fs::remove_all(cache_dir());
    fs::copy(kept, cache_dir(), fs::copy_options::recursive);
  }
  fs::remove_all(kept);
  EXPECT_GT(came_up, 0);
  EXPECT_GT(refused, 0);
}

TEST_F(CacheDirectory, LostObjectsAreFetchedAgain) {
  ASSERT_EQ(mount_->stop(), 0);
  for (const auto& [path, content] : tree_of(cache_dir() + "/objects")) fs::remove(path);
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data_}));
  wait_until_stored();
  ASSERT_EQ(mount_->stop(), 0);
  for (const auto& [path, content] : tree_of(cache_dir() + "/objects"))
    fs::resize_file(path, content.first / 2);
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data_}));
  EXPECT_EQ(read_file(at("other")), (FileContent{0, data_.substr(5)}));
}

}  // namespace
}  // namespace larder::testing_support
