// What the mount does by itself in the background, and that it does nothing when there is nothing
// to do.
#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

namespace fs = std::filesystem;

// What the daemon has done so far, as the kernel counts it; asking costs the daemon nothing.
struct Doings {
  uint64_t switches = 0;       // of all threads: how often one was woken or lost its turn
  uint64_t written_bytes = 0;  // sent towards the disk
  bool operator==(const Doings&) const = default;
};

uint64_t number_after(const fs::path& file, const std::string& label) {
  std::ifstream lines(file);
  uint64_t number = 0;
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(label)) number += std::stoull(line.substr(label.size()));
  return number;
}

Doings doings_of(pid_t pid) {
  const fs::path process = "/proc/" + std::to_string(pid);
  Doings doings;
  for (const auto& task : fs::directory_iterator(process / "task"))
    doings.switches += number_after(task.path() / "status", "voluntary_ctxt_switches:") +
                       number_after(task.path() / "status", "nonvoluntary_ctxt_switches:");
  doings.written_bytes = number_after(process / "io", "write_bytes:");
  return doings;
}

class Housekeeping : public LarderTest {};

TEST_F(Housekeeping, AnIdleMountDoesNothing) {
  ASSERT_TRUE(mount({"commit_interval=10ms"}));
  for (int i = 0; i < 20; ++i)
    put_and_cache("file" + std::to_string(i), pattern(kBlockBytes, static_cast<size_t>(i)));
  // Two seconds in which nothing at all has happened; larder's own short intervals are over by
  // then.
  bool idle = false;
  EXPECT_TRUE(LarderMount::eventually([&] {
    const Doings before = doings_of(mount_->pid());
    std::this_thread::sleep_for(std::chrono::seconds(2));
    idle = doings_of(mount_->pid()) == before;
    return idle;
  }));
  EXPECT_TRUE(idle);
  EXPECT_EQ(mount_->metric("/janitor/steps/census"), 1);
}

}  // namespace
}  // namespace larder::testing_support
