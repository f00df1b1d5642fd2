#include "app/inspect/node_paths.h"

#include <fmt/format.h>

#include <optional>

#include "catalog/records.h"

namespace larder::app {

Result<std::string> path_of_node(journal::Reader& reader, NodeId node) {
  constexpr int kDepthMax = 4096;  // a circle has no end
  std::string path;
  for (int depth = 0; node != kRootNode; ++depth) {
    TRY_ASSIGN(const auto value, reader.get(catalog::node_key(node)));
    const auto record = value ? catalog::decode_node(*value) : std::nullopt;
    if (!record || !record->parent || depth == kDepthMax)
      return fail(Code::kNotFound, fmt::format("a path of node {}", node.value));
    path = path.empty() ? record->name : fmt::format("{}/{}", record->name, path);
    node = record->parent;
  }
  return path;
}

std::string describe_node(journal::Reader& reader, NodeId node) {
  const auto path = path_of_node(reader, node);
  if (!path) return fmt::format("node {}", node.value);
  return fmt::format("node {} (/{})", node.value, *path);
}

Result<NodeId> node_at(journal::Reader& reader, std::string_view path) {
  NodeId node = kRootNode;
  std::string_view rest = path;
  while (!rest.empty()) {
    const size_t slash = rest.find('/');
    const std::string_view name = rest.substr(0, slash);
    rest.remove_prefix(slash == rest.npos ? rest.size() : slash + 1);
    if (name.empty()) continue;
    TRY_ASSIGN(const auto value, reader.get(catalog::name_key(node, name)));
    const auto record = value ? catalog::decode_name(*value) : std::nullopt;
    if (!record)
      return fail(Code::kNotFound,
                  fmt::format("the catalog has no name '{}' in node {}", name, node.value));
    node = record->node;
  }
  return node;
}

}  // namespace larder::app
