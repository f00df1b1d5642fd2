#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <memory>

#include "app/cache_directory.h"
#include "app/commands.h"
#include "app/exit_codes.h"
#include "app/inspect/describe.h"
#include "app/inspect/node_paths.h"
#include "app/inspect/open_cache.h"
#include "base/log.h"

namespace larder::app {
namespace {

using control::Value;

struct InspectArguments {
  bool json = false;
  bool force = false;
  std::string from;
  uint64_t limit = 100;
  std::string cache_dir;
  std::string what = "stats";
  std::string which;
};

void print_value(const InspectArguments& arguments, const Value& value) {
  if (arguments.json)
    output("{}\n", value.to_json(true));
  else if (const std::string text = value.to_text(); !text.empty())
    output("{}", text);
  else
    output("none\n");
}

std::optional<uint64_t> number_of(std::string_view text, int base) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// A damaged superblock is not the end: the segments' headers say the same.
Result<std::unique_ptr<journal::Reader>> open_reader(io::Disk& disk) {
  const auto files = journal::read_superblock(disk, kJournalName);
  if (files) return std::make_unique<journal::Reader>(*files);
  if (!files.error().is(Code::kCorrupt)) return fail(files.error());
  complain(fmt::format("{}; going by the log's segments", files.error().message()));
  TRY_ASSIGN(const journal::StoreFiles inferred, journal::infer_superblock(disk, kJournalName));
  return std::make_unique<journal::Reader>(inferred);
}

// As far as it goes.
Result<void> load_index(journal::Reader& reader) {
  const auto recovered = reader.recover();
  if (recovered) return {};
  if (recovered.error().is(Code::kNewerFormat)) return fail(recovered.error());
  complain(fmt::format("{}; showing what can be read without it", recovered.error().message()));
  TRY(reader.salvage());
  return {};
}

Result<void> show_log(const InspectArguments& arguments, journal::Reader& reader) {
  const auto from = arguments.from.empty() ? 0 : number_of(arguments.from, 16);
  if (!from)
    return fail(Code::kInvalid, fmt::format("bad value '{}' for --from: accepted: an address, in "
                                            "hexadecimal",
                                            arguments.from));
  uint64_t shown = 0;
  TRY_ASSIGN(const uint64_t next,
             describe_log(reader, *from, arguments.limit, [&](const Value& value) {
               if (arguments.json)
                 output("{}\n", value.to_json(false));
               else
                 output("{}{}", shown == 0 ? "" : "\n", value.to_text());
               ++shown;
             }));
  if (next != 0) complain(fmt::format("there is more: --from {:x}", next));
  return {};
}

Result<NodeId> node_named(const InspectArguments& arguments, journal::Reader& reader) {
  if (const auto id = number_of(arguments.which, 10)) return NodeId{*id};
  return node_at(reader, arguments.which);
}

Result<void> show(const InspectArguments& arguments, io::Disk& disk) {
  TRY_ASSIGN(const auto opened, open_reader(disk));
  journal::Reader& reader = *opened;
  if (arguments.what == "superblock") {
    print_value(arguments, describe_superblock(reader.files()));
    return {};
  }
  if (arguments.what == "checkpoints") {
    TRY_ASSIGN(const Value value, describe_checkpoints(reader));
    print_value(arguments, value);
    return {};
  }
  if (arguments.what == "journal") return show_log(arguments, reader);
  TRY(load_index(reader));
  if (arguments.what == "stats") {
    print_value(arguments, describe_stats(reader));
    return {};
  }
  if (arguments.what == "node") {
    TRY_ASSIGN(const NodeId node, node_named(arguments, reader));
    TRY_ASSIGN(const Value value, describe_node_record(reader, node));
    print_value(arguments, value);
    return {};
  }
  const auto object = number_of(arguments.which, 16);
  TRY_ASSIGN(const Value value, describe_object(disk, reader, ObjectId{*object}));
  print_value(arguments, value);
  return {};
}

// What the parser cannot say; empty: nothing.
std::string usage_error(const InspectArguments& arguments) {
  const bool wants_name = arguments.what == "node" || arguments.what == "object";
  if (wants_name && arguments.which.empty())
    return fmt::format("inspect CACHE_DIR {}: say which: {}", arguments.what,
                       arguments.what == "node" ? "a path in the mount, or an id" : "an id");
  if (!wants_name && !arguments.which.empty())
    return fmt::format("inspect CACHE_DIR {}: takes no '{}'", arguments.what, arguments.which);
  // 0 is what the records of files without an object say.
  if (arguments.what == "object" && number_of(arguments.which, 16).value_or(0) == 0)
    return fmt::format("bad value '{}' for an object: accepted: an id, in hexadecimal, from 1",
                       arguments.which);
  return {};
}

int run_inspect(const InspectArguments& arguments) {
  log::set_level(log::Level::kError);  // what is found is shown here
  if (const std::string error = usage_error(arguments); !error.empty()) {
    complain(error);
    return kExitUsage;
  }
  const auto disk = open_cache_to_look(arguments.cache_dir, arguments.force);
  if (!disk) {
    complain(disk.error().detail());
    return kExitFailed;
  }
  const auto shown = show(arguments, **disk);
  if (shown) return kExitOk;
  complain(shown.error().message());
  return shown.error().is(Code::kInvalid) ? kExitUsage : kExitFailed;
}

}  // namespace

Command set_up_inspect(CLI::App& app) {
  const auto arguments = std::make_shared<InspectArguments>();
  app.add_flag("--json", arguments->json, "As JSON; the journal as one object a line");
  app.add_flag("--force", arguments->force, "Also of a cache directory that is in use");
  app.add_option("--from", arguments->from, "Journal: the address to begin at, in hexadecimal")
      ->type_name("ADDRESS");
  app.add_option("--limit", arguments->limit, "Journal: how many frames and records [100]")
      ->type_name("N");
  app.add_option("CACHE_DIR", arguments->cache_dir, "The cache directory, or a copy of one")
      ->required();
  app.add_option("WHAT", arguments->what,
                 "superblock, checkpoints, journal, node, object or stats [stats]")
      ->check(CLI::IsMember({"superblock", "checkpoints", "journal", "node", "object", "stats"}));
  app.add_option("WHICH", arguments->which,
                 "Of node: a path in the mount, or an id; of object: an id, in hexadecimal");
  return [arguments] { return run_inspect(*arguments); };
}

}  // namespace larder::app
