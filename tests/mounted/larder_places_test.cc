// Directories are exchanged while programs work in them by directory descriptor: what is done in
// one is done there and nowhere else, without an error that the source alone would not give.
//
// LARDER_TEST_OPERATIONS=N for more of them.
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <thread>

#include "sources_fixture.h"

namespace larder::testing_support {
namespace {

class Places : public OverSources {
 protected:
  static int operations() {
    const char* const wanted = getenv("LARDER_TEST_OPERATIONS");
    return wanted != nullptr ? atoi(wanted) : 600;
  }
  void SetUp() override {
    OverSources::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    for (const char* const name : {"Y", "Z"}) {
      std::filesystem::create_directories(real(std::string(name) + "/d/e"));
      put(std::string(name) + "/d/e/who", name);
    }
  }
  // Y becomes Z and Z becomes Y.
  void exchange(const std::string& in) const {
    const std::string y = in + "/Y", z = in + "/Z", between = in + "/between";
    if (GetParam() == SourceKind::kSshfs) {  // has no RENAME_EXCHANGE
      EXPECT_EQ(::rename(y.c_str(), between.c_str()), 0) << strerror(errno);
      EXPECT_EQ(::rename(z.c_str(), y.c_str()), 0) << strerror(errno);
      EXPECT_EQ(::rename(between.c_str(), z.c_str()), 0) << strerror(errno);
    } else {
      EXPECT_EQ(renameat2(AT_FDCWD, y.c_str(), AT_FDCWD, z.c_str(), RENAME_EXCHANGE), 0)
          << strerror(errno);
    }
  }
  void work_while_exchanged(const std::string& in);
  // Others come to the same files by path; which ones they find is a matter of the moment.
  void look_up_by_path(const std::atomic<bool>& go, bool always_there) const;
  // What two programs that have the directories open find there, once all is quiet.
  void expect_directories_kept(const std::array<Descriptor, 2>& directories,
                               const std::array<ino_t, 2>& numbers) const;
  static ino_t number_of(const Descriptor& file) {
    struct stat status = {};
    EXPECT_EQ(fstat(file.get(), &status), 0) << strerror(errno);
    return status.st_ino;
  }
  static std::set<std::string> names_in(const std::string& directory) {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory))
      if (!entry.path().filename().string().starts_with(".fuse_hidden"))
        names.insert(entry.path().filename());
    return names;
  }

  std::map<std::string, int> errors_;
  void note(const std::string& what, bool good) {
    if (!good) ++errors_[what + ": " + strerror(errno)];
  }
};

