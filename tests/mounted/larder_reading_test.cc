// What is read through a mount is right, is asked of the source once, and stays.
#include <stdlib.h>
#include <sys/mman.h>

#include <atomic>
#include <random>
#include <thread>

#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

using Reading = LarderTest;

// Past the kernel's page cache: each reader's requests reach larder.
struct AlignedBuffer {
  explicit AlignedBuffer(size_t length) : data(static_cast<char*>(aligned_alloc(4096, length))) {}
  ~AlignedBuffer() { free(data); }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  char* data;
};

TEST_F(Reading, ConcurrentReadersOfAColdFileFetchEachBlockOnce) {
  constexpr size_t kBlocks = 8, kReaders = 16;
  const std::string data = pattern(kBlocks * kBlockBytes);
  put("one_block", data.substr(0, kBlockBytes));
  put("file", data);
  settle();
  ASSERT_TRUE(mount({kBlockSize, "readahead=0"}));
  ASSERT_EQ(read_file(at("one_block")).error, 0);
  const uint64_t requests_per_block = data_requests();
  ASSERT_GT(requests_per_block, 0u);
  const int64_t fetches = mount_->metric("/other/fetches");

  std::vector<std::unique_ptr<Descriptor>> files;
  for (size_t i = 0; i < kReaders; ++i) {
    files.push_back(std::make_unique<Descriptor>(at("file"), O_RDONLY | O_DIRECT));
    ASSERT_TRUE(files.back()->valid());
  }
  source_->reset_requests();
  ASSERT_TRUE(source_->set("hang", "1"));
  std::atomic<size_t> right{0};
  std::vector<std::jthread> readers;
  for (size_t i = 0; i < kReaders; ++i)
    readers.emplace_back([&, fd = files[i]->get()] {
      AlignedBuffer buffer(kBlockBytes);
      for (size_t block = 0; block < kBlocks; ++block) {
        const ssize_t got =
            pread(fd, buffer.data, kBlockBytes, static_cast<off_t>(block * kBlockBytes));
        if (got != static_cast<ssize_t>(kBlockBytes) ||
            std::string_view(buffer.data, kBlockBytes) !=
                std::string_view(data).substr(block * kBlockBytes, kBlockBytes))
          return;
      }
      ++right;
    });
  // All of them are in the daemon, behind the first one's fetch.
  EXPECT_TRUE(LarderMount::eventually(
      [&] { return mount_->metric("/fetch/joins") >= static_cast<int64_t>(kReaders - 1); }));
  ASSERT_TRUE(source_->set("hang", "0"));
  readers.clear();
  EXPECT_EQ(right, kReaders);
  EXPECT_EQ(data_requests(), kBlocks * requests_per_block);
  EXPECT_EQ(mount_->metric("/other/fetches") - fetches, static_cast<int64_t>(kBlocks));
}

TEST_F(Reading, WhatWasReadIsNotAskedForAgain) {
  const std::string data = pattern(3 * kBlockBytes + 12345);
  ASSERT_TRUE(mount());
  put_and_cache("file", data);
  source_->reset_requests();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data}));
  EXPECT_EQ(data_requests(), 0u);
  {
    const Descriptor file(at("file"), O_RDONLY | O_DIRECT);
    AlignedBuffer buffer(kBlockBytes);
    ASSERT_EQ(pread(file.get(), buffer.data, kBlockBytes, 0), static_cast<ssize_t>(kBlockBytes));
    EXPECT_EQ(std::string_view(buffer.data, kBlockBytes),
              std::string_view(data).substr(0, kBlockBytes));
  }
  EXPECT_EQ(data_requests(), 0u);
}

TEST_F(Reading, SeveralReadsAreInFlightAheadOfAReader) {
  constexpr size_t kSize = 48 << 20, kWarmUp = 8 << 20, kPart = 128 << 10;
  constexpr uint64_t kRequestBytesMax = 1 << 20;  // of FUSE
  const std::string data = pattern(kSize);
  put("file", data);
  settle();
  ASSERT_TRUE(mount({"readahead=8M"}));
  const Descriptor file(at("file"), O_RDONLY);
  ASSERT_TRUE(file.valid());
  EXPECT_EQ(read_at(file.get(), 0, kWarmUp).data, data.substr(0, kWarmUp));
  ASSERT_TRUE(source_->set("hang", "1"));
  FileContent rest;
  std::jthread reader([&] {
    for (size_t at = kWarmUp; at < kSize; at += kPart) {
      const FileContent part = read_at(file.get(), at, kPart);
      rest.data += part.data;
      if (part.error != 0) rest.error = part.error;
    }
  });
  // At least half of the window is under way while the reader waits for one part of it.
  EXPECT_TRUE(source_->wait_hung((4 << 20) / kRequestBytesMax));
  EXPECT_GE(mount_->metric("/fetches/in_flight"), 4);
  ASSERT_TRUE(source_->set("hang", "0"));
  reader.join();
  EXPECT_EQ(rest.error, 0);
  EXPECT_EQ(rest.data, data.substr(kWarmUp));
}

