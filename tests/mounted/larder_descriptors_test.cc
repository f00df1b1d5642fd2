// The limit on descriptors: whatever programs hold open, larder stays below it and files can be
// read.
#include <atomic>
#include <thread>

#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

class Descriptors : public LarderTest {
 protected:
  static constexpr int64_t kLimit = 256;
  static constexpr size_t kFiles = 500;  // more than there are descriptors

  static std::string name(size_t i) { return "file" + std::to_string(i); }
  static std::string content(size_t i) { return pattern(5000, i); }
  void put_files() {
    for (size_t i = 0; i < kFiles; ++i) put(name(i), content(i));
    settle();
  }
  [[nodiscard]] bool mount_with_limit(const std::string& option) {
    return mount({"descriptors=" + std::to_string(kLimit), "source_threads=8", "threads=2",
                  "memory=0", option});
  }
  int64_t open_in_daemon() const {
    std::error_code gone;
    int64_t count = 0;
    for (auto it = std::filesystem::directory_iterator(
             "/proc/" + std::to_string(mount_->pid()) + "/fd", gone);
         !gone && it != end(it); it.increment(gone))
      ++count;
    return count;
  }
};

TEST_F(Descriptors, AnyNumberOfFilesCanBeOpenForReading) {
  put_files();
  for (const char* option : {"passthrough=off", "passthrough=auto"}) {
    ASSERT_TRUE(mount_with_limit(option));
    std::atomic<bool> done{false};
    int64_t most = 0;
    std::jthread watcher([&] {
      while (!done) most = std::max(most, open_in_daemon());
    });
    for (int round = 0; round < 2; ++round) {  // fetched; resident
      std::vector<std::unique_ptr<Descriptor>> open;
      for (size_t i = 0; i < kFiles; ++i) {
        open.push_back(std::make_unique<Descriptor>(at(name(i)), O_RDONLY));
        ASSERT_GE(open.back()->get(), 0) << i << ": " << strerror(errno);
      }
      for (size_t i = 0; i < kFiles; ++i) {
        drop_pages(open[i]->get());
        EXPECT_EQ(read_at(open[i]->get(), 0, 10'000), (FileContent{0, content(i)})) << i;
      }
      wait_until_stored();
    }
    done = true;
    watcher.join();
    EXPECT_LE(most, kLimit) << option;
    EXPECT_EQ(mount_->metric("/descriptors/refused"), 0) << option;
    EXPECT_GT(mount_->metric("/descriptors/reclaimed"), 0) << option;
    EXPECT_TRUE(LarderMount::eventually([&] { return mount_->metric("/descriptors/open") == 0; }));
  }
}

TEST_F(Descriptors, WritersAreRefusedBeforeReadersAre) {
  put_files();
  ASSERT_TRUE(mount_with_limit("passthrough=auto"));
  std::vector<std::unique_ptr<Descriptor>> writing;
  int refused = 0;
  for (size_t i = 0; i < kFiles && refused == 0; ++i) {
    writing.push_back(std::make_unique<Descriptor>(at(name(i)), O_RDWR));
    if (writing.back()->get() < 0) refused = errno;
  }
  EXPECT_EQ(refused, ENFILE);
  EXPECT_LE(open_in_daemon(), kLimit);
  EXPECT_GT(mount_->metric("/descriptors/refused"), 0);
  for (size_t i = 0; i < kFiles; ++i)
    EXPECT_EQ(read_file(at(name(i))), (FileContent{0, content(i)})) << i;
  EXPECT_EQ(pwrite(writing[0]->get(), "new", 3, 0), 3) << strerror(errno);
  writing.clear();
  EXPECT_EQ(write_file(at(name(7)), "still writable"), 0);
  EXPECT_EQ(read_file(real(name(0))).data, "new" + content(0).substr(3));
  EXPECT_EQ(read_file(real(name(7))).data, "still writable");
}

TEST_F(Descriptors, AnUnlinkedFileIsReadHoweverManyAreOpen) {
  put_files();
  ASSERT_TRUE(mount_with_limit("passthrough=off"));
  const Descriptor unlinked(at(name(0)), O_RDONLY);
  ASSERT_EQ(unlink(at(name(0)).c_str()), 0);
  std::vector<std::unique_ptr<Descriptor>> open;
  for (size_t i = 1; i < kFiles; ++i) {
    open.push_back(std::make_unique<Descriptor>(at(name(i)), O_RDONLY));
    EXPECT_EQ(read_at(open.back()->get(), 0, 10'000), (FileContent{0, content(i)})) << i;
  }
  EXPECT_EQ(read_at(unlinked.get(), 0, 10'000), (FileContent{0, content(0)}));
}

}  // namespace
}  // namespace larder::testing_support
