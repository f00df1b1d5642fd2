// Every operation of the source on a real directory.  Run as root, the last test runs all others
// again as a plain user.
#include "source/source.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/random.h"
#include "source/root.h"
#include "source_fixture.h"

namespace larder::source {
namespace {

namespace fs = std::filesystem;

class SourceOperations : public SourceTest {
 protected:
  SourceOperations() { open(); }

  template <class T>
  static Code error_of(const Result<T>& result) {
    return result ? Code{} : result.error().code();
  }
  buffer::BufferRef buffer_of(const std::string& text) {
    buffer::BufferRef buffer = buffers_.allocate(text.size());
    std::memcpy(buffer.bytes().data(), text.data(), text.size());
    buffer.set_size(text.size());
    return buffer;
  }
  static std::string text_of(const buffer::BufferRef& buffer) {
    const auto data = buffer.data();
    return {reinterpret_cast<const char*>(data.data()), data.size()};
  }
  struct stat lstat_of(const fs::path& path) {
    struct stat stat = {};
    EXPECT_EQ(::lstat((root() / path).c_str(), &stat), 0) << path;
    return stat;
  }
  std::shared_ptr<SourceFile> opened(const std::string& path, int flags) {
    auto result = run(source_->open_file(at(path), flags));
    CHECK(result.has_value());
    return result->file;
  }
};

TEST_F(SourceOperations, AttributesAreThoseOfLstat) {
  write_file(root() / "f", "twelve bytes");
  fs::create_symlink("f", root() / "l");
  fs::create_directory(root() / "d");
  for (const std::string name : {"f", "l", "d", ""}) {
    const struct stat expected = lstat_of(name);
    const auto got = run(source_->attributes(at(name)));
    ASSERT_TRUE(got) << name;
    EXPECT_EQ(got->inode, expected.st_ino);
    EXPECT_EQ(got->mode, expected.st_mode);
    EXPECT_EQ(got->nlink, expected.st_nlink);
    EXPECT_EQ(got->uid, expected.st_uid);
    EXPECT_EQ(got->gid, expected.st_gid);
    EXPECT_EQ(got->size_bytes, static_cast<uint64_t>(expected.st_size));
    EXPECT_EQ(got->blocks_512, static_cast<uint64_t>(expected.st_blocks));
    EXPECT_EQ(got->times.mtime, Timestamp::of(expected.st_mtim));
  }
  EXPECT_EQ(error_of(run(source_->attributes(at("none")))), Code::kNotFound);
  EXPECT_EQ(error_of(try_at("f/x")), code_of(ENOTDIR));
}

TEST_F(SourceOperations, NoPathLeavesTheRoot) {
  TempDirectory outside;
  write_file(outside.path() / "secret", "no");
  fs::create_directory(root() / "d");
  fs::create_symlink(outside.path(), root() / "out");
  fs::create_symlink("d", root() / "in");
  fs::create_symlink(outside.path() / "secret", root() / "file");
  for (const std::string name : {"..", ".", "../x", "d/..", "/etc", "d/x", "d/"}) {
    const Place place{source_->root(), name};
    EXPECT_EQ(error_of(run(source_->attributes(place))), Code::kInvalid) << name;
    EXPECT_EQ(error_of(run(source_->unlink(place))), Code::kInvalid) << name;
    EXPECT_EQ(error_of(run(source_->open_directory(place))), Code::kInvalid) << name;
  }
  EXPECT_EQ(error_of(run(source_->attributes(at(std::string("d\0x", 3))))), Code::kInvalid);
  // A symlink on the way, wherever it leads.
  for (const std::string name : {"out", "in", "file"})
    EXPECT_EQ(error_of(run(source_->open_directory(at(name)))), code_of(ELOOP)) << name;
  // A symlink at the end.
  EXPECT_EQ(error_of(run(source_->open_file(at("file"), O_RDONLY))), code_of(ELOOP));
  EXPECT_EQ(error_of(run(source_->create_file(at("file"), O_RDWR, 0600, self()))), code_of(ELOOP));
  EXPECT_EQ(read_file(outside.path() / "secret"), "no");
}

TEST_F(SourceOperations, ASymlinkIsActedOnItself) {
  write_file(root() / "f", "text");
  const struct stat before = lstat_of("f");
  const auto made = run(source_->make_symlink("f", at("l"), self()));
  ASSERT_TRUE(made);
  EXPECT_TRUE(S_ISLNK(made->mode));
  EXPECT_EQ(run(source_->read_link(at("l"))), "f");
  EXPECT_EQ(error_of(run(source_->read_link(at("f")))), Code::kInvalid);
  AttributeChange change;
  change.mtime = Timestamp{-2, 500'000'000};
  change.atime = Timestamp{0, 5};
  const auto changed = run(source_->set_attributes(at("l"), change));
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->times.mtime, *change.mtime);
  EXPECT_EQ(lstat_of("f").st_mtim.tv_sec, before.st_mtim.tv_sec);
  AttributeChange truncation;
  truncation.size_bytes = 0;
  EXPECT_FALSE(run(source_->set_attributes(at("l"), truncation)));
  EXPECT_EQ(read_file(root() / "f"), "text");
  if (::geteuid() == 0) {
    AttributeChange owner;
    owner.uid = 1234;
    ASSERT_TRUE(run(source_->set_attributes(at("l"), owner)));
    EXPECT_EQ(lstat_of("l").st_uid, *owner.uid);
    EXPECT_EQ(lstat_of("f").st_uid, before.st_uid);
    AttributeChange permissions;
    permissions.permissions = 0;
    EXPECT_FALSE(run(source_->set_attributes(at("l"), permissions)));
    EXPECT_EQ(lstat_of("f").st_mode, before.st_mode);
  }
  ASSERT_TRUE(run(source_->link(at("l"), at("l2"))));
  EXPECT_TRUE(S_ISLNK(lstat_of("l2").st_mode));
  ASSERT_TRUE(run(source_->unlink(at("l"))));
  EXPECT_TRUE(fs::exists(root() / "f"));
}

TEST_F(SourceOperations, ListsNamesInodesAndTypes) {
  fs::create_directory(root() / "d");
  constexpr size_t kEntries = 20'000;
  for (size_t i = 0; i < kEntries; ++i)
    ASSERT_EQ(::mknod((root() / "d" / std::to_string(i)).c_str(), S_IFREG | 0600, 0), 0);
  fs::create_symlink("x", root() / "l");
  ::mkfifo((root() / "p").c_str(), 0600);
  const auto many = run(source_->list(directory_at("d")));
  ASSERT_TRUE(many);
  std::set<std::string> names;
  for (const DirectoryEntry& entry : many->entries) names.insert(entry.name);
  EXPECT_EQ(many->entries.size(), kEntries);
  EXPECT_EQ(names.size(), kEntries);
  const auto few = run(source_->list(directory_at("")));
  ASSERT_TRUE(few);
  EXPECT_EQ(few->entries.size(), 3u);
  for (const DirectoryEntry& entry : few->entries) {
    const struct stat expected = lstat_of(entry.name);
    EXPECT_EQ(entry.inode, expected.st_ino);
    if (entry.type != 0) {
      EXPECT_EQ(entry.type, expected.st_mode & S_IFMT);
    }
  }
  EXPECT_EQ(error_of(try_directory_at("p")), code_of(ENOTDIR));
}

TEST_F(SourceOperations, ReadsAndWritesWholeBuffers) {
  Random random(3);
  std::string text(100'000, '\0');
  for (char& c : text) c = static_cast<char>(random.next());
  auto created = run(source_->create_file(at("f"), O_RDWR, 0644, self()));
  ASSERT_TRUE(created);
  EXPECT_TRUE(S_ISREG(created->attributes.mode));
  EXPECT_EQ(created->attributes.inode, lstat_of("f").st_ino);
  const auto file = created->file;
  ASSERT_TRUE(run(file->write(buffer_of(text), 0)));
  ASSERT_TRUE(run(file->sync(true)));
  ASSERT_TRUE(run(file->sync(false)));
  EXPECT_EQ(read_file(root() / "f"), text);
  EXPECT_EQ(run(file->attributes())->size_bytes, text.size());
  const buffer::BufferRef all = buffers_.allocate(2 * text.size());
  EXPECT_EQ(run(file->read(all, 2 * text.size(), 0)), text.size());
  EXPECT_EQ(text_of(all), text);
  const buffer::BufferRef part = buffers_.allocate(1000);
  EXPECT_EQ(run(file->read(part, 1000, 500)), 1000u);
  EXPECT_EQ(text_of(part), text.substr(500, 1000));
  EXPECT_EQ(run(file->read(part, 1000, text.size())), 0u);
  EXPECT_EQ(part.size(), 0u);
  ASSERT_TRUE(run(source_->sync_directory(directory_at(""), false)));
  ASSERT_TRUE(run(source_->sync_directory(directory_at(""), true)));
}

TEST_F(SourceOperations, OpensAsAsked) {
  write_file(root() / "f", "text");
  EXPECT_EQ(error_of(run(opened("f", O_RDONLY)->write(buffer_of("x"), 0))), code_of(EBADF));
  ASSERT_TRUE(run(opened("f", O_WRONLY | O_APPEND)->write(buffer_of("+"), 0)));
  EXPECT_EQ(read_file(root() / "f"), "text+");
  const auto truncated = run(source_->open_file(at("f"), O_RDWR | O_TRUNC));
  ASSERT_TRUE(truncated);
  EXPECT_EQ(truncated->attributes.size_bytes, 0u);
  EXPECT_EQ(error_of(run(source_->open_file(at("none"), O_RDWR))), Code::kNotFound);
  // Creating: what is there is opened, unless O_EXCL.
  write_file(root() / "f", "text");
  const auto again = run(source_->create_file(at("f"), O_RDWR, 0600, self()));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->attributes.size_bytes, 4u);
  EXPECT_EQ(error_of(run(source_->create_file(at("f"), O_RDWR | O_EXCL, 0600, self()))),
            Code::kExists);
}

TEST_F(SourceOperations, OpensRegularFilesOnly) {
  fs::create_directory(root() / "d");
  ASSERT_EQ(::mkfifo((root() / "p").c_str(), 0600), 0);
  EXPECT_EQ(error_of(run(source_->open_file(at("d"), O_RDONLY))), code_of(EISDIR));
  // Nobody writes into it: an ordinary open would hang.
  EXPECT_EQ(error_of(run(source_->open_file(at("p"), O_RDONLY))), Code::kInvalid);
  EXPECT_FALSE(run(source_->open_file(at("p"), O_WRONLY)));
  EXPECT_FALSE(run(source_->create_file(at("p"), O_RDWR, 0600, self())));
}

TEST_F(SourceOperations, FilesStayReachableAfterUnlink) {
  write_file(root() / "f", "text");
  const auto file = opened("f", O_RDONLY);
  ASSERT_TRUE(run(source_->unlink(at("f"))));
  EXPECT_EQ(run(file->attributes())->nlink, 0u);
  AttributeChange change;
  change.size_bytes = 2;
  change.permissions = 0640;
  const auto changed = run(file->set_attributes(change));  // on a descriptor not open for writing
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->size_bytes, 2u);
  EXPECT_EQ(changed->mode & 07777, 0640u);
}

