// Files that change, are replaced and are written while others have them open.
#include <sys/mount.h>

#include <atomic>
#include <thread>

#include "sources_fixture.h"

namespace larder::testing_support {
namespace {

class InPlace : public OverSources {
 protected:
  // Another open of the file reads the object: the file is resident.
  void open_resident(const std::string& name) {
    ASSERT_TRUE(in_time([&] {
      const int64_t before = mount_->metric("/other/opens/passthrough");
      read_file(at(name));
      return mount_->metric("/other/opens/passthrough") > before;
    }));
  }
  static uint64_t size_of(const Descriptor& file) {
    struct stat now{};
    return fstat(file.get(), &now) == 0 ? static_cast<uint64_t>(now.st_size) : UINT64_MAX;
  }
};

TEST_P(InPlace, EachLineOfALogArrives) {
  std::string log = pattern(9000, 1);
  put("log", log);
  ASSERT_TRUE(mount());
  open_resident("log");
  const int64_t opened = mount_->metric("/source/calls/open");
  const Descriptor reader(at("log"), O_RDONLY);
  // Larder opens the file, too, when it stays open.
  ASSERT_TRUE(in_time([&] { return mount_->metric("/source/calls/open") > opened; }));
  for (int line = 0; line < 3; ++line) {
    const std::string text = "line " + std::to_string(line) + "\n";
    const uint64_t end = log.size();
    grow("log", text);
    log += text;
    FileContent got;
    // It asks for nothing but bytes.
    EXPECT_TRUE(in_time([&] { return (got = read_at(reader.get(), end, 100)).data == text; }))
        << got.data;
    if (tells_files_apart())
      EXPECT_EQ(size_of(reader), log.size());
    else  // the size follows the bytes
      EXPECT_TRUE(in_time([&] { return size_of(reader) == log.size(); }));
  }
  EXPECT_EQ(read_at(reader.get(), 0, 1 << 20), (FileContent{0, log}));
}

// What it costs goes by what is there.
TEST_P(InPlace, AReaderInPassthroughFindsAFileThatGrewByAHole) {
  if (GetParam() == SourceKind::kSshfs) GTEST_SKIP() << "SFTP knows no holes";
  put("file", pattern(9000));
  ASSERT_TRUE(mount());
  open_resident("file");
  const Descriptor reader(at("file"), O_RDONLY);
  const Descriptor behind(real("file"), O_WRONLY);
  constexpr uint64_t kEnd = uint64_t{1} << 40;
  for (const std::string text : {"one", "two"}) {  // at the end of the hole, and before it
    ASSERT_EQ(pwrite(behind.get(), text.data(), 3, kEnd - 3), 3);
    ASSERT_EQ(pwrite(behind.get(), text.data(), 3, 5), 3);
    outlive_attr_ttl();
    EXPECT_TRUE(in_time([&] { return read_at(reader.get(), kEnd - 3, 100).data == text; }));
    EXPECT_TRUE(in_time([&] { return read_at(reader.get(), 5, 3).data == text; }));
    EXPECT_EQ(size_of(reader), kEnd);
  }
  EXPECT_EQ(read_at(reader.get(), kEnd / 2, 100).data, std::string(100, '\0'));
  EXPECT_EQ(read_at(reader.get(), 8, 8992).data, pattern(9000).substr(8));
  EXPECT_LT(mount_->metric("/cache/object_bytes"), 64 << 20);
}

TEST_P(InPlace, WhatIsWrittenOnTheMountAfterAChangeIsSeenAtOnce) {
  std::string data = pattern(9000, 1);
  put("file", data);
  ASSERT_TRUE(mount());
  open_resident("file");
  const Descriptor reader(at("file"), O_RDONLY);
  grow("file", "b");
  data += "b";
  ASSERT_TRUE(in_time([&] { return read_at(reader.get(), 0, 1 << 20).data == data; }));
  for (const int flags : {O_WRONLY, O_RDWR}) {
    const Descriptor writer(at("file"), flags);
    ASSERT_TRUE(writer.valid());
    ASSERT_EQ(pwrite(writer.get(), "NEW", 3, 100 + flags), 3);
    data.replace(static_cast<size_t>(100 + flags), 3, "NEW");
    EXPECT_EQ(read_at(reader.get(), 0, 1 << 20), (FileContent{0, data}));
    EXPECT_EQ(size_of(reader), data.size());
  }
  EXPECT_EQ(read_file(real("file")), (FileContent{0, data}));
}

TEST_P(InPlace, AReaderOfAFileThatIsCutFindsItsEnd) {
  ASSERT_TRUE(mount());
  for (int round = 0; round < 20; ++round) {
    const std::string name = "cut" + std::to_string(round % 2);
    put(name, std::string(300'000, 'a'));
    const Descriptor reader(at(name), O_RDONLY);
    size_of(reader);
    put(name, std::string(100, 'b'));
    const FileContent read = read_at(reader.get(), 0, 300'000);
    EXPECT_EQ(read.error, 0);
    EXPECT_EQ(read.data.find('\0'), std::string::npos) << round << ": " << read.data.size();
    // And soon nothing but what is left.
    const FileContent left{0, std::string(100, 'b')};
    EXPECT_TRUE(in_time([&] { return read_at(reader.get(), 0, 300'000) == left; })) << round;
    EXPECT_TRUE(in_time([&] { return size_of(reader) == left.data.size(); })) << round;
  }
}

// Opens that cannot look a name up again.
class WithoutItsName : public InPlace {
 protected:
  void SetUp() override {
    InPlace::SetUp();
    if (IsSkipped()) return;
    put("conf", "10\n");
    put("bound", "");
    ASSERT_TRUE(mount());
    open_resident("conf");
    bound_ = real("bound");
    ASSERT_EQ(::mount(at("conf").c_str(), bound_.c_str(), nullptr, MS_BIND, nullptr), 0);
  }
  void TearDown() override {
    ::umount2(bound_.c_str(), MNT_DETACH);
    InPlace::TearDown();
  }
  int open_by_number(int fd, int flags) const {
    return open(("/proc/self/fd/" + std::to_string(fd)).c_str(), flags);
  }
  // By the handle of what is mounted there.
  int open_by_handle(int flags) const {
    union {
      file_handle handle;
      char room[sizeof(file_handle) + MAX_HANDLE_SZ];
    } named{};
    named.handle.handle_bytes = MAX_HANDLE_SZ;
    int mount_id = 0;
    EXPECT_EQ(name_to_handle_at(AT_FDCWD, bound_.c_str(), &named.handle, &mount_id, 0), 0)
        << strerror(errno);
    const Descriptor root(mount_->mountpoint(), O_RDONLY | O_DIRECTORY);
    return open_by_handle_at(root.get(), &named.handle, flags);
  }
  // What the writer writes the reader reads, and the source has.
  void expect_written(const Descriptor& writer, const Descriptor& reader, const std::string& text) {
    ASSERT_TRUE(writer.valid()) << strerror(writer.error());
    EXPECT_EQ(pwrite(writer.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    EXPECT_EQ(read_at(reader.get(), 0, 100), (FileContent{0, text}));
    // sshfs answers before its server has the bytes.
    const auto has_come = [&] { return read_file(real("conf")).data == text; };
    EXPECT_TRUE(GetParam() == SourceKind::kSshfs ? in_time(has_come) : has_come()) << text;
  }

  std::string bound_;
};

TEST_P(WithoutItsName, AFileThatIsMountedItselfIsWrittenBesideItsReaders) {
  const Descriptor reader(at("conf"), O_RDONLY);
  const std::function<int(int flags)> ways[] = {
      [&](int flags) { return open(bound_.c_str(), flags); },
      [&](int flags) { return open_by_number(reader.get(), flags); },
      [&](int flags) { return open_by_handle(flags); }};
  int version = 11;
  for (const int flags : {O_WRONLY | O_TRUNC, O_RDWR, O_RDWR | O_TRUNC, O_WRONLY})
    for (const auto& way : ways)
      expect_written(Descriptor(way(flags)), reader, std::to_string(version++) + "\n");
}

// On a local disk that is the old one, on sshfs itself the new one.
TEST_P(WithoutItsName, AFileThatIsMountedItselfOpensOnceItWasReplaced) {
  // Each has another length: within a second sshfs shows no other difference.
  for (const std::string text : {"101\n", "1002\n", "10003\n"}) {
    replace("conf", text);
    outlive_attr_ttl();
    for (const int opened : {open(bound_.c_str(), O_RDONLY), open_by_handle(O_RDONLY)}) {
      const Descriptor file(opened);
      ASSERT_TRUE(file.valid()) << text << strerror(file.error());
      const std::string data = read_at(file.get(), 0, 100).data;
      if (tells_files_apart())
        EXPECT_EQ(data, "10\n");
      else
        EXPECT_THAT(data, testing::AnyOf("10\n", "101\n", "1002\n", "10003\n"));
    }
    EXPECT_EQ(read_file(at("conf")), (FileContent{0, text}));
  }
}

// An overlay with the mount beneath.
class Beneath : public InPlace {
 protected:
  void SetUp() override {
    InPlace::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(upper_.ready()) << upper_.problem();
    put("file", data_);
  }
  void TearDown() override {
    for (auto place = overlays_.rbegin(); place != overlays_.rend(); ++place)
      ::umount2(place->c_str(), MNT_DETACH);
    InPlace::TearDown();
  }
  // Mounts one over the directory and returns where it is.
  std::string overlay(const std::string& lower) {
    const std::string home = upper_.directory() + "/" + std::to_string(overlays_.size());
    for (const char* const name : {"", "/upper", "/work", "/shown"})
      EXPECT_EQ(mkdir((home + name).c_str(), 0755), 0);
    const std::string layers =
        "lowerdir=" + lower + ",upperdir=" + home + "/upper,workdir=" + home + "/work";
    overlays_.push_back(home + "/shown");
    EXPECT_EQ(::mount("larder-test", overlays_.back().c_str(), "overlay", 0, layers.c_str()), 0)
        << strerror(errno);
    return overlays_.back();
  }

  const std::string data_ = pattern(300'000, 1);
  TmpfsDirectory upper_;
  std::vector<std::string> overlays_;
};

TEST_P(Beneath, WhatIsWrittenAboveStaysThere) {
  ASSERT_TRUE(mount());
  open_resident("file");
  const std::string above = overlay(mount_->mountpoint()) + "/file";
  const Descriptor reader(at("file"), O_RDONLY), reader_above(above, O_RDONLY);
  EXPECT_EQ(read_at(reader_above.get(), 0, 1 << 20), (FileContent{0, data_}));
  const Descriptor writer(above, O_RDWR);
  ASSERT_TRUE(writer.valid()) << strerror(writer.error());
  ASSERT_EQ(pwrite(writer.get(), "above", 5, 0), 5);
  EXPECT_EQ(read_file(above), (FileContent{0, "above" + data_.substr(5)}));
  EXPECT_EQ(read_at(reader.get(), 0, 1 << 20), (FileContent{0, data_}));
  EXPECT_EQ(read_file(real("file")), (FileContent{0, data_}));
}

TEST_P(Beneath, TheNextOverlayAboveHasRoomWithoutPassthrough) {
  ASSERT_TRUE(mount({"passthrough=off"}));
  const std::string above = overlay(overlay(mount_->mountpoint()));
  EXPECT_EQ(read_file(above + "/file"), (FileContent{0, data_}));
}

// On others, what was changed while it was open has a second inode in the kernel.
class BeneathOfNumbers : public Beneath {};

TEST_P(BeneathOfNumbers, WhatIsChangedInPlaceIsShownAbove) {
  ASSERT_TRUE(mount());
  const std::string above = overlay(mount_->mountpoint()) + "/file";
  EXPECT_EQ(read_file(above), (FileContent{0, data_}));
  open_resident("file");
  const Descriptor reader(at("file"), O_RDONLY);
  for (uint64_t seed = 2; seed < 6; ++seed) {
    const std::string data = pattern(data_.size() + seed, seed);
    put("file", data);
    outlive_attr_ttl();
    FileContent read;
    EXPECT_TRUE(in_time([&] { return (read = read_file(above)).data == data; }))
        << seed << ": " << strerror(read.error);
  }
}

TEST_P(InPlace, AFileThatIsReplacedAllTheTimeOpens) {
  // Each version is one letter, several blocks of it.
  constexpr size_t kBytes = 300'000;
  const auto version = [](int number) {
    return std::string(kBytes, static_cast<char>('a' + number % 26));
  };
  put("file", version(0));
  ASSERT_TRUE(mount());
  std::atomic<bool> is_over{false};
  std::thread writer([&] {
    for (int number = 1; !is_over.load(); ++number) replace("file", version(number));
  });
  constexpr int kReads = 300;
  for (int i = 0; i < kReads && !HasFailure(); ++i) {
    const FileContent read = read_file(at("file"));
    EXPECT_EQ(read.error, 0) << strerror(read.error);
    EXPECT_EQ(read.data.size(), kBytes);
    EXPECT_EQ(read.data.find_first_not_of(read.data[0]), std::string::npos) << i;
  }
  is_over.store(true);
  writer.join();
}

INSTANTIATE_TEST_SUITE_P(Sources, InPlace, all_sources(), source_name);
INSTANTIATE_TEST_SUITE_P(Sources, WithoutItsName, all_sources(), source_name);
INSTANTIATE_TEST_SUITE_P(Sources, Beneath, all_sources(), source_name);
INSTANTIATE_TEST_SUITE_P(Sources, BeneathOfNumbers,
                         testing::Values(SourceKind::kDisk, SourceKind::kTmpfs), source_name);

}  // namespace
}  // namespace larder::testing_support
