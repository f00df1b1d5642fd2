// A source that hangs, fails, goes away and comes back.
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <set>
#include <thread>

#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

// Tests of what answers while nothing else can; each proves by counts that the source was not
// asked.
class Outage : public LarderTest {
 protected:
  // Holds requests of cold files in the daemon, more than it has threads for requests.
  void hang_readers() {
    ASSERT_TRUE(source_->set("hang", "1"));
    for (int i = 0; i < kHungReaders; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        read_file(at("cold" + std::to_string(i)));
        _exit(0);
      }
      readers_.push_back(child);
    }
    ASSERT_TRUE(source_->wait_hung(kHungReaders));
  }
  // Kills them, hung as they are.
  void kill_readers() {
    for (const pid_t child : readers_) ::kill(child, SIGKILL);
    for (const pid_t child : readers_) {
      int status = 0;
      EXPECT_TRUE(wait_for_exit(child, kKilledMsMax, &status)) << "a hung reader cannot be killed";
    }
    readers_.clear();
  }
  static constexpr int kHungReaders = 12;
  static constexpr int kKilledMsMax = 20'000;
  std::vector<pid_t> readers_;
};

struct Way {
  std::vector<std::string> options;
  const char* name;
};
class CachedOutage : public Outage, public testing::WithParamInterface<Way> {};

TEST_P(CachedOutage, CachedThingsAnswerWhileTheSourceHangs) {
  const std::string data = pattern(4 * kBlockBytes + 99);
  std::vector<std::string> options = {"attr_ttl=1h", "negative_ttl=1h", "threads=2",
                                      "source_timeout=1h"};
  options.insert(options.end(), GetParam().options.begin(), GetParam().options.end());
  for (int i = 0; i < kHungReaders; ++i) put("cold" + std::to_string(i), pattern(kBlockBytes));
  ASSERT_EQ(mkdir(real("directory").c_str(), 0755), 0);
  ASSERT_TRUE(mount(options));
  put_and_cache("file", data);
  EXPECT_EQ(stat_error(at("missing")), ENOENT);
  EXPECT_EQ(stat_error(at("directory")), 0);
  for (int i = 0; i < kHungReaders; ++i) EXPECT_EQ(stat_error(at("cold" + std::to_string(i))), 0);
  // Readers do not come before the object is whole, so that it may be opened in passthrough.
  const uint64_t opened = source_->requests("open");
  const Descriptor file(at("file"), O_RDONLY);
  ASSERT_TRUE(file.valid());
  // Whoever keeps a file open gets it opened at the source a moment later: there would be no other
  // way to it once its name leads elsewhere.
  ASSERT_TRUE(LarderMount::eventually([&] { return source_->requests("open") > opened; }));
  hang_readers();
  const uint64_t asked = source_->requests("total");
  EXPECT_TRUE(mount_->completes([&] {
    for (int i = 0; i < 3; ++i) {
      drop_pages(file.get());
      EXPECT_EQ(read_at(file.get(), 0, data.size() + 1), (FileContent{0, data}));
      struct statx status{};
      EXPECT_EQ(forced_stat(at("file"), &status), 0);
      EXPECT_EQ(status.stx_size, data.size());
      EXPECT_EQ(stat_error(at("directory")), 0);
      EXPECT_EQ(stat_error(at("missing")), ENOENT);
    }
    EXPECT_TRUE(mount_->stats().is_object());
    EXPECT_GE(mount_->metric("/source/calls_in_flight"), 1);
    for (const char* name : {"status", "metrics", "config"})
      EXPECT_FALSE(read_file(at(std::string(".larder/") + name)).data.empty()) << name;
    EXPECT_EQ(read_file(at(".larder/none")).error, ENOENT);
  }));
  EXPECT_EQ(source_->requests("total"), asked);
  kill_readers();
}

INSTANTIATE_TEST_SUITE_P(Ways, CachedOutage,
                         testing::Values(Way{{}, "default"}, Way{{"passthrough=off"}, "memory"},
                                         Way{{"passthrough=off", "memory=0"}, "object"},
                                         Way{{"passthrough=off", "io=threads", "memory=0"},
                                             "threads"}),
                         [](const auto& way) { return way.param.name; });

TEST_F(Outage, MappedFilesStayReadableWhileTheSourceHangs) {
  const std::string data = pattern(kBlockBytes);
  ASSERT_TRUE(mount({"source_timeout=1h"}));
  put_and_cache("file", data);
  const Descriptor file(at("file"), O_RDONLY);
  void* map = mmap(nullptr, data.size(), PROT_READ, MAP_SHARED, file.get(), 0);
  ASSERT_NE(map, MAP_FAILED);
  ASSERT_TRUE(source_->set("hang", "1"));
  EXPECT_TRUE(mount_->completes([&] {
    drop_pages(file.get());
    EXPECT_EQ(std::string_view(static_cast<char*>(map), data.size()), data);
  }));
  munmap(map, data.size());
}