// Nanoseconds since 1970 in 64 bits end in 2262.
TEST_F(SourceOperations, SetsAndShowsDatesFarAhead) {
  write_file(root() / "f", "text");
  AttributeChange change;
  change.mtime = Timestamp{10'413'792'000, 999'999'999};  // 2300
  change.atime = Timestamp{-1, 1};
  const auto changed = run(source_->set_attributes(at("f"), change));
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->times.mtime, *change.mtime);
  EXPECT_EQ(changed->times.atime, *change.atime);
  EXPECT_EQ(Timestamp::of(lstat_of("f").st_mtim), *change.mtime);
}

TEST_F(SourceOperations, SetsAttributes) {
  write_file(root() / "f", "text");
  fs::create_directory(root() / "d");
  AttributeChange change;
  change.permissions = 04711;
  change.size_bytes = 1000;
  change.mtime = Timestamp{1'234'567'890, 123'456'789};
  change.uid = ::getuid();  // clears set-id bits, which must come back
  const auto changed = run(source_->set_attributes(at("f"), change));
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->mode & 07777, 04711u);
  EXPECT_EQ(changed->size_bytes, 1000u);
  EXPECT_EQ(changed->times.mtime, *change.mtime);
  const Timestamp atime = changed->times.atime;
  AttributeChange now;
  now.mtime_now = true;
  const auto touched = run(source_->set_attributes(at("f"), now));
  ASSERT_TRUE(touched);
  EXPECT_GT(touched->times.mtime, *change.mtime);
  EXPECT_EQ(touched->times.atime, atime);
  AttributeChange permissions;
  permissions.permissions = 0700;
  EXPECT_EQ(run(source_->set_attributes(at("d"), permissions))->mode & 07777, 0700u);
  EXPECT_TRUE(run(source_->set_attributes(at(""), permissions)));
  AttributeChange size;
  size.size_bytes = 1;
  EXPECT_EQ(error_of(run(source_->set_attributes(at("d"), size))), code_of(EISDIR));
  size.size_bytes = UINT64_MAX;
  EXPECT_EQ(error_of(run(source_->set_attributes(at("f"), size))), code_of(EFBIG));
}

