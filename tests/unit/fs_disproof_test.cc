// An answer of the source that disproves what is remembered ends it.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>

#include <cstring>

#include "fs/disproof.h"
#include "fs_fixture.h"

namespace larder::fs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

Error error_of(int number) {
  return Error(static_cast<Code>(number));
}

TEST(Disproof, SaysWhatEachErrorSays) {
  constexpr Disproof kNothing{};
  constexpr Disproof kTarget{.target = true};
  constexpr Disproof kName{.name = true};
  constexpr Disproof kListing{.listing = true};
  constexpr Disproof kWay{.name = true, .directories = true};
  const std::map<int, std::map<Asked, Disproof>> said = {
      {ENOENT,
       {{Asked::kMake, kWay},
        {Asked::kUnlink, kWay},
        {Asked::kRemoveDirectory, kWay},
        {Asked::kRename, kWay},
        {Asked::kUse, kWay}}},
      {ESTALE,
       {{Asked::kMake, kWay},
        {Asked::kUnlink, kWay},
        {Asked::kRemoveDirectory, kWay},
        {Asked::kRename, kWay},
        {Asked::kUse, kWay}}},
      {ENOTDIR,
       {{Asked::kMake, kWay},
        {Asked::kUnlink, kWay},
        {Asked::kRemoveDirectory, kWay},
        {Asked::kRename, {.target = true, .name = true, .directories = true}},
        {Asked::kUse, kWay}}},
      {EEXIST,
       {{Asked::kMake, kTarget},
        {Asked::kRemoveDirectory, kListing},
        {Asked::kRename, {.target = true, .listing = true}}}},
      {ENOTEMPTY,
       {{Asked::kRemoveDirectory, kListing}, {Asked::kRename, {.target = true, .listing = true}}}},
      {EISDIR,
       {{Asked::kMake, kTarget},
        {Asked::kUnlink, kName},
        {Asked::kRename, {.target = true, .name = true}}}},
      {ELOOP, {{Asked::kMake, kTarget}, {Asked::kUse, kWay}}},
      {ENXIO, {{Asked::kMake, kTarget}}},
      {EACCES, {}},
      {EIO, {}},
      {ENOSPC, {}},
      {EPERM, {}},
      {EROFS, {}},
      {ETIMEDOUT, {}},
  };
  for (const auto& [number, by_asked] : said)
    for (const Asked asked :
         {Asked::kMake, Asked::kUnlink, Asked::kRemoveDirectory, Asked::kRename, Asked::kUse}) {
      const auto row = by_asked.find(asked);
      EXPECT_EQ(disproved_by(asked, error_of(number)),
                row == by_asked.end() ? kNothing : row->second)
          << std::strerror(number) << " to question " << static_cast<int>(asked);
    }
}

// With inode numbers that are stable, and that are not.
class FsDisproof : public FsTest, public ::testing::WithParamInterface<bool> {
 protected:
  FsDisproof() {
    source_.set_inode_numbers(GetParam() ? source::InodeNumbers::kStable
                                         : source::InodeNumbers::kUnreliable);
  }
  void mount_settled() {
    mount();
    let_ttl_pass();
  }
  bool is_there(const std::string& name) {
    const NodeReply reply = lookup(kRoot, name);
    return reply.id.value != 0;
  }
  template <class T>
  Code failure(Result<T> result) {
    EXPECT_FALSE(result);
    return result ? Code{} : result.error().code();
  }
  KernelId id_of(const std::string& path) { return walk(path).id; }
};
INSTANTIATE_TEST_SUITE_P(Inodes, FsDisproof, ::testing::Bool(),
                         [](const auto& inodes) { return inodes.param ? "Stable" : "Unstable"; });

