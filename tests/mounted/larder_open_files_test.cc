// An open file is that file, whatever its name leads to by now: the program beside which each is
// to be seen does the same on the source itself.
#include <fmt/format.h>
#include <linux/aio_abi.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include <atomic>
#include <filesystem>
#include <thread>
#include <tuple>

#include "sources_fixture.h"

namespace larder::testing_support {
namespace {

// Asynchronous writes, all in flight together.
class AsynchronousWrites {
 public:
  AsynchronousWrites() { EXPECT_EQ(syscall(SYS_io_setup, kWritesMax, &context_), 0); }
  ~AsynchronousWrites() { syscall(SYS_io_destroy, context_); }
  AsynchronousWrites(const AsynchronousWrites&) = delete;
  AsynchronousWrites& operator=(const AsynchronousWrites&) = delete;
  // All of `data`, each piece by itself.  The data must stay until they are done.
  void submit(int fd, std::string_view data) {
    constexpr size_t kPiece = 16 << 10;
    std::vector<iocb> writes;
    for (size_t at = 0; at < data.size(); at += kPiece) {
      iocb write{};
      write.aio_lio_opcode = IOCB_CMD_PWRITE;
      write.aio_fildes = static_cast<uint32_t>(fd);
      write.aio_buf = reinterpret_cast<uintptr_t>(data.data() + at);
      write.aio_nbytes = kPiece;
      write.aio_offset = static_cast<int64_t>(at);
      writes.push_back(write);
    }
    std::vector<iocb*> pointers;
    for (iocb& write : writes) pointers.push_back(&write);
    submitted_ = static_cast<long>(pointers.size());
    ASSERT_EQ(syscall(SYS_io_submit, context_, submitted_, pointers.data()), submitted_);
  }
  void expect_done() {
    std::vector<io_event> events(static_cast<size_t>(submitted_));
    ASSERT_EQ(syscall(SYS_io_getevents, context_, submitted_, submitted_, events.data(), nullptr),
              submitted_);
    for (const io_event& event : events)
      EXPECT_GT(event.res, 0) << strerror(static_cast<int>(-event.res));
  }

 private:
  static constexpr unsigned kWritesMax = 64;
  aio_context_t context_ = 0;
  long submitted_ = 0;
};

TEST_P(OverSources, WhoWritesToAReplacedFileDoesNotChangeTheNewOne) {
  const std::string old_data = pattern(1 << 20, 1), new_data = pattern(1 << 20, 2);
  put("file", old_data);
  outlive_attr_ttl();
  ASSERT_TRUE(mount());
  {
    const Descriptor writer(at("file"), O_RDWR);
    EXPECT_EQ(read_at(writer.get(), 0, 1).data, old_data.substr(0, 1));
    replace("file", new_data);
    outlive_attr_ttl();
    EXPECT_EQ(read_file(at("file")), (FileContent{0, new_data}));
    ASSERT_EQ(pwrite(writer.get(), "XXXX", 4, 4096), 4);
    EXPECT_EQ(read_at(writer.get(), 4096, 4).data, "XXXX");
  }
  for (const bool is_remounted : {false, true}) {
    outlive_attr_ttl();
    EXPECT_EQ(read_file(at("file")), (FileContent{0, new_data})) << is_remounted;
    EXPECT_EQ(read_file(real("file")), (FileContent{0, new_data})) << is_remounted;
    if (is_remounted) break;
    ASSERT_EQ(mount_->stop(), 0);
    ASSERT_TRUE(mount_->start()) << mount_->problem();
  }
}

TEST_P(OverSources, WhoReadsAReplacedFileReadsItToItsEnd) {
  const std::string old_data = pattern(8 << 20, 1), new_data = pattern(8 << 20, 2);
  put("file", old_data);
  outlive_attr_ttl();
  ASSERT_TRUE(mount({"readahead=1M", "block_size=256K"}));
  const Descriptor reader(at("file"), O_RDONLY);
  constexpr size_t kFirst = 1 << 20;
  EXPECT_EQ(read_at(reader.get(), 0, kFirst), (FileContent{0, old_data.substr(0, kFirst)}));
  replace("file", new_data);
  outlive_attr_ttl();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, new_data}));
  const FileContent rest = read_at(reader.get(), kFirst, old_data.size() - kFirst);
  EXPECT_EQ(rest.error, 0);
  EXPECT_TRUE(rest.data == old_data.substr(kFirst));
}

