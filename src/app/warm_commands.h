// The warmer behind the control file's commands.
#pragma once

#include <string>
#include <utility>

#include "control/warm.h"
#include "fs/warmer.h"

namespace larder::app {

class WarmCommands final : public control::WarmService {
 public:
  explicit WarmCommands(fs::Warmer& warmer) : warmer_(warmer) {}
  Result<uint64_t> begin(uint64_t client) override { return warmer_.begin(client); }
  void abandon(uint64_t client) override { warmer_.abandon(client); }
  Result<Added> add(uint64_t job, std::string path, bool recursive) override {
    TRY_ASSIGN(const bool accepted, warmer_.add(job, std::move(path), recursive));
    return accepted ? Added::kAccepted : Added::kBusy;
  }
  Result<void> end(uint64_t job) override { return warmer_.end(job); }
  Result<control::WarmStatus> status(uint64_t job) override {
    TRY_ASSIGN(fs::WarmProgress now, warmer_.progress(job));
    control::WarmStatus status;
    status.files_total = now.files_total;
    status.files_done = now.files_done;
    status.files_missing = now.files_missing;
    status.files_failed = now.files_failed;
    status.bytes_done = now.bytes_done;
    status.bytes_total = now.bytes_total;
    status.done = now.done;
    status.errors = std::move(now.errors);
    status.missing = std::move(now.missing);
    return status;
  }

 private:
  fs::Warmer& warmer_;
};

}  // namespace larder::app