TEST_F(SourceOperations, LinksAndUnlinks) {
  write_file(root() / "f", "text");
  ASSERT_TRUE(run(source_->make_directory(at("d"), 0755, self())));
  const auto linked = run(source_->link(at("f"), at("d/g")));
  ASSERT_TRUE(linked);
  EXPECT_EQ(linked->nlink, 2u);
  EXPECT_EQ(linked->inode, lstat_of("f").st_ino);
  EXPECT_EQ(error_of(run(source_->link(at("f"), at("d/g")))), Code::kExists);
  EXPECT_EQ(error_of(run(source_->remove_directory(at("d")))), code_of(ENOTEMPTY));
  EXPECT_EQ(error_of(run(source_->remove_directory(at("f")))), code_of(ENOTDIR));
  EXPECT_EQ(error_of(run(source_->unlink(at("d")))), code_of(EISDIR));
  ASSERT_TRUE(run(source_->unlink(at("d/g"))));
  ASSERT_TRUE(run(source_->remove_directory(at("d"))));
  EXPECT_FALSE(fs::exists(root() / "d"));
  EXPECT_EQ(error_of(run(source_->remove_directory(at("")))), Code::kBusy);
}

TEST_F(SourceOperations, RenamesWithFlags) {
  write_file(root() / "a", "a");
  write_file(root() / "b", "b");
  EXPECT_EQ(error_of(run(source_->rename(at("a"), at("b"), RENAME_NOREPLACE))), Code::kExists);
  ASSERT_TRUE(run(source_->rename(at("a"), at("b"), RENAME_EXCHANGE)));
  EXPECT_EQ(read_file(root() / "a"), "b");
  ASSERT_TRUE(run(source_->rename(at("a"), at("b"), 0)));
  EXPECT_EQ(read_file(root() / "b"), "b");
  EXPECT_FALSE(fs::exists(root() / "a"));
  EXPECT_EQ(error_of(run(source_->rename(at("a"), at("c"), 0))), Code::kNotFound);
  ASSERT_TRUE(run(source_->make_directory(at("d"), 0755, self())));
  ASSERT_TRUE(run(source_->rename(at("b"), at("d/b"), RENAME_NOREPLACE)));
  EXPECT_EQ(error_of(try_at("d/b/e")), code_of(ENOTDIR));
  EXPECT_EQ(error_of(run(source_->rename(at("d"), at("d/e"), 0))), Code::kInvalid);
}

