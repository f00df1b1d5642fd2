// A doubly linked list of slots through nodes that its owner keeps in an array by slot: anything
// with `previous` and `next`.
//
// A slot is in one list at most; which one is the owner's to know.  Not thread-safe.
#pragma once

#include "evict/policy.h"

namespace larder::evict {

struct SlotList {
  static constexpr Slot kEnd = UINT32_MAX;  // beyond either end

  template <class Nodes>
  void push_front(Nodes& nodes, Slot slot) {
    nodes[slot].previous = kEnd;
    nodes[slot].next = front;
    (front != kEnd ? nodes[front].previous : back) = slot;
    front = slot;
  }
  // The slot is in this list.  Its own node stays as it is.
  template <class Nodes>
  void remove(Nodes& nodes, Slot slot) {
    const Slot previous = nodes[slot].previous;
    const Slot next = nodes[slot].next;
    (previous != kEnd ? nodes[previous].next : front) = next;
    (next != kEnd ? nodes[next].previous : back) = previous;
  }
  template <class Nodes>
  void move_to_front(Nodes& nodes, Slot slot) {
    if (slot == front) return;
    remove(nodes, slot);
    push_front(nodes, slot);
  }
  // From the back, the first that may go; kEnd: none.
  template <class Nodes>
  Slot last(const Nodes& nodes, SlotFilter may_go) const {
    Slot slot = back;
    while (slot != kEnd && !may_go(slot)) slot = nodes[slot].previous;
    return slot;
  }

  Slot front = kEnd;
  Slot back = kEnd;
};

}  // namespace larder::evict
