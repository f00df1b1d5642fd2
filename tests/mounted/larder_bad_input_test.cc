// Whatever cannot be mounted is refused with one line that says what to do, and leaves nothing
// behind.
#include <sys/mount.h>

#include <set>

#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

using testing::AllOf;
using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr int kOk = 0, kFailed = 1, kUsage = 2, kMountFailed = 32;

class BadInput : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = LarderMount::why_unavailable(); !why.empty()) GTEST_SKIP() << why;
    std::string pattern = fs::temp_directory_path().string() + "/larder-input-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    home_ = fs::canonical(pattern);
    for (const char* name : {"source", "mount", "file.d"}) fs::create_directory(in(name));
    ASSERT_EQ(write_file(in("file"), "x"), 0);
  }
  void TearDown() override {
    if (home_.empty()) return;
    for (const std::string& mounted : mounted_) umount2(mounted.c_str(), MNT_DETACH);
    std::error_code ignored;
    fs::remove_all(home_, ignored);
  }
  std::string in(const std::string& name) const { return home_ + "/" + name; }
  CommandResult mount(const std::string& source, const std::string& mountpoint,
                      const std::vector<std::string>& options = {}, CommandOptions as = {}) {
    std::vector<std::string> words = {LarderMount::program(), "mount", "-o",
                                      "cache_dir=" + in("cache")};
    for (const std::string& option : options) {
      words.push_back("-o");
      words.push_back(option);
    }
    words.push_back(source);
    words.push_back(mountpoint);
    CommandResult result = run_command(words, as);
    if (result.exit_code == kOk) {
      mounted_.insert(mountpoint);
      larders_.push_back(mountpoint);
    }
    return result;
  }
  void expect_refused(const CommandResult& result, int exit_code,
                      const testing::Matcher<std::string>& message) {
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_TRUE(result.err.starts_with("larder: ")) << result.err;
    EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, message);
  }
  void unmount(const std::string& mountpoint) {
    const auto result = run_command({LarderMount::program(), "umount", mountpoint});
    EXPECT_EQ(result.exit_code, kOk) << result.err;
    mounted_.erase(mountpoint);
  }

  std::string home_;
  std::set<std::string> mounted_;
  std::vector<std::string> larders_;
};

TEST_F(BadInput, SourceAndMountpoint) {
  fs::create_directories(in("source/inner"));
  fs::create_directories(in("mount/inner"));
  const struct {
    std::string source, mountpoint, message;
  } cases[] = {
      {in("none"), in("mount"), "does not exist: create it"},
      {in("file"), in("mount"), "is not a directory"},
      {in("file") + "/below", in("mount"), "cannot be reached"},
      {in("source"), in("none"), "does not exist: create it with `mkdir"},
      {in("source"), in("file"), "is not a directory"},
      {in("source"), in("source"), "are the same directory"},
      {in("source"), in("source/inner"), "lies inside SOURCE"},
      {in("mount/inner"), in("mount"), "would hide it"},
  };
  for (const auto& bad : cases) {
    SCOPED_TRACE(bad.source + " on " + bad.mountpoint);
    expect_refused(mount(bad.source, bad.mountpoint), kMountFailed, HasSubstr(bad.message));
  }
  EXPECT_FALSE(fs::exists(in("cache"))) << "a refused mount has made a cache";
}

TEST_F(BadInput, SymlinksDoNotHideNesting) {
  fs::create_directories(in("source/inner"));
  fs::create_directory_symlink(in("source/inner"), in("link"));
  expect_refused(mount(in("source"), in("link")), kMountFailed, HasSubstr("lies inside SOURCE"));
}

TEST_F(BadInput, SwappedArguments) {
  ASSERT_EQ(write_file(in("mount/file"), "x"), 0);
  expect_refused(mount(in("source"), in("mount")), kMountFailed, HasSubstr("-o nonempty"));
  ASSERT_EQ(mount(in("source"), in("mount"), {"nonempty"}).exit_code, kOk);
  unmount(in("mount"));
}

TEST_F(BadInput, AControlDirectoryThatHidesSomethingIsAnnounced) {
  fs::create_directory(in("source/.larder"));
  const auto result = mount(in("source"), in("mount"));
  EXPECT_EQ(result.exit_code, kOk);
  EXPECT_THAT(result.err, HasSubstr("SOURCE has a '.larder' of its own"));
  unmount(in("mount"));
}

