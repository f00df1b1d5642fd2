// The cache never takes more than it may, and nobody pays for a cache that is full.
#include <sys/mman.h>
#include <sys/mount.h>

#include <atomic>
#include <random>
#include <thread>

#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

constexpr size_t kMiB = 1 << 20;

class Limits : public LarderTest {
 protected:
  // Bytes on the disk of all objects; of everything in the cache directory.
  uint64_t object_bytes() const { return bytes_below(mount_->cache_dir() + "/objects", false); }
  uint64_t directory_bytes() const { return bytes_below(mount_->cache_dir(), true); }
  static uint64_t bytes_below(const std::string& top, bool with_directories) {
    uint64_t bytes = 0;
    std::error_code gone;  // objects come and go meanwhile
    for (auto it = std::filesystem::recursive_directory_iterator(top, gone); !gone && it != end(it);
         it.increment(gone)) {
      struct stat status;
      if (lstat(it->path().c_str(), &status) == 0 && (with_directories || S_ISREG(status.st_mode)))
        bytes += static_cast<uint64_t>(status.st_blocks) * 512;
    }
    return bytes;
  }
  size_t object_count() const {
    size_t count = 0;
    std::error_code gone;
    for (auto it =
             std::filesystem::recursive_directory_iterator(mount_->cache_dir() + "/objects", gone);
         !gone && it != end(it); it.increment(gone))
      count += it->is_regular_file(gone) ? 1 : 0;
    return count;
  }
  static std::string name(size_t i) { return "file" + std::to_string(i); }
  bool cached(size_t i) {
    const uint64_t before = data_requests();
    {
      const Descriptor file(at(name(i)), O_RDONLY);
      drop_pages(file.get());  // the kernel may have kept them although the object is gone
      EXPECT_EQ(read_at(file.get(), 0, 2 * kMiB), (FileContent{0, pattern(kMiB, i)})) << i;
    }
    wait_until_stored();
    return data_requests() == before;
  }
};