TEST_F(SourceOperations, MakesNodes) {
  const auto fifo = run(source_->make_node(at("p"), S_IFIFO | 0644, 0, self()));
  ASSERT_TRUE(fifo);
  EXPECT_EQ(fifo->mode, S_IFIFO | 0644u);
  const auto file = run(source_->make_node(at("f"), S_IFREG | 0666, 0, self()));
  ASSERT_TRUE(file);
  EXPECT_EQ(file->mode, S_IFREG | 0644u) << "the caller's umask";
  const uint64_t device = makedev(1, 3);
  const auto null = run(source_->make_node(at("n"), S_IFCHR | 0600, device, self()));
  if (::geteuid() != 0) {
    EXPECT_EQ(error_of(null), code_of(EPERM));
  } else {
    ASSERT_TRUE(null);
    EXPECT_EQ(null->rdev, device);
  }
}

TEST_F(SourceOperations, KeepsXattrsOfAllThings) {
  write_file(root() / "f", "text");
  fs::create_directory(root() / "d");
  const std::string large(3000, 'x');
  for (const std::string path : {"f", "d", ""}) {
    if (const auto set = run(source_->set_xattr(at(path), "user.small", "v", 0, {})); !set)
      GTEST_SKIP() << "no user xattrs here: " << set.error().message();
    ASSERT_TRUE(run(source_->set_xattr(at(path), "user.large", large, XATTR_CREATE, {})));
    EXPECT_EQ(error_of(run(source_->set_xattr(at(path), "user.large", "", XATTR_CREATE, {}))),
              Code::kExists);
    EXPECT_EQ(run(source_->get_xattr(at(path), "user.small")), "v");
    EXPECT_EQ(run(source_->get_xattr(at(path), "user.large")), large);
    auto names = run(source_->list_xattr(at(path)));
    ASSERT_TRUE(names);
    std::erase_if(*names, [](const std::string& name) { return !name.starts_with("user."); });
    std::sort(names->begin(), names->end());
    EXPECT_EQ(*names, (std::vector<std::string>{"user.large", "user.small"}));
    ASSERT_TRUE(run(source_->remove_xattr(at(path), "user.small")));
    EXPECT_EQ(error_of(run(source_->get_xattr(at(path), "user.small"))), code_of(ENODATA));
  }
}

