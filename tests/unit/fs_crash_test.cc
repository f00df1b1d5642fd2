// The whole stack below fuse/ on a disk that dies: random operations, a crash at any step, and
// afterwards every read must be what the source has.
#include <algorithm>
#include <set>

#include "base/random.h"
#include "base/sanitizer.h"
#include "cache/census.h"
#include "fs_fixture.h"

namespace larder::fs {
namespace {

using testing::random_text;

constexpr uint64_t kSeeds = kIsSanitized ? 30 : 200;

class FsCrashTest : public FsTest, public ::testing::WithParamInterface<uint64_t> {
 protected:
  // What a user sees of the file; an error where there is none.
  Result<std::string> see(const std::string& path) {
    NodeReply at;
    at.id = kRoot;
    for (size_t from = 0; from < path.size();) {
      const size_t slash = std::min(path.find('/', from), path.size());
      const auto found = try_lookup(at.id, path.substr(from, slash - from));
      if (!found) return fail(found.error());
      if (found->id.value == 0) return fail(Code::kNotFound);
      at = note(found);
      from = slash + 1;
    }
    const auto opened = try_open(at.id);
    if (!opened) return fail(opened.error());
    auto text = try_read(*opened);
    release(*opened);
    return text;
  }

  // Opened for reading and read at random places: whatever is cached is right.
  void expect_all_as_source() {
    for (const std::string& path : source_.files()) {
      const auto text = see(path);
      ASSERT_TRUE(text) << path << ": " << text.error().message();
      ASSERT_TRUE(*text == source_.content(path)) << path;
    }
    for (const char* directory : {"", "d"}) {
      std::vector<std::string> names;
      for (const std::string& path : source_.files()) {
        const size_t slash = path.rfind('/');
        const std::string parent = slash == std::string::npos ? "" : path.substr(0, slash);
        if (parent == directory) names.push_back(path.substr(slash + 1));
      }
      if (std::string(directory).empty()) names.push_back("d");
      std::vector<std::string> listed = list(walk(directory).id);
      std::ranges::sort(names);
      std::ranges::sort(listed);
      ASSERT_EQ(listed, names) << "in /" << directory;
    }
  }

  std::string some_path(Random& random) {
    const std::string name = std::string(1, static_cast<char>('p' + random.below(6)));
    return random.one_in(3) ? "d/x" + name : name;
  }

  // One operation, through the mount or at the source.  Errors are allowed: the check is what is
  // seen afterwards.
  void step(Random& random) {
    const std::string path = some_path(random);
    const bool there = source_.exists(path);
    const size_t slash = path.rfind('/');
    const std::string name = path.substr(slash + 1);
    const auto parent = [&] { return slash == std::string::npos ? kRoot : walk("d").id; };
    const uint64_t size_bytes = 1 + random.below(2 * kBlock);
    const std::string bytes = random_text(random.next(), size_bytes);
    const uint64_t size = there ? source_.content(path).size() : 0;
    switch (random.below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
        if (there) {
          const auto text = see(path);
          ASSERT_TRUE(text) << text.error().message();
          ASSERT_TRUE(*text == source_.content(path)) << path;
        }
        break;
      case 4:
      case 5:
      case 6: {
        const int flags =
            O_RDWR | (random.one_in(4) ? O_APPEND : 0) | (random.one_in(6) ? O_TRUNC : 0);
        if (!there) {
          const CreateReply made = create(parent(), name);
          (void)write(made.open, bytes, 0);
          release(made.open);
          break;
        }
        const auto opened = try_open(walk(path).id, flags);
        if (!opened) break;
        for (int i = 0; i < 2; ++i)
          (void)write(*opened, bytes, random.below(size + kBlock), (flags & O_APPEND) != 0);
        ASSERT_EQ(read(*opened), source_.content(path));
        release(*opened);
        break;
      }
      case 7: {
        if (!there) break;
        AttributeChange change;
        if (random.one_in(2))
          change.size_bytes = random.below(size + kBlock);
        else
          change.permissions = 0600 + static_cast<uint32_t>(random.below(8));
        const KernelId id = walk(path).id;
        (void)fs_->run(files().set_attributes(id, change, 0), id);
        break;
      }
      case 8:
        if (there) (void)fs_->run(files().unlink(parent(), name));
        break;
      case 9: {
        const std::string to = some_path(random);
        if (!there) break;
        const size_t to_slash = to.rfind('/');
        const KernelId to_parent = to_slash == std::string::npos ? kRoot : walk("d").id;
        (void)fs_->run(files().rename(parent(), name, to_parent, to.substr(to_slash + 1), 0));
        break;
      }
      case 10:
        if (there) source_.overwrite(path, random.below(size + 1), bytes);
        let_ttl_pass();
        break;
      case 11:
        source_.put(path, bytes);
        let_ttl_pass();
        break;
      case 12:
        let_ttl_pass();
        break;
      case 13:
      case 14:
        fs_->stack.settle();
        fs_->stack.claim();
        break;
      default:
        if (random.one_in(3)) forget_all();
        const KernelId directory = random.one_in(2) ? kRoot : walk("d").id;
        (void)try_list(directory, random.one_in(2));
    }
  }
};

TEST_P(FsCrashTest, WhateverStepTheDiskDiesAtReadsAreWhatTheSourceHas) {
  SCOPED_TRACE("LARDER_TEST_SEED=" + std::to_string(GetParam()));
  Random random(GetParam());
  for (const char* path : {"p", "q", "r", "d/xp", "d/xq"}) {
    const uint64_t size_bytes = random.below(6 * kBlock);
    source_.put(path, random_text(random.next(), size_bytes));
  }
  testing::StackOptions options;
  options.limit_bytes = random.one_in(3) ? 8 * kBlock : 1 << 30;
  options.memory_bytes = random.one_in(2) ? 0 : 1 << 20;
  options.block_shift = static_cast<uint8_t>(12 + random.below(2));
  CoherenceOptions coherence;
  if (random.one_in(4)) coherence.attributes_ttl = std::chrono::minutes(5);
  for (int life = 0; life < 3; ++life) {
    SCOPED_TRACE("life " + std::to_string(life));
    let_ttl_pass();
    mount(coherence, options);
    ASSERT_TRUE(fs_->loaded) << fs_->loaded.error().message();
    const cache::Rules rules;
    cache::Census census(*fs_->stack.catalog, *fs_->stack.residents, rules);
    while (census.step()) continue;
    expect_all_as_source();
    if (HasFatalFailure()) return;
    sim_disk_.crash_at_step(1 + random.below(150));
    // Also on a dead disk reads are right; it is only slower.
    for (int i = 0; i < 60; ++i) {
      step(random);
      if (HasFatalFailure()) return;
      EXPECT_LE(fs_->stack.residents->used_bytes(), options.limit_bytes);
    }
    let_ttl_pass();
    forget_all();
    fs_->stack.settle();
    if (!sim_disk_.is_crashed()) sim_disk_.crash_at_step(1);  // nothing more reaches the disk
    fs_.reset();
    if (random.one_in(2))
      sim_disk_.process_death();
    else
      sim_disk_.power_loss(random.next());
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, FsCrashTest, ::testing::ValuesIn(testing::test_seeds(kSeeds)));

}  // namespace
}  // namespace larder::fs
