// larder mounts over a directory on the disk, over a tmpfs, and over sshfs, with changes made
// behind larder's source.  A test that uses it is run on each:
//
//   TEST_P(OverSources, ...) {
//     put("file", "old");
//     ASSERT_TRUE(mount());
//     replace("file", "new");                              // outside, by rename
//     EXPECT_TRUE(in_time([&] { return read_file(at("file")).data == "new"; }));
//   }
//   INSTANTIATE_TEST_SUITE_P(Sources, OverSources, all_sources(), source_name);
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/files.h"
#include "support/larder_mount.h"
#include "support/source_directory.h"

namespace larder::testing_support {

class OverSources : public testing::TestWithParam<SourceKind> {
 protected:
  // Short, so that few tests wait for long.
  static constexpr std::chrono::milliseconds kAttrTtl{100};

  void SetUp() override {
    if (const std::string why = LarderMount::why_unavailable(); !why.empty()) GTEST_SKIP() << why;
    if (const std::string why = why_unavailable(GetParam()); !why.empty()) GTEST_SKIP() << why;
    source_ = make_source_directory(GetParam());
    ASSERT_TRUE(source_->ready()) << source_->problem();
  }
  void TearDown() override {
    if (HasFailure() && mount_) fprintf(stderr, "larder said:\n%s\n", mount_->log().c_str());
    mount_.reset();
    source_.reset();
  }

  // Mounts the source, with attr_ttl and negative_ttl of kAttrTtl unless `options` have others;
  // false is a failure of the test, too.
  [[nodiscard]] bool mount(const std::vector<std::string>& options = {}) {
    std::vector<std::string> all = {"attr_ttl=100ms", "negative_ttl=100ms"};
    all.insert(all.end(), options.begin(), options.end());
    mount_.reset();
    mount_ = std::make_unique<LarderMount>(source_->directory(), all);
    EXPECT_TRUE(mount_->mounted()) << mount_->problem();
    return mount_->mounted();
  }
  // Its numbers of inodes stay, as larder sees it.
  bool inodes_are_stable() const { return GetParam() == SourceKind::kDisk; }
  // They tell a file that was changed in place from one that was replaced.
  bool tells_files_apart() const { return GetParam() != SourceKind::kSshfs; }

  // The name on the mount; at larder's source; and behind that, where others change it.
  std::string at(const std::string& name) const { return mount_->at(name); }
  std::string at_source(const std::string& name) const { return source_->directory() + "/" + name; }
  std::string real(const std::string& name) const { return source_->behind() + "/" + name; }

  // Makes a file outside, or empties it and writes it anew in place.
  void put(const std::string& name, std::string_view data) const {
    ASSERT_EQ(write_file(real(name), data), 0) << name;
  }
  // Outside, by another file that is renamed over it: a reader of it goes on with the old one.
  void replace(const std::string& name, std::string_view data) const {
    put(name + ".new", data);
    ASSERT_EQ(rename(real(name + ".new").c_str(), real(name).c_str()), 0) << strerror(errno);
  }
  // Outside, in place: other bytes from `offset` on, the rest stays.
  void rewrite(const std::string& name, std::string_view data, uint64_t offset = 0) const {
    const Descriptor file(real(name), O_WRONLY);
    ASSERT_EQ(pwrite(file.get(), data.data(), data.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(data.size()))
        << name << ": " << strerror(errno);
  }
  // Outside, in place: a shorter end.
  void shrink(const std::string& name, uint64_t size) const {
    ASSERT_EQ(truncate(real(name).c_str(), static_cast<off_t>(size)), 0) << strerror(errno);
  }
  // Outside, in place: more at the end.
  void grow(const std::string& name, std::string_view data) const {
    const Descriptor file(real(name), O_WRONLY | O_APPEND);
    ASSERT_EQ(write(file.get(), data.data(), data.size()), static_cast<ssize_t>(data.size()))
        << name << ": " << strerror(errno);
  }

  // Waits until what was believed up to now has outlived attr_ttl, which the kernel counts in ticks
  // (10 ms at most) and rounds up, and sshfs's clock, which counts seconds, has moved on: the next
  // question goes to the source, however slow this machine is.
  void outlive_attr_ttl() const {
    const std::chrono::milliseconds clock(GetParam() == SourceKind::kSshfs ? 1000 : 0);
    constexpr std::chrono::milliseconds kTicks(30);
    std::this_thread::sleep_for(kAttrTtl + clock + kTicks);
  }
  // Waits until a change has come through, which should be kAttrTtl and a second after it was made;
  // false when it does not within a time that no slow machine needs.
  static bool in_time(const std::function<bool()>& condition) {
    return LarderMount::eventually(condition);
  }

  std::unique_ptr<SourceDirectory> source_;
  std::unique_ptr<LarderMount> mount_;
};

inline auto all_sources() {
  return testing::Values(SourceKind::kDisk, SourceKind::kTmpfs, SourceKind::kSshfs);
}
inline std::string source_name(const testing::TestParamInfo<SourceKind>& tested) {
  return name_of(tested.param);
}

}  // namespace larder::testing_support