// sshfs itself shows fstat(2) what the name leads to.
TEST_P(OverSources, WhoHasAReplacedFileOpenIsShownItsSize) {
  for (const char* const passthrough : {"passthrough=off", "passthrough=on"})
    for (const size_t new_size : {size_t{0}, size_t{67'808}, size_t{200'000}}) {
      SCOPED_TRACE(std::string(passthrough) + ", " + std::to_string(new_size));
      const std::string old_data = pattern(110'032, 1);
      put("file", old_data);
      outlive_attr_ttl();
      ASSERT_TRUE(mount({passthrough}));
      const Descriptor reader(at("file"), O_RDONLY);
      EXPECT_TRUE(read_at(reader.get(), 0, old_data.size()).data == old_data);
      outlive_attr_ttl();
      replace("file", pattern(new_size, 2));
      EXPECT_TRUE(in_time([&] { return read_file(at("file")).data == pattern(new_size, 2); }));
      for (int i = 0; i < 2; ++i) {
        struct stat own{};
        ASSERT_EQ(fstat(reader.get(), &own), 0);
        EXPECT_EQ(own.st_size, static_cast<off_t>(old_data.size()));
        const FileContent read = read_at(reader.get(), 0, 2 * old_data.size());
        EXPECT_EQ(read.error, 0);
        EXPECT_TRUE(read.data == old_data) << read.data.size();
        outlive_attr_ttl();
      }
    }
}

TEST_P(OverSources, WhatTwoAppendInTurnsIsAllThere) {
  put("log", "start\n");
  ASSERT_TRUE(mount());
  std::string all = "start\n";
  const Descriptor kept(at("log"), O_WRONLY | O_APPEND);
  for (int i = 0; i < 3; ++i) {
    const std::string here = "here " + std::to_string(i) + "\n", there = "there\n", too = "too\n";
    {
      const Descriptor appender(at("log"), O_WRONLY | O_APPEND);
      ASSERT_EQ(write(appender.get(), here.data(), here.size()), static_cast<ssize_t>(here.size()));
    }
    grow("log", there);
    ASSERT_EQ(write(kept.get(), too.data(), too.size()), static_cast<ssize_t>(too.size()));
    all += here + there + too;
  }
  EXPECT_EQ(read_file(real("log")), (FileContent{0, all}));
  outlive_attr_ttl();
  EXPECT_EQ(read_file(at("log")), (FileContent{0, all}));
}

TEST_P(OverSources, ChangesOfAReplacedFileAreNotMadeToTheNewOne) {
  if (GetParam() == SourceKind::kSshfs) GTEST_SKIP() << "sshfs itself makes them by name";
  put("file", "old");
  ASSERT_TRUE(mount());
  const Descriptor file(at("file"), O_RDWR);
  EXPECT_EQ(read_at(file.get(), 0, 3).data, "old");
  replace("file", "another");
  struct stat before{}, after{}, own{};
  ASSERT_EQ(stat(real("file").c_str(), &before), 0);
  EXPECT_EQ(fchmod(file.get(), 0600), 0);
  EXPECT_EQ(fchown(file.get(), 7, 8), 0);
  const timespec times[2] = {{1, 0}, {2, 0}};
  EXPECT_EQ(futimens(file.get(), times), 0);
  if (fsetxattr(file.get(), "user.a", "b", 1, 0) != 0) {
    EXPECT_EQ(errno, ENOTSUP);
  }
  EXPECT_EQ(ftruncate(file.get(), 1), 0);
  ASSERT_EQ(stat(real("file").c_str(), &after), 0);
  EXPECT_EQ(after.st_mode, before.st_mode);
  EXPECT_EQ(after.st_uid, before.st_uid);
  EXPECT_EQ(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
  EXPECT_EQ(after.st_size, before.st_size);
  char value[4];
  EXPECT_EQ(getxattr(real("file").c_str(), "user.a", value, sizeof value), -1);
  ASSERT_EQ(fstat(file.get(), &own), 0);
  EXPECT_EQ(own.st_mode & 07777, 0600U);
  EXPECT_EQ(own.st_size, 1);
}

TEST_P(OverSources, RoomForAReplacedFileIsNotMadeInTheNewOne) {
  const std::string old_data = pattern(200'000, 1), new_data = pattern(100'000, 2);
  for (const char* const name : {"file", "twin"}) put(name, old_data);
  outlive_attr_ttl();
  ASSERT_TRUE(mount());
  {
    const Descriptor file(at("file"), O_RDWR), twin(at_source("twin"), O_RDWR);
    EXPECT_EQ(read_at(file.get(), 0, 1).data, old_data.substr(0, 1));
    replace("file", new_data);
    EXPECT_TRUE(in_time([&] { return read_file(at("file")).data == new_data; }));
    const auto allocate = [](const Descriptor& in, int mode, off_t offset, off_t length) {
      return fallocate(in.get(), mode, offset, length) == 0 ? 0 : errno;
    };
    for (const auto& [mode, offset, length] :
         {std::tuple(0, 0, 400'000),
          {FALLOC_FL_KEEP_SIZE, 400'000, 100'000},
          {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192},
          {FALLOC_FL_ZERO_RANGE, 16'384, 4096}})
      EXPECT_EQ(allocate(file, mode, offset, length), allocate(twin, mode, offset, length)) << mode;
    EXPECT_EQ(read_at(file.get(), 0, 1 << 20), read_at(twin.get(), 0, 1 << 20));
    for (const std::string& path : {real("file"), at("file")})
      EXPECT_EQ(read_file(path), (FileContent{0, new_data})) << path;
  }
  ASSERT_EQ(mount_->stop(), 0);
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, new_data}));
}

TEST_P(OverSources, ALockOfAReplacedFileIsOfThatFile) {
  const std::function<int(const Descriptor& file)> kinds[] = {
      [](const Descriptor& file) { return flock(file.get(), LOCK_EX | LOCK_NB) == 0 ? 0 : errno; },
      [](const Descriptor& file) {
        struct flock all{};
        all.l_type = F_WRLCK;
        return fcntl(file.get(), F_OFD_SETLK, &all) == 0 ? 0 : errno;
      }};
  put("file", "old");
  ASSERT_TRUE(mount());
  for (const auto& lock : kinds) {
    replace("file", "old");
    outlive_attr_ttl();
    Descriptor first(at("file"), O_RDWR), second(at("file"), O_RDWR);
    EXPECT_EQ(lock(first), 0);
    replace("file", "a new one");
    EXPECT_TRUE(in_time([&] { return read_file(at("file")).data == "a new one"; }));
    EXPECT_EQ(lock(second), EAGAIN);
    // sshfs itself locks what the name leads to.
    if (tells_files_apart()) {
      EXPECT_EQ(lock(Descriptor(at("file"), O_RDWR)), 0);
    }
    first.reset();
    EXPECT_EQ(lock(second), 0);
    second.reset();
    const Descriptor third(at("file"), O_RDWR), fourth(at("file"), O_RDWR);
    EXPECT_EQ(lock(third), 0);
    EXPECT_EQ(lock(fourth), EAGAIN);
  }
}

// What is written to it by one name is read by the other at once, and neither is taken for a change
// made elsewhere.
TEST_P(OverSources, AFileThatOthersRenameIsTheSameFile) {
  if (!tells_files_apart()) GTEST_SKIP() << "its numbers say nothing";
  put("file", std::string(10'000, 'a'));
  put("other", "in the way");
  std::filesystem::create_directory(real("directory"));
  ASSERT_TRUE(mount());
  const Descriptor first(at("file"), O_RDWR);
  ASSERT_TRUE(first.valid());
  EXPECT_EQ(read_file(at("other")).data, "in the way");
  for (const char* const name : {"other", "directory/file"}) {
    std::filesystem::rename(std::string(name) == "other" ? real("file") : real("other"),
                            real(name));
    struct stat held = {}, named = {};
    ASSERT_EQ(fstat(first.get(), &held), 0);
    EXPECT_TRUE(in_time([&] {
      return stat(at(name).c_str(), &named) == 0 && named.st_ino == held.st_ino;
    })) << name;
    const Descriptor second(at(name), O_RDWR);
    ASSERT_TRUE(second.valid()) << name;
    EXPECT_EQ(read_at(second.get(), 0, 20'000).data.size(), 10'000U);
    for (int round = 0; round < 20; ++round) {
      const std::string line = fmt::format("{} {}", name, round);
      const bool by_first = round % 2 == 0;
      const int writer = by_first ? first.get() : second.get();
      ASSERT_EQ(pwrite(writer, line.data(), line.size(), 100 * round),
                static_cast<ssize_t>(line.size()));
      EXPECT_EQ(read_at((by_first ? second : first).get(), 100 * round, line.size()).data, line);
      EXPECT_EQ(read_file(at(name)).data.substr(100 * round, line.size()), line);
    }
  }
  EXPECT_TRUE(in_time([&] { return access(at("file").c_str(), F_OK) != 0; }));
  EXPECT_TRUE(in_time([&] { return access(at("other").c_str(), F_OK) != 0; }));
  EXPECT_EQ(read_file(at("directory/file")), read_file(real("directory/file")));
}

// The kernel drops its pages before it sends such a write and not when it is answered: what the
// reader has read in between is old.
TEST_P(OverSources, AFreshOpenReadsWhatAsynchronousDirectWritesLeft) {
  constexpr size_t kBytes = 512 << 10;
  put("file", std::string(kBytes, 'a'));
  ASSERT_TRUE(mount({"passthrough=off"}));
  std::atomic<bool> is_over{false};
  std::thread buffered([&] {
    const Descriptor reader(at("file"), O_RDONLY);
    while (!is_over.load()) read_at(reader.get(), 0, kBytes);
  });
  const std::unique_ptr<char, decltype(&free)> aligned(
      static_cast<char*>(aligned_alloc(4096, kBytes)), &free);
  const Descriptor writer(at("file"), O_WRONLY | O_DIRECT);
  AsynchronousWrites writes;
  for (int round = 0; round < 40 && !HasFailure(); ++round) {
    const std::string data(kBytes, static_cast<char>('b' + round % 20));
    data.copy(aligned.get(), kBytes);
    writes.submit(writer.get(), {aligned.get(), kBytes});
    writes.expect_done();
    const FileContent read = read_file(at("file"));
    EXPECT_EQ(read.error, 0) << strerror(read.error);
    EXPECT_TRUE(read.data == data) << round << ": " << read.data.find_first_not_of(data[0]);
    EXPECT_TRUE(in_time([&] { return read_file(real("file")).data == data; })) << round;
  }
  is_over.store(true);
  buffered.join();
}

INSTANTIATE_TEST_SUITE_P(Sources, OverSources, all_sources(), source_name);

}  // namespace
}  // namespace larder::testing_support