TEST_F(Limits, SizeHoldsAtAllTimes) {
  constexpr size_t kFiles = 40, kReads = 400, kLimit = 16 * kMiB;
  for (size_t i = 0; i < kFiles; ++i) put(name(i), pattern(kMiB, i));
  settle();
  for (const char* passthrough : {"passthrough=auto", "passthrough=off"}) {
    ASSERT_TRUE(mount({"size=16M", "memory=4M", passthrough}));
    EXPECT_EQ(mount_->metric("/cache/limit_bytes"), static_cast<int64_t>(kLimit));
    // What is claimed is looked at all the time; what is on the disk, between rounds (a walk over
    // objects that come and go would count what never was there together).
    std::atomic<bool> done{false};
    int64_t claimed_max = 0;
    std::jthread watcher([&] {
      while (!done) claimed_max = std::max(claimed_max, mount_->metric("/cache/used_bytes"));
    });
    for (unsigned round = 0; round < 10; ++round) {
      std::vector<std::jthread> readers;
      for (unsigned t = 0; t < 4; ++t)
        readers.emplace_back([&, t] {
          std::minstd_rand random(round * 4 + t + 1);
          for (size_t i = 0; i < kReads / 40; ++i) {
            const size_t file = random() % kFiles;
            const size_t offset = random() % kMiB;
            const Descriptor open(at(name(file)), O_RDONLY);
            const std::string expected = pattern(kMiB, file).substr(offset, 70'000);
            EXPECT_EQ(read_at(open.get(), offset, 70'000), (FileContent{0, expected})) << file;
          }
        });
      readers.clear();
      wait_until_stored();
      EXPECT_LE(directory_bytes(), kLimit) << round;
    }
    done = true;
    watcher.join();
    EXPECT_LE(claimed_max, static_cast<int64_t>(kLimit));
    EXPECT_GT(claimed_max, 0);
    EXPECT_GT(mount_->metric("/other/evictions"), 0);
    // What a round of claims has looked at is counted.
    EXPECT_TRUE(LarderMount::eventually([&] {
      return directory_bytes() <= static_cast<uint64_t>(mount_->metric("/cache/used_bytes"));
    }));
  }
}

TEST_F(Limits, TheLeastRecentlyUsedGoFirst) {
  // How many files fit beside the journal is not said to the byte: more than 18 and fewer than 28.
  constexpr size_t kFirst = 12, kFiles = 28;
  for (size_t i = 0; i < kFiles; ++i) put(name(i), pattern(kMiB, i));
  settle();
  ASSERT_TRUE(mount({"size=32M", "memory=0", "policy=lru"}));
  for (size_t i = 0; i < kFirst; ++i) EXPECT_FALSE(cached(i)) << i;
  EXPECT_TRUE(cached(0));
  EXPECT_TRUE(cached(2));
  for (size_t i = kFirst; i < kFiles; ++i) EXPECT_FALSE(cached(i)) << i;
  std::vector<size_t> newest_first;
  for (size_t i = kFiles; i-- > kFirst;) newest_first.push_back(i);
  newest_first.insert(newest_first.end(), {2, 0, 11, 10, 9, 8, 7, 6, 5, 4, 3, 1});
  size_t stayed = 0;
  while (stayed < newest_first.size() && cached(newest_first[stayed])) ++stayed;
  EXPECT_GE(stayed, 18U);
  EXPECT_LT(stayed, kFiles);
  // Reading one that is gone makes more of the oldest go, never of the others.
  for (size_t i = stayed + 1; i < newest_first.size(); ++i)
    EXPECT_FALSE(cached(newest_first[i])) << i;
}

TEST_F(Limits, InodesAreLimited) {
  constexpr size_t kFiles = 1200, kLimit = 1000;
  for (size_t i = 0; i < kFiles; ++i) put(name(i), pattern(100, i));
  settle();
  ASSERT_TRUE(mount({"inodes=1000", "memory=0"}));
  std::vector<std::jthread> readers;
  for (size_t t = 0; t < 8; ++t)
    readers.emplace_back([&, t] {
      for (size_t i = t; i < kFiles; i += 8)
        EXPECT_EQ(read_file(at(name(i))), (FileContent{0, pattern(100, i)})) << i;
    });
  while (mount_->metric("/other/evictions") == 0) EXPECT_LE(object_count(), kLimit);
  readers.clear();
  wait_until_stored();
  EXPECT_LE(object_count(), kLimit);
  EXPECT_GT(object_count(), kLimit / 2);
  EXPECT_LE(mount_->metric("/cached/files"), static_cast<int64_t>(kLimit));
}

// As btrfs and ZFS are; tmpfs can be told to.
TEST_F(Limits, WhereInodesAreNotCountedThereIsNoLimit) {
  const std::string disk = source_->directory() + "-tmpfs";
  ASSERT_EQ(mkdir(disk.c_str(), 0755), 0);
  if (::mount("none", disk.c_str(), "tmpfs", 0, "size=64M,nr_inodes=0") != 0)
    GTEST_SKIP() << "no tmpfs here";
  EXPECT_EQ(std::filesystem::space(disk).available, 64 * kMiB);
  for (size_t i = 0; i < 100; ++i) put(name(i), pattern(100, i));
  settle();
  if (mount({"cache_dir=" + disk + "/cache", "size=50%", "memory=0"})) {
    EXPECT_EQ(mount_->metric("/cache/objects_limit"), 0);
    for (size_t i = 0; i < 100; ++i)
      EXPECT_EQ(read_file(at(name(i))), (FileContent{0, pattern(100, i)})) << i;
    wait_until_stored();
    EXPECT_EQ(object_count(), 100U);
    EXPECT_EQ(mount_->metric("/other/evictions"), 0);
  }
  mount_.reset();
  umount2(disk.c_str(), MNT_DETACH);
}

TEST_F(Limits, EmptyFilesTakeNoObjects) {
  constexpr size_t kFiles = 1200;
  for (size_t i = 0; i < kFiles; ++i) put(name(i), "");
  settle();
  ASSERT_TRUE(mount({"inodes=1000"}));
  for (size_t i = 0; i < kFiles; ++i) EXPECT_EQ(read_file(at(name(i))), (FileContent{0, ""})) << i;
  EXPECT_EQ(object_count(), 0U);
}

TEST_F(Limits, NamesWithoutNumberLeaveRoomForData) {
  constexpr size_t kDirectories = 30, kFiles = 1000, kLimit = 16 * kMiB;
  const std::string tree = source_->directory() + "/tree";
  for (size_t d = 0; d < kDirectories; ++d) {
    const std::string directory = tree + "/" + std::to_string(d);
    std::filesystem::create_directories(directory);
    for (size_t i = 0; i < kFiles; ++i)
      ASSERT_EQ(write_file(directory + "/a_file_with_quite_a_long_name_" + std::to_string(i), ""),
                0);
  }
  ASSERT_EQ(write_file(tree + "/data", pattern(3 * kMiB)), 0);
  settle();
  ASSERT_TRUE(mount_over(tree, {"size=16M", "memory=0", "min_free=0"}));
  size_t seen = 0;
  struct stat status;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(mount_->mountpoint()))
    if (lstat(entry.path().c_str(), &status) == 0 && S_ISREG(status.st_mode)) ++seen;
  EXPECT_GE(seen, kDirectories * kFiles + 1);
  EXPECT_LE(directory_bytes(), kLimit / 2);
  EXPECT_EQ(read_file(at("data")), (FileContent{0, pattern(3 * kMiB)}));
  wait_until_stored();
  EXPECT_GE(object_bytes(), 3 * kMiB);
  EXPECT_LE(directory_bytes(), kLimit);
}

TEST_F(Limits, ASmallerLimitIsObeyedAfterARemount) {
  constexpr size_t kFiles = 24;
  for (size_t i = 0; i < kFiles; ++i) put(name(i), pattern(kMiB, i));
  settle();
  ASSERT_TRUE(mount({"size=64M"}));
  for (size_t i = 0; i < kFiles; ++i) EXPECT_FALSE(cached(i));
  ASSERT_EQ(mount_->stop(), 0);
  EXPECT_GE(object_bytes(), kFiles * kMiB);
  mount_->set_options({"size=16M"});
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  EXPECT_TRUE(LarderMount::eventually([&] { return object_bytes() <= 16 * kMiB; }));
  for (size_t i = 0; i < kFiles; ++i) {
    cached(i);
    EXPECT_LE(object_bytes(), 16 * kMiB);
  }
}

// An object that no record names is found only when the audit comes to it.
TEST_F(Limits, WhatACrashLeftCountsBeforeItIsFound) {
  constexpr size_t kFiles = 24, kOthers = 16, kLimit = 16 * kMiB;
  for (size_t i = 0; i < kFiles + kOthers; ++i) put(name(i), pattern(kMiB, i));
  settle();
  ASSERT_TRUE(mount({"size=16M", "memory=0"}));
  // The next mount will know that so much has been in use.
  for (size_t i = kFiles; i < kFiles + kOthers; ++i) EXPECT_FALSE(cached(i));
  for (size_t i = kFiles; i < kFiles + kOthers; ++i) ASSERT_EQ(unlink(at(name(i)).c_str()), 0);
  ASSERT_TRUE(LarderMount::eventually([&] { return object_count() == 0; }));
  EXPECT_FALSE(cached(0));
  std::string object;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(mount_->cache_dir() + "/objects"))
    if (entry.is_regular_file()) object = entry.path();
  ASSERT_EQ(unlink(at(name(0)).c_str()), 0);
  ASSERT_TRUE(LarderMount::eventually([&] { return !std::filesystem::exists(object); }));
  for (size_t i = 1; i < 4; ++i) EXPECT_FALSE(cached(i));
  mount_->kill();
  const uint64_t left_mib = (kLimit - directory_bytes()) / kMiB;
  ASSERT_GE(left_mib, 4);
  ASSERT_EQ(write_file(object, pattern(left_mib * kMiB)), 0);
  // What the audit comes to first, so that it takes a while.
  const std::string first = mount_->cache_dir() + "/objects/00";
  std::filesystem::create_directory(first);
  for (int i = 0; i < 8000; ++i) Descriptor(first + "/x" + std::to_string(i), O_CREAT | O_WRONLY);
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  for (size_t i = 1; i < kFiles; ++i) {
    EXPECT_EQ(read_file(at(name(i))), (FileContent{0, pattern(kMiB, i)})) << i;
    EXPECT_LE(directory_bytes(), kLimit) << i;
  }
  EXPECT_TRUE(LarderMount::eventually([&] { return !std::filesystem::exists(object); }));
  EXPECT_TRUE(
      LarderMount::eventually([&] { return mount_->metric("/cache/expected_bytes") == 0; }));
  for (size_t i = 1; i < kFiles; ++i) cached(i);
  EXPECT_GT(object_bytes(), 4 * kMiB);
  EXPECT_LE(directory_bytes(), kLimit);
}

// What the mount after it must reckon with is not more than there can have been, although the
// journal has taken some of the room since.
TEST_F(Limits, AfterACrashAtTheLimitNothingGoesInVain) {
  constexpr size_t kFiles = 1250, kFileBytes = 20'000;
  for (size_t i = 0; i < kFiles; ++i) put(name(i), pattern(kFileBytes, i));
  settle();
  ASSERT_TRUE(mount({"size=16M", "memory=0", "policy=lru", "commit_interval=10ms"}));
  for (size_t i = 0; i < kFiles; ++i) read_file(at(name(i)));
  wait_until_stored();
  ASSERT_GT(mount_->metric("/other/evictions"), 0);
  // Until the janitor has nothing left to do: what it is about to make room for counts.  On a busy
  // machine its next step may be late.
  int64_t steps = -1;
  int quiet_looks = 0;
  constexpr int kQuietLooks = 300;
  EXPECT_TRUE(LarderMount::eventually([&] {
    const int64_t before = std::exchange(steps, mount_->metric("/janitor/steps"));
    quiet_looks = before == steps ? quiet_looks + 1 : 0;
    return quiet_looks == kQuietLooks;
  }));
  mount_->kill();
  const size_t left = object_count();
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  EXPECT_TRUE(LarderMount::eventually([&] {
    return mount_->metric("/cached/files") > 0 && mount_->metric("/cache/expected_bytes") == 0;
  }));
  EXPECT_LE(mount_->metric("/other/evictions"), 2);
  EXPECT_GE(object_count() + 2, left);
}

TEST_F(Limits, AFileLargerThanTheCacheIsReadAllTheSame) {
  const std::string data = pattern(40 * kMiB);
  put("large", data);
  settle();
  ASSERT_TRUE(mount({"size=16M", "memory=0"}));
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(read_file(at("large")) == (FileContent{0, data}));
    wait_until_stored();
    EXPECT_LE(object_bytes(), 16 * kMiB);
  }
}

