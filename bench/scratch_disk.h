// ScratchDisk: a directory of its own on the disk that is measured ($LARDER_BENCH_DIR, else
// /var/tmp), as an io::Disk; gone with this object.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/check.h"
#include "io/posix_disk.h"

namespace larder::bench {

class ScratchDisk {
 public:
  ScratchDisk() {
    const char* base = getenv("LARDER_BENCH_DIR");
    path_ = std::string(base != nullptr ? base : "/var/tmp") + "/larder-bench-XXXXXX";
    CHECK(mkdtemp(path_.data()) != nullptr);
    auto disk = io::open_posix_disk(path_);
    CHECK_MSG(disk.has_value(), disk.error().message());
    disk_ = std::move(*disk);
  }
  ~ScratchDisk() { std::filesystem::remove_all(path_); }
  ScratchDisk(const ScratchDisk&) = delete;
  ScratchDisk& operator=(const ScratchDisk&) = delete;

  io::Disk& disk() { return *disk_; }

 private:
  std::string path_;
  std::unique_ptr<io::Disk> disk_;
};

}  // namespace larder::bench
