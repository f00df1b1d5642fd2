// Paths of nodes, for messages.
#pragma once

#include <string>

#include "base/ids.h"
#include "journal/reader.h"

namespace larder::app {

// "node 12 (a/b)", as far as the records of its parents lead.
std::string describe_node(journal::Reader& reader, NodeId node);
// The node's path beneath the root; empty for the root.  kNotFound when the records do not lead to
// it.
Result<std::string> path_of_node(journal::Reader& reader, NodeId node);
// The node that the path leads to by the catalog's names.  kNotFound names the first part that is
// missing.
Result<NodeId> node_at(journal::Reader& reader, std::string_view path);

}  // namespace larder::app
