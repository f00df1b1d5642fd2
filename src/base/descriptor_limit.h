// A limit on the descriptors that grow with use: the open files of the source and of the cache.
//
// Some are held open for as long as a program likes (Use::kHeld); others can be closed and opened
// again (Use::kReopenable).  A quarter is kept from the first kind, so that whatever programs hold
// open, there are some to read files with; and while more than half are taken, whoever takes one
// first has some of the second kind closed.
//
// Invariant: a Slot counts from take() until it is destroyed, which is after its descriptor was
// closed.  Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/error.h"
#include "base/metrics.h"

namespace larder {

class DescriptorLimit {
  struct Count {
    std::atomic<uint64_t> taken{0};
  };

 public:
  enum class Use { kHeld, kReopenable };

  // One descriptor's share.  May outlive the limit, as a hung call to the source does.
  class Slot {
   public:
    Slot() = default;  // counts nothing
    Slot(Slot&&) = default;
    Slot& operator=(Slot&& other) noexcept {
      give_back();
      count_ = std::move(other.count_);
      return *this;
    }
    ~Slot() { give_back(); }

   private:
    friend class DescriptorLimit;
    explicit Slot(std::shared_ptr<Count> count) : count_(std::move(count)) {}
    void give_back() {
      if (count_) count_->taken.fetch_sub(1, std::memory_order_relaxed);
      count_.reset();
    }
    std::shared_ptr<Count> count_;
  };

  DescriptorLimit(uint64_t max, Registry& registry);

  // What closes a few reopenable ones; called by take(), on its thread.  Before the first take().
  void set_reclaim(std::function<void()> reclaim) { reclaim_ = std::move(reclaim); }
  // kNoDescriptors at the limit of that use.  Hold no lock that reclaiming takes.
  Result<Slot> take(Use use);
  // Whether what is reopenable may become held.
  bool may_hold() const { return taken() < held_max_; }
  uint64_t taken() const { return count_->taken.load(std::memory_order_relaxed); }
  uint64_t max() const { return max_; }

 private:
  const uint64_t max_;
  const uint64_t held_max_;
  const uint64_t reclaim_above_;
  const std::shared_ptr<Count> count_ = std::make_shared<Count>();
  std::function<void()> reclaim_;
  Counter& refused_;
};

}  // namespace larder
