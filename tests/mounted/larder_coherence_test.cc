// Changes made behind larder's back are never hidden longer than promised, and never mixed with
// what was there before.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <set>
#include <thread>

#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

struct Way {
  std::vector<std::string> options;
  const char* name;
  bool plain = false;  // over the local directory itself, where inode numbers are stable
};

size_t first_difference(const std::string& some, const std::string& others) {
  const auto [first, second] =
      std::mismatch(some.begin(), some.end(), others.begin(), others.end());
  return static_cast<size_t>(first - some.begin());
}

class Coherence : public LarderTest, public testing::WithParamInterface<Way> {
 protected:
  void SetUp() override {
    LarderTest::SetUp();
    if (IsSkipped()) return;
    if (GetParam().plain)
      ASSERT_TRUE(mount_over(source_->directory(), GetParam().options));
    else
      ASSERT_TRUE(mount(GetParam().options));
    put_and_cache("file", old_);
    EXPECT_EQ(read_file(at("file")).data, old_);  // now perhaps in passthrough
  }
  const std::string old_ = pattern(2 * kBlockBytes + 100, 1);
  const std::string new_ = pattern(2 * kBlockBytes + 100, 2);
};

TEST_P(Coherence, ARewrittenFileIsNewAtTheNextOpen) {
  for (uint64_t seed = 2; seed < 8; ++seed) {
    const std::string data = pattern(old_.size(), seed);
    put("file", data);
    EXPECT_EQ(read_file(at("file")), (FileContent{0, data})) << seed;
  }
}

TEST_P(Coherence, ALongerAndAShorterOneToo) {
  for (const size_t size : {old_.size() * 2, size_t{10}, size_t{0}, size_t{4097}}) {
    const std::string data = pattern(size, size + 1);
    put("file", data);
    EXPECT_EQ(read_file(at("file")), (FileContent{0, data})) << size;
    EXPECT_EQ(std::filesystem::file_size(at("file")), size);
  }
}

// Others who use it meanwhile change nothing about it: whatever the kernel was told because of
// them, and whenever it hears of it.
TEST_P(Coherence, EachOpenAfterAChangeReadsItWholeWhileOthersUseTheFile) {
  constexpr int kChanges = 100;
  std::atomic<bool> stop{false};
  std::vector<std::thread> others;
  others.emplace_back([&] {
    while (!stop.load()) read_file(at("file"));
  });
  others.emplace_back([&] {
    struct stat status;
    while (!stop.load()) stat(at("file").c_str(), &status);
  });
  others.emplace_back([&] {  // holds it open over several changes
    while (!stop.load()) {
      const Descriptor file(at("file"), O_RDONLY);
      for (int i = 0; i < 50 && !stop.load(); ++i) read_at(file.get(), 0, kBlockBytes);
    }
  });
  const std::vector<size_t> sizes = {old_.size(), 10, 3 * kBlockBytes, 4097, 0, kBlockBytes + 1};
  for (int i = 0; i < kChanges && !HasFailure(); ++i) {
    const std::string data = pattern(sizes[static_cast<size_t>(i) % sizes.size()], 100 + i);
    put("file", data);
    const FileContent got = read_file(at("file"));
    EXPECT_EQ(got.error, 0) << i;
    EXPECT_EQ(got.data.size(), data.size()) << i;
    const size_t first = first_difference(got.data, data);
    EXPECT_TRUE(got.data == data) << i << ": from " << first << " on "
                                  << testing::PrintToString(got.data.substr(first, 32));
    EXPECT_EQ(std::filesystem::file_size(at("file")), data.size()) << i;
  }
  stop.store(true);
  for (std::thread& other : others) other.join();
}

TEST_P(Coherence, AFileRenamedOverItIsNewAtTheNextOpen) {
  put("other", new_);
  std::filesystem::rename(real("other"), real("file"));
  // The kernel may know the old name for as long as attr_ttl; its open is told to look again.
  EXPECT_EQ(read_file(at("file")), (FileContent{0, new_}));
}

TEST_P(Coherence, TheSameSizeAndTimeAreSeenThrough) {
  struct stat before;
  ASSERT_EQ(stat(real("file").c_str(), &before), 0);
  put("file", new_);
  const timespec times[2] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(utimensat(AT_FDCWD, real("file").c_str(), times, 0), 0);
  EXPECT_EQ(read_file(at("file")), (FileContent{0, new_}));
}

TEST_P(Coherence, ATruncatedFileIsShort) {
  std::filesystem::resize_file(real("file"), kBlockBytes + 7);
  EXPECT_EQ(read_file(at("file")), (FileContent{0, old_.substr(0, kBlockBytes + 7)}));
}

TEST_P(Coherence, ADeletedFileIsGoneAtTheNextOpen) {
  std::filesystem::remove(real("file"));
  EXPECT_EQ(read_file(at("file")).error, ENOENT);
}