TEST_F(SourceOperations, KeepsXattrsOfSymlinksThemselves) {
  if (::geteuid() != 0) GTEST_SKIP() << "symlinks take trusted xattrs only, which want root";
  write_file(root() / "f", "text");
  fs::create_symlink("f", root() / "l");
  if (const auto set = run(source_->set_xattr(at("l"), "trusted.t", "v", 0, {})); !set)
    GTEST_SKIP() << "no trusted xattrs here: " << set.error().message();
  EXPECT_EQ(run(source_->get_xattr(at("l"), "trusted.t")), "v");
  EXPECT_EQ(error_of(run(source_->get_xattr(at("f"), "trusted.t"))), code_of(ENODATA));
  EXPECT_EQ(run(source_->list_xattr(at("l"))), std::vector<std::string>{"trusted.t"});
  EXPECT_TRUE(run(source_->remove_xattr(at("l"), "trusted.t")));
}

TEST_F(SourceOperations, SeeksHolesAndAllocates) {
  auto created = run(source_->create_file(at("f"), O_RDWR, 0644, self()));
  ASSERT_TRUE(created);
  const auto file = created->file;
  constexpr uint64_t kHole = 1 << 20;
  ASSERT_TRUE(run(file->write(buffer_of("end"), kHole)));
  const auto data = run(file->seek(0, SEEK_DATA));
  if (data != kHole) GTEST_SKIP() << "no holes on this file system";
  EXPECT_EQ(run(file->seek(0, SEEK_HOLE)), 0u);
  EXPECT_EQ(run(file->seek(kHole, SEEK_HOLE)), kHole + 3);
  EXPECT_EQ(error_of(run(file->seek(2 * kHole, SEEK_DATA))), code_of(ENXIO));
  EXPECT_EQ(error_of(run(file->seek(0, SEEK_SET))), Code::kInvalid);
  ASSERT_TRUE(run(file->allocate(0, 0, 2 * kHole)));
  EXPECT_EQ(run(file->attributes())->size_bytes, 2 * kHole);
  ASSERT_TRUE(run(file->allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * kHole)));
  EXPECT_EQ(error_of(run(file->seek(0, SEEK_DATA))), code_of(ENXIO));
}

TEST_F(SourceOperations, CopiesRanges) {
  write_file(root() / "a", "0123456789");
  write_file(root() / "b", "abc");
  const auto from = opened("a", O_RDONLY);
  const auto to = opened("b", O_RDWR);
  EXPECT_EQ(run(from->copy_range(4, to, 1, 100)), 6u);
  EXPECT_EQ(read_file(root() / "b"), "a456789");
  EXPECT_EQ(run(from->copy_range(10, to, 1, 100)), 0u);
}

TEST_F(SourceOperations, WalksPathsBeyondPathMax) {
  std::string path;
  std::vector<std::string> made;
  for (int depth = 0; depth < 40; ++depth) {
    path += (depth == 0 ? "" : "/") + std::string(200, static_cast<char>('a' + depth % 26));
    ASSERT_TRUE(run(source_->make_directory(at(path), 0755, self()))) << depth;
    made.push_back(path);
  }
  ASSERT_GT(path.size(), static_cast<size_t>(PATH_MAX));
  const std::string file = path + "/f";
  {
    auto created = run(source_->create_file(at(file), O_RDWR, 0644, self()));
    ASSERT_TRUE(created);
    ASSERT_TRUE(run(created->file->write(buffer_of("deep"), 0)));
  }
  EXPECT_EQ(run(source_->attributes(at(file)))->size_bytes, 4u);
  EXPECT_TRUE(run(source_->open_file(at(file), O_RDONLY)));
  EXPECT_EQ(run(source_->list(directory_at(path)))->entries.size(), 1u);
  ASSERT_TRUE(run(source_->rename(at(file), at(path + "/g"), 0)));
  ASSERT_TRUE(run(source_->rename(at(path + "/g"), at("top"), 0)));
  EXPECT_EQ(read_file(root() / "top"), "deep");
  // A symlink deep below is refused as one on top is.
  ASSERT_TRUE(run(source_->make_symlink(".", at(path + "/l"), self())));
  EXPECT_EQ(error_of(try_at(path + "/l/l")), code_of(ELOOP));
  ASSERT_TRUE(run(source_->unlink(at(path + "/l"))));
  for (auto directory = made.rbegin(); directory != made.rend(); ++directory)
    ASSERT_TRUE(run(source_->remove_directory(at(*directory))));
}