// A file that was mapped and closed.
class MappedFile {
 public:
  MappedFile(const std::string& path, size_t size_bytes) : size_bytes_(size_bytes) {
    const Descriptor file(path, O_RDONLY);
    drop_pages(file.get());
    map_ = mmap(nullptr, size_bytes, PROT_READ, MAP_SHARED, file.get(), 0);
    EXPECT_NE(map_, MAP_FAILED);
  }
  ~MappedFile() { munmap(map_, size_bytes_); }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::string_view bytes() const { return {static_cast<char*>(map_), size_bytes_}; }

 private:
  size_t size_bytes_;
  void* map_;
};

// It is of the object itself, which takes its room as long.
class MappedLimits : public Limits {
 protected:
  static constexpr size_t kLarge = 70 * kMiB, kOthers = 50;

  void SetUp() override {
    Limits::SetUp();
    put("large", data_);
    for (size_t i = 0; i < kOthers; ++i) put(name(i), pattern(kMiB, i));
    settle();
    ASSERT_TRUE(mount({"size=110M", "memory=0", "policy=lru", "commit_interval=10ms"}));
    if (mount_->stats()["passthrough"] != "on") GTEST_SKIP() << mount_->stats()["passthrough"];
    ASSERT_TRUE(read_file(at("large")) == (FileContent{0, data_}));
    wait_until_stored();
  }
  void read_others() {
    for (size_t i = 0; i < kOthers; ++i) cached(i);
  }
  bool is_cached() {
    const int64_t before = mount_->metric("/other/opens/passthrough");
    const Descriptor file(at("large"), O_RDONLY);
    return mount_->metric("/other/opens/passthrough") > before;
  }
  const std::string data_ = pattern(kLarge);
};

