#include "base/failpoint.h"

#include <map>

#include "base/mutex.h"

namespace larder::failpoint {

std::atomic<int> g_armed_count{0};

namespace {

struct Table {
  Mutex mutex;
  std::map<std::string, std::function<bool()>, std::less<>> actions GUARDED_BY(mutex);
};

Table& table() {
  static Table instance;
  return instance;
}

}  // namespace

bool hit_slow(const char* name) {
  std::function<bool()> action;
  {
    Table& t = table();
    MutexLock lock(t.mutex);
    const auto it = t.actions.find(std::string_view(name));
    if (it == t.actions.end()) return false;
    action = it->second;
  }
  return action();
}

void arm(const std::string& name, std::function<bool()> action) {
  Table& t = table();
  MutexLock lock(t.mutex);
  if (t.actions.insert_or_assign(name, std::move(action)).second)
    g_armed_count.fetch_add(1, std::memory_order_relaxed);
}

void disarm(const std::string& name) {
  Table& t = table();
  MutexLock lock(t.mutex);
  if (t.actions.erase(name) != 0) g_armed_count.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace larder::failpoint
