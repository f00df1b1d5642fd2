#include "fs/warmer.h"

#include <fmt/format.h>

#include <algorithm>

namespace larder::fs {
namespace {

constexpr size_t kNamesKept = 10;

}  // namespace

Warmer::Warmer(CachedFileSystem& files, const Options& options, Registry& registry)
    : files_(files),
      options_(options),
      files_warmed_(registry.counter("larder_warm_files_total", "Files loaded by warming.")),
      bytes_warmed_(
          registry.counter("larder_warm_bytes_total", "Bytes of files loaded by warming.")),
      queued_gauge_(registry.gauge("larder_warm_queued", "Paths that wait to be warmed.")) {}

Result<uint64_t> Warmer::begin(uint64_t client) {
  MutexLock lock(mutex_);
  while (jobs_.size() >= options_.jobs_max) {
    const auto old =
        std::ranges::find_if(jobs_, [](const auto& job) { return job.second.progress.done; });
    if (old == jobs_.end()) return fail(Code::kLimit, "too many warming jobs");
    jobs_.erase(old);
  }
  jobs_[next_job_].client = client;
  return next_job_++;
}

void Warmer::abandon(uint64_t client) {
  MutexLock lock(mutex_);
  std::erase_if(jobs_, [&](const auto& entry) REQUIRES(mutex_) {
    const Job& job = entry.second;
    if (job.client != client) return false;
    queued_ -= job.queue.size();
    for (const Load& load : job.under_way) load->is_cancelled = true;
    return true;
  });
  queued_gauge_.set(static_cast<int64_t>(queued_));
}

Result<bool> Warmer::add(uint64_t id, std::string path, bool recursive) {
  {
    MutexLock lock(mutex_);
    const auto job = jobs_.find(id);
    if (job == jobs_.end() || job->second.ended)
      return fail(Code::kNotFound, "no such warming job");
    if (queued_ >= options_.queue_max) return false;
    job->second.queue.push_back({std::move(path), recursive});
    ++job->second.progress.files_total;
    ++queued_;
  }
  pump();
  return true;
}

Result<void> Warmer::end(uint64_t id) {
  MutexLock lock(mutex_);
  const auto job = jobs_.find(id);
  if (job == jobs_.end()) return fail(Code::kNotFound, "no such warming job");
  job->second.ended = true;
  job->second.progress.done = job->second.queue.empty() && job->second.under_way.empty();
  return {};
}

Result<WarmProgress> Warmer::progress(uint64_t id) {
  MutexLock lock(mutex_);
  const auto job = jobs_.find(id);
  if (job == jobs_.end()) return fail(Code::kNotFound, "no such warming job");
  WarmProgress progress = job->second.progress;
  for (const Load& load : job->second.under_way) {
    progress.bytes_total += load->bytes_total;
    progress.bytes_done += load->bytes_done;
  }
  return progress;
}

void Warmer::stop() {
  MutexLock lock(mutex_);
  stopped_ = true;
  for (auto& [id, job] : jobs_) {
    queued_ -= job.queue.size();
    job.queue.clear();
    for (const Load& load : job.under_way) load->is_cancelled = true;
  }
}

void Warmer::pump() {
  for (;;) {
    uint64_t id = 0;
    Item item;
    const auto watch = std::make_shared<cache::FetchWatch>();
    io::Reactor* reactor = nullptr;
    {
      MutexLock lock(mutex_);
      queued_gauge_.set(static_cast<int64_t>(queued_));
      if (stopped_ || under_way_ >= options_.loads_max) return;
      const auto job =
          std::ranges::find_if(jobs_, [](const auto& j) { return !j.second.queue.empty(); });
      if (job == jobs_.end()) return;
      id = job->first;
      item = std::move(job->second.queue.front());
      job->second.queue.pop_front();
      --queued_;
      job->second.under_way.insert(watch);
      ++under_way_;
      reactor = &files_.reactor(next_reactor_++);
    }
    reactor->spawn(load(this, id, std::move(item), watch));
  }
}

io::Task<void> Warmer::load(Warmer* warmer, uint64_t job, Item item, Load watch) {
  io::Task<Result<CachedFileSystem::Warmed>> loading = warmer->files_.warm(item.path, watch);
  const Result<CachedFileSystem::Warmed> result = co_await std::move(loading);
  warmer->finish(job, item, watch, result);
  warmer->pump();
}

void Warmer::finish(uint64_t id, const Item& item, const Load& watch,
                    const Result<CachedFileSystem::Warmed>& result) {
  MutexLock lock(mutex_);
  --under_way_;
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return;  // abandoned
  Job& job = found->second;
  job.under_way.erase(watch);
  const size_t queued_before = job.queue.size();
  if (!stopped_) take_in(job, item, result);
  queued_ += job.queue.size() - queued_before;
  if (result && result->outcome == CachedFileSystem::WarmOutcome::kLoaded) {
    files_warmed_.add();
    bytes_warmed_.add(result->bytes);
  }
  job.progress.done = job.ended && job.queue.empty() && job.under_way.empty();
}

void Warmer::take_in(Job& job, const Item& item, const Result<CachedFileSystem::Warmed>& result) {
  using Outcome = CachedFileSystem::WarmOutcome;
  WarmProgress& progress = job.progress;
  const auto fail_with = [&](const std::string& why) {
    ++progress.files_failed;
    if (progress.errors.size() < kNamesKept)
      progress.errors.push_back(fmt::format("{}: {}", item.path, why));
  };
  if (!result) return fail_with(result.error().message());
  if (result->outcome == Outcome::kMissing) {
    ++progress.files_missing;
    if (progress.missing.size() < kNamesKept) progress.missing.push_back(item.path);
  } else if (result->is_directory) {
    if (!item.recursive) return fail_with("is a directory (use -r)");
    --progress.files_total;
    const std::string prefix = item.path.empty() || item.path == "." ? "" : item.path + "/";
    for (const std::string& child : result->children) job.queue.push_front({prefix + child, true});
    progress.files_total += result->children.size();
  } else if (result->outcome == Outcome::kSkipped) {
    --progress.files_total;
  } else {
    ++progress.files_done;
    progress.bytes_done += result->bytes;
    progress.bytes_total += result->bytes;
  }
}

}  // namespace larder::fs
