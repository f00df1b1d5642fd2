#include "app/warm_progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include "app/standard_streams.h"
#include "control/exposition.h"

namespace larder::app {

using control::human_bytes;
using control::WarmStatus;

WarmProgress::WarmProgress(const Clock& clock)
    : clock_(clock), start_(clock.monotonic()), on_terminal_(isatty(STDERR_FILENO) == 1) {}

WarmProgress::~WarmProgress() {
  if (on_terminal_) write_message("\r\033[K");
}

void WarmProgress::show(const WarmStatus& status) {
  if (!on_terminal_) return;
  write_message(fmt::format("\r\033[K{}", warm_progress_line(status, clock_.monotonic() - start_)));
}

std::string warm_summary(const WarmStatus& status) {
  std::string text = fmt::format("{} files, {} loaded", status.files_done,
                                 human_bytes(static_cast<double>(status.bytes_done)));
  if (status.files_missing != 0) text += fmt::format(", {} missing", status.files_missing);
  if (status.files_failed != 0) text += fmt::format(", {} failed", status.files_failed);
  return text;
}

std::string warm_progress_line(const WarmStatus& status, Nanos elapsed) {
  const double seconds = std::chrono::duration<double>(elapsed).count();
  const auto done = static_cast<double>(status.bytes_done);
  return fmt::format("{} of {} files, {} of {}, {}/s", status.files_done, status.files_total,
                     human_bytes(done), human_bytes(static_cast<double>(status.bytes_total)),
                     human_bytes(seconds > 0 ? done / seconds : 0));
}

}  // namespace larder::app
