// What `larder inspect` shows, as values.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "base/error.h"
#include "base/ids.h"
#include "control/value.h"
#include "io/disk.h"
#include "journal/reader.h"

namespace larder::app {

// A key and its value as the catalog has them; bytes that do not decode are said to be such.
control::Value describe_key(std::string_view key);
control::Value describe_value(std::string_view key, std::string_view value);

control::Value describe_superblock(const journal::StoreFiles& files);
Result<control::Value> describe_checkpoints(journal::Reader& reader);
// Calls `show` with up to `limit` frames, records and gaps, from the address on; returns where to
// go on, 0 when the log is over.
Result<uint64_t> describe_log(journal::Reader& reader, uint64_t from, uint64_t limit,
                              const std::function<void(const control::Value&)>& show);
// These want the index: recover() or salvage() of the reader.
Result<control::Value> describe_node_record(journal::Reader& reader, NodeId node);
Result<control::Value> describe_object(io::Disk& disk, journal::Reader& reader, ObjectId object);
control::Value describe_stats(journal::Reader& reader);

}  // namespace larder::app
