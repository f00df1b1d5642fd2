#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <memory>

#include "app/commands.h"
#include "app/exit_codes.h"
#include "app/trace_file.h"
#include "app/values.h"
#include "evict/patterns.h"
#include "evict/registry.h"
#include "evict/simulation.h"

namespace larder::app {
namespace {

struct SimulateArguments {
  std::string trace;
  std::string pattern;
  std::vector<std::string> policies;
  std::vector<std::string> sizes;
  std::string ttl = "0";
  bool json = false;
};

struct Row {
  uint64_t capacity = 0;
  std::string policy;
  evict::HitCounts counts;
};

constexpr std::string_view kOptimum = "optimum";

std::unexpected<Error> usage(std::string line) {
  return fail(Code::kInvalid, std::move(line));
}

struct Plan {
  std::vector<std::string> policies;
  std::vector<uint64_t> capacities;
  uint32_t ttl_s = 0;
};

Result<Plan> make_plan(const SimulateArguments& arguments) {
  Plan plan;
  if (arguments.trace.empty() == arguments.pattern.empty())
    return usage("TRACE or --pattern is needed, one of them");
  plan.policies = arguments.policies;
  if (plan.policies.empty())
    for (const std::string_view name : evict::policy_names()) plan.policies.emplace_back(name);
  for (const std::string& name : plan.policies) TRY(evict::make_policy(name));
  for (const std::string& text : arguments.sizes) {
    const auto capacity = parse_size(text);
    if (!capacity || *capacity == 0)
      return usage(
          fmt::format("bad value '{}' for --size: accepted: a number of at least 1 (K, M, "
                      "G, T)",
                      text));
    plan.capacities.push_back(*capacity);
  }
  const auto ttl = parse_duration(arguments.ttl);
  if (!ttl)
    return usage(fmt::format("bad value '{}' for --ttl: {}accepted: a time (ms, s, m, h)",
                             arguments.ttl, missing_unit(arguments.ttl)));
  plan.ttl_s = static_cast<uint32_t>(std::chrono::ceil<std::chrono::seconds>(*ttl).count());
  return plan;
}

Result<std::vector<Row>> simulate(const evict::Trace& trace, const Plan& plan) {
  std::vector<Row> rows;
  for (const uint64_t capacity : plan.capacities) {
    for (const std::string& name : plan.policies) {
      TRY_ASSIGN(const auto policy, evict::make_policy(name));
      rows.push_back({capacity, name, evict::replay(trace, *policy, capacity, plan.ttl_s)});
    }
    rows.push_back({capacity, std::string(kOptimum), evict::optimum(trace, capacity)});
  }
  return rows;
}

void print_table(const evict::Trace& trace, const Plan& plan, const std::vector<Row>& rows,
                 bool of_bytes) {
  output("{:>14}", "size");
  for (const std::string& name : plan.policies) output(" {:>9}", name);
  output(" {:>9}\n", kOptimum);
  const size_t columns = plan.policies.size() + 1;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i % columns == 0)
      output("{:>14}", trace.sizes_bytes.empty() ? fmt::to_string(rows[i].capacity)
                                                 : format_size(rows[i].capacity));
    const auto& counts = rows[i].counts;
    output(" {:>8.2f}%", 100 * (of_bytes ? counts.byte_hit_ratio() : counts.hit_ratio()));
    if (i % columns == columns - 1) output("\n");
  }
}

void print_tables(const evict::Trace& trace, const Plan& plan, const std::vector<Row>& rows) {
  const bool has_sizes = !trace.sizes_bytes.empty();
  output("{} requests for {} keys; hit ratio by size{}\n", trace.keys.size(), trace.distinct,
         has_sizes ? " in bytes (the optimum is an upper bound)" : " in items");
  print_table(trace, plan, rows, false);
  if (!has_sizes) return;
  output("\nbyte hit ratio by size in bytes (the optimum is an upper bound)\n");
  print_table(trace, plan, rows, true);
}

void print_json(const evict::Trace& trace, const std::vector<Row>& rows) {
  std::vector<std::string> results;
  for (const Row& row : rows) {
    const bool is_bound = row.policy == kOptimum && !trace.sizes_bytes.empty();
    results.push_back(fmt::format(
        R"({{"policy":"{}","size":{},"hit_ratio":{:.6f},"byte_hit_ratio":{:.6f},"hits":{},"requests":{}{}}})",
        row.policy, row.capacity, row.counts.hit_ratio(), row.counts.byte_hit_ratio(),
        row.counts.hits, row.counts.requests, is_bound ? R"(,"upper_bound":true)" : ""));
  }
  output("{{\"requests\":{},\"keys\":{},\"size_unit\":\"{}\",\"results\":[{}]}}\n",
         trace.keys.size(), trace.distinct, trace.sizes_bytes.empty() ? "items" : "bytes",
         fmt::join(results, ","));
}

int run_simulate(const SimulateArguments& arguments) {
  const auto plan = make_plan(arguments);
  if (!plan) {
    complain(plan.error().detail());
    return kExitUsage;
  }
  const auto trace = arguments.pattern.empty() ? read_trace(arguments.trace)
                                               : evict::make_pattern(arguments.pattern, {});
  if (!trace) {
    const Error& error = trace.error();
    complain(error.is(Code::kInvalid) ? error.detail() : error.message());
    return arguments.pattern.empty() ? kExitFailed : kExitUsage;
  }
  const auto rows = simulate(*trace, *plan);
  if (!rows) {
    complain(rows.error().message());
    return kExitFailed;
  }
  arguments.json ? print_json(*trace, *rows) : print_tables(*trace, *plan, *rows);
  return kExitOk;
}

}  // namespace

Command set_up_simulate(CLI::App& app) {
  const auto arguments = std::make_shared<SimulateArguments>();
  app.add_option("TRACE", arguments->trace,
                 "A file, or - for standard input: a request a line, KEY [SIZE [TIME]]");
  app.add_option("--pattern", arguments->pattern,
                 fmt::format("Made requests instead of a trace: {}",
                             fmt::join(evict::pattern_names(), ", ")))
      ->type_name("NAME");
  app.add_option("--policy", arguments->policies,
                 fmt::format("What to compare [all: {}]", fmt::join(evict::policy_names(), ", ")))
      ->delimiter(',')
      ->type_name("NAME[,...]");
  app.add_option("--size", arguments->sizes,
                 "Sizes of the cache (K, M, G, T: powers of 1024): in bytes when the trace has "
                 "sizes, else in items")
      ->delimiter(',')
      ->required()
      ->type_name("N[,...]");
  app.add_option("--ttl", arguments->ttl,
                 "Let what came in expire after this time of the trace [0: never]")
      ->type_name("TIME");
  app.add_flag("--json", arguments->json, "The figures as JSON");
  app.footer(
      "SIZE is in bytes, TIME in seconds. Lines that start with # or * are passed over.\n"
      "The optimum is Belady's, exact without sizes; with sizes an upper bound "
      "(docs/EVICTION.md).\n"
      "Keeps the whole trace in memory: up to 20 bytes a request, and the keys.");
  return [arguments] { return run_simulate(*arguments); };
}

}  // namespace larder::app
