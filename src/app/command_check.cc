#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "app/cache_directory.h"
#include "app/commands.h"
#include "app/exit_codes.h"
#include "app/inspect/check.h"
#include "app/inspect/open_cache.h"
#include "app/inspect/repair.h"
#include "base/log.h"
#include "io/posix_disk.h"

namespace larder::app {
namespace {

using control::Value;

struct CheckArguments {
  bool json = false;
  bool quick = false;
  bool force = false;
  bool repair = false;
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
  for (const std::string& line : report.more()) output("{}\n", line);
  output("{}\n", summary(report, counts));
}

Value::Object json_of(const CheckArguments& arguments, const Report& report, const Counts& counts) {
  return {{"cache_dir", arguments.cache_dir},
          {"is_clean", report.finding_count() == 0},
          {"findings", report.finding_count()},
          {"notes", report.note_count()},
          {"by_kind", report.json_counts()},
          {"list", report.json()},
          {"counts", counts.json()}};
}

// The directory, locked against mounts; only one that is a cache directory gets a lock file.
Result<std::unique_ptr<io::Disk>> open_to_repair(const std::string& path) {
  TRY(open_cache_to_look(path, false));
  auto disk = io::open_posix_disk_locked(path, kLockName);
  if (!disk) return fail(disk.error().code(), disk.error().message());
  return disk;
}

int run_repair(const CheckArguments& arguments) {
  const auto disk = open_to_repair(arguments.cache_dir);
  if (!disk) {
    complain(disk.error().detail());
    return kExitFailed;
  }
  Report found(arguments.json ? nullptr : write_output);
  Value::Array done;
  const auto repaired = repair(**disk, found, [&](const std::string& what) {
    done.emplace_back(what);
    if (!arguments.json) output("repair: {}\n", control::one_line(what));
  });
  if (!repaired) {
    complain(fmt::format("{}: {}; run it again once that is mended", arguments.cache_dir,
                         repaired.error().message()));
    return kExitFailed;
  }
  const Report& left = repaired->left;
  if (arguments.json) {
    Value::Object all = json_of(arguments, left, repaired->counts);
    all.emplace_back("found", found.json());
    all.emplace_back("done", std::move(done));
    output("{}\n", Value(std::move(all)).to_json(true));
  } else {
    if (!done.empty())
      for (const Finding& finding : left.findings()) output("left: {}\n", finding.line());
    print_text(left, repaired->counts);
  }
  return left.finding_count() == 0 ? kExitOk : kExitFailed;
}

int run_check(const CheckArguments& arguments) {
  log::set_level(log::Level::kError);  // what is found is reported here
  if (arguments.repair && (arguments.quick || arguments.force)) {
    complain(
        "check --repair reads everything, of a directory that nobody uses: not with --quick or "
        "--force");
    return kExitUsage;
  }
  if (arguments.repair) return run_repair(arguments);
  const auto disk = open_cache_to_look(arguments.cache_dir, arguments.force);
  if (!disk) {
    complain(disk.error().detail());
    return kExitFailed;
  }
  Report report(arguments.json ? nullptr : write_output);
  Examination examination{.disk = **disk, .report = report, .reads_data = !arguments.quick};
  examine(examination);
  if (arguments.json)
    output("{}\n", Value(json_of(arguments, report, examination.counts)).to_json(true));
  else
    print_text(report, examination.counts);
  return report.finding_count() == 0 ? kExitOk : kExitFailed;
}

}  // namespace

Command set_up_check(CLI::App& app) {
  const auto arguments = std::make_shared<CheckArguments>();
  app.add_flag("--json", arguments->json, "The findings and the counts, as JSON");
  app.add_flag("--repair", arguments->repair,
               "Keep what is provably good and put the rest right; says each thing it does");
  app.add_flag("--quick", arguments->quick, "Do not read the files' data to verify its checksums");
  app.add_flag("--force", arguments->force,
               "Also of a cache directory that is in use: it changes meanwhile, so findings may be "
               "none");
  app.add_option("CACHE_DIR", arguments->cache_dir, "The cache directory, or a copy of one")
      ->required();
  return [arguments] { return run_check(*arguments); };
}

}  // namespace larder::app