TEST_P(FsDisproof, ANameThatExistsIsThereForWhoWasToldSo) {
  source_.put("other", "x");
  mount_settled();
  const std::vector<std::pair<std::string, std::function<Code(const std::string&)>>> makers = {
      {"mkdir",
       [&](const std::string& name) {
         return failure(fs_->run(files().make_directory(kRoot, name, 0755, kCaller)));
       }},
      {"symlink",
       [&](const std::string& name) {
         return failure(fs_->run(files().make_symlink(kRoot, name, "to", kCaller)));
       }},
      {"mknod",
       [&](const std::string& name) {
         return failure(fs_->run(files().make_node(kRoot, name, S_IFIFO | 0644, 0, kCaller)));
       }},
      {"link",
       [&](const std::string& name) {
         return failure(fs_->run(files().link(id_of("other"), kRoot, name)));
       }},
      {"create",
       [&](const std::string& name) {
         return failure(
             fs_->run(files().create(kRoot, name, 0644, O_CREAT | O_EXCL | O_WRONLY, kCaller)));
       }},
      {"rename", [&](const std::string& name) {
         return failure(fs_->run(files().rename(kRoot, "other", kRoot, name, RENAME_NOREPLACE)));
       }}};
  for (const auto& [name, make] : makers) {
    EXPECT_THAT(list(kRoot), Not(Contains(name)));
    EXPECT_FALSE(is_there(name)) << name;
    source_.mkdir(name);
    EXPECT_FALSE(is_there(name)) << "believed for its time to live";
    kernel().take_expired_entries();
    kernel().take_expirations_of_all();
    EXPECT_EQ(make(name), Code::kExists) << name;
    EXPECT_TRUE(is_there(name)) << name;
    EXPECT_THAT(list(kRoot), Contains(name));
    EXPECT_THAT(kernel().take_expired_entries(), Contains(std::pair(kRoot, name)));
    // The kernel itself drops what it has of a name that it was told exists, but for a rename's.
    EXPECT_EQ(kernel().take_expirations_of_all(), name == "rename" ? 1 : 0) << name;
  }
}

TEST_P(FsDisproof, RenamingOntoADirectoryThatWasNotKnownShowsIt) {
  source_.mkdir("moved");
  source_.put("file", "x");
  mount_settled();
  for (const std::string moved : {"moved", "file"}) {
    const std::string target = "onto-" + moved;
    EXPECT_TRUE(is_there(moved));
    EXPECT_FALSE(is_there(target));
    source_.put(target + "/inside", "x");
    EXPECT_FALSE(fs_->run(files().rename(kRoot, moved, kRoot, target, 0)));
    EXPECT_TRUE(is_there(target));
    EXPECT_EQ(kernel().take_expirations_of_all(), 1);
    EXPECT_THAT(list(id_of(target)), ElementsAre("inside"));
  }
}

TEST_P(FsDisproof, CreatingWhereADirectoryHasComeShowsIt) {
  mount_settled();
  EXPECT_FALSE(is_there("name"));
  source_.mkdir("name");
  source_.fail_next(CallKind::kCreate, static_cast<Code>(EISDIR));
  EXPECT_EQ(failure(fs_->run(files().create(kRoot, "name", 0644, O_CREAT | O_WRONLY, kCaller))),
            static_cast<Code>(EISDIR));
  EXPECT_EQ(kernel().take_expirations_of_all(), 1);
  EXPECT_TRUE(is_there("name"));
}

TEST_P(FsDisproof, CreatingWhereALinkHasComeIsTriedAgainThroughIt) {
  mount_settled();
  EXPECT_FALSE(is_there("name"));
  for (const int exclusive : {0, O_EXCL}) {
    source_.fail_next(CallKind::kCreate, static_cast<Code>(ELOOP));
    EXPECT_EQ(failure(fs_->run(
                  files().create(kRoot, "name", 0644, O_CREAT | O_WRONLY | exclusive, kCaller))),
              exclusive != 0 ? static_cast<Code>(ELOOP) : Code::kStale);
  }
}

