#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "app/commands.h"
#include "app/exit_codes.h"
#include "app/inspect/check.h"
#include "app/inspect/open_cache.h"
#include "base/log.h"

namespace larder::app {
namespace {

struct CheckArguments {
  bool json = false;
  bool quick = false;
  bool force = false;
  std::string cache_dir;
};

std::string summary(const Report& report, const Counts& counts) {
  const uint64_t findings = report.finding_count();
  const uint64_t notes = report.note_count();
  const auto some = [](uint64_t n, std::string_view thing) {
    return n == 1 ? fmt::format("1 {}", thing) : fmt::format("{} {}s", n, thing);
  };
  return fmt::format("{}, {}: {} of the log, {}, {}, {} verified{}",
                     findings == 0 ? "clean" : some(findings, "finding"), some(notes, "note"),
                     some(counts.records, "record"), some(counts.nodes, "node"),
                     some(counts.objects, "object"), some(counts.bytes_verified, "byte"),
                     counts.blocks_plain == 0 ? ""
                                              : fmt::format(" ({} without a checksum)",
                                                            some(counts.blocks_plain, "block")));
}

void print_text(const Report& report, const Counts& counts) {
  for (const std::string& line : report.more()) fmt::print("{}\n", line);
  fmt::print("{}\n", summary(report, counts));
}

void print_json(const CheckArguments& arguments, const Report& report, const Counts& counts) {
  const control::Value::Object all{{"cache_dir", arguments.cache_dir},
                                   {"is_clean", report.finding_count() == 0},
                                   {"findings", report.finding_count()},
                                   {"notes", report.note_count()},
                                   {"by_kind", report.json_counts()},
                                   {"list", report.json()},
                                   {"counts", counts.json()}};
  fmt::print("{}\n", control::Value(all).to_json(true));
}

int run_check(const CheckArguments& arguments) {
  log::set_level(log::Level::kError);  // what is found is reported here
  const auto disk = open_cache_to_look(arguments.cache_dir, arguments.force);
  if (!disk) {
    complain(disk.error().detail());
    return kExitFailed;
  }
  Report report(arguments.json ? nullptr : stdout);
  Examination examination{.disk = **disk, .report = report, .reads_data = !arguments.quick};
  examine(examination);
  if (arguments.json)
    print_json(arguments, report, examination.counts);
  else
    print_text(report, examination.counts);
  return report.finding_count() == 0 ? kExitOk : kExitFailed;
}

}  // namespace

Command set_up_check(CLI::App& app) {
  const auto arguments = std::make_shared<CheckArguments>();
  app.add_flag("--json", arguments->json, "The findings and the counts, as JSON");
  app.add_flag("--quick", arguments->quick, "Do not read the files' data to verify its checksums");
  app.add_flag("--force", arguments->force,
               "Also of a cache directory that is in use: it changes meanwhile, so findings may be "
               "none");
  app.add_option("CACHE_DIR", arguments->cache_dir, "The cache directory, or a copy of one")
      ->required();
  return [arguments] { return run_check(*arguments); };
}

}  // namespace larder::app
