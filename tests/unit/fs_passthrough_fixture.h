// CachedFileSystem with a kernel that reads objects by itself: on a real disk, as the kernel needs
// a descriptor.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "fs_fixture.h"
#include "io/posix_disk.h"

namespace larder::fs {

class FsPassthroughTest : public FsTest {
 protected:
  FsPassthroughTest() {
    std::string pattern = ::testing::TempDir() + "fs_XXXXXX";
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    disk_ = std::move(*io::open_posix_disk(root_));
    source_.put("file", testing::random_text(1, 3 * kBlock));
  }
  ~FsPassthroughTest() override {
    fs_.reset();
    std::filesystem::remove_all(root_);
  }
  io::Disk& disk() override { return *disk_; }
  // Resident, and open in passthrough.
  OpenReply open_resident() {
    mount();
    kernel().set_passthrough(true);
    let_ttl_pass();
    read_path("file");
    object_of_ = lookup(kRoot, "file").id.value;
    const OpenReply opened = open(KernelId{object_of_});
    EXPECT_GT(opened.backing_id, 0);
    return opened;
  }

  // Also what begins when something has ended.
  void settle_all() {
    constexpr int kChainMax = 20;
    for (int i = 0; i < kChainMax; ++i) fs_->stack.settle();
  }
  // As the kernel reads it.
  std::string read_object() {
    const NodeId node{KernelId{object_of_}.node()};
    const ObjectId object = files().owner_of(node)->file().object();
    std::ifstream file(root_ + "/" + object::Objects::path(object), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  uint64_t object_of_ = 0;
  std::string root_;
  std::unique_ptr<io::Disk> disk_;
};

}  // namespace larder::fs