TEST_F(SourceOperations, TakesNamesOfAllLengths) {
  const std::string longest(NAME_MAX, 'n');
  ASSERT_TRUE(run(source_->create_file(at(longest), O_RDWR, 0644, self())));
  EXPECT_TRUE(run(source_->attributes(at(longest))));
  EXPECT_EQ(error_of(run(source_->attributes(at(longest + "n")))), code_of(ENAMETOOLONG));
  EXPECT_EQ(error_of(run(source_->make_directory(at(longest + "n"), 0755, self()))),
            code_of(ENAMETOOLONG));
  EXPECT_EQ(error_of(run(source_->attributes(at(std::string(2 * PATH_MAX, 'n'))))),
            code_of(ENAMETOOLONG));
}

TEST_F(SourceOperations, AnEmptyDirectoryIsNotARemovedOne) {
  fs::create_directory(root() / "d");
  const DirectoryPtr directory = directory_at("d");
  const auto listed = [&] { return run(source_->list(directory)); };
  EXPECT_TRUE(listed()->entries.empty());
  EXPECT_FALSE(listed()->is_removed);
  fs::remove(root() / "d");
  const auto removed = listed();
  ASSERT_TRUE(removed) << removed.error().message();
  EXPECT_TRUE(removed->entries.empty());
  EXPECT_TRUE(removed->is_removed);
}

TEST_F(SourceOperations, ADirectoryIsTheSameWhereverItIsMoved) {
  fs::create_directories(root() / "a/d");
  fs::create_directories(root() / "b/d");
  const DirectoryPtr directory = directory_at("a/d");
  EXPECT_EQ(directory->number(), lstat_of("a/d").st_ino);
  fs::rename(root() / "a", root() / "c");
  fs::rename(root() / "b", root() / "a");
  ASSERT_TRUE(run(source_->make_directory({directory, "made"}, 0755, self())));
  EXPECT_TRUE(fs::exists(root() / "c/d/made"));
  EXPECT_EQ(run(source_->list(directory))->entries.size(), 1U);
  // By its names it is another now.
  Place place = at("a/d");
  place.number = directory->number();
  EXPECT_EQ(error_of(run(source_->open_directory(place))), Code::kStale);
  // Removed: nothing can be made in it.
  fs::remove_all(root() / "c");
  EXPECT_EQ(error_of(run(source_->make_directory({directory, "late"}, 0755, self()))),
            Code::kNotFound);
}

TEST_F(SourceOperations, AnotherFileIsNotChanged) {
  write_file(root() / "f", "one");
  write_file(root() / "g", "other");
  Place place = at("f");
  place.number = lstat_of("g").st_ino;
  AttributeChange change;
  change.permissions = 0600;
  change.size_bytes = 0;
  EXPECT_EQ(error_of(run(source_->set_attributes(place, change))), Code::kStale);
  EXPECT_EQ(error_of(run(source_->open_file(place, O_RDWR | O_TRUNC))), Code::kStale);
  EXPECT_EQ(error_of(run(source_->set_xattr(place, "user.x", "v", 0, {}))), Code::kStale);
  EXPECT_EQ(error_of(run(source_->link(place, at("h")))), Code::kStale);
  EXPECT_EQ(read_file(root() / "f"), "one");
  EXPECT_FALSE(fs::exists(root() / "h"));
  place.number = lstat_of("f").st_ino;
  const auto emptied = run(source_->open_file(place, O_RDWR | O_TRUNC));
  ASSERT_TRUE(emptied);
  EXPECT_EQ(emptied->attributes.size_bytes, 0U);
  EXPECT_TRUE(run(source_->set_attributes(place, change)));
}

TEST_F(SourceOperations, ToldSpaceIsTheFileSystems) {
  struct statvfs expected = {};
  ASSERT_EQ(::statvfs(root().c_str(), &expected), 0);
  const auto space = run(source_->space());
  ASSERT_TRUE(space);
  EXPECT_EQ(space->f_blocks, expected.f_blocks);
  EXPECT_EQ(space->f_frsize, expected.f_frsize);
  EXPECT_EQ(space->f_namemax, expected.f_namemax);
}

TEST_F(SourceOperations, InodesCountWhereTheyAreStable) {
  EXPECT_EQ(inode_numbers_of(0xEF53), InodeNumbers::kStable) << "ext4";
  EXPECT_EQ(inode_numbers_of(0x6969), InodeNumbers::kStable) << "NFS";
  EXPECT_EQ(inode_numbers_of(0x65735546), InodeNumbers::kUnreliable) << "FUSE";
  EXPECT_EQ(inode_numbers_of(0), InodeNumbers::kUnreliable) << "unknown";
  EXPECT_EQ(inode_numbers_of(0x01021994), InodeNumbers::kWhileMounted) << "tmpfs";
  write_file(root() / "f", "text");
  const auto attributes = run(source_->attributes(at("f")));
  ASSERT_TRUE(attributes);
  const Validator validator = source_->validator(*attributes);
  EXPECT_EQ(validator.size_bytes, attributes->size_bytes);
  EXPECT_EQ(validator.inode, source_->inodes_are_stable() ? attributes->inode : 0);
}