TEST_F(Reading, ReadaheadFetchesNothingTwice) {
  constexpr size_t kBlocks = 40;
  const std::string data = pattern(kBlocks * kBlockBytes);
  put("file", data);
  settle();
  ASSERT_TRUE(mount({kBlockSize}));
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data}));
  wait_until_stored();
  EXPECT_EQ(mount_->metric("/other/fetches"), static_cast<int64_t>(kBlocks));
}

TEST_F(Reading, RandomReadsFetchOnlyWhatTheyTouch) {
  constexpr size_t kBlocks = 64;
  const std::string data = pattern(kBlocks * kBlockBytes);
  put("file", data);
  settle();
  ASSERT_TRUE(mount({kBlockSize}));
  const Descriptor file(at("file"), O_RDONLY);
  posix_fadvise(file.get(), 0, 0, POSIX_FADV_RANDOM);
  for (const size_t block : {51, 7, 33, 20, 7, 51}) {
    const size_t offset = block * kBlockBytes + 1000;
    EXPECT_EQ(read_at(file.get(), offset, 4096).data, data.substr(offset, 4096));
  }
  wait_until_stored();
  EXPECT_EQ(mount_->metric("/other/fetches"), 4);
}

TEST_F(Reading, AnErrorInTheMiddlePoisonsNothing) {
  const std::string data = pattern(20 * kBlockBytes + 77);
  put("file", data);
  settle();
  for (const std::string nth : {"0", "1", "5", "11"}) {
    ASSERT_TRUE(mount({kBlockSize}));
    ASSERT_TRUE(source_->set("fail", "read:EIO:3:" + nth));
    const FileContent hurt = read_file(at("file"));
    if (hurt.error == 0) {
      EXPECT_EQ(hurt.data, data) << nth;  // readahead met it, and it was gone when it mattered
    } else {
      EXPECT_EQ(hurt.error, EIO) << nth;
      EXPECT_EQ(hurt.data, data.substr(0, hurt.data.size())) << nth;
    }
    ASSERT_TRUE(source_->set("fail", ""));
    EXPECT_EQ(read_file(at("file")), (FileContent{0, data})) << nth;
    EXPECT_EQ(std::filesystem::file_size(at("file")), data.size());
    ASSERT_EQ(mount_->stop(), 0);
    ASSERT_TRUE(mount_->start()) << mount_->problem();
    EXPECT_EQ(read_file(at("file")), (FileContent{0, data})) << nth;
  }
}

TEST_F(Reading, AnErrorThatStaysIsSeenAndNotTakenForTheEnd) {
  const std::string data = pattern(2 * kBlockBytes);
  put("file", data);
  settle();
  ASSERT_TRUE(mount());
  ASSERT_TRUE(source_->set("fail", "read:EIO:*"));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(read_file(at("file")), (FileContent{EIO, ""}));
  EXPECT_EQ(std::filesystem::file_size(at("file")), data.size());
  ASSERT_TRUE(source_->set("fail", ""));
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data}));
}

// A program that tries again and again does not fill the log.
TEST_F(Reading, AnErrorOfTheSourceLeavesALineInTheLog) {
  put("bad", pattern(kBlockBytes, 1));
  put("worse", pattern(kBlockBytes, 2));
  settle();
  ASSERT_TRUE(mount());
  ASSERT_TRUE(source_->set("fail", "read:EIO:*"));
  for (int i = 0; i < 50; ++i)
    for (const char* name : {"bad", "worse"})
      EXPECT_EQ(read_file(at(name)), (FileContent{EIO, ""}));
  ASSERT_TRUE(source_->set("fail", ""));
  mount_->stop();
  const std::string log = mount_->log();
  const auto count = [&](const std::string& text) {
    size_t found = 0;
    for (size_t at = log.find(text); at != log.npos; at = log.find(text, at + 1)) ++found;
    return found;
  };
  EXPECT_EQ(count("bad: cannot read from the source: read: Input/output error"), 1u) << log;
  EXPECT_EQ(count("worse: cannot read from the source: read: Input/output error"), 1u) << log;
  // The last line, at the end, counts those that were left out.
  EXPECT_EQ(count("cannot read from the source"), 3u) << log;
  EXPECT_GE(count("more like this were not logged"), 1u) << log;
}

