// Chains: the records of one index entry, newest first, as they are read from the files.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/metrics.h"
#include "format/frame.h"
#include "journal/index.h"
#include "journal/segments.h"

namespace larder::journal {

// The newest record of each entry, each shard as it is at one moment; ascending, so that the log is
// read from one end to the other.
std::vector<uint64_t> chain_heads(const Index& index);

// The key's value as of the chain from `address` on; nothing below `begin` counts.
Result<std::optional<std::string>> find_in_chain(Segments& segments, Counter& reads,
                                                 std::string_view key, uint64_t address,
                                                 uint64_t begin);

struct ChainVisitor {
  // Gets the newest record of each live key of a chain, until it returns false.
  std::function<bool(const format::RecordView& record)> visit;
  // Gets each record on the way that cannot be read.  What its chain has behind it is out of reach,
  // so it is passed over: unlike an older record in its place, that is never wrong.  An error ends
  // the walk.
  std::function<Result<void>(uint64_t address, const Error& error)> damaged;
  // Says why a record does not belong into the chain with this head; it counts as damaged then.
  // May be empty.
  std::function<Result<void>(const format::RecordView& record, uint64_t head)> check = {};
};

// The heads in ascending order; nothing below `begin` is looked at.
Result<void> visit_chains(Segments& segments, Counter& reads, std::span<const uint64_t> heads,
                          uint64_t begin, const ChainVisitor& visitor);

}  // namespace larder::journal