TEST_F(SourceOperations, UmaskIsTheCallersAndNotTheProcesss) {
  const mode_t before = ::umask(0);
  Caller caller = self();
  caller.umask = 027;
  const auto file = run(source_->create_file(at("f"), O_RDWR, 0777, caller));
  ASSERT_TRUE(file);
  EXPECT_EQ(file->attributes.mode & 07777, 0750u);
  caller.umask = 0;
  EXPECT_EQ(run(source_->make_directory(at("d"), 0777, caller))->mode & 07777, 0777u);
  EXPECT_EQ(::umask(before), 0u) << "the process's umask is untouched";
}

// New files belong to the caller.  As root only.
class SourceOwnership : public SourceTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root acts as others";
    SourceOptions options;
    options.threads_max = 1;  // so that a forgotten identity would show
    open(options);
  }
  const Caller caller_ = {.uid = 1234, .gid = 2345, .pid = 1, .umask = 022};
};

TEST_F(SourceOwnership, NewFilesBelongToTheCaller) {
  // The root directory is not writable for the caller: the kernel has decided about that at the
  // mount.
  ASSERT_EQ(::chmod(root().c_str(), 0755), 0);
  const auto file = run(source_->create_file(at("f"), O_RDWR, 0666, caller_));
  ASSERT_TRUE(file) << file.error().message();
  const auto directory = run(source_->make_directory(at("d"), 0777, caller_));
  const auto symlink = run(source_->make_symlink("x", at("l"), caller_));
  const auto node = run(source_->make_node(at("n"), S_IFCHR | 0600, makedev(1, 3), caller_));
  ASSERT_TRUE(directory && symlink && node);
  for (const Attributes& made : {file->attributes, *directory, *symlink, *node}) {
    EXPECT_EQ(made.uid, caller_.uid);
    EXPECT_EQ(made.gid, caller_.gid);
  }
  const auto own = run(source_->create_file(at("own"), O_RDWR, 0666, self()));
  ASSERT_TRUE(own);
  EXPECT_EQ(own->attributes.uid, ::geteuid());
  EXPECT_EQ(own->attributes.gid, ::getegid());
  AttributeChange change;  // the thread has all its capabilities back
  change.uid = 1;
  EXPECT_TRUE(run(source_->set_attributes(at("f"), change)));
}

TEST_F(SourceOwnership, AFailedCreationLeavesNoIdentityBehind) {
  fs::create_directory(root() / "gone");
  const Place nowhere = at("gone/d");
  fs::remove(root() / "gone");
  EXPECT_FALSE(run(source_->make_directory(nowhere, 0755, caller_)));
  ASSERT_TRUE(run(source_->make_directory(at("d"), 0755, caller_)));
  EXPECT_FALSE(run(source_->make_directory(at("d"), 0755, caller_)));
  EXPECT_EQ(run(source_->make_directory(at("own"), 0755, self()))->uid, ::geteuid());
}

TEST_F(SourceOwnership, ASetGroupIdDirectoryGivesItsGroup) {
  constexpr gid_t kGroup = 3456;
  fs::create_directory(root() / "d");
  ASSERT_EQ(::chown((root() / "d").c_str(), 0, kGroup), 0);
  ASSERT_EQ(::chmod((root() / "d").c_str(), 02777), 0);
  const auto file = run(source_->create_file(at("d/f"), O_RDWR, 0644, caller_));
  ASSERT_TRUE(file);
  EXPECT_EQ(file->attributes.uid, caller_.uid);
  EXPECT_EQ(file->attributes.gid, kGroup);
  const auto directory = run(source_->make_directory(at("d/e"), 0755, caller_));
  ASSERT_TRUE(directory);
  EXPECT_EQ(directory->gid, kGroup);
  EXPECT_NE(directory->mode & S_ISGID, 0u);
  // Nobody may make a set-group-id program of a group he is not in.
  const auto program = run(source_->create_file(at("d/p"), O_RDWR, 02775, caller_));
  ASSERT_TRUE(program);
  EXPECT_EQ(program->attributes.mode & S_ISGID, 0u);
}