TEST_F(BadInput, AlreadyMounted) {
  ASSERT_EQ(mount(in("source"), in("mount")).exit_code, kOk);
  expect_refused(mount(in("source"), in("mount"), {"cache_dir=" + in("cache2")}), kMountFailed,
                 HasSubstr("already is a larder mount"));
  unmount(in("mount"));
  ASSERT_EQ(::mount("none", in("mount").c_str(), "tmpfs", 0, nullptr), 0);
  mounted_.insert(in("mount"));
  expect_refused(mount(in("source"), in("mount")), kMountFailed, HasSubstr("mounted on it"));
}

TEST_F(BadInput, DeadMountPoint) {
  LarderMount larder(in("source"), {"cache_dir=" + in("cache")});
  ASSERT_TRUE(larder.mounted()) << larder.problem();
  ::kill(larder.pid(), SIGKILL);
  int status = 0;
  ASSERT_TRUE(wait_for_exit(larder.pid(), 60'000, &status));
  expect_refused(mount(in("source"), larder.mountpoint()), kMountFailed,
                 HasSubstr("larder umount"));
  // What it says works.
  EXPECT_EQ(run_command({LarderMount::program(), "umount", larder.mountpoint()}).exit_code, kOk);
  const auto again = mount(in("source"), larder.mountpoint());
  EXPECT_EQ(again.exit_code, kOk) << again.err;
  unmount(larder.mountpoint());
}

TEST_F(BadInput, CacheDirectory) {
  const struct {
    std::string cache, message;
  } cases[] = {
      {in("source/cache"), "lies inside SOURCE"},
      {in("mount/cache"), "lies inside MOUNTPOINT"},
      {in("source"), "SOURCE"},
      {in("mount"), "MOUNTPOINT"},
      {home_, "contains SOURCE"},
      {in("file"), "is not a directory"},
      {in("file") + "/below", "is not a directory"},
  };
  for (const auto& bad : cases) {
    SCOPED_TRACE(bad.cache);
    expect_refused(mount(in("source"), in("mount"), {"cache_dir=" + bad.cache}), kMountFailed,
                   HasSubstr(bad.message));
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(in("source")), {}), 0);
}

TEST_F(BadInput, AnEmptyDirectoryWhereTheSourceIsNotMounted) {
  const std::string source = in("source");
  const auto mount_source = [&] {
    EXPECT_EQ(::mount("none", source.c_str(), "tmpfs", 0, nullptr), 0);
    mounted_.insert(source);
    EXPECT_EQ(write_file(source + "/file", "precious"), 0);
  };
  const auto unmount_source = [&] { EXPECT_EQ(umount2(source.c_str(), UMOUNT_NOFOLLOW), 0); };
  const auto mount_and_read = [&] {
    const auto mounted = mount(source, in("mount"));
    ASSERT_EQ(mounted.exit_code, kOk) << mounted.err;
    EXPECT_EQ(read_file(in("mount/file")).data, "precious");
    unmount(in("mount"));
  };
  mount_source();
  mount_and_read();
  unmount_source();
  const auto before = tree_of(in("cache"));
  expect_refused(mount(source, in("mount")), kMountFailed,
                 AllOf(HasSubstr(source), HasSubstr("empty directory"), HasSubstr(in("cache"))));
  EXPECT_EQ(tree_of(in("cache")), before);
  // Another device, maybe another number of the root's inode: the same source.
  mount_source();
  mount_and_read();
  // Moved to where it was mounted.
  unmount_source();
  EXPECT_EQ(write_file(source + "/file", "precious"), 0);
  mount_and_read();
  // And a plain directory may be empty.
  fs::remove(source + "/file");
  EXPECT_EQ(mount(source, in("mount")).exit_code, kOk);
  EXPECT_EQ(std::distance(fs::directory_iterator(in("mount")), {}), 0);
  unmount(in("mount"));
}

TEST_F(BadInput, ReadOnlyCacheDisk) {
  fs::create_directory(in("disk"));
  ASSERT_EQ(::mount("none", in("disk").c_str(), "tmpfs", MS_RDONLY, nullptr), 0);
  mounted_.insert(in("disk"));
  expect_refused(mount(in("source"), in("mount"), {"cache_dir=" + in("disk")}), kMountFailed,
                 HasSubstr("read-only file system"));
  expect_refused(mount(in("source"), in("mount"), {"cache_dir=" + in("disk/cache")}), kMountFailed,
                 HasSubstr("read-only file system"));
}

TEST_F(BadInput, FullCacheDisk) {
  fs::create_directory(in("disk"));
  ASSERT_EQ(::mount("none", in("disk").c_str(), "tmpfs", 0, "size=64k"), 0);
  mounted_.insert(in("disk"));
  write_file(in("disk/filler"), std::string(64 << 10, 'f'));
  expect_refused(mount(in("source"), in("mount"), {"cache_dir=" + in("disk")}), kMountFailed,
                 HasSubstr("full disk"));
}

TEST_F(BadInput, NotReadable) {
  constexpr uid_t kNobody = 65534;
  CommandOptions as;
  as.uid = as.gid = kNobody;
  fs::permissions(home_, fs::perms(0755));
  fs::create_directory(in("nobodys"));
  ASSERT_EQ(chown(in("nobodys").c_str(), kNobody, kNobody), 0);
  ASSERT_EQ(chown(in("mount").c_str(), kNobody, kNobody), 0);
  fs::permissions(in("source"), fs::perms(0700));
  expect_refused(mount(in("source"), in("mount"), {"cache_dir=" + in("nobodys/cache")}, as),
                 kMountFailed, HasSubstr("cannot be read"));
  fs::permissions(in("source"), fs::perms(0755));
  if (run_command({"test", "-w", "/dev/fuse"}, as).exit_code != 0)
    GTEST_SKIP() << "/dev/fuse is not open to users";
  expect_refused(mount(in("source"), in("mount"), {}, as), kMountFailed, HasSubstr("not yours"));
  fs::create_directory(in("roots"));
  expect_refused(mount(in("source"), in("roots"), {"cache_dir=" + in("nobodys/cache")}, as),
                 kMountFailed, HasSubstr("not writable for you"));
}

TEST_F(BadInput, KeysAndValuesAreRefusedByName) {
  const struct {
    std::string option;
    std::vector<std::string> words;
  } cases[] = {
      {"sise=1G", {"sise", "size"}},
      {"nonsense=1", {"nonsense"}},
      {"size=big", {"size", "big", "K, M, G, T"}},
      {"size=1K", {"size", "1K", "16M"}},
      {"size=101%", {"size", "101%"}},
      {"block_size=5000", {"block_size", "5000", "power of two"}},
      {"attr_ttl=soon", {"attr_ttl", "soon", "ms, s, m, h"}},
      {"io=fast", {"io", "fast", "uring"}},
      {"passthrough=maybe", {"passthrough", "maybe", "off"}},
      {"cache_dir=relative", {"cache_dir", "relative", "absolute"}},
      {"control_dir=a/b", {"control_dir", "a/b"}},
  };
  for (const auto& bad : cases) {
    SCOPED_TRACE(bad.option);
    const auto result = mount(in("source"), in("mount"), {bad.option});
    expect_refused(result, kUsage, HasSubstr(bad.words[0]));
    for (const std::string& word : bad.words) EXPECT_THAT(result.err, HasSubstr(word));
  }
  ASSERT_EQ(write_file(in("larder.ini"), "[mount]\nsize = 1G\nattr_tll = 5s\n"), 0);
  const auto result = run_command(
      {LarderMount::program(), "mount", "-c", in("larder.ini"), in("source"), in("mount")});
  expect_refused(result, kUsage, HasSubstr("attr_tll"));
  EXPECT_THAT(result.err, HasSubstr("larder.ini"));
}

TEST_F(BadInput, CommandLines) {
  const std::string larder = LarderMount::program();
  EXPECT_EQ(run_command({larder, "mount"}).exit_code, kUsage);
  EXPECT_EQ(run_command({larder, "mount", in("source")}).exit_code, kUsage);
  EXPECT_EQ(run_command({larder, "mount", "--bogus", in("source"), in("mount")}).exit_code, kUsage);
  EXPECT_EQ(run_command({larder, "mind"}).exit_code, kUsage);
  EXPECT_EQ(run_command({larder}).exit_code, kUsage);
  EXPECT_EQ(run_command({larder, "--help"}).exit_code, kOk);
  EXPECT_EQ(run_command({larder, "--version"}).exit_code, kOk);
  expect_refused(run_command({larder, "umount", in("mount")}), kFailed,
                 HasSubstr("not a larder mount"));
  expect_refused(run_command({larder, "status", in("mount")}), kFailed, HasSubstr("larder"));
  expect_refused(run_command({larder, "warm", in("mount")}), kFailed, HasSubstr("larder"));
}

TEST_F(BadInput, HelpNamesEveryKey) {
  const std::string help = run_command({LarderMount::program(), "mount", "--help"}).out;
  for (const char* key :
       {"cache_dir",   "size",           "memory",         "block_size",      "policy",
        "profile",     "attr_ttl",       "negative_ttl",   "readahead",       "io",
        "passthrough", "source_timeout", "source_threads", "commit_interval", "threads",
        "ro",          "allow_other",    "control_dir",    "log_level",       "log_file"})
    EXPECT_THAT(help, HasSubstr(std::string("  ") + key + " ")) << key;
}

}  // namespace
}  // namespace larder::testing_support