TEST_F(Outage, AHungSourceGivesAnErrorInTheEndAndThenNoLongerHoldsAnybody) {
  const std::string data = pattern(2 * kBlockBytes);
  put("cold", data);
  ASSERT_TRUE(mount({"attr_ttl=0", "source_timeout=200ms"}));
  put_and_cache("cached", data);
  EXPECT_EQ(stat_error(at("cold")), 0);
  ASSERT_TRUE(source_->set("hang", "1"));
  EXPECT_TRUE(mount_->completes([&] {
    EXPECT_EQ(read_file(at("cold")), (FileContent{EIO, ""}));
    // Until the breaker has seen enough.
    while (mount_->metric("/source/breaker_state") == 0) EXPECT_NE(read_file(at("cold")).error, 0);
  }));
  // Now nothing waits for the source any more: what is cached opens, what is not fails.
  EXPECT_TRUE(mount_->completes([&] {
    const uint64_t reads = data_requests();
    EXPECT_EQ(read_file(at("cached")), (FileContent{0, data}));
    EXPECT_EQ(std::filesystem::file_size(at("cached")), data.size());
    EXPECT_EQ(read_file(at("cold")), (FileContent{EIO, ""}));
    EXPECT_EQ(data_requests(), reads);
  }));
  EXPECT_GT(mount_->metric("/source/timeouts"), 0);
  ASSERT_TRUE(source_->set("hang", "0"));
  EXPECT_TRUE(mount_->completes(
      [&] { LarderMount::eventually([&] { return read_file(at("cold")).error == 0; }); }));
  EXPECT_EQ(read_file(at("cold")), (FileContent{0, data}));
  EXPECT_EQ(mount_->metric("/source/breaker_state"), 0);
}

TEST_F(Outage, ADownSourceGivesErrorsAndNeverAnEmptyWorld) {
  const std::string data = pattern(kBlockBytes + 1);
  put("cold", data);
  ASSERT_EQ(mkdir(real("directory").c_str(), 0755), 0);
  put("directory/inside", "x");
  ASSERT_TRUE(mount({"attr_ttl=0", "negative_ttl=0"}));
  put_and_cache("cached", data);
  const auto names = [&](const std::string& directory) {
    std::set<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(directory))
      found.insert(entry.path().filename());
    return found;
  };
  const auto listed = names(mount_->mountpoint());
  EXPECT_EQ(listed, (std::set<std::string>{"cached", "cold", "directory"}));
  for (const char* error : {"1", "EIO", "ESTALE", "ETIMEDOUT", "EHOSTDOWN"}) {
    ASSERT_TRUE(source_->set("down", error)) << error;
    for (int i = 0; i < 8; ++i) {
      EXPECT_EQ(read_file(at("cached")), (FileContent{0, data})) << error << i;
      const FileContent cold = read_file(at("cold"));
      EXPECT_TRUE(cold.error != 0 && cold.error != ENOENT)
          << error << i << " " << strerror(cold.error);
      EXPECT_EQ(cold.data, "") << error;
      EXPECT_EQ(stat_error(at("cached")), 0) << error << i;
      const int never_seen = stat_error(at("directory/inside"));
      EXPECT_TRUE(never_seen != 0 && never_seen != ENOENT) << error << i << strerror(never_seen);
      EXPECT_NE(stat_error(at("missing")), ENOENT) << error << i;
      EXPECT_EQ(names(mount_->mountpoint()), listed) << error << i;
      std::error_code unlisted;
      const auto iterator = std::filesystem::directory_iterator(at("directory"), unlisted);
      EXPECT_TRUE(unlisted || iterator != end(iterator)) << "a directory looks empty";
    }
    ASSERT_TRUE(source_->set("down", "0"));
    EXPECT_TRUE(LarderMount::eventually([&] { return stat_error(at("missing")) == ENOENT; }))
        << error;
    EXPECT_TRUE(LarderMount::eventually([&] { return stat_error(at("cold")) == 0; })) << error;
  }
  EXPECT_EQ(read_file(at("cold")), (FileContent{0, data}));
  EXPECT_EQ(stat_error(at("directory/inside")), 0);
}

TEST_F(Outage, OpenFilesGoOnAfterAnOutage) {
  const std::string data = pattern(8 * kBlockBytes);
  put("file", data);
  ASSERT_TRUE(mount({kBlockSize, "readahead=0", "attr_ttl=0"}));
  const Descriptor file(at("file"), O_RDONLY);
  EXPECT_EQ(read_at(file.get(), 0, 4096).data, data.substr(0, 4096));
  ASSERT_TRUE(source_->set("down", "1"));
  EXPECT_EQ(read_at(file.get(), 6 * kBlockBytes, 4096).error, EIO);
  ASSERT_TRUE(source_->set("down", "0"));
  EXPECT_TRUE(LarderMount::eventually(
      [&] { return read_at(file.get(), 6 * kBlockBytes, 4096).error == 0; }));
  EXPECT_EQ(read_at(file.get(), 0, data.size()), (FileContent{0, data}));
}