TEST_P(Coherence, AFileDeletedOutsideIsMadeAgain) {
  std::filesystem::remove(real("file"));
  EXPECT_EQ(write_file(at("file"), "again"), 0);
  EXPECT_EQ(read_file(at("file")).data, "again");
  EXPECT_EQ(read_file(real("file")).data, "again");
}

TEST_P(Coherence, AnotherTypeIsSeenAtOnceOrAfterTheTimeToLive) {
  std::filesystem::remove(real("file"));
  ASSERT_EQ(mkdir(real("file").c_str(), 0755), 0);
  put("file/inside", "x");
  EXPECT_TRUE(LarderMount::eventually([&] { return std::filesystem::is_directory(at("file")); }));
  EXPECT_EQ(read_file(at("file/inside")), (FileContent{0, "x"}));
  std::filesystem::remove_all(real("file"));
  std::filesystem::create_symlink("target", real("file"));
  EXPECT_TRUE(LarderMount::eventually([&] { return std::filesystem::is_symlink(at("file")); }));
  EXPECT_EQ(std::filesystem::read_symlink(at("file")), "target");
  std::filesystem::remove(real("file"));
  put("file", new_);
  EXPECT_TRUE(LarderMount::eventually([&] {
    return std::filesystem::is_regular_file(std::filesystem::symlink_status(at("file")));
  }));
  EXPECT_EQ(read_file(at("file")), (FileContent{0, new_}));
}

TEST_P(Coherence, AttributesFollowWithinTheTimeToLive) {
  ASSERT_EQ(chmod(real("file").c_str(), 0751), 0);
  struct stat status;
  EXPECT_TRUE(LarderMount::eventually(
      [&] { return stat(at("file").c_str(), &status) == 0 && (status.st_mode & 07777) == 0751; }));
  put("file", new_.substr(0, 1234));
  EXPECT_TRUE(LarderMount::eventually(
      [&] { return stat(at("file").c_str(), &status) == 0 && status.st_size == 1234; }));
}

TEST_P(Coherence, NewAndRemovedNamesAreSeenWithinTheTimeToLive) {
  const auto names = [&] {
    std::set<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(mount_->mountpoint()))
      found.insert(entry.path().filename());
    return found;
  };
  EXPECT_EQ(names(), (std::set<std::string>{"file"}));
  EXPECT_EQ(stat_error(at("new")), ENOENT);
  put("new", "x");
  EXPECT_TRUE(LarderMount::eventually([&] { return stat_error(at("new")) == 0; }));
  EXPECT_TRUE(LarderMount::eventually([&] { return names().contains("new"); }));
  std::filesystem::remove(real("new"));
  EXPECT_TRUE(LarderMount::eventually([&] { return stat_error(at("new")) == ENOENT; }));
  EXPECT_TRUE(LarderMount::eventually([&] { return !names().contains("new"); }));
}

// Whoever has the file open sees one of the versions in each read, and with a mapping or in
// passthrough the one it opened.
TEST_P(Coherence, AReaderThatIsOpenNeverSeesAMixture) {
  const Descriptor file(at("file"), O_RDONLY);
  ASSERT_TRUE(file.valid());
  EXPECT_EQ(read_at(file.get(), 0, 100).data, old_.substr(0, 100));
  put("other", new_);
  std::filesystem::rename(real("other"), real("file"));
  EXPECT_EQ(read_file(at("file")), (FileContent{0, new_}));
  for (size_t at = 0; at < old_.size(); at += 4096) {
    const FileContent part = read_at(file.get(), at, 4096);
    EXPECT_EQ(part.error, 0);
    EXPECT_TRUE(part.data == old_.substr(at, 4096) || part.data == new_.substr(at, 4096)) << at;
  }
  EXPECT_EQ(read_file(at("file")), (FileContent{0, new_}));
}

TEST_P(Coherence, TheKernelsPagesGoWithTheOldVersion) {
  // Pages of a handle in the cached mode, still open.
  const Descriptor writer(at("file"), O_RDWR);
  ASSERT_TRUE(writer.valid());
  EXPECT_EQ(read_at(writer.get(), 0, old_.size()), (FileContent{0, old_}));
  put("file", new_);
  EXPECT_EQ(read_file(at("file")), (FileContent{0, new_}));
  EXPECT_EQ(read_at(writer.get(), 0, new_.size()), (FileContent{0, new_}));
}

TEST_P(Coherence, ChangesMadeWhileUnmountedAreSeen) {
  put("gone", "x");
  EXPECT_EQ(read_file(at("gone")).data, "x");
  ASSERT_EQ(mount_->stop(), 0);
  put("file", new_);
  std::filesystem::remove(real("gone"));
  put("new", "y");
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, new_}));
  EXPECT_EQ(read_file(at("gone")).error, ENOENT);
  EXPECT_EQ(read_file(at("new")).data, "y");
}

