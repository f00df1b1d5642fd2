// Failpoints: named places in the code where a test injects a failure, a delay or a crash.
// Disarmed, a failpoint costs one relaxed load.  Thread-safe.
//
//   if (failpoint::hit("journal.sync")) return fail(Code::kIo, "injected");
#pragma once

#include <atomic>
#include <functional>
#include <string>

namespace larder::failpoint {

extern std::atomic<int> g_armed_count;
bool hit_slow(const char* name);

// True when the failpoint is armed and its action says to fail.
inline bool hit(const char* name) {
  return g_armed_count.load(std::memory_order_relaxed) != 0 && hit_slow(name);
}

// The action runs at each hit, on the thread that hits; returning true makes the hit a failure.
void arm(const std::string& name, std::function<bool()> action);
void disarm(const std::string& name);

}  // namespace larder::failpoint
