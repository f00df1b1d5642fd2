// Any policy, and the expiry of items besides: its expired() names what is over, also when the
// policy itself does not look at time.  12 bytes a slot more.
//
// Invariant: the slots of items that expire, and no others, are in expiring_.
#pragma once

#include <memory>

#include "evict/ttl.h"

namespace larder::evict {

class Expiring final : public Policy {
 public:
  explicit Expiring(std::unique_ptr<Policy> policy) : policy_(std::move(policy)) {}

  HitLock hit_lock() const override { return policy_->hit_lock(); }
  void reserve(Slot slots) override {
    policy_->reserve(slots);
    expiring_.reserve(slots);
  }
  void insert(Slot slot, const Item& item) override {
    policy_->insert(slot, item);
    if (item.expires_s != 0) expiring_.insert(slot, item);
  }
  void hit(Slot slot) override { policy_->hit(slot); }
  void resize(Slot slot, uint64_t weight_bytes) override { policy_->resize(slot, weight_bytes); }
  void erase(Slot slot) override {
    policy_->erase(slot);
    if (expiring_.contains(slot)) expiring_.erase(slot);
  }
  std::optional<Slot> victim(SlotFilter evictable) override { return policy_->victim(evictable); }
  std::optional<Slot> expired(uint32_t now_s, SlotFilter evictable) override {
    return expiring_.expired(now_s, evictable);
  }

 private:
  const std::unique_ptr<Policy> policy_;
  Ttl expiring_;
};

}  // namespace larder::evict
