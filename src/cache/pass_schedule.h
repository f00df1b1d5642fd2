// PassSchedule: when a duty goes once over the whole cache.
//
// A pass begins so long after the last one ended, counted over mounts, and goes on only while the
// mount is in use; one that is asked for, or that a crash made urgent, begins at once and does not
// pause.  When the last one ended is kept in the catalog, under the duty's name.
//
// request() and answered() are thread-safe; the rest is the janitor's.
#pragma once

#include <atomic>
#include <string>

#include "base/clock.h"
#include "cache/activity.h"
#include "cache/janitor.h"
#include "catalog/catalog.h"

namespace larder::cache {

class PassSchedule {
 public:
  PassSchedule(catalog::Catalog& catalog, const std::string& name, Nanos period, Activity& activity,
               const Clock& clock);

  // Asks for a pass that begins after the call; the janitor is to be poked.  Gives the request's
  // number.
  uint64_t request() { return requested_.fetch_add(1) + 1; }
  // The highest request that a pass, begun after it, has answered by its end; 0: none.
  uint64_t answered() const { return answered_.load(); }

  // The next pass does not wait for anything.
  void make_urgent() { is_urgent_ = true; }
  // Whether to begin a pass now, or go on with the one that has begun; if not, when to ask again.
  bool may_run();
  NextStep ask_again() const { return ask_again_; }
  bool is_requested() const { return requested_.load() > answered_.load(); }
  // A pass was asked for after the one under way had begun.
  bool is_overtaken() const { return requested_.load() > covers_; }
  // Somebody waits for the pass under way: it need not spare the disk.
  bool is_awaited() const { return covers_ > answered_.load(); }
  void begin();
  // One that is no answer to a request.
  void begin_urgent();
  // The pass is over: adds what is to be remembered of it to the batch; then end().
  void remember_end(catalog::Batch& batch);
  void end();
  // It is over and of no use: one that was due still is, but not sooner than that.
  void end_in_vain(Nanos retry_after);
  Nanos ended_at() const { return ended_at_; }  // wall clock; 0: never

 private:
  Nanos until_due() const;

  Activity& activity_;
  const std::string record_;
  const Nanos period_;
  const Clock& clock_;
  std::atomic<uint64_t> requested_{0};
  std::atomic<uint64_t> answered_{0};
  uint64_t covers_ = 0;  // requests that the pass under way answers
  Nanos ended_at_{0};
  Nanos not_before_{0};  // monotonic
  bool is_running_ = false;
  bool is_urgent_ = false;
  NextStep ask_again_;
};

}  // namespace larder::cache
