// A slow source and larder mounts over it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "support/files.h"
#include "support/larder_mount.h"
#include "support/slow_source_mount.h"

namespace larder::testing_support {

// Of a 4 KiB to 1 MiB range this one makes each block one fetch (cache::Options::fetch_bytes_max),
// so that fetches can be counted.
inline constexpr size_t kBlockBytes = 256 << 10;
inline const std::string kBlockSize = "block_size=256K";

class LarderTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = SlowSourceMount::why_unavailable(); !why.empty())
      GTEST_SKIP() << why;
    source_ = std::make_unique<SlowSourceMount>();
    ASSERT_TRUE(source_->mounted()) << source_->problem();
  }
  void TearDown() override {
    if (source_) {
      source_->set("hang", "0");  // or the daemon could not end
      source_->set("down", "0");
    }
    if (HasFailure() && mount_) fprintf(stderr, "larder said:\n%s\n", mount_->log().c_str());
    mount_.reset();
  }

  // Mounts the slow source; false is a failure of the test, too.
  [[nodiscard]] bool mount(const std::vector<std::string>& options = {}) {
    return mount_over(source_->mountpoint(), options);
  }
  // The same over another directory.
  [[nodiscard]] bool mount_over(const std::string& directory,
                                const std::vector<std::string>& options) {
    mount_.reset();
    mount_ = std::make_unique<LarderMount>(directory, options);
    EXPECT_TRUE(mount_->mounted()) << mount_->problem();
    return mount_->mounted();
  }
  // The name on the mount, and in the source's directory.
  std::string at(const std::string& name) const { return mount_->at(name); }
  std::string real(const std::string& name) const { return source_->directory() + "/" + name; }
  // Makes or rewrites a file behind larder's back.
  void put(const std::string& name, std::string_view data) const {
    ASSERT_EQ(write_file(real(name), data), 0) << name;
  }
  // Waits until the last change is old enough that another one would have another time stamp:
  // before that larder does not trust what it has read for longer than it must.
  static void settle() {
    timespec start{}, now{};
    clock_gettime(CLOCK_REALTIME, &start);
    LarderMount::eventually([&] {
      clock_gettime(CLOCK_REALTIME, &now);
      constexpr int64_t kTicksNs = 100'000'000;
      return (now.tv_sec - start.tv_sec) * 1'000'000'000 + now.tv_nsec - start.tv_nsec > kTicksNs;
    });
  }
  // Makes it, reads it through the mount and waits until all of it is in the cache.
  void put_and_cache(const std::string& name, const std::string& data) {
    put(name, data);
    settle();
    EXPECT_EQ(read_file(at(name)), (FileContent{0, data})) << name;
    wait_until_stored();
  }
  // Nothing is being fetched or written behind a reader.
  void wait_until_stored() const {
    EXPECT_TRUE(LarderMount::eventually([&] {
      return mount_->metric("/fetches/in_flight") == 0 &&
             mount_->metric("/io/in_flight_operations") == 0;
    }));
  }
  uint64_t data_requests() const { return source_->requests("read"); }

  std::unique_ptr<SlowSourceMount> source_;
  std::unique_ptr<LarderMount> mount_;
};

// The regular files beneath a directory with their sizes and a hash of their content.
inline std::map<std::string, std::pair<size_t, size_t>> tree_of(const std::string& directory) {
  std::map<std::string, std::pair<size_t, size_t>> tree;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    const std::string data = read_file(entry.path()).data;
    tree[entry.path().string()] = {data.size(), std::hash<std::string>()(data)};
  }
  return tree;
}

}  // namespace larder::testing_support
