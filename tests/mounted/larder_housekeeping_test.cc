// What the mount does by itself in the background, and that it does nothing when there is nothing
// to do.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

namespace fs = std::filesystem;

// What the daemon has done so far, as the kernel counts it; asking costs the daemon nothing.
struct Doings {
  uint64_t switches = 0;       // of all threads: how often one was woken or lost its turn
  uint64_t written_bytes = 0;  // sent towards the disk
  bool operator==(const Doings&) const = default;
};

uint64_t number_after(const fs::path& file, const std::string& label) {
  std::ifstream lines(file);
  uint64_t number = 0;
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(label)) number += std::stoull(line.substr(label.size()));
  return number;
}

Doings doings_of(pid_t pid) {
  const fs::path process = "/proc/" + std::to_string(pid);
  Doings doings;
  for (const auto& task : fs::directory_iterator(process / "task"))
    doings.switches += number_after(task.path() / "status", "voluntary_ctxt_switches:") +
                       number_after(task.path() / "status", "nonvoluntary_ctxt_switches:");
  doings.written_bytes = number_after(process / "io", "write_bytes:");
  return doings;
}

using Json = nlohmann::json;

class Housekeeping : public LarderTest {
 protected:
  // Sends one line to the control file; what it says after "ok".
  std::string command(const std::string& line) const {
    const Descriptor control(at(".larder/control"), O_RDWR);
    EXPECT_EQ(write(control.get(), (line + "\n").data(), line.size() + 1),
              static_cast<ssize_t>(line.size() + 1));
    std::string reply(64 << 10, '\0');
    const ssize_t size = ::read(control.get(), reply.data(), reply.size());
    EXPECT_GE(size, 0);
    reply.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
    EXPECT_THAT(reply, testing::StartsWith("ok "));
    return reply.starts_with("ok ") ? reply.substr(3) : "";
  }
  // Begins a pass and waits for its end; what it found.
  Json pass(const std::string& name) const {
    const uint64_t request = std::stoull(command(name));
    Json findings;
    EXPECT_TRUE(LarderMount::eventually([&] {
      const std::string status = command(name + "-status");
      const size_t space = status.find(' ');
      findings = Json::parse(status.substr(space + 1));
      return std::stoull(status.substr(0, space)) >= request;
    }));
    return findings;
  }
  std::vector<fs::path> objects() const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(mount_->cache_dir() + "/objects"))
      if (entry.is_regular_file()) found.push_back(entry.path());
    return found;
  }
  static uint64_t allocated(const fs::path& path) {
    struct stat status{};
    EXPECT_EQ(lstat(path.c_str(), &status), 0) << path;
    return static_cast<uint64_t>(status.st_blocks) * 512;
  }
  // What du(1) says of the objects.
  uint64_t object_bytes() const {
    uint64_t bytes = 0;
    for (const fs::path& object : objects()) bytes += allocated(object);
    return bytes;
  }
  // Accounted, measured by larder, and measured here are the same.
  void expect_accounting_is_exact() {
    // A claim settles what each object takes; until the file system has placed the bytes, it may
    // come to take a block more. So the three are compared as they are at one time.
    Json found;
    uint64_t taken_bytes = 0;
    EXPECT_TRUE(LarderMount::eventually([&] {
      found = pass("audit");
      taken_bytes = object_bytes();
      return found["object_bytes"] == taken_bytes &&
             found["object_bytes"] == mount_->metric("/cache/object_bytes") &&
             found["measured_bytes"] == mount_->metric("/cache/used_bytes");
    })) << found
        << ' ' << taken_bytes << ' ' << mount_->metric("/cache/object_bytes") << ' '
        << mount_->metric("/cache/used_bytes");
    EXPECT_EQ(found["objects"], objects().size());
    EXPECT_EQ(found["error"], "");
  }
  // A bit of the object that holds this text.
  void flip_bit_of(const std::string& text, size_t offset) const {
    for (const fs::path& object : objects()) {
      std::string content = read_file(object).data;
      if (content != text) continue;
      const char flipped = static_cast<char>(content[offset] ^ 0x20);
      const Descriptor file(object, O_WRONLY);
      EXPECT_EQ(pwrite(file.get(), &flipped, 1, static_cast<off_t>(offset)), 1);
      return;
    }
    ADD_FAILURE() << "no such object";
  }
  void read_at_random(unsigned seed, int reads) {
    std::minstd_rand random(seed);
    for (int i = 0; i < reads; ++i) {
      const size_t n = random() % kFiles;
      const Descriptor file(at(name(n)), O_RDONLY);
      const size_t offset = random() % size_of(n);
      EXPECT_EQ(read_at(file.get(), offset, 50'000).data,
                pattern(size_of(n), n).substr(offset, 50'000));
    }
  }
  static constexpr size_t kFiles = 30;
  static std::string name(size_t n) { return "file" + std::to_string(n); }
  static size_t size_of(size_t n) { return 1 + n * 37'123; }
  void put_files() const {
    for (size_t n = 0; n < kFiles; ++n) put(name(n), pattern(size_of(n), n));
    settle();
  }
};

TEST_F(Housekeeping, AnIdleMountDoesNothing) {
  ASSERT_TRUE(mount({"commit_interval=10ms"}));
  for (int i = 0; i < 20; ++i)
    put_and_cache("file" + std::to_string(i), pattern(kBlockBytes, static_cast<size_t>(i)));
  // Two seconds in which nothing at all has happened; larder's own short intervals are over by
  // then.
  bool idle = false;
  EXPECT_TRUE(LarderMount::eventually([&] {
    const Doings before = doings_of(mount_->pid());
    std::this_thread::sleep_for(std::chrono::seconds(2));
    idle = doings_of(mount_->pid()) == before;
    return idle;
  }));
  EXPECT_TRUE(idle);
  EXPECT_GE(mount_->metric("/janitor/steps/census"), 1);
  EXPECT_GE(mount_->metric("/janitor/steps/audit"), 1);
}

TEST_F(Housekeeping, WhatIsAccountedIsWhatIsMeasured) {
  put_files();
  ASSERT_TRUE(mount({"block_size=16K", "commit_interval=10ms"}));
  read_at_random(1, 200);
  wait_until_stored();
  expect_accounting_is_exact();
  for (int kill = 1; kill <= 3; ++kill) {
    put_files();  // changed: all is to be fetched again
    source_->reset_requests();
    std::jthread reader([&, kill] {
      std::minstd_rand random(static_cast<unsigned>(kill));
      for (int i = 0; i < 300; ++i) {  // until it is killed
        const size_t n = random() % kFiles;
        const Descriptor file(at(name(n)), O_RDONLY);
        if (file.get() >= 0) read_at(file.get(), random() % size_of(n), 50'000);
      }
    });
    EXPECT_TRUE(LarderMount::eventually([&] { return data_requests() > 20; }));
    mount_->kill();
    reader.join();
    ASSERT_TRUE(mount_->start()) << mount_->problem();
    // Without being asked: the last run did not end cleanly.
    EXPECT_TRUE(LarderMount::eventually(
        [&] { return Json::parse(command("audit-status").substr(2))["passes"] >= 1; }));
    expect_accounting_is_exact();
    read_at_random(100, 50);
    wait_until_stored();
    expect_accounting_is_exact();
  }
}

TEST_F(Housekeeping, OrphansAndUnfinishedFilesAreRemovedInTheBackground) {
  put_files();
  ASSERT_TRUE(mount());
  read_at_random(1, 50);
  wait_until_stored();
  ASSERT_EQ(mount_->stop(), 0);
  const auto before = objects();
  const std::string top = mount_->cache_dir() + "/objects/";
  fs::create_directory(top + "ff");
  ASSERT_EQ(write_file(top + "ff/00000000000000ff", pattern(100'000)), 0);
  ASSERT_EQ(write_file(top + "ff/notes", "mine"), 0);
  ASSERT_EQ(write_file(mount_->cache_dir() + "/ROOT.new", "half"), 0);
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  const Json found = pass("audit");
  EXPECT_EQ(found["orphans"], 1) << found;
  EXPECT_EQ(found["strays"], 2) << found;
  EXPECT_EQ(found["removed"], 3) << found;
  EXPECT_EQ(mount_->metric("/audit/orphans_removed"), 1);
  EXPECT_EQ(mount_->metric("/audit/strays_removed"), 2);
  EXPECT_EQ(objects(), before);
  EXPECT_NE(stat_error(mount_->cache_dir() + "/ROOT.new"), 0);
  EXPECT_EQ(mount_->metric("/cache/measured_bytes"), found["measured_bytes"]);
  EXPECT_GT(mount_->metric("/cache/measured_at_seconds"), 0);
  read_at_random(2, 50);
}

TEST_F(Housekeeping, DamagedBlocksAreFoundAndHealed) {
  const std::string data = pattern(3 * kBlockBytes + 100);
  for (const char* passthrough : {"passthrough=auto", "passthrough=off"}) {
    SCOPED_TRACE(passthrough);
    ASSERT_TRUE(mount({kBlockSize, passthrough, "commit_interval=10ms", "memory=0"}));
    ASSERT_EQ(mkdir(real("directory").c_str(), 0755) == 0 || errno == EEXIST, true);
    put_and_cache("directory/file", data);
    EXPECT_TRUE(LarderMount::eventually([&] { return mount_->metric("/other/claims") >= 1; }));
    EXPECT_EQ(pass("scrub")["bad_blocks"], 0);
    flip_bit_of(data, kBlockBytes + 7);
    flip_bit_of(read_file(objects().at(0)).data, 3 * kBlockBytes + 50);
    source_->reset_requests();
    const Json found = pass("scrub");
    EXPECT_EQ(found["bad_blocks"], 2) << found;
    EXPECT_EQ(mount_->metric("/scrub/bad_blocks"), 2);
    EXPECT_THAT(mount_->log(), testing::HasSubstr("directory/file: "));
    {
      const Descriptor file(at("directory/file"), O_RDONLY);
      drop_pages(file.get());
      EXPECT_EQ(read_at(file.get(), 0, data.size()), (FileContent{0, data}));
    }
    EXPECT_EQ(data_requests(), 2u) << "the two blocks, and no more";
    wait_until_stored();
    EXPECT_EQ(pass("scrub")["bad_blocks"], 2);
  }
}

// The kernel reads the object by itself, and goes on doing so.
TEST_F(Housekeeping, DamageUnderAPassthroughReaderIsHealedInPlace) {
  const std::string data = pattern(3 * kBlockBytes);
  ASSERT_TRUE(mount({kBlockSize, "commit_interval=10ms"}));
  put_and_cache("file", data);
  if (mount_->stats()["passthrough"] != "on") GTEST_SKIP() << "no passthrough here";
  EXPECT_TRUE(LarderMount::eventually([&] { return mount_->metric("/other/claims") >= 1; }));
  const Descriptor file(at("file"), O_RDONLY);
  EXPECT_EQ(mount_->metric("/other/opens/passthrough"), 1);
  flip_bit_of(data, kBlockBytes + 7);
  EXPECT_NE(read_at(file.get(), 0, data.size()).data, data) << "the damage is seen";
  EXPECT_EQ(pass("scrub")["bad_blocks"], 1);
  EXPECT_TRUE(LarderMount::eventually(
      [&] { return read_at(file.get(), 0, data.size()) == FileContent{0, data}; }));
}

TEST_F(Housekeeping, UnknownWordsAreRefused) {
  ASSERT_TRUE(mount());
  const Descriptor control(at(".larder/control"), O_RDWR);
  const std::string line = "audit now\n";
  ASSERT_EQ(write(control.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
  char reply[256] = {};
  ASSERT_GT(::read(control.get(), reply, sizeof reply - 1), 0);
  EXPECT_THAT(reply, testing::HasSubstr("expected: audit"));
}

}  // namespace
}  // namespace larder::testing_support