TEST_F(Outage, WritesFailWhileTheSourceIsDownAndLeaveNothingBehind) {
  ASSERT_TRUE(mount({"attr_ttl=0", "negative_ttl=0"}));
  const std::string data = pattern(kBlockBytes);
  put_and_cache("file", data);
  {
    const Descriptor file(at("file"), O_RDWR);
    ASSERT_TRUE(file.valid());
    ASSERT_TRUE(source_->set("down", "1"));
    EXPECT_EQ(pwrite(file.get(), "new", 3, 0), -1);
    EXPECT_NE(write_file(at("new"), "x"), 0);
    EXPECT_NE(mkdir(at("new_directory").c_str(), 0755), 0);
    EXPECT_NE(unlink(at("file").c_str()), 0);
  }
  ASSERT_TRUE(source_->set("down", "0"));
  EXPECT_TRUE(LarderMount::eventually([&] { return stat_error(at("new")) == ENOENT; }));
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data}));
  EXPECT_EQ(stat_error(at("new_directory")), ENOENT);
  EXPECT_EQ(write_file(at("new"), "x"), 0);
}

// The source's own file system is unmounted and mounted again under a running larder.
class Remounted : public Outage {
 protected:
  void SetUp() override {
    Outage::SetUp();
    if (IsSkipped()) return;
    // A bind mount of the slow source: to be taken away and put back at one place.
    place_ = real("") + "../place";
    ASSERT_EQ(mkdir(place_.c_str(), 0755), 0);
    place_ = std::filesystem::canonical(place_);
    attach();
  }
  void TearDown() override {
    if (source_) source_->set("down", "0");
    mount_.reset();
    if (!place_.empty()) umount2(place_.c_str(), MNT_DETACH);
    Outage::TearDown();
  }
  void attach() {
    ASSERT_EQ(::mount(source_->mountpoint().c_str(), place_.c_str(), nullptr, MS_BIND, nullptr), 0);
  }
  std::string place_;
};

TEST_F(Remounted, AKilledSourceIsFoundAgainWhenItIsBack) {
  const std::string data = pattern(kBlockBytes);
  put("cold", data);
  put("cached", data);
  settle();
  mount_ = std::make_unique<LarderMount>(place_,
                                         std::vector<std::string>{"attr_ttl=0", "negative_ttl=0"});
  ASSERT_TRUE(mount_->mounted()) << mount_->problem();
  EXPECT_EQ(read_file(at("cached")), (FileContent{0, data}));
  wait_until_stored();
  const auto dead = std::move(source_);
  dead->kill();  // what stays is "Transport endpoint is not connected"
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(read_file(at("cached")), (FileContent{0, data}));
    const int error = read_file(at("cold")).error;
    EXPECT_TRUE(error != 0 && error != ENOENT) << strerror(error);
  }
  umount2(place_.c_str(), MNT_DETACH);
  for (int i = 0; i < 8; ++i) {
    // The empty directory beneath is not the source.
    EXPECT_EQ(read_file(at("cached")), (FileContent{0, data}));
    const int error = read_file(at("cold")).error;
    EXPECT_TRUE(error != 0 && error != ENOENT) << strerror(error);
  }
  source_ = std::make_unique<SlowSourceMount>();
  ASSERT_TRUE(source_->mounted()) << source_->problem();
  std::filesystem::copy_file(dead->directory() + "/cold", real("cold"));
  put("cached", pattern(kBlockBytes, 2));
  put("fresh", "new");
  attach();
  EXPECT_TRUE(LarderMount::eventually([&] { return read_file(at("fresh")).error == 0; }));
  EXPECT_EQ(read_file(at("cold")), (FileContent{0, data}));
  EXPECT_EQ(read_file(at("cached")), (FileContent{0, pattern(kBlockBytes, 2)}));
}

TEST_F(Remounted, ACacheCanBeMountedWhileItsSourceIsDown) {
  const std::string data = pattern(kBlockBytes);
  put("cold", data);
  put("cached", data);
  settle();
  mount_ = std::make_unique<LarderMount>(place_,
                                         std::vector<std::string>{"attr_ttl=0", "negative_ttl=0"});
  ASSERT_TRUE(mount_->mounted()) << mount_->problem();
  EXPECT_EQ(read_file(at("cached")), (FileContent{0, data}));
  ASSERT_EQ(mount_->stop(), 0);
  ASSERT_TRUE(source_->set("down", "1"));
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  EXPECT_EQ(read_file(at("cached")), (FileContent{0, data}));
  const int error = read_file(at("cold")).error;
  EXPECT_TRUE(error != 0 && error != ENOENT) << strerror(error);
  ASSERT_TRUE(source_->set("down", "0"));
  EXPECT_TRUE(LarderMount::eventually([&] { return read_file(at("cold")).error == 0; }));
  EXPECT_EQ(read_file(at("cold")), (FileContent{0, data}));
}

}  // namespace
}  // namespace larder::testing_support