TEST_F(MappedLimits, WhatIsMappedIsNotEvicted) {
  {
    const MappedFile mapped(at("large"), kLarge);
    read_others();
    EXPECT_GT(mount_->metric("/other/evictions"), 0);
    EXPECT_EQ(mount_->metric("/punched/bytes"), 0);
    EXPECT_LE(directory_bytes(), 110 * kMiB);
    EXPECT_TRUE(mapped.bytes() == data_);
    EXPECT_TRUE(is_cached());
  }
  read_others();
  EXPECT_FALSE(is_cached());
  EXPECT_GT(mount_->metric("/punched/bytes"), 0) << "not all of it has to go";
  EXPECT_TRUE(read_file(at("large")) == (FileContent{0, data_}));
}

TEST_F(MappedLimits, WhatIsReplacedCountsUntilItIsMappedNoMore) {
  const auto used = [&] { return static_cast<uint64_t>(mount_->metric("/cache/used_bytes")); };
  const auto mapped_objects = [&] { return mount_->metric("/mapped/objects"); };
  {
    const MappedFile mapped(at("large"), kLarge);
    put("large", "another");
    EXPECT_TRUE(LarderMount::eventually([&] {
      return read_file(at("large")) == (FileContent{0, "another"}) && mapped_objects() == 1;
    }));
    read_others();
    EXPECT_GE(used(), kLarge);
    EXPECT_LE(used(), 110 * kMiB);
  }
  EXPECT_TRUE(LarderMount::eventually([&] { return mapped_objects() == 0 && used() < kLarge; }));
}