TEST_F(Reading, ResidentFilesAreOpenedInPassthrough) {
  ASSERT_TRUE(mount());
  if (mount_->stats()["passthrough"] != "on") GTEST_SKIP() << mount_->stats()["passthrough"];
  const std::string data = pattern(kBlockBytes + 5);
  put_and_cache("file", data);
  const int64_t before = mount_->metric("/other/opens/passthrough");
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data}));
  EXPECT_EQ(mount_->metric("/other/opens/passthrough"), before + 1);
}

// Opens in every mode, reads, mappings and writes of the same few files, against each other and
// against changes from outside.
TEST_F(Reading, MixedModesGiveNoErrors) {
  constexpr int kThreads = 6, kRounds = 300;
  constexpr size_t kSize = 2 * 4096;
  for (const char* name : {"a", "b"}) put(name, pattern(kSize));
  ASSERT_TRUE(mount({"attr_ttl=0", "negative_ttl=0"}));
  std::atomic<int> errors{0};
  std::jthread outside([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      put("new", pattern(kSize));
      std::filesystem::rename(real("new"), real("a"));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      std::minstd_rand random(static_cast<unsigned>(t) + 1);
      const auto note = [&](const char* what) {
        ++errors;
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
      };
      for (int round = 0; round < kRounds; ++round) {
        const std::string path = at(random() % 2 == 0 ? "a" : "b");
        const int flags[] = {O_RDONLY, O_RDONLY, O_RDWR, O_WRONLY | O_APPEND, O_RDONLY | O_DIRECT};
        const int flag = flags[random() % 5];
        const Descriptor file(path, flag);
        if (!file.valid()) {
          note("open");
          continue;
        }
        AlignedBuffer buffer(4096);
        if ((flag & O_ACCMODE) != O_WRONLY) {
          if (pread(file.get(), buffer.data, 4096, 0) < 0) note("read");
          void* map = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, file.get(), 0);
          if (map == MAP_FAILED)
            note("mmap");
          else
            munmap(map, 4096);
        }
        if ((flag & O_ACCMODE) == O_RDWR && pwrite(file.get(), "x", 1, 100) != 1) note("write");
        if ((flag & O_ACCMODE) == O_WRONLY && write(file.get(), "y", 1) != 1) note("append");
      }
    });
  threads.clear();
  outside = {};
  EXPECT_EQ(errors, 0);
  EXPECT_EQ(read_file(at("a")).data, read_file(real("a")).data);
  EXPECT_EQ(read_file(at("b")).data, read_file(real("b")).data);
}

// Each way of working gives the same bytes, and remembers them.
class EveryWay : public LarderTest, public testing::WithParamInterface<std::vector<std::string>> {};

TEST_P(EveryWay, ReadsRightAndRemembers) {
  std::map<std::string, std::string> files = {
      {"empty", ""},
      {"small", "hello"},
      {"edge", pattern(1 << 20, 2)},
      {"odd", pattern((3 << 20) + 4097, 3)},
  };
  for (const auto& [name, data] : files) put(name, data);
  settle();
  ASSERT_TRUE(mount(GetParam()));
  for (const auto& [name, data] : files)
    EXPECT_EQ(read_file(at(name)), (FileContent{0, data})) << name;
  wait_until_stored();
  source_->reset_requests();
  for (const auto& [name, data] : files)
    EXPECT_EQ(read_file(at(name)), (FileContent{0, data})) << name;
  EXPECT_EQ(data_requests(), 0u);
  ASSERT_EQ(mount_->stop(), 0);
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  for (const auto& [name, data] : files)
    EXPECT_EQ(read_file(at(name)), (FileContent{0, data})) << name;
  EXPECT_EQ(data_requests(), 0u) << "after a remount";
}

INSTANTIATE_TEST_SUITE_P(
    Options, EveryWay,
    testing::Values(std::vector<std::string>{}, std::vector<std::string>{"passthrough=off"},
                    std::vector<std::string>{"io=threads"},
                    std::vector<std::string>{"io=threads", "passthrough=off", "memory=0"},
                    std::vector<std::string>{"block_size=4K", "passthrough=off"},
                    std::vector<std::string>{"block_size=1M"},
                    std::vector<std::string>{"readahead=0", "threads=1", "source_threads=1"},
                    std::vector<std::string>{"profile=private"},
                    std::vector<std::string>{"profile=immutable"}));

}  // namespace
}  // namespace larder::testing_support
