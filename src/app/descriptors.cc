#include "app/descriptors.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <thread>

#include "base/log.h"

namespace larder::app {
namespace {

// The journal's files (at most 64), directories, /dev/fuse, threads' wake-ups, the log.
constexpr uint64_t kForMachinery = 128;
// A call that walks a path to what it is about has so many open for a moment.
constexpr uint64_t kPerSourceThread = 3;
constexpr uint64_t kPerFuseWorker = 2;

uint64_t machinery(const Config& config) {
  const uint64_t workers =
      config.threads != 0 ? config.threads : std::max(2U, std::thread::hardware_concurrency());
  return kForMachinery + kPerSourceThread * config.source_threads + kPerFuseWorker * workers;
}

}  // namespace

uint64_t descriptors_allowed() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  return limit.rlim_max;
}

Result<uint64_t> descriptors_for_files(const Config& config, uint64_t allowed) {
  const uint64_t own = machinery(config);
  const uint64_t least = own + kDescriptorsForFilesMin;
  if (config.descriptors > allowed)
    return fail(Code::kInvalid,
                fmt::format("descriptors={} is more than the {} this process may have open; raise "
                            "`ulimit -Hn` or give less",
                            config.descriptors, allowed));
  const uint64_t all = config.descriptors != 0 ? config.descriptors : allowed;
  if (all >= least) return all - own;
  if (config.descriptors != 0)
    return fail(Code::kInvalid,
                fmt::format("descriptors={} leaves too few for files; give at least "
                            "{}, or fewer source_threads",
                            config.descriptors, least));
  return fail(
      Code::kInvalid,
      fmt::format("this process may have only {} files open; raise `ulimit -Hn` to at least "
                  "{}, or give fewer source_threads",
                  allowed, least));
}

void limit_descriptors(const Config& config, uint64_t allowed) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = config.descriptors != 0 ? config.descriptors : allowed;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) log::debug("the limit of open files stays as it is");
}

}  // namespace larder::app
