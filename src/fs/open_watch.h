// OpenWatch: which open files are to be asked about next, so that what changes at the source
// reaches readers that ask for nothing: in passthrough, or of a mapping.
//
// Each open file has its turn when its attributes are too old to be believed.  The owner asks, a
// bounded number at a time, and gives the file back with the time of its next turn; one that was
// closed meanwhile it forgets.  With nothing open there is nothing to wake for.
//
// A node that went from memory and came again is another one: it has another ticket, and the turn
// of the old one is void.
//
// Invariant: the queue is in the order of turns as they were given, which differ by less than one
// period.  Thread-safe; wake() is called without the lock.
#pragma once

#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "cache/janitor.h"

namespace larder::fs {

class OpenWatch {
 public:
  static constexpr size_t kAskedMax = 8;
  struct Turn {
    NodeId node;
    uint64_t ticket = 0;
    Nanos due{0};
  };

  explicit OpenWatch(Registry& registry)
      : asked_(registry.counter("larder_open_files_asked_total",
                                "Times an open file's attributes were asked for unasked.")),
        watched_(registry.gauge("larder_open_files_watched",
                                "Files whose attributes are asked for unasked.")) {}

  // Called when there is something to wait for; set before the first add().
  void set_wake(std::function<void()> wake) { wake_ = std::move(wake); }
  // The ticket, never 0.
  uint64_t add(NodeId node, Nanos due) {
    uint64_t ticket = 0;
    {
      MutexLock lock(mutex_);
      ticket = ++last_ticket_;
    }
    watched_.add();
    wait_for({node, ticket, due}, 0);
    return ticket;
  }
  // Those whose turn it is, as many as may be asked about now.
  std::vector<Turn> take_due(Nanos now) {
    std::vector<Turn> due;
    MutexLock lock(mutex_);
    while (!waiting_.empty() && waiting_.front().due <= now && taken_ < kAskedMax) {
      due.push_back(waiting_.front());
      waiting_.pop_front();
      ++taken_;
    }
    return due;
  }
  // One that was taken has been asked about, or needed not be.
  void give_back(Turn turn, Nanos due) {
    turn.due = due;
    wait_for(turn, 1);
  }
  // One that was taken is not open any more.
  void forget() {
    watched_.sub();
    bool was_full = false;
    {
      MutexLock lock(mutex_);
      was_full = taken_-- == kAskedMax;
    }
    if (was_full && wake_) wake_();
  }
  void count_asked() { asked_.add(); }
  cache::NextStep next() const {
    MutexLock lock(mutex_);
    if (waiting_.empty() || taken_ >= kAskedMax) return cache::kWhenPoked;
    return waiting_.front().due;
  }

 private:
  void wait_for(const Turn& turn, size_t given_back) {
    bool is_news = false;  // the turn is not behind others that are waited for
    {
      MutexLock lock(mutex_);
      is_news = waiting_.empty() || taken_ == kAskedMax;
      taken_ -= given_back;
      waiting_.push_back(turn);
    }
    if (is_news && wake_) wake_();
  }

  Counter& asked_;
  Gauge& watched_;
  std::function<void()> wake_;
  mutable Mutex mutex_;
  std::deque<Turn> waiting_ GUARDED_BY(mutex_);
  size_t taken_ GUARDED_BY(mutex_) = 0;
  uint64_t last_ticket_ GUARDED_BY(mutex_) = 0;
};

}  // namespace larder::fs