TEST_F(SourceOwnership, DefaultAclsApplyAndReplaceTheUmask) {
  constexpr uint32_t kUser = 4321;
  const struct {
    posix_acl_xattr_header header;
    posix_acl_xattr_entry entries[5];
  } acl = {{POSIX_ACL_XATTR_VERSION},
           {{ACL_USER_OBJ, ACL_READ | ACL_WRITE | ACL_EXECUTE, static_cast<uint32_t>(-1)},
            {ACL_USER, ACL_READ | ACL_WRITE, kUser},
            {ACL_GROUP_OBJ, ACL_READ, static_cast<uint32_t>(-1)},
            {ACL_MASK, ACL_READ | ACL_WRITE, static_cast<uint32_t>(-1)},
            {ACL_OTHER, 0, static_cast<uint32_t>(-1)}}};
  if (::setxattr(root().c_str(), "system.posix_acl_default", &acl, sizeof acl, 0) != 0)
    GTEST_SKIP() << "no ACLs on this file system: " << Error::from_errno().message();
  Caller caller = caller_;
  caller.umask = 077;
  const auto file = run(source_->create_file(at("f"), O_RDWR, 0666, caller));
  ASSERT_TRUE(file);
  EXPECT_EQ(file->attributes.mode & 07777, 0660u);
  EXPECT_EQ(file->attributes.uid, caller.uid);
  const auto access = run(source_->get_xattr(at("f"), "system.posix_acl_access"));
  ASSERT_TRUE(access);
  const std::string_view user(reinterpret_cast<const char*>(&acl.entries[1]),
                              sizeof acl.entries[1]);
  EXPECT_NE(access->find(user), std::string::npos);
}

TEST_F(SourceOwnership, NotActingAsCallerKeepsTheProcesssIds) {
  source_.reset();
  SourceOptions options;
  options.act_as_caller = false;
  open(options);
  const auto file = run(source_->create_file(at("f"), O_RDWR, 0666, caller_));
  ASSERT_TRUE(file);
  EXPECT_EQ(file->attributes.uid, ::geteuid());
  EXPECT_EQ(file->attributes.mode & 07777, 0644u);
}

TEST_F(SourceOwnership, BitsAreTakenFromAModeWhateverTheOthersAre) {
  write_file(root() / "f", "text");
  ASSERT_EQ(::chmod((root() / "f").c_str(), 06654), 0);
  AttributeChange change;
  change.cleared_permissions = S_ISGID;
  change.size_bytes = 1;
  EXPECT_EQ(run(source_->set_attributes(at("f"), change))->mode & 07777, 04654u);
  change.cleared_permissions = S_ISUID | S_ISGID;
  change.permissions = 0600;
  EXPECT_EQ(run(source_->set_attributes(at("f"), change))->mode & 07777, 0600u);
}

// As with a server that lets only the owner change the mode; here an append-only file refuses it.
TEST_F(SourceOwnership, BitsThatMayNotBeTakenAreNoError) {
  const std::string path = root() / "f";
  write_file(path, "text");
  ASSERT_EQ(::chmod(path.c_str(), 06754), 0);
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const auto set_flags = [&](unsigned flags) {
    return ::ioctl(file.get(), FS_IOC_SETFLAGS, &flags);
  };
  if (set_flags(FS_APPEND_FL) != 0) GTEST_SKIP() << "no append-only files here";
  AttributeChange change;
  change.cleared_permissions = S_ISUID | S_ISGID;
  const auto refused = run(source_->set_attributes(at("f"), change));
  EXPECT_TRUE(refused);
  EXPECT_EQ(refused.value_or(Attributes{}).mode & 07777, 06754U);
  // What was asked for besides is still one.
  change.permissions = 0600;
  EXPECT_EQ(run(source_->set_attributes(at("f"), change)).error().code(), static_cast<Code>(EPERM));
  EXPECT_EQ(set_flags(0), 0);
  EXPECT_EQ(run(source_->set_attributes(at("f"), change))->mode & 07777, 0600U);
}

TEST(SourceAsPlainUser, AllOperationsWorkAsWell) {
  if (::geteuid() != 0) GTEST_SKIP() << "is a plain user already";
  constexpr uid_t kNobody = 65534;
  const int program = ::open("/proc/self/exe", O_RDONLY);
  ASSERT_GE(program, 0);
  const pid_t child = ::fork();
  if (child == 0) {
    // /proc/self/fd of a process that changed its uid belongs to root until it executes a program.
    if (::setgroups(0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)
      ::_exit(100);
    const char* const arguments[] = {"unit_source", "--gtest_filter=SourceOperations.*",
                                     "--gtest_brief=1", nullptr};
    ::fexecve(program, const_cast<char* const*>(arguments), environ);
    ::_exit(101);
  }
  ::close(program);
  ASSERT_GT(child, 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace larder::source
