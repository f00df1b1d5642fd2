#include "journal/log_runs.h"

#include <algorithm>

#include "journal/log_walk.h"

namespace larder::journal {
namespace {

class RunCollector final : public LogVisitor {
 public:
  RunCollector(Segments& segments, uint64_t durable)
      : first_frame_(segments.first_frame(0)), durable_(durable) {}

  bool on_frame(uint64_t address, const format::FrameHeader& header) override {
    if (is_between_) runs_.push_back({.from = address, .begin = first_frame_});
    is_between_ = false;
    LogRun& run = runs_.back();
    run.to = address + header.size_bytes();
    run.begin = std::max(run.begin, header.begin);
    durable_ = std::max(durable_, header.durable);
    return true;
  }
  bool on_record(const format::RecordView&, bool) override { return true; }
  bool on_gap(const LogGap& gap) override {
    is_between_ = true;
    gaps_.push_back(gap.from);
    // A segment is durable with its full size before anything is in it: this is damage, whatever
    // was there.
    if (gap.error) durable_ = std::max(durable_, gap.from + format::kAlignment);
    return true;
  }

  LogRuns take() {
    // The first gap that is not damage is the torn tail's: what is behind it was given up with it.
    const auto tail = std::ranges::find_if(gaps_, [&](uint64_t from) { return from >= durable_; });
    if (tail != gaps_.end())
      std::erase_if(runs_, [&](const LogRun& run) { return run.from > *tail; });
    return {.runs = std::move(runs_), .durable = durable_};
  }

 private:
  const uint64_t first_frame_;
  uint64_t durable_;
  bool is_between_ = true;  // the next frame begins a run
  std::vector<LogRun> runs_;
  std::vector<uint64_t> gaps_;  // where they begin
};

}  // namespace

Result<LogRuns> find_log_runs(Segments& segments, uint64_t durable) {
  RunCollector collector(segments, durable);
  TRY(walk_log(segments, 0, collector));
  return collector.take();
}

}  // namespace larder::journal