void Places::look_up_by_path(const std::atomic<bool>& go, bool always_there) const {
  while (go) {
    for (const char* const name : {"Y", "Z"}) {
      const FileContent who = read_file(at(std::string(name) + "/d/e/who"));
      if (who.error == 0) {
        EXPECT_TRUE(who.data == "Y" || who.data == "Z") << who.data;
      } else {
        // Exchanged in three steps, or by others: for a moment there is no such directory, or the
        // kernel cannot take over where it is now (docs/SEMANTICS.md).
        EXPECT_FALSE(always_there) << strerror(who.error);
        EXPECT_TRUE(who.error == ENOENT || who.error == ESTALE) << strerror(who.error);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void Places::expect_directories_kept(const std::array<Descriptor, 2>& directories,
                                     const std::array<ino_t, 2>& numbers) const {
  for (size_t which = 0; which < 2; ++which) {
    const std::string owner(1, "YZ"[which]);
    EXPECT_EQ(number_of(directories[which]), numbers[which]);
    const std::string name = read_file(real("Y/d/e/who")).data == owner ? "Y" : "Z";
    const std::string open = "/proc/self/fd/" + std::to_string(directories[which].get());
    const auto is_same = [&] { return names_in(open) == names_in(real(name + "/d/e")); };
    EXPECT_TRUE(in_time(is_same)) << testing::PrintToString(names_in(open));
    if (GetParam() == SourceKind::kSshfs) continue;  // found anew: its numbers say nothing
    struct stat status = {};
    const auto is_by_path = [&] {
      return stat(at(name + "/d/e").c_str(), &status) == 0 && status.st_ino == numbers[which];
    };
    EXPECT_TRUE(in_time(is_by_path)) << name << ": " << status.st_ino << ", " << numbers[which];
  }
}

void Places::work_while_exchanged(const std::string& in) {
  const std::array<std::string, 2> names = {"Y", "Z"};
  const std::array<Descriptor, 2> directories = {Descriptor(at("Y/d/e"), O_RDONLY),
                                                 Descriptor(at("Z/d/e"), O_RDONLY)};
  const std::array<ino_t, 2> numbers = {number_of(directories[0]), number_of(directories[1])};
  std::atomic<bool> go{true};
  const bool by_the_mount = in == mount_->at("");
  const bool always_there = by_the_mount && GetParam() != SourceKind::kSshfs;
  std::thread by_path([&] { look_up_by_path(go, always_there); });
  std::thread mover([&] {
    while (go) {
      exchange(in);
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
    }
  });
  const int rounds = operations() / 8;
  for (int round = 0; round < rounds; ++round) {
    for (size_t which = 0; which < 2; ++which) {
      const int directory = directories[which].get();
      const std::string own = names[which] + std::to_string(round);
      const int made = openat(directory, own.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
      note("create", made >= 0);
      if (made >= 0) note("write", write(made, own.data(), own.size()) > 0);
      if (made >= 0) note("close", close(made) == 0);
      const int who = openat(directory, "who", O_RDONLY);
      note("open", who >= 0);
      char found = 0;
      if (who >= 0) note("read", read(who, &found, 1) == 1);
      if (who >= 0) close(who);
      EXPECT_EQ(std::string(1, found), names[which]);
      const int emptied = openat(directory, own.c_str(), O_WRONLY | O_TRUNC);
      note("truncate", emptied >= 0);
      if (emptied >= 0) close(emptied);
      if (round % 4 != 0) note("unlink", unlinkat(directory, own.c_str(), 0) == 0);
    }
  }
  go = false;
  mover.join();
  by_path.join();
  for (const auto& [what, count] : errors_) ADD_FAILURE() << count << " x " << what;
  for (const std::string& name : names) {
    const std::string directory = real(name) + "/d/e";
    const std::string owner = read_file(directory + "/who").data;
    size_t kept = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      const std::string file = entry.path().filename();
      // sshfs renames what is removed while it is open there, and larder closes in the background.
      if (file == "who" || file.starts_with(".fuse_hidden")) continue;
      ++kept;
      EXPECT_EQ(file.substr(0, 1), owner) << "is in the wrong directory";
    }
    EXPECT_EQ(kept, static_cast<size_t>((rounds + 3) / 4));
  }
  expect_directories_kept(directories, numbers);
}

TEST_P(Places, RenamedOnTheMount) {
  ASSERT_TRUE(mount());
  work_while_exchanged(mount_->at(""));
}

TEST_P(Places, RenamedAtTheSource) {
  ASSERT_TRUE(mount());
  work_while_exchanged(source_->directory());
}

// Not even itself: a program that stands there is told that it is gone, as it is by the source.
TEST_P(Places, ADirectoryRemovedAtTheSourceShowsNothing) {
  ASSERT_TRUE(mount());
  const Descriptor directory(at("Y/d/e"), O_RDONLY | O_DIRECTORY);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(dup(directory.get())), closedir);
  ASSERT_TRUE(stream);
  const auto names = [&] {
    std::set<std::string> found;
    rewinddir(stream.get());
    while (const dirent* entry = readdir(stream.get())) found.insert(entry->d_name);
    return found;
  };
  EXPECT_EQ(names(), (std::set<std::string>{".", "..", "who"}));
  std::filesystem::remove_all(real("Y/d/e"));
  EXPECT_TRUE(in_time([&] { return names().empty(); })) << testing::PrintToString(names());
  EXPECT_LT(openat(directory.get(), "new", O_CREAT | O_WRONLY, 0644), 0);
}

INSTANTIATE_TEST_SUITE_P(Sources, Places, all_sources(), source_name);

}  // namespace
}  // namespace larder::testing_support