TEST_P(Coherence, AChangeDuringTheReadIsNotMixedIntoTheCache) {
  const std::string first = pattern(16 * kBlockBytes, 5), second = pattern(16 * kBlockBytes, 6);
  put("big", first);
  settle();
  {
    const Descriptor file(at("big"), O_RDONLY);
    EXPECT_EQ(read_at(file.get(), 0, 4096).data, first.substr(0, 4096));
    put("big", second);
    for (size_t at = 4096; at < first.size(); at += kBlockBytes) {
      const FileContent part = read_at(file.get(), at, 4096);
      EXPECT_TRUE(part.error != 0 || part.data == first.substr(at, 4096) ||
                  part.data == second.substr(at, 4096))
          << at;
    }
  }
  EXPECT_EQ(read_file(at("big")), (FileContent{0, second}));
  wait_until_stored();
  ASSERT_EQ(mount_->stop(), 0);
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  EXPECT_EQ(read_file(at("big")), (FileContent{0, second}));
}

INSTANTIATE_TEST_SUITE_P(
    Ways, Coherence,
    testing::Values(Way{{"attr_ttl=50ms", "negative_ttl=50ms"}, "default"},
                    Way{{"attr_ttl=50ms", "negative_ttl=50ms", "passthrough=off"}, "daemon"},
                    Way{{"attr_ttl=0", "negative_ttl=0"}, "no_ttl"},
                    Way{{"attr_ttl=2s", "negative_ttl=2s"}, "local", true},
                    Way{{"attr_ttl=0", "negative_ttl=0"}, "local_no_ttl", true},
                    Way{{"attr_ttl=2s", "negative_ttl=2s", "block_size=4K"}, "long_ttl"}),
    [](const auto& way) { return way.param.name; });

TEST_F(LarderTest, AMappingKeepsTheVersionItWasMadeOf) {
  const std::string data = pattern(kBlockBytes, 1), changed = pattern(kBlockBytes, 2);
  ASSERT_TRUE(mount({"attr_ttl=0"}));
  if (mount_->stats()["passthrough"] != "on") GTEST_SKIP() << mount_->stats()["passthrough"];
  put_and_cache("file", data);
  const Descriptor file(at("file"), O_RDONLY);
  void* map = mmap(nullptr, data.size(), PROT_READ, MAP_SHARED, file.get(), 0);
  ASSERT_NE(map, MAP_FAILED);
  put("file", changed);
  EXPECT_EQ(read_file(at("file")), (FileContent{0, changed}));
  drop_pages(file.get());
  EXPECT_EQ(std::string_view(static_cast<char*>(map), data.size()), data);
  EXPECT_EQ(read_at(file.get(), 0, data.size()), (FileContent{0, data}));
  munmap(map, data.size());
}

// The kernel need not ask for the file's security.capability each time (fuse/set_id.h).
TEST_F(LarderTest, AWriteIsOneCallOfTheSource) {
  if (geteuid() != 0) GTEST_SKIP() << "on a user's mount the kernel asks";
  put("file", std::string(10'000, 'a'));
  settle();
  ASSERT_TRUE(mount({}));
  const Descriptor file(at("file"), O_WRONLY);
  ASSERT_TRUE(file.valid());
  ASSERT_EQ(pwrite(file.get(), "b", 1, 0), 1);
  source_->reset_requests();
  constexpr int kWrites = 100;
  for (int i = 0; i < kWrites; ++i) ASSERT_EQ(pwrite(file.get(), "c", 1, i), 1);
  EXPECT_EQ(source_->requests("write"), static_cast<uint64_t>(kWrites));
  // What others change is looked for before several writes and after them, not at each: a busy
  // machine may make a pause between them.
  EXPECT_LT(source_->requests("total"), static_cast<uint64_t>(kWrites + kWrites / 2))
      << mount_->stats()["metrics"]["source"].dump();
}

TEST_F(LarderTest, WithinTheTimeToLiveNothingIsAsked) {
  ASSERT_TRUE(mount({"profile=private"}));
  ASSERT_EQ(mkdir(real("directory").c_str(), 0755), 0);
  put("directory/file", "x");
  const auto look = [&] {
    EXPECT_EQ(read_file(at("directory/file")), (FileContent{0, "x"}));
    EXPECT_EQ(stat_error(at("directory/missing")), ENOENT);
    size_t entries = 0;
    for (const auto& entry : std::filesystem::directory_iterator(at("directory")))
      entries += entry.exists();
    EXPECT_EQ(entries, 1u);
  };
  settle();
  look();
  wait_until_stored();
  look();  // until the listing was old enough to be kept
  source_->reset_requests();
  for (int i = 0; i < 3; ++i) look();
  EXPECT_EQ(source_->requests("total") - source_->requests("release") - source_->requests("flush"),
            0u);
}

}  // namespace
}  // namespace larder::testing_support