TEST_F(MappedLimits, WhatIsReplacedCountsAlsoAfterAKill) {
  const auto used = [&] { return static_cast<uint64_t>(mount_->metric("/cache/used_bytes")); };
  // What an audit has come to.
  const auto comes_to = [&](const std::function<bool()>& condition) {
    EXPECT_EQ(write_file(at(".larder/control"), "audit\n"), 0);
    return LarderMount::eventually([&] {
      return condition() && mount_->metric("/cache/expected_bytes") == 0 &&
             mount_->metric("/cache/measured_bytes") == mount_->metric("/cache/used_bytes");
    });
  };
  {
    const MappedFile mapped(at("large"), kLarge);
    put("large", "another");
    EXPECT_TRUE(LarderMount::eventually([&] {
      return read_file(at("large")) == (FileContent{0, "another"}) &&
             mount_->metric("/mapped/objects") == 1;
    }));
    mount_->kill();
    ASSERT_TRUE(mount_->start()) << mount_->problem();
    EXPECT_TRUE(comes_to([&] { return used() > kLarge; }));
    EXPECT_TRUE(mapped.bytes() == data_);
  }
  EXPECT_TRUE(LarderMount::eventually([&] { return used() < kLarge; }));
  EXPECT_TRUE(comes_to([] { return true; }));
  EXPECT_LT(used(), kLarge);
}

TEST_F(Limits, WrittenFilesCountToo) {
  ASSERT_TRUE(mount({"size=16M"}));
  for (size_t i = 0; i < 30; ++i) {
    ASSERT_EQ(write_file(at(name(i)), pattern(kMiB, i)), 0) << i;
    EXPECT_LE(object_bytes(), 16 * kMiB);
  }
  for (size_t i = 0; i < 30; ++i)
    EXPECT_EQ(read_file(at(name(i))), (FileContent{0, pattern(kMiB, i)})) << i;
  for (size_t i = 0; i < 30; ++i)
    EXPECT_EQ(read_file(real(name(i))), (FileContent{0, pattern(kMiB, i)})) << i;
}

