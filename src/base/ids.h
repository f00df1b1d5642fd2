// Strong types for the ids that cross modules.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

#include "base/checksum.h"

namespace larder {

// A 64-bit id that does not mix with others.  0 means none.
template <class Tag>
struct Id {
  uint64_t value = 0;

  constexpr auto operator<=>(const Id&) const = default;
  constexpr explicit operator bool() const { return value != 0; }
};

// A node of the catalog: never reused, also across restarts.  kRootNode is the mount's root.
using NodeId = Id<struct NodeTag>;
inline constexpr NodeId kRootNode{1};

// An object: one local copy of one version of a file's data.  Never reused.
using ObjectId = Id<struct ObjectTag>;

}  // namespace larder

template <class Tag>
struct std::hash<larder::Id<Tag>> {
  size_t operator()(larder::Id<Tag> id) const noexcept { return larder::mix64(id.value); }
};