TEST_P(FsDisproof, ANameThatIsGoneIsGoneForWhoWasToldSo) {
  mount_settled();
  const std::vector<std::pair<std::string, std::function<Code(KernelId, const std::string&)>>>
      users = {{"chmod",
                [&](KernelId id, const std::string&) {
                  AttributeChange change;
                  change.permissions = 0600;
                  return failure(fs_->run(files().set_attributes(id, change, 0), id));
                }},
               {"truncate",
                [&](KernelId id, const std::string&) {
                  AttributeChange change;
                  change.size_bytes = 0;
                  return failure(fs_->run(files().set_attributes(id, change, 0), id));
                }},
               {"setxattr",
                [&](KernelId id, const std::string&) {
                  return failure(fs_->run(files().set_xattr(id, "user.a", "1", 0, {}), id));
                }},
               {"removexattr",
                [&](KernelId id, const std::string&) {
                  return failure(fs_->run(files().remove_xattr(id, "user.a"), id));
                }},
               {"listxattr",
                [&](KernelId id, const std::string&) {
                  return failure(fs_->run(files().list_xattr(id), id));
                }},
               {"link",
                [&](KernelId id, const std::string&) {
                  return failure(fs_->run(files().link(id, kRoot, "new")));
                }},
               {"unlink",
                [&](KernelId, const std::string& name) {
                  return failure(fs_->run(files().unlink(kRoot, name)));
                }},
               {"rename", [&](KernelId, const std::string& name) {
                  return failure(fs_->run(files().rename(kRoot, name, kRoot, "new", 0)));
                }}};
  for (const auto& [name, use] : users) {
    source_.put(name, "x");
    let_ttl_pass();
    const KernelId id = id_of(name);
    EXPECT_THAT(list(kRoot), Contains(name));
    EXPECT_TRUE(is_there(name));
    source_.remove(name);
    EXPECT_TRUE(is_there(name)) << "believed for its time to live";
    kernel().take_expired_entries();
    EXPECT_EQ(use(id, name), Code::kNotFound) << name;
    EXPECT_THAT(kernel().take_expired_entries(), Contains(std::pair(kRoot, name))) << name;
    EXPECT_FALSE(try_attributes(id)) << name << ": its attributes are still believed";
    EXPECT_FALSE(is_there(name)) << name;
    EXPECT_THAT(list(kRoot), Not(Contains(name)));
  }
}

TEST_P(FsDisproof, ADirectoryThatIsGoneIsGoneForWhoWasToldSo) {
  mount_settled();
  const std::vector<std::pair<std::string, std::function<Code(KernelId)>>> users = {
      {"opendir", [&](KernelId id) { return failure(fs_->run(files().open_directory(id), id)); }},
      {"create",
       [&](KernelId id) {
         return failure(
             fs_->run(files().create(id, "f", 0644, O_CREAT | O_EXCL | O_WRONLY, kCaller), id));
       }},
      {"mkdir",
       [&](KernelId id) {
         return failure(fs_->run(files().make_directory(id, "d", 0755, kCaller), id));
       }},
      {"unlink", [&](KernelId id) { return failure(fs_->run(files().unlink(id, "f"), id)); }},
      {"rmdir", [&](KernelId) {
         return failure(fs_->run(files().remove_directory(id_of("up"), "rmdir")));
       }}};
  for (const auto& [name, use] : users) {
    source_.mkdir("up/" + name);
    let_ttl_pass();
    const KernelId id = id_of("up/" + name);
    source_.remove("up/" + name);
    source_.remove("up");
    EXPECT_TRUE(is_there("up"));
    kernel().take_expirations_of_all();
    EXPECT_EQ(use(id), Code::kNotFound) << name;
    EXPECT_GT(kernel().take_expirations_of_all(), 0) << name;
    EXPECT_FALSE(is_there("up")) << name;
  }
}

TEST_P(FsDisproof, ADirectoryThatIsNotEmptyIsListedAnew) {
  source_.mkdir("d");
  source_.set_time_granularity(std::chrono::hours(24));  // its times say nothing
  mount_settled();
  const KernelId id = id_of("d");
  source_.put("d/first", "x");
  EXPECT_THAT(list(id), ElementsAre("first"));
  source_.put("d/second", "x");
  EXPECT_THAT(list(id), ElementsAre("first"));
  EXPECT_TRUE(fs_->run(files().unlink(id, "first"), id));
  EXPECT_EQ(failure(fs_->run(files().remove_directory(kRoot, "d"))), static_cast<Code>(ENOTEMPTY));
  EXPECT_THAT(list(id), ElementsAre("second"));
}

TEST_P(FsDisproof, AnAbsenceThatAChangeHasOvertakenIsNotGivenToTheKernel) {
  mount_settled();
  auto held = source_.hold(CallKind::kAttributes, Stage::kAfter);
  auto asking = fs_->start(kRoot, files().lookup(kRoot, "name", 1));
  held->wait_for_calls(1);
  source_.put("name", "x");
  EXPECT_EQ(failure(fs_->run(files().make_directory(kRoot, "name", 0755, kCaller))), Code::kExists);
  held->release();
  const auto reply = asking.get();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->id.value, 0U);
  EXPECT_EQ(reply->entry_ttl, Nanos(0));
}

}  // namespace
}  // namespace larder::fs