// A cache directory on a file system of its own, of a few megabytes.
class SmallDisk : public Limits {
 protected:
  void SetUp() override {
    Limits::SetUp();
    if (IsSkipped()) return;
    const std::string home = source_->directory() + "/..";
    const std::string image = home + "/image";
    disk_ = std::filesystem::canonical(home).string() + "/disk";
    ASSERT_EQ(mkdir(disk_.c_str(), 0755), 0);
    {
      Descriptor file(image, O_CREAT | O_WRONLY);
    }
    std::filesystem::resize_file(image, 48 * kMiB);
    ASSERT_EQ(run_command({"mkfs.ext4", "-q", "-O", "^has_journal", image}).exit_code, 0);
    const auto mounted = run_command({"mount", "-o", "loop", image, disk_});
    if (mounted.exit_code != 0) {
      disk_.clear();
      GTEST_SKIP() << "no loop mounts here: " << mounted.err;
    }
  }
  void TearDown() override {
    Limits::TearDown();
    if (!disk_.empty()) umount2(disk_.c_str(), MNT_DETACH);
  }
  // Another program takes all the room there is.
  void fill_disk() const {
    const Descriptor file(disk_ + "/filler", O_CREAT | O_WRONLY | O_APPEND);
    const std::string part(4096, 'f');
    while (write(file.get(), part.data(), part.size()) > 0) {
    }
    fsync(file.get());
  }
  // Whatever takes room in the cache or gives it back, at random.  Other threads do the same, so
  // what is read is not known.
  void use_files(unsigned seed, size_t operations) const {
    std::minstd_rand random(seed + 1);
    for (size_t i = 0; i < operations; ++i) {
      const std::string file = at(name(random() % 60));
      switch (random() % 8) {
        case 0: {  // grows while somebody reads it
          const Descriptor reader(file, O_CREAT | O_RDONLY);
          const Descriptor writer(file, O_CREAT | O_WRONLY | O_APPEND);
          const std::string more = pattern(100'000, i);
          EXPECT_EQ(write(writer.get(), more.data(), more.size()), std::ssize(more));
          break;
        }
        case 1:
          EXPECT_EQ(write_file(file, pattern(random() % (2 * kMiB), i)), 0);
          break;
        case 2:
          unlink(file.c_str());
          EXPECT_EQ(write_file(file, pattern(kMiB, i)), 0);
          break;
        default:
          read_file(file);
      }
    }
  }
  std::string disk_;
};

TEST_F(SmallDisk, AFullCacheDiskIsNoError) {
  constexpr size_t kFiles = 60;
  for (size_t i = 0; i < kFiles; ++i) put(name(i), pattern(kMiB, i));
  settle();
  for (const char* passthrough : {"passthrough=auto", "passthrough=off"}) {
    ASSERT_TRUE(mount({"cache_dir=" + disk_ + "/cache", "size=1T", passthrough}));
    EXPECT_FALSE(cached(0) && passthrough == std::string("passthrough=auto"));
    fill_disk();
    for (int round = 0; round < 2; ++round)
      for (size_t i = 0; i < kFiles; ++i)
        EXPECT_EQ(read_file(at(name(i))), (FileContent{0, pattern(kMiB, i)})) << i;
    for (size_t i = 0; i < 10; ++i) {
      EXPECT_EQ(write_file(at("new" + std::to_string(i)), pattern(kMiB, i)), 0) << i;
      EXPECT_EQ(read_file(at("new" + std::to_string(i))), (FileContent{0, pattern(kMiB, i)})) << i;
      EXPECT_EQ(mkdir(at("directory" + std::to_string(i)).c_str(), 0755), 0) << i;
      EXPECT_EQ(std::filesystem::file_size(at("new" + std::to_string(i))), kMiB);
    }
    for (size_t i = 0; i < 10; ++i) {
      EXPECT_EQ(
          rename(at("new" + std::to_string(i)).c_str(), at("renamed" + std::to_string(i)).c_str()),
          0);
      EXPECT_EQ(unlink(at("renamed" + std::to_string(i)).c_str()), 0);
      EXPECT_EQ(rmdir(at("directory" + std::to_string(i)).c_str()), 0);
    }
    EXPECT_GT(mount_->metric("/bypassed/bytes"), 0);
    // Room again: it caches again, and what it remembers is right.
    std::filesystem::remove(disk_ + "/filler");
    EXPECT_TRUE(LarderMount::eventually([&] {
      for (size_t i = 0; i < 4; ++i) read_file(at(name(i)));
      wait_until_stored();
      return cached(3);
    }));
    ASSERT_EQ(mount_->stop(), 0);
    ASSERT_TRUE(mount_->start()) << mount_->problem();
    for (size_t i = 0; i < kFiles; ++i)
      EXPECT_EQ(read_file(at(name(i))), (FileContent{0, pattern(kMiB, i)})) << i;
    ASSERT_EQ(mount_->stop(), 0);
    std::filesystem::remove_all(disk_ + "/cache");
  }
}

// What others take of the disk is made up for.
TEST_F(SmallDisk, SomeOfTheDiskStaysFree) {
  constexpr size_t kFiles = 40;
  const auto free_bytes = [&] { return std::filesystem::space(disk_).available; };
  for (size_t i = 0; i < kFiles; ++i) put(name(i), pattern(kMiB, i));
  settle();
  ASSERT_TRUE(mount({"cache_dir=" + disk_ + "/cache", "size=40M", "min_free=16M"}));
  const auto read_all_files = [&] {
    for (size_t i = 0; i < kFiles; ++i) {
      EXPECT_EQ(read_file(at(name(i))), (FileContent{0, pattern(kMiB, i)})) << i;
      EXPECT_GE(free_bytes(), 16 * kMiB) << i;
    }
    wait_until_stored();
    EXPECT_GE(free_bytes(), 16 * kMiB);
  };
  read_all_files();
  EXPECT_GT(object_bytes(), 8 * kMiB);
  {
    const Descriptor other(disk_ + "/other", O_CREAT | O_WRONLY);
    ASSERT_EQ(posix_fallocate(other.get(), 0, 8 * kMiB), 0);
  }
  // The next that is stored, or the janitor, sees it.
  EXPECT_TRUE(LarderMount::eventually([&] {
    for (size_t i = 0; i < kFiles; ++i) read_file(at(name(i)));
    wait_until_stored();
    return free_bytes() >= 16 * kMiB;
  }));
  read_all_files();
  EXPECT_EQ(mount_->metric("/cache/min_free_bytes"), static_cast<int64_t>(16 * kMiB));
}

// What the file system itself counts, looked at as often as can be, while all that takes room goes
// on: first reads, reads in passthrough, files that grow under their readers, are replaced, removed
// and made; and a daemon that is killed and comes back.
TEST_F(SmallDisk, LimitsHoldInEachSample) {
  constexpr unsigned kFiles = 60, kThreads = 3, kRounds = 3, kOperations = 60;
  constexpr uint64_t kLimit = 24 * kMiB, kMinFree = 14 * kMiB;
  const auto free_bytes = [&] { return std::filesystem::space(disk_).free; };
  for (size_t i = 0; i < kFiles; ++i) put(name(i), pattern(kMiB, i));
  settle();
  for (const bool has_size : {true, false}) {
    const uint64_t before = free_bytes();
    uint64_t least = before, samples = 0;
    std::jthread watcher([&](const std::stop_token& done) {
      for (; !done.stop_requested(); ++samples) least = std::min<uint64_t>(least, free_bytes());
    });
    ASSERT_TRUE(mount({"cache_dir=" + disk_ + "/cache", has_size ? "size=24M" : "size=1T",
                       has_size ? "min_free=0" : "min_free=14M", "memory=4M"}));
    for (unsigned round = 0; round < kRounds; ++round) {
      std::vector<std::jthread> threads;
      for (unsigned t = 0; t < kThreads; ++t)
        threads.emplace_back([&, t] { use_files(round * kThreads + t, kOperations); });
      threads.clear();
      if (round + 1 == kRounds) break;
      mount_->kill();
      ASSERT_TRUE(mount_->start()) << mount_->problem();
    }
    if (mount_->stats()["passthrough"] == "on") {
      EXPECT_GT(mount_->metric("/other/opens/passthrough"), 0);
    }
    EXPECT_GT(mount_->metric("/other/evictions"), 0);
    EXPECT_EQ(mount_->stop(), 0);
    watcher.request_stop();
    watcher.join();
    EXPECT_GT(samples, 1000U);
    if (has_size) {
      EXPECT_LE(before - least, kLimit);
      EXPECT_GT(before - least, kLimit / 2);
    } else {
      EXPECT_GE(least, kMinFree);
      EXPECT_LT(least, kMinFree * 2);
    }
    std::filesystem::remove_all(disk_ + "/cache");
  }
}

TEST_F(SmallDisk, AFullDiskIsRefusedWhenMounting) {
  fill_disk();
  mount_ = std::make_unique<LarderMount>(source_->mountpoint(),
                                         std::vector<std::string>{"cache_dir=" + disk_});
  EXPECT_FALSE(mount_->mounted());
  EXPECT_THAT(mount_->log(), testing::HasSubstr("full disk"));
}

}  // namespace
}  // namespace larder::testing_support
